"""Faults of a machine, brought about for real in a child: disks that are full, read-only or not permitted, files that
may not grow, memory that ends. For root and for plain users alike, as far as the kernel lets each."""

import ctypes
import os
import resource
from collections.abc import Callable
from pathlib import Path

NAMESPACE, PRIVATE, READ_ONLY, AGAIN = 0x20000, 0x44000, 0x1, 0x20  # of <sched.h> and <sys/mount.h>
OVERRIDES = (1 << 1) | (1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root's leave to ignore permissions
VERSION = 0x20080522
MMAP_THRESHOLD = -3  # of <malloc.h>
LIBC = ctypes.CDLL(None, use_errno=True)


class NotAllowed(Exception):
    """This fault cannot be brought about by this user here."""


def _mount(folder: Path, flags: int, options: bytes = b"") -> None:
    if LIBC.mount(b"none", os.fsencode(folder), b"tmpfs", flags, options):
        raise NotAllowed(os.strerror(ctypes.get_errno()))


def own_disk(folder: Path) -> None:
    """A disk of 8 MiB, which this process alone sees."""
    if LIBC.unshare(NAMESPACE) or LIBC.mount(b"none", b"/", None, PRIVATE, None):
        raise NotAllowed(os.strerror(ctypes.get_errno()))
    _mount(folder, 0, b"size=8m")


def plain_user(folder: Path) -> None:
    """From now on permissions hold for root, too."""
    header, data = (ctypes.c_uint32 * 2)(VERSION, 0), (ctypes.c_uint32 * 6)()
    if LIBC.capget(header, data):
        raise NotAllowed(os.strerror(ctypes.get_errno()))
    data[0] &= ~OVERRIDES
    if LIBC.capset(header, data):
        raise NotAllowed(os.strerror(ctypes.get_errno()))


def nothing(folder: Path) -> None:
    pass


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def free(folder: Path) -> None:
    (folder / "ballast").unlink()


def forbid(folder: Path, mode: int = 0o555) -> None:
    for place in (folder, *(x for x in folder.rglob("*") if x.is_dir())):
        place.chmod(mode)


def allow(folder: Path) -> None:
    forbid(folder, 0o755)


def freeze(folder: Path) -> None:
    _mount(folder, AGAIN | READ_ONLY)


def thaw(folder: Path) -> None:
    _mount(folder, AGAIN)


def limit(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))


def lift(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


Step = Callable[[Path], None]
DISKS: dict[str, tuple[Step, Step, Step]] = {  # (before anything is there, then the fault, then its end)
    "full": (own_disk, fill, free),
    "read-only": (own_disk, freeze, thaw),
    "not permitted": (plain_user, forbid, allow),
    "at its limit": (nothing, limit, lift),
}


def limit_memory(more: int) -> None:
    """From now on only so many bytes more; whatever is larger than 1 MiB is asked of the kernel, and given back."""
    LIBC.mallopt(MMAP_THRESHOLD, 1 << 20)
    LIBC.malloc_trim(0)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, resource.RLIM_INFINITY))


def lift_memory() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
