"""What a visitor has in hand: the model, its scores, the plan, the variants made from it and the conversation.

A `Desk` belongs to one browser tab and outlives a refresh; models are shared by all desks through the `Shelf`, and
one that no desk holds is freed. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lvlm.errors import BadPlan, BadSamples, LVLMError
from lvlm.events import Report
from pruning import calibrate, make_plan, measure, prune, quantize
from samples import load_samples
from ui import jobs
from ui.shelf import Shared, Shelf
from ui.variants import Variant, Variants
from ui.words import percent

DEFAULT_SAMPLES, MOST_SAMPLES = 10, 50
DEFAULT_RATIO, MOST_RATIO = 0.30, 0.60
IDLE_SECONDS = 3600  # a desk whose page has not been heard of for this long is cleared


@dataclass
class Answer:
    """What one variant said; `text` grows while it speaks."""

    variant: str  # its kind
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
    variants: Variants = field(default_factory=Variants)
    pruned_plan: object = None
    pruned_seconds: float = 0.0
    cost: object = None  # Cost of the original, measured beside the pruned one's
    pruned_cost: object = None
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
    def pruned(self):
        return self._made("pruned")

    @property
    def int8(self):
        return self._made("int8")

    def _made(self, kind: str):
        variant = self.variants.get(kind)
        return variant and variant.model

    @property
    def busy(self) -> bool:
        return self.job is not None and self.job.busy

    @property
    def panes(self) -> dict[str, Variant]:
        """What stands in the panes "left" and "right", as far as it is there."""
        return {x: v for x, v in (("left", self.variants.left), ("right", self.variants.right)) if v is not None}

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
            self.variants.put(Variant("original", "Original", self.model))
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
            made, self.pruned_seconds, self.cost, self.pruned_cost = result
            title = f"Pruned {percent(plan.achieved)} {plan.method}"
            self.variants.put(Variant("pruned", title, made, self.variants.get("original")))
            self.pruned_plan = plan
            gc.collect()

        return self._start("Prune and measure", work, done)

    def set_int8(self, on: bool) -> jobs.Job | None:
        """Switch the right-hand side to 8-bit weights, or back."""
        self.variants.drop("int8")
        self.version += 1
        whole = self.variants.right
        if not on or whole is None:
            return None

        def done(model) -> None:
            if self.variants.right is whole:
                self.variants.put(Variant("int8", f"{whole.title}, 8-bit", model, whole))

        return self._start(
            f"Store the {whole.kind} model in 8 bits", lambda report: quantize(whole.model, "int8"), done
        )

    def compare(self, left: str, right: str) -> jobs.Job | None:
        """Put two variants into the panes, the right one in 8 bits if that was on. Raises LVLMError."""
        if (left, right) not in self.variants.pairs:
            raise LVLMError(f"There is no {right} model beside a {left} one yet: please make it first.")
        small = self.int8 is not None
        self.variants.show(left, right)
        self.version += 1
        return self.set_int8(True) if small and self.int8 is None else None

    def _drop_pruned(self) -> None:
        self.stop()
        self.variants.drop("pruned")
        self.pruned_plan = self.cost = self.pruned_cost = None

    # --- talking ---

    def ask(self, image, question: str, *, max_new_tokens: int, temperature: float) -> jobs.Job:
        """Ask every pane's model; their answers grow side by side. A refused question leaves the talk as it was."""
        lanes = self.panes
        exchange = Exchange(question, {side: Answer(variant.kind) for side, variant in lanes.items()})
        talk = self.talk
        talk.append(exchange)

        def work(report: Report) -> None:
            streams = {}
            try:
                for side, variant in lanes.items():
                    streams[side] = variant.model.chat(
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
        self.variants.clear()
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
        """The desk of this key; clears others that were left: one comes back to one's own after a night, too."""
        now = time.monotonic()
        with self._lock:
            others = [desk for desk in self._desks.values() if desk.id != key and not desk.busy]
            left = [desk for desk in others if now - desk.seen > IDLE_SECONDS]
            for desk in left:
                del self._desks[desk.id]
            desk = self._desks.setdefault(key, Desk(key, self.shelf))
            desk.seen = now
        for other in left:
            other.close()
        return desk
