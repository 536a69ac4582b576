"""What watches while a bad input is tried: files, network, other programs, time and memory. Knows no parser.

Python's audit events tell what Python opens, connects to and starts; inotify tells whether anything at all, libraries
in C and Rust included, opens the secrets that lie beside the workspace. What was seen is kept, so that code which
swallows the error cannot hide it.
"""

import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from lvlm import LVLMError
from lvlm.templates import TRIAL

# How many inputs each test tries, at least; each proves that it did. Their sum is what the README quotes.
CASES = {
    "safetensors headers": 1500,
    "indexes of weights": 300,
    "files of a folder": 150,
    "images": 1500,
    "damaged images": 2000,
    "plans": 1500,
    "recipes": 1200,
    "cases": 1000,
    "instruction data": 1300,
    "links": 1700,
    "config.json": 400,
    "original layouts": 250,
    "vision towers": 60,
    "tokenizers and processors": 200,
    "pruning.json": 800,
    "chat templates": 60,
    "scores": 600,
}
SECONDS = 5  # of processor time that one input may take
WHOLE = 1200  # seconds by the clock of one test, after which nothing but the end of the process helps
PATIENCE = 60  # seconds by the clock, on a machine that is busy with other things too
MEMORY = 4 << 30  # bytes of addresses that one test may take on top
ROOT = Path(__file__).resolve().parents[2]
READABLE = tuple(
    os.path.realpath(x) + os.sep for x in (sys.prefix, sys.base_prefix, ROOT, "/proc", "/sys", "/usr/share/zoneinfo")
)
DEVICES = ("/dev/null", "/dev/urandom", "/dev/shm")
NETWORK = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.gethostbyaddr",
    "socket.sendto",
    "urllib.Request",
    "http.client.connect",
    "ftplib.connect",
    "smtplib.connect",
)
PROGRAMS = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.startfile",
    "pty.spawn",
    "ctypes.dlopen",
    "pickle.find_class",
    "webbrowser.open",
)
CHANGES = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.utime",
    "os.mkfifo",
    "os.mknod",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
    "shutil.copytree",
)
OPENED = 0x20 | 0x1 | 0x2 | 0x100 | 0x200  # inotify: open, access, modify, create, delete


class Escaped(BaseException):
    """An input reached out of the workspace. No `except Exception` is to swallow it."""


class Hangs(BaseException):
    """An input takes no end of time."""


class Guard:
    """Tries inputs in a workspace. `outside` lies beside it and holds secrets in every format."""

    def __init__(self, place: Path):
        self.workspace, self.outside = place / "workspace", place / "outside"
        self.workspace.mkdir()
        self.outside.mkdir()
        self.inside = os.path.realpath(self.workspace) + os.sep
        self.seen: list[str] = []
        self.tried = self.worked = 0
        self._inotify = self._watch()

    def check(self, work: Callable[[], object]) -> object:
        """`work()` of one input: what it gives, or None where it is refused, as it must be, in a sentence."""
        self.tried += 1
        try:
            with self._limits():
                found = work()
            self.worked += 1
            return found
        except LVLMError as error:
            check_sentence(str(error))
            return None
        finally:
            assert not self.seen, self.seen
            assert not (opened := self._opened()), f"opened outside the workspace: {opened}"

    @contextmanager
    def _limits(self):
        def stop(number, frame):
            raise Hangs(f"after {SECONDS} s of processor time or {PATIENCE} s by the clock")

        before = {x: signal.signal(x, stop) for x in (signal.SIGPROF, signal.SIGALRM)}
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        signal.setitimer(signal.ITIMER_VIRTUAL, 4 * SECONDS)  # ends the process, where no Python code runs any more
        _active.append(self)
        try:
            yield
        finally:
            _active.remove(self)
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL, signal.ITIMER_VIRTUAL):
                signal.setitimer(timer, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def hear(self, event: str, args: tuple) -> None:
        """An audit event while an input is tried."""
        if event == "open":
            self._open(*args)
        elif event in NETWORK:
            self._escape(f"network: {event} {args[1:]}")
        elif event == "subprocess.Popen":
            if str(TRIAL) not in map(str, args[1]):
                self._escape(f"program: {args[1]}")
        elif event in PROGRAMS:
            self._escape(f"program: {event} {args}")
        elif event in CHANGES:
            place = args[-1] if event in ("os.remove", "os.rmdir") else -1  # a folder that is open, or none
            for path in args:
                if isinstance(path, str | bytes | os.PathLike):
                    inside = os.readlink(f"/proc/self/fd/{place}") if place >= 0 else ""
                    self._changed(event, os.path.join(inside, os.fsdecode(path)))

    def _open(self, path, mode, flags) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return  # a file that is open already
        real = os.path.realpath(os.fsdecode(path))
        if real in DEVICES:
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._changed("write", real)
        elif real.startswith(self.inside):
            if real.endswith((".py", ".pyc", ".so")):
                self._escape(f"code: {real}")
        elif not (real + os.sep).startswith(READABLE):
            self._escape(f"read: {real}")

    def _changed(self, what: str, path) -> None:
        real = os.path.abspath(os.fsdecode(path))  # of a link, the link itself
        here = os.path.join(os.path.realpath(os.path.dirname(real)), os.path.basename(real))
        if not (here + os.sep).startswith(self.inside):
            self._escape(f"{what}: {here}")

    def _escape(self, what: str) -> None:
        self.seen.append(what)
        raise Escaped(what)

    def _watch(self) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        found = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert found >= 0 and libc.inotify_add_watch(found, os.fsencode(self.outside), OPENED) >= 0
        return found

    def _opened(self) -> list[str]:
        """Names of the secrets that were opened, by whomever."""
        try:
            data = os.read(self._inotify, 1 << 16)
        except BlockingIOError:
            return []
        names, at = [], 0
        while at < len(data):
            _, _, _, length = struct.unpack_from("iIII", data, at)
            names.append(data[at + 16 : at + 16 + length].rstrip(b"\0").decode() or "the folder")
            at += 16 + length
        return names

    def forget(self) -> None:
        """What the test itself did with the secrets."""
        self._opened()

    def close(self) -> None:
        os.close(self._inotify)


_active: list[Guard] = []


def _hear(event: str, args: tuple) -> None:
    if _active:
        _active[-1].hear(event, args)


sys.addaudithook(_hear)  # for the life of the process: it cannot be taken off


def check_sentence(text: str) -> None:
    """One line for a person, not a stack trace, with nothing of where the machine keeps its files."""
    assert text.strip() and "\n" not in text and len(text) < 1200, text
    assert text.rstrip().endswith((".", ")", "…", "!")), text
    assert "Traceback" not in text and "checkpoint-" not in text and " object at 0x" not in text, text


@contextmanager
def little_memory():
    """So many addresses more than are in use now: what would take terabytes fails, and is seen to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
