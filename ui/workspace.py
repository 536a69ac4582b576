"""What a visitor has in hand: the model, its scores, the plan, the variants made from it and the conversation.

A `Desk` belongs to one browser tab and outlives a refresh; models are shared by all desks through the `Shelf`, and
one that no desk holds is freed. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lvlm.errors import BadPlan, BadSamples, Cancelled, LVLMError
from lvlm.events import Report
from pruning import calibrate, make_plan, measure, prune, quantize
from recovery import RecoveryDiverged
from samples import load_samples
from ui import jobs, runs
from ui.healing import ASKED_OF, Healing, in_words
from ui.measuring import Measuring, ask
from ui.runs import Run
from ui.shelf import Shared, Shelf
from ui.talk import Exchange
from ui.variants import Variant, Variants
from ui.words import percent

DEFAULT_SAMPLES, MOST_SAMPLES = 10, 50
DEFAULT_RATIO, MOST_RATIO = 0.30, 0.60
IDLE_SECONDS = 3600  # a desk whose page has not been heard of for this long is cleared


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
    healing: Healing = field(default_factory=Healing)
    measuring: Measuring = field(default_factory=Measuring)
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
    def is_healing(self) -> bool:
        return self.busy and self.job is self.healing.job

    @property
    def to_heal(self):
        """The plan of what Heal is about: of the pruned model, or of the one that is pruned first."""
        return self.pruned_plan or self.plan

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

    def start(
        self,
        title: str,
        work: Callable[[Report], object],
        done: Callable[[object], None] = lambda result: None,
        shares: bool = False,
    ) -> jobs.Job:
        """Start the desk's one job; the one under way, if any, is cancelled. Raises LVLMError if that is a long one."""
        self._check_free()
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
            self.seen = time.monotonic()  # what it made waits for its visitor

        self.job = job = jobs.Job(title, work, then, shares)
        self.version += 1
        return job.start()

    def _check_free(self) -> None:
        """No click ends the work of minutes or hours by the way: whatever takes long shares the machine."""
        if self.busy and self.job.shares:
            raise LVLMError(f"“{self.job.title}” is under way: please wait for its end, or press Stop or Cancel first.")

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
            self.healing = Healing(goes_on=runs.unfinished(self.model.digest()))
            self.replan()
            self.shelf.leave(self.id, keep=self.shared)

        return self.start(f"Open {name}", work, done)

    def calibrate(self, samples: int) -> jobs.Job:
        """Score the model on `samples` bundled samples. Raises BadSamples for a number nobody can mean."""
        if not (isinstance(samples, int) and 1 <= samples <= MOST_SAMPLES):
            raise BadSamples(f"{samples} samples cannot be calibrated on: choose 1 to {MOST_SAMPLES}.")
        shared = self.shared

        def done(scores) -> None:
            self.samples, self.scores = samples, scores
            self.replan()

        return self.start(f"Calibrate on {samples} samples", lambda report: _calibrated(shared, samples, report), done)

    def prune(self) -> jobs.Job:
        """Carry out the plan and measure both models."""
        shared, plan = self.shared, self.plan
        return self.start(
            "Prune and measure", lambda report: _cut(shared.model, plan, report), lambda made: self._put_cut(plan, made)
        )

    def _put_cut(self, plan, made: tuple) -> None:
        self._drop_pruned()
        model, self.pruned_seconds, self.cost, self.pruned_cost = made
        title = f"Pruned {percent(plan.achieved)} {plan.method}"
        self.variants.put(Variant("pruned", title, model, self.variants.get("original")))
        self.pruned_plan = plan
        self.version += 1
        gc.collect()

    def heal(self, run: Run | None = None) -> jobs.Job:
        """Heal the pruned model by the recipe at hand, cut as planned first if nothing is; or go on with a run.

        What the training made stands among the variants before questions are asked of it, and whatever ends those.
        Raises LVLMError for what cannot be begun.
        """
        model, wish = self.model, self.healing
        plan = run.plan if run else self.to_heal
        if plan is None:
            raise LVLMError("The model is still loading: please press again in a moment.")
        recipe = run.recipe if run else wish.recipe(model, plan)

        def work(report: Report) -> None:
            if self.pruned is None or self.pruned_plan.to_json() != plan.to_json():
                self._put_cut(plan, _cut(model, plan, report))
            at = run or Run.begin(model.digest(), plan, recipe, wish.data)
            try:
                with at.held():
                    self._train(at, report)
                    self._ask_all(wish.asked, report)
            except (Cancelled, RecoveryDiverged):
                at.remove()
                raise
            except Exception:
                if not at.points():
                    at.remove()
                raise
            else:
                at.remove()
            finally:
                wish.goes_on = runs.unfinished(model.digest())

        wish.job = self.start("Heal the pruned model", work, shares=True)
        return wish.job

    def _train(self, run: Run, report: Report) -> None:
        """Train, and put what came of it among the variants; of a run that diverged, its best."""
        pruned, diverged = self.variants.get("pruned"), None
        try:
            made = self.healing.train(run, pruned.model, self.model, report)
        except RecoveryDiverged as error:
            made, diverged = error.best, error
        self.variants.put(Variant("recovered", f"Recovered: {in_words(run.recipe)}", made, pruned))
        self.version += 1
        if diverged:
            raise diverged

    def _ask_all(self, per_task: int, report: Report) -> None:
        """Held-out questions to every variant that was not asked them yet."""
        for variant in self.variants:
            if per_task and (ASKED_OF, per_task) not in variant.measured and variant.kind != "int8":
                ask(variant, ASKED_OF, per_task, report)
                self.version += 1

    def stop_healing(self) -> None:
        """End the training after the step in hand; the best so far is kept."""
        self.healing.stop.set()

    def discard_run(self) -> None:
        """Forget the unfinished run that was found."""
        if self.healing.goes_on is not None and not self.is_healing:
            self.healing.goes_on.remove()
            self.healing.goes_on = runs.unfinished(self.model.digest())
            self.version += 1

    def set_int8(self, on: bool) -> jobs.Job | None:
        """Switch the right-hand side to 8-bit weights, or back."""
        self._check_free()
        self.variants.drop("int8")
        self.version += 1
        whole = self.variants.right
        if not on or whole is None:
            return None

        def done(model) -> None:
            if self.variants.right is whole:
                self.variants.put(Variant("int8", f"{whole.title}, 8-bit", model, whole))

        return self.start(f"Store the {whole.kind} model in 8 bits", lambda report: quantize(whole.model, "int8"), done)

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
        self.healing.points = []

    # --- talking ---

    def ask(self, image, question: str, *, max_new_tokens: int, temperature: float) -> jobs.Job:
        """Ask every pane's model; their answers grow side by side. A refused question leaves the talk as it was."""
        panes, talk = self.panes, self.talk
        exchange = Exchange.of(question, panes)
        talk.append(exchange)

        def work(report: Report) -> None:
            how = {"max_new_tokens": max_new_tokens, "temperature": temperature}
            exchange.grow(panes, image, job.wish_to_stop, **how)

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


def _cut(model, plan, report: Report) -> tuple:
    """The pruned model, seconds that the cut took, and both models' costs."""
    began = time.perf_counter()
    pruned = prune(model, plan)
    seconds = time.perf_counter() - began
    return pruned, seconds, measure(model, report=report), measure(pruned, report=report)


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
