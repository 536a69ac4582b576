"""Long work on the server, one piece at a time, which a page starts, polls and cancels.

A job is not tied to the request that started it: a refreshed or second page finds it by its owner and goes on
watching. Jobs know the library's events and nothing of Gradio.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from lvlm.errors import Cancelled, LVLMError
from lvlm.events import Event, Progress, Report

log = logging.getLogger(__name__)

# Models are shared by every visitor, and calibration puts hooks and gradients on one: whatever computes takes its turn.
_turn = threading.Lock()


@contextmanager
def turn(cancelled: threading.Event):
    """Hold the machine; raises `Cancelled` if `cancelled` is set while waiting for it."""
    while not _turn.acquire(timeout=0.05):
        if cancelled.is_set():
            raise Cancelled("Cancelled while waiting.")
    try:
        yield
    finally:
        _turn.release()


@dataclass
class Job:
    """One piece of long work and how far it is. Written by its own thread, read by any."""

    title: str                      # a verb phrase for the person: "Calibrate pocket-llava"
    state: str = "waiting"          # waiting → running → done | failed | cancelled
    stage: str = ""                 # what it is doing now
    fraction: float = 0.0           # 0…1, of the stage at hand
    text: str = ""                  # a detail of the stage
    error: str = ""                 # one clear sentence when failed
    result: Any = None
    started: float | None = None    # time.monotonic() when the stage at hand began
    wish_to_stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = field(default=None, repr=False)

    @property
    def busy(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def seconds_left(self) -> float | None:
        """A guess from the stage's pace so far; None until there is a pace."""
        if self.started is None or not 0.05 <= self.fraction < 1:
            return None
        return (time.monotonic() - self.started) * (1 - self.fraction) / self.fraction

    def cancel(self) -> None:
        """Ask the work to stop at its next event; what it had allocated goes with it."""
        self.wish_to_stop.set()

    def report(self, event: Event) -> None:
        """The `report=` callable handed to the library: notes progress, and raises `Cancelled` once asked to."""
        if self.wish_to_stop.is_set():
            raise Cancelled("Cancelled.")
        if isinstance(event, Progress):
            if event.stage != self.stage:
                self.started = time.monotonic()
            self.stage, self.text = event.stage, event.text
            self.fraction = min(1.0, event.done / event.total) if event.total else 0.0


def start(title: str, work: Callable[[Report], Any], then: Callable[[Job, str], None] = lambda job, end: None) -> Job:
    """Run `work(report)` in its own thread, when it is its turn. However it ends, `then(job, end)` follows in that
    thread ("done", "failed" or "cancelled"), and only after it does `job.state` say so.

    A person's mistake (`LVLMError`) becomes the job's `error` as it stands; anything else is logged with its trace
    and named shortly, so that the page never waits for a job that died.
    """
    job = Job(title)

    def run() -> None:
        try:
            with turn(job.wish_to_stop):
                job.state, job.started = "running", time.monotonic()
                job.result = work(job.report)
            outcome = "done"
        except Cancelled:
            outcome = "cancelled"
        except LVLMError as error:
            outcome, job.error = "failed", str(error)
        except MemoryError:
            outcome, job.error = "failed", f"{title}: this machine has not enough memory. Pick a smaller model."
        except Exception as error:                      # the last listener: the page must learn of every end
            log.exception("job %r failed", title)
            outcome, job.error = "failed", f"{title} failed: {type(error).__name__}: {error}"
        if outcome == "done":
            job.fraction = 1.0
        try:
            then(job, outcome)
        finally:
            job.state = outcome

    job.thread = threading.Thread(target=run, name=title, daemon=True)
    job.thread.start()
    return job
