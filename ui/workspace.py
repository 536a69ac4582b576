"""What a visitor has in hand: the model, its scores, the plan, the variants made from it and the conversation.

A `Desk` belongs to one browser tab and outlives a refresh; models are shared by all desks through the `Shelf`, and
one that no desk holds is freed. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import torch

from lvlm.errors import BadPlan, BadSamples
from lvlm.events import Report
from lvlm.memory import free
from pruning import calibrate, make_plan, measure, prune, quantize
from samples import load_samples
from ui import jobs

SMALL = 100_000_000  # parameters; below, one core computes a model's products faster than several
DEFAULT_SAMPLES, MOST_SAMPLES = 10, 50
DEFAULT_RATIO, MOST_RATIO = 0.30, 0.60
IDLE_SECONDS = 3600  # a desk whose page has not been heard of for this long is cleared


@dataclass
class Shared:
    """A loaded model and what was learnt about it, by every desk that works with it."""

    name: str
    model: object  # LVLM
    scores: dict = field(default_factory=dict)  # number of samples → Scores
    holders: set = field(default_factory=set)  # ids of desks


class Shelf:
    """Loaded models by name. `load(name, report=)` is the library's."""

    def __init__(self, load: Callable):
        self._load, self._models, self._lock = load, {}, threading.Lock()

    def take(self, name: str, holder: str, report: Report) -> Shared:
        """The model `name` for `holder`, loaded if nobody has it yet."""
        with self._lock:
            shared = self._models.get(name)
            if shared:
                shared.holders.add(holder)
                return shared
        shared = Shared(name, self._load(name, report=report), holders={holder})
        with self._lock:
            shared = self._models.setdefault(name, shared)
            self._choose_cores()
            return shared

    def _choose_cores(self) -> None:
        """Threads on products this small mostly wait for one another: with two models answering at once, or another
        program on the machine, one core each is up to 30 times faster than all cores for both (measured)."""
        small = all(shared.model.parameters().total < SMALL for shared in self._models.values())
        torch.set_num_threads(1 if small else os.cpu_count() or 1)

    def leave(self, holder: str, keep: Shared | None = None) -> None:
        """`holder` puts back everything but `keep`; what nobody holds is freed."""
        with self._lock:
            for name, shared in list(self._models.items()):
                if shared is not keep:
                    shared.holders.discard(holder)
                if not shared.holders:
                    del self._models[name]
        gc.collect()  # networks hold reference cycles

    @property
    def names(self) -> list[str]:
        with self._lock:
            return list(self._models)


@dataclass
class Answer:
    """What one variant said; `text` grows while it speaks."""

    variant: str
    text: str = ""
    stats: object = None  # ChatStats once it ended


@dataclass
class Exchange:
    """One question and each pane's answer to it."""

    question: str
    answers: dict[str, Answer]  # "left" | "right"


@dataclass
class Desk:
    """One visitor's work. Changed by events and job threads; a page redraws when `version` moved."""

    id: str
    shelf: Shelf
    shared: Shared | None = None
    samples: int = DEFAULT_SAMPLES
    scores: object = None
    method: str = "widthwise"
    ratio: float = DEFAULT_RATIO
    protect_first: int = 0
    protect_last: int = 0
    plan: object = None
    refusal: str = ""  # why the last wish could not be planned
    notice: str = ""  # the last thing that went wrong in a job
    pruned: object = None
    pruned_plan: object = None
    pruned_seconds: float = 0.0
    cost: object = None  # Cost of the original, measured beside the pruned one's
    pruned_cost: object = None
    int8: object = None
    image: object = None  # PIL, RGB: what is asked about
    questions: tuple[str, ...] = ()  # suggestions that fit the image
    greeted: bool = False  # the first example was laid out
    talk: list[Exchange] = field(default_factory=list)
    job: jobs.Job | None = None
    answering: jobs.Job | None = None
    version: int = 0
    seen: float = field(default_factory=time.monotonic)

    # --- what is there ---

    @property
    def model(self):
        return self.shared.model if self.shared else None

    @property
    def busy(self) -> bool:
        return self.job is not None and self.job.busy

    def right(self) -> tuple[str, object] | None:
        """The variant in the right-hand pane: int8 if it is on, else pruned, else none."""
        if self.int8 is not None:
            return "int8", self.int8
        return ("pruned", self.pruned) if self.pruned is not None else None

    # --- instant work ---

    def replan(self) -> None:
        """Make the plan anew from the scores; a wish that cannot be met keeps the old plan and says why."""
        if self.scores is None:
            return
        try:
            self.plan = make_plan(
                self.scores,
                method=self.method,
                ratio=self.ratio,
                protect_first=self.protect_first,
                protect_last=self.protect_last,
            )
            self.refusal = ""
        except BadPlan as error:
            self.refusal = str(error)

    def wish(self, method: str, ratio: float, protect_first: int, protect_last: int) -> None:
        """What the controls say. Raises BadPlan for a ratio nobody can mean."""
        if not (isinstance(ratio, int | float) and 0 <= ratio <= MOST_RATIO):
            raise BadPlan(f"The share to remove is out of range: choose 0 to {MOST_RATIO:.0%}.")
        self.method, self.ratio, self.protect_first, self.protect_last = method, ratio, protect_first, protect_last
        self.replan()

    def refuse(self, sentence: str) -> None:
        """Note why a wish was not granted; the page shows it and puts its inputs back."""
        self.notice = sentence
        self.version += 1

    # --- long work ---

    def _start(self, title: str, work: Callable[[Report], object], done: Callable[[object], None]) -> jobs.Job:
        """Start the desk's one job; the one under way, if any, is cancelled."""
        if self.busy:
            self.job.cancel()
        self.notice = ""

        def then(end: str) -> None:
            if job is not self.job:  # another one was started since: its result is not wanted
                return
            if end == "done":
                done(job.result)
            job.result = None
            self.notice = job.error
            self.version += 1

        self.job = job = jobs.Job(title, work, then)
        self.version += 1
        return job.start()

    def open(self, name: str) -> jobs.Job:
        """Load a model, calibrate it and plan; the model at hand stays until the new one is ready, then goes."""
        name = name.strip()

        def work(report: Report):
            shared = self.shelf.take(name, self.id, report)
            try:
                return shared, _calibrated(shared, DEFAULT_SAMPLES, report)
            except BaseException:
                self.shelf.leave(self.id, keep=self.shared)
                raise

        def done(result) -> None:
            self.stop()
            self.shared, self.scores = result
            self.samples, self.plan, self.talk = DEFAULT_SAMPLES, None, []
            self._drop_pruned()
            self.protect_first = self.protect_last = 0
            self.replan()
            self.shelf.leave(self.id, keep=self.shared)

        return self._start(f"Open {name}", work, done)

    def calibrate(self, samples: int) -> jobs.Job:
        """Score the model on `samples` bundled samples. Raises BadSamples for a number nobody can mean."""
        if not (isinstance(samples, int) and 1 <= samples <= MOST_SAMPLES):
            raise BadSamples(f"{samples} samples cannot be calibrated on: choose 1 to {MOST_SAMPLES}.")
        shared = self.shared

        def done(scores) -> None:
            self.samples, self.scores = samples, scores
            self.replan()

        return self._start(f"Calibrate on {samples} samples", lambda report: _calibrated(shared, samples, report), done)

    def prune(self) -> jobs.Job:
        """Carry out the plan and measure both models."""
        shared, plan = self.shared, self.plan

        def work(report: Report):
            began = time.perf_counter()
            pruned = prune(shared.model, plan)
            seconds = time.perf_counter() - began
            return pruned, seconds, measure(shared.model, report=report), measure(pruned, report=report)

        def done(result) -> None:
            self._drop_pruned()
            self.pruned, self.pruned_seconds, self.cost, self.pruned_cost = result
            self.pruned_plan = plan
            gc.collect()

        return self._start("Prune and measure", work, done)

    def set_int8(self, on: bool) -> jobs.Job | None:
        """Switch the pruned side to 8-bit weights, or back."""
        if not on or self.pruned is None:
            self.int8 = None
            self.version += 1
            return None
        pruned = self.pruned

        def done(model) -> None:
            self.int8 = model

        return self._start("Store the pruned model in 8 bits", lambda report: quantize(pruned, "int8"), done)

    def _drop_pruned(self) -> None:
        self.stop()
        self.pruned = self.pruned_plan = self.cost = self.pruned_cost = self.int8 = None

    # --- talking ---

    def ask(self, image, question: str, *, max_new_tokens: int, temperature: float) -> jobs.Job:
        """Ask every pane's model; their answers grow side by side. A refused question leaves the talk as it was."""
        lanes = {"left": ("original", self.model)}
        if self.right():
            lanes["right"] = self.right()
        exchange = Exchange(question, {side: Answer(variant) for side, (variant, _) in lanes.items()})
        talk = self.talk
        talk.append(exchange)

        def work(report: Report) -> None:
            streams = {}
            try:
                for side, (_, model) in lanes.items():
                    streams[side] = model.chat(
                        image, question, max_new_tokens=max_new_tokens, temperature=temperature, stop=job.wish_to_stop
                    )
                for side, piece in interleave(streams):
                    exchange.answers[side].text += piece
            finally:
                for side, stream in streams.items():
                    stream.close()
                    exchange.answers[side].stats = stream.stats

        def then(end: str) -> None:
            if end != "done":
                talk.remove(exchange)
            self.version += 1

        self.answering = job = jobs.Job("Answer", work, then)
        return job.start()

    def show(self, image, questions: tuple[str, ...]) -> None:
        """Put another picture on the table: a new conversation begins."""
        self.stop()
        self.image, self.questions, self.talk = image, questions, []

    def stop(self) -> None:
        """End the answer under way."""
        if self.answering is not None:
            self.answering.cancel()

    def close(self) -> None:
        """Cancel everything and put the model back."""
        self.stop()
        if self.busy:
            self.job.cancel()
        self._drop_pruned()
        self.shared = self.scores = self.plan = None
        self.shelf.leave(self.id)


def _calibrated(shared: Shared, samples: int, report: Report):
    if samples not in shared.scores:
        shared.scores[samples] = calibrate(shared.model, load_samples("scenes", n=samples), report=report)
    return shared.scores[samples]


def interleave(streams: dict):
    """(side, piece) from several iterators in turn, until each has ended."""
    active = dict(streams)
    while active:
        for side in list(active):
            try:
                yield side, next(active[side])
            except StopIteration:
                del active[side]


class Desks:
    """Every visitor's desk by its key."""

    def __init__(self, shelf: Shelf):
        self.shelf, self._desks, self._lock = shelf, {}, threading.Lock()

    def at(self, key: str) -> Desk:
        """The desk of this key, cleared ones made anew; clears those that were left."""
        now = time.monotonic()
        with self._lock:
            left = [desk for desk in self._desks.values() if now - desk.seen > IDLE_SECONDS and not desk.busy]
            for desk in left:
                del self._desks[desk.id]
            desk = self._desks.setdefault(key, Desk(key, self.shelf))
            desk.seen = now
        for other in left:
            other.close()
        return desk


def machine_memory() -> tuple[int, int, int]:
    """(bytes this process holds, bytes free for more in the machine and its container, bytes of the machine)."""
    return psutil.Process().memory_info().rss, free(), psutil.virtual_memory().total
