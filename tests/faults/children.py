"""Children that are to die: forked from a server that has imported everything, each killed at a moment of its own.

A moment is the n-th change to the file system or SQL statement ("operation"), a file's growth beyond n bytes ("byte",
by the kernel's own limit: whoever writes, also in C or Rust), or so many seconds of work ("clock").
"""

import itertools
import multiprocessing
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.faults.warm"])
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Moment:
    """When a child is killed. kind: as above."""

    kind: str
    at: float


@dataclass
class End:
    """How a child ended: what it said, its last word (None if it was killed before), and what it had done by then."""

    said: list = field(default_factory=list)
    result: object = None
    refused: str | None = None  # the sentence of an LVLMError
    operations: int = 0
    seconds: float = 0.0
    code: int | None = None

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Life:
    """A child's own view: it prepares, begins, and says how far it is."""

    def __init__(self, pipe, moment: Moment | None):
        self._pipe, self._moment, self.operations, self.began = pipe, moment, 0, 0.0

    def say(self, what) -> None:
        self._pipe.send(("said", what))

    def begin(self) -> None:
        """From here on it may be killed."""
        moment, counted = self._moment, itertools.count(1)

        def operation() -> None:
            self.operations = next(counted)
            if moment and moment.kind == "operation" and self.operations == moment.at:
                os.kill(os.getpid(), signal.SIGKILL)

        def hear(event: str, given) -> None:
            if event in CHANGES or event == "open" and given[2] is not None and given[2] & WRITES:
                operation()

        connect = sqlite3.connect

        def traced(*args, **options):
            made = connect(*args, **options)
            made.set_trace_callback(lambda statement: operation())
            return made

        sqlite3.connect = traced
        sys.addaudithook(hear)
        if moment and moment.kind == "byte":
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python had it ignored
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(moment.at), resource.RLIM_INFINITY))
        self.began = time.perf_counter()
        self._pipe.send(("begun", None))


def _live(pipe, moment: Moment | None, deed: Callable, args: tuple) -> None:
    from lvlm import LVLMError

    life = Life(pipe, moment)
    try:
        last = "ended", deed(life, *args)
    except LVLMError as error:
        last = "refused", str(error)
    pipe.send((*last, life.operations, time.perf_counter() - life.began))


def run(deed: Callable, *args, moment: Moment | None = None) -> End:
    """Have a child do `deed(life, *args)`, and kill it at a moment."""
    here, there = CONTEXT.Pipe()
    child = CONTEXT.Process(target=_live, args=(there, moment, deed, args))
    child.start()
    there.close()
    end = End()
    try:
        while True:
            kind, what, *rest = here.recv()
            if kind == "begun" and moment and moment.kind == "clock":
                threading.Timer(moment.at, child.kill).start()
            if kind == "said":
                end.said.append(what)
            if kind in ("ended", "refused"):
                end.operations, end.seconds = rest
                end.result, end.refused = (what, None) if kind == "ended" else (None, what)
    except (EOFError, OSError):  # it is dead, perhaps in the middle of a word
        pass
    child.join()
    end.code = child.exitcode
    here.close()
    assert end.killed or not end.code, f"{deed.__name__} failed: its traceback is in the captured stderr"
    return end


def linger(work, lock: Path) -> list:
    """In the place of a measurement that takes for ever."""
    with FileLock(lock):
        threading.Event().wait()
    return []


def held(lock: Path, patience: float = 0) -> bool:
    """Whether somebody holds a lock, still after so many seconds."""
    try:
        with FileLock(lock, timeout=patience):
            return False
    except Timeout:
        return True


def moments(seed: int, number: int, whole: End, largest: int) -> list[Moment]:
    """Random ones within what a child did that was let live: half of them operations, the rest bytes and seconds."""
    chosen = random.Random(seed)
    found = [Moment("operation", chosen.randint(1, whole.operations)) for _ in range(number // 2)]
    found += [Moment("byte", chosen.randrange(largest)) for _ in range(number // 4)]
    found += [Moment("clock", chosen.uniform(0, whole.seconds)) for _ in range(number - len(found))]
    chosen.shuffle(found)
    return found
