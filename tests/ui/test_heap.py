import subprocess
import sys

import pytest

from ui import heap

pytestmark = pytest.mark.skipif(heap._glibc() is None, reason="only glibc has arenas")
# Threads that all allocate at once, at some time; then glibc tells of each arena on its standard error.
MANY_THREADS = """
import ctypes, threading
from ui import heap
{bound}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
gate = threading.Barrier(12)
def work():
    gate.wait()
    blocks = [libc.malloc(10_000) for _ in range(100)]
    gate.wait()
    for x in blocks:
        libc.free(x)
threads = [threading.Thread(target=work) for _ in range(12)]
for x in threads:
    x.start()
for x in threads:
    x.join()
libc.malloc_stats()
"""
# Every other block is freed: nothing at the arena's end, so that nothing goes back by itself.
HOLES = """
import ctypes
from ui import heap
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def held():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
blocks = [libc.malloc(100_000) for _ in range(1000)]
for x in blocks:
    libc.memset(x, 1, 100_000)
for x in blocks[::2]:
    libc.free(x)
before = held()
heap.trim()
print(before - held())
"""


def run(program: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)


CIRCLES = """
import gc, weakref
from ui import heap
class Kept:
    pass
heap.begin()
assert not gc.isenabled()
kept = Kept()
kept.itself = kept
heap.settle()
assert gc.isenabled() and gc.get_freeze_count() > 1000
left = Kept()
left.itself = left
seen = [weakref.ref(x) for x in (kept, left)]
gc.disable()
del kept, left
heap.trim()
print([x() is None for x in seen])
"""


def test_circles_that_nobody_has_go():
    """What was there when the app began stays, and is not looked through again."""
    assert run(CIRCLES).stdout.strip() == "[False, True]"


def test_many_threads_share_a_few_arenas():
    """Without the bound each gets one of its own."""
    counts = [run(MANY_THREADS.format(bound=x)).stderr.count("Arena ") for x in ("", "assert heap.bound()")]
    assert counts[1] <= heap.ARENAS < counts[0]


def test_what_was_freed_goes_back():
    """Holes between what is in use, too: 50 MB are freed, and most of that is the system's again."""
    assert int(run(HOLES).stdout) > 40_000_000
