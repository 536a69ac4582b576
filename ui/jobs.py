"""Long work on the server, one piece at a time, which a page starts, polls and cancels.

A job is not tied to the request that started it: a refreshed or second page finds it by its owner and goes on
watching. Jobs know the library's events and nothing of Gradio.
"""

import gc
import itertools
import logging
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from lvlm.errors import Cancelled, LVLMError
from lvlm.events import Event, LossPoint, Progress, Report
from lvlm.shortage import enough_memory
from ui.limits import MOST_IN_LINE

log = logging.getLogger(__name__)
PATIENCE = 1.0  # seconds for which patient work lets everybody pass; then it goes before those who came later
SLICE = 0.4  # seconds that it then keeps the machine for, however many events it has meanwhile
PAUSE = 2.0  # seconds for which all others let questions pass: a first word is what people wait for, then the rest
LOOK = 0.1  # seconds between two looks at whether somebody who waits was cancelled, or waited long enough


class Kind(IntEnum):
    """What somebody in line is about to do, the most urgent first."""

    QUESTION = 0  # an answer's first word
    ORDINARY = 1  # its next ones; work of seconds
    PATIENT = 2  # a piece of minutes or hours of work


@dataclass(eq=False)
class Place:
    """Somebody's in the line for the machine, who then holds it."""

    number: int  # of arrival
    kind: Kind
    since: float  # when it came; once it holds the machine, from when on
    moved: threading.Condition  # told when it may be this one's turn
    thread: int = field(default_factory=threading.get_ident)


class Turns:
    """The machine, held by one thread at a time: models are shared by every visitor, calibration puts hooks and
    gradients on one, and two computations at once take longer than one after the other.

    First come first served among the equally urgent; nobody lets others pass for ever. clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._lock, self._arrivals, self._clock = threading.Lock(), itertools.count(), clock
        self._line: list[Place] = []  # who waits
        self._holder: Place | None = None

    @contextmanager
    def turn(self, cancelled: threading.Event, kind: Kind = Kind.ORDINARY):
        """Hold the machine; raises `Cancelled` if `cancelled` is set while waiting for it, and LVLMError where too
        many wait already. Within a turn of the same thread it is held already."""
        if self._holder is not None and self._holder.thread == threading.get_ident():
            yield
            return
        if len(self._line) >= MOST_IN_LINE:
            raise LVLMError(f"{MOST_IN_LINE} others are in line for this machine: please try again in a few minutes.")
        with self._lock:
            self._wait(cancelled, kind)
        mine = threading.get_ident()
        try:
            yield
        finally:
            with self._lock:
                if self._holder is not None and self._holder.thread == mine:
                    self._pass_on()

    def let_others(self, cancelled: threading.Event, kind: Kind = Kind.ORDINARY, seconds: float = 0.0) -> None:
        """Called by the holder before its next piece: whoever is as urgent goes first, once it has held the machine for
        so many seconds. Raises `Cancelled` as above; then it holds nothing, and may compute no more."""
        with self._lock:
            assert self._holder is not None and self._holder.thread == threading.get_ident(), "it is not held"
            first = self._first()
            if first is None or self._rank(first)[0] > kind:
                return
            if self._clock() - self._holder.since < seconds:
                return
            self._pass_on()
            self._wait(cancelled, kind)

    def _rank(self, place: Place) -> tuple[int, int]:
        """Whose turn is next: the least."""
        patience = (0.0, PAUSE, PATIENCE)[place.kind]
        return (place.kind if self._clock() - place.since < patience else Kind.QUESTION), place.number

    def _first(self) -> Place | None:
        return min(self._line, key=self._rank, default=None)

    def _wait(self, cancelled: threading.Event, kind: Kind) -> None:
        """Stand in line until it is this thread's turn; the lock is held."""
        me = Place(next(self._arrivals), kind, self._clock(), threading.Condition(self._lock))
        self._line.append(me)
        try:
            while self._holder is not None or self._first() is not me:
                if cancelled.is_set():
                    raise Cancelled("Cancelled while waiting.")
                me.moved.wait(LOOK)
            self._holder = me
        finally:
            self._line.remove(me)
        me.since = self._clock()

    def _pass_on(self) -> None:
        self._holder = None
        if self._line:
            self._first().moved.notify()

    def before(self, thread: int | None) -> int:
        """How many go before a thread that waits; 0 for one that does not."""
        with self._lock:
            mine = next((x for x in self._line if x.thread == thread), None)
            if mine is None:
                return 0
            return (self._holder is not None) + sum(self._rank(x) < self._rank(mine) for x in self._line)


TURNS = Turns()


@dataclass(eq=False)
class Job:
    """One piece of long work and how far it is. Written by its own thread, read by any.

    Once started, `work(report)` runs in a thread, when it is its turn. However it ends, `then(end)` follows in that
    thread ("done", "failed" or "cancelled"), and only after it does `state` say so.
    """

    title: str  # a verb phrase for the person: "Calibrate pocket-llava"
    work: Callable[[Report], Any] = field(repr=False)
    then: Callable[[str], None] = field(default=lambda end: None, repr=False)
    shares: bool = False  # others may compute, and go first, whenever it reports: long work that changes no model
    pauses: bool = False  # they may, too, but it waits no longer than they do: seconds of work that changes no model
    asks: bool = False  # a question: its first word goes before whatever else waits
    state: str = "waiting"  # waiting → running → done | failed | cancelled
    stage: str = ""  # what it is doing now
    fraction: float = 0.0  # 0…1, of the stage at hand
    text: str = ""  # a detail of the stage
    error: str = ""  # one clear sentence when failed
    result: Any = None
    stage_began: float = 0.0  # time.monotonic()
    said_left: float | None = None  # seconds that the work itself says are left of the stage
    wish_to_stop: threading.Event = field(default_factory=threading.Event, repr=False)
    thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def busy(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def seconds_left(self) -> float | None:
        """What the work says, or a guess from the stage's pace so far; None until there is a pace."""
        if self.said_left is not None:
            return self.said_left
        if not 0.05 <= self.fraction < 1:
            return None
        return (time.monotonic() - self.stage_began) * (1 - self.fraction) / self.fraction

    @property
    def _kind(self) -> Kind:
        return Kind.PATIENT if self.shares else Kind.QUESTION if self.asks else Kind.ORDINARY

    @property
    def before(self) -> int:
        """How many others compute before this one may; 0 once it runs."""
        return TURNS.before(self.thread.ident) if self.thread and self.state == "waiting" else 0

    def start(self) -> "Job":
        """Begin, in a thread of its own."""
        self.thread = threading.Thread(target=self._run, name=self.title, daemon=True)
        self.thread.start()
        return self

    def cancel(self) -> None:
        """Ask the work to stop at its next event; what it had allocated goes with it."""
        self.wish_to_stop.set()

    def report(self, event: Event) -> None:
        """The `report=` callable handed to the library: notes progress, and raises `Cancelled` once asked to."""
        if self.wish_to_stop.is_set():
            raise Cancelled("Cancelled.")
        if self.shares or self.pauses:  # by slices: else each of many small events would cost a wait for everybody
            TURNS.let_others(self.wish_to_stop, self._kind, SLICE)
        if isinstance(event, LossPoint):
            self.said_left = event.seconds_left if event.step else None
        if isinstance(event, Progress):
            if event.stage != self.stage:
                self.stage_began, self.said_left = time.monotonic(), None
            self.stage, self.text = event.stage, event.text
            self.fraction = min(1.0, event.done / event.total) if event.total else 0.0

    def _run(self) -> None:
        """A person's mistake (`LVLMError`) becomes `error` as it stands; anything else is logged with its trace and
        told of in general, since it may name what is on the machine; no page waits for a job that died."""
        try:
            with TURNS.turn(self.wish_to_stop, self._kind), enough_memory(self.title):
                self.state, self.stage_began = "running", time.monotonic()
                self.result = self.work(self.report)
            end = "done"
        except Cancelled:
            end = "cancelled"
        except LVLMError as error:
            end, self.error = "failed", str(error)
        except BaseException:  # the panics of libraries in Rust are no Exceptions
            log.exception("job %r failed", self.title)
            end, self.error = "failed", f"{self.title} failed, and the server's log says why: please try again."
        try:
            self.then(end)
        finally:
            self.fraction = 1.0 if end == "done" else self.fraction
            self.work = self.then = None  # they hold models
            if end != "done":
                gc.collect()  # networks hold reference cycles
            self.state = end
