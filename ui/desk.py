"""What a visitor has in hand: the model, its scores, the plan, the variants made from it and the conversation.

A `Desk` belongs to one browser tab and outlives a refresh. How variants are made is told in making.py, and all desks
are kept in workspace.py. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field

from lvlm.errors import BadPlan, BadSamples, Cancelled, LVLMError
from lvlm.events import Report
from pruning import CalibrationSettings, calibrate
from samples import load_samples
from ui import jobs, making, runs
from ui.healing import Healing
from ui.keeping import Keeping
from ui.limits import MOST_EXCHANGES
from ui.looking import Looking, answers_ended
from ui.measuring import Measuring
from ui.picking import Picking
from ui.resting import Rest
from ui.runs import Run
from ui.shelf import Shared, Shelf
from ui.talk import Exchange, How
from ui.teaching import Teaching
from ui.texts import LANGUAGES, preferred, speak
from ui.variants import ORIGINAL, Variant, Variants

DEFAULT_SAMPLES, MOST_SAMPLES = 10, 50
DEFAULT_RATIO, MOST_RATIO = 0.30, 0.60


@dataclass
class Desk:
    """One visitor's work. Changed by events and job threads; a page redraws what moved."""

    id: str
    shelf: Shelf
    shared: Shared | None = None
    samples: int = DEFAULT_SAMPLES
    balanced: bool = False  # whether the scores weigh image and text tokens alike
    scores: object = None
    method: str = "widthwise"
    ranking: str = "layer"  # how layers share what goes, see `make_plan`
    ratio: float = DEFAULT_RATIO
    protect_first: int = 0
    protect_last: int = 0
    plan: object = None
    repair: bool = False  # whether pruning goes on to refit what stays
    refusal: str = ""  # why the last wish could not be planned
    notice: str = ""  # the last thing that went wrong in a job
    variants: Variants = field(default_factory=Variants)
    healing: Healing = field(default_factory=Healing)
    measuring: Measuring = field(default_factory=Measuring)
    picking: Picking = field(default_factory=Picking)
    keeping: Keeping = field(default_factory=Keeping)
    teaching: Teaching = field(default_factory=Teaching)
    language: str = "en"  # or "zh"
    spoken: bool = False  # the language was chosen, by the browser or by hand
    image: object = None  # PIL, RGB: what is asked about
    questions: tuple[str, ...] = ()  # suggestions that fit the image
    greeted: bool = False  # the first example was laid out
    talk: list[Exchange] = field(default_factory=list)
    how: How = How()  # as the next question is to be answered
    looking: Looking = field(default_factory=Looking)
    job: jobs.Job | None = None
    asked: Exchange | None = None  # the last question, also where it came to nothing
    answering: jobs.Job | None = None
    answered: int = 0  # moves when answers end or are taken back, and when one was read closely
    version: int = 0  # moves with whatever else changes, except in `variants`, `healing` and `measuring`
    seen: float = field(default_factory=time.monotonic)  # when its page last looked
    used: float = field(default_factory=time.monotonic)  # when its visitor last did something
    resting: Rest | None = None  # its models, while they are put away
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)  # held while a job begins: clicks double

    # --- what is there ---

    @property
    def model(self):
        return self.shared.model if self.shared else None

    @property
    def panes(self) -> list[Variant]:
        """The variants that answer side by side; the others are compared with the first."""
        return [self.variants.get(x) for x in self.variants.panes]

    @property
    def pruned(self) -> Variant | None:
        """What was pruned, or asked for again, last."""
        return self.variants.latest("pruned")

    @property
    def patient(self) -> Variant | None:
        """Which pruned model Heal is about: the chosen one, or else the newest."""
        return self.variants.get(self.healing.of) or self.pruned

    @property
    def busy(self) -> bool:
        return self.job is not None and self.job.busy

    @property
    def awake(self) -> bool:
        """Whether anything is under way that will change what a page shows, whoever started it."""
        answering = self.answering is not None and self.answering.busy
        return self.busy or answering or self.looking.busy or self.keeping.busy

    @property
    def is_healing(self) -> bool:
        return self.busy and self.job is self.healing.job

    @property
    def to_heal(self):
        """The plan of what Heal is about: of a pruned model, or of the one that is pruned first."""
        return self.patient.plan if self.patient else self.plan

    @property
    def importance(self) -> str:
        """By which of the scores heads and neurons go."""
        return "balanced" if self.balanced else "taylor"

    @property
    def searched(self) -> bool:
        """Whether the plan at hand was searched for; whatever moves next plans by method and ranking again."""
        return self.plan is not None and self.plan.settings.get("ranking") == "search"

    @property
    def wishes(self) -> tuple:
        """All that a plan is made by, to see whether it moved."""
        here = self.picking
        return (self.method, self.ranking, self.ratio, self.protect_first, self.protect_last, here.pinned, here.forced,
                here.budget)  # fmt: skip

    # --- instant work ---

    def replan(self) -> None:
        """Make the plan anew from the scores; a wish that cannot be met keeps the old plan and says why."""
        if self.scores is None:
            return
        try:
            self.plan = self.picking.plan(
                self.scores,
                self.shared and self.shared.pace,
                method=self.method,
                ranking=self.ranking,
                importance=self.importance,
                ratio=self.ratio,
                largest=MOST_RATIO,
                protect_first=self.protect_first,
                protect_last=self.protect_last,
            )
            self.ratio, self.refusal = self.plan.ratio, ""
        except BadPlan as error:
            self.refusal = str(error)

    def wish(self, method: str, ratio: float, protect_first: int, protect_last: int, ranking: str = "layer") -> None:
        """What the controls say. Raises BadPlan for a ratio nobody can mean."""
        if not (isinstance(ratio, int | float) and 0 <= ratio <= MOST_RATIO):
            raise BadPlan(f"The share to remove is out of range: choose 0 to {MOST_RATIO:.0%}.")
        self.method, self.ratio, self.protect_first, self.protect_last = method, ratio, protect_first, protect_last
        self.ranking = ranking
        self.replan()

    def speak(self, language: str) -> None:
        """Choose the language. Raises LVLMError for one that nothing is written in."""
        if language not in LANGUAGES:
            raise LVLMError(f"There is no language {language!r}: choose {' or '.join(LANGUAGES)}.")
        self.language, self.spoken = language, True
        speak(language)

    def hear(self, accepted: str | None) -> None:
        """Take the browser's language, unless one was chosen."""
        if not self.spoken:
            self.speak(preferred(accepted))

    def refuse(self, sentence: str) -> None:
        """Note why a wish was not granted; the page shows it."""
        self.notice = sentence

    # --- long work ---

    def start(
        self,
        title: str,
        work: Callable[[Report], object],
        done: Callable[[object], None] = lambda result: None,
        shares: bool = False,
        pauses: bool = False,
    ) -> jobs.Job:
        """Start the desk's one job; the one under way, if any, is cancelled. Raises LVLMError if that is a long one."""

        def then(end: str) -> None:
            if job is not self.job:  # another one was started since: its result is not wanted
                return
            self.notice = job.error
            if end == "done":
                done(job.result)  # may start the next job, which says for itself how it goes
            job.result = None
            self.version += 1
            self.seen = self.used = time.monotonic()  # what it made waits for its visitor

        with self.lock:
            self.check_free()
            if self.busy:
                self.job.cancel()
            self.notice = ""
            self.job = job = jobs.Job(title, work, then, shares, pauses)
            self.version += 1
            return job.start()

    def check_free(self) -> None:
        """No click ends the work of minutes or hours by the way: whatever takes long shares the machine."""
        if self.busy and self.job.shares:
            raise LVLMError(f"“{self.job.title}” is under way: please wait for its end, or press Stop or Cancel first.")

    def open(self, name: str, then: Callable[[], object] = lambda: None) -> jobs.Job:
        """Load a model, calibrate it and plan; the model at hand stays until the new one is ready, then goes.

        then: called once it is there; may start the next job.
        """
        name = name.strip()

        def work(report: Report):
            shared = self.shelf.take(name, self.id, report)
            try:
                return shared, _calibrated(shared, DEFAULT_SAMPLES, False, report)
            except BaseException:
                self.shelf.leave(self.id, keep=self.shared)
                raise

        def done(result) -> None:
            self.stop()
            self.shared, self.scores = result
            self.samples, self.balanced, self.plan, self.talk = DEFAULT_SAMPLES, False, None, []
            self.resting = None
            self.variants.clear()
            self.variants.put(Variant(ORIGINAL, "original", "Original", self.model))
            self.protect_first = self.protect_last = 0
            self.picking = Picking()
            self.healing = Healing(goes_on=runs.unfinished(self.model.digest()))
            self.keeping.model_changed()
            self.replan()
            self.shelf.leave(self.id, keep=self.shared)
            then()

        return self.start(f"Open {name}", work, done)

    def calibrate(self, samples: int, balanced: bool = False, then: Callable[[], object] = lambda: None) -> jobs.Job:
        """Score the model on `samples` bundled samples; balanced: image and text tokens weighed alike. then: called
        once it is planned anew. Raises BadSamples for a number nobody can mean."""
        if not (isinstance(samples, int) and 1 <= samples <= MOST_SAMPLES):
            raise BadSamples(f"{samples} samples cannot be calibrated on: choose 1 to {MOST_SAMPLES}.")
        shared = self.shared

        def done(scores) -> None:
            self.samples, self.balanced, self.scores = samples, balanced, scores
            self.replan()
            then()

        def work(report: Report):
            return _calibrated(shared, samples, balanced, report)

        return self.start(f"Calibrate on {samples} samples", work, done, pauses=True)  # on a copy of the network

    def prune(self) -> jobs.Job | None:
        """Carry out the plan; None where that was done before."""
        return making.cut(self)

    def treat(self, id: str) -> None:
        """Let Heal be about this pruned model. Raises LVLMError for one that was not pruned."""
        found = self.variants.find(id)
        if found.kind != "pruned":
            raise LVLMError(f"“{found.title}” was not pruned: choose a pruned model.")
        self.healing.of = id

    def heal(self, run: Run | None = None) -> jobs.Job:
        """Heal the chosen pruned model, or go on with an unfinished run."""
        return making.heal(self, run)

    def small(self, id: str) -> jobs.Job | None:
        """Store a variant in 8 bits; None where that was done before."""
        return making.small(self, id)

    def save(self, id: str) -> jobs.Job | None:
        """Save a variant into a file to download; None where that was done before."""
        return making.save(self, id)

    def stop_healing(self) -> None:
        """End the training after the step in hand; the best so far is kept."""
        self.healing.stop.set()

    def discard_run(self) -> None:
        """Forget the unfinished run that was found."""
        if self.healing.goes_on is not None and not self.is_healing:
            with self.healing.goes_on.held():  # another visitor may be going on with it
                self.healing.goes_on.remove()
            self.healing.goes_on = runs.unfinished(self.model.digest())
            self.version += 1

    # --- variants ---

    def drop(self, id: str) -> None:
        """Free a variant and what came from it. Raises LVLMError for the original, and while long work may need it."""
        if self.variants.find(id).kind == ORIGINAL:
            raise LVLMError("Everything else was made from the original: open another model to let it go.")
        self.check_free()
        self.stop()
        self.variants.drop(id)
        gc.collect()

    # --- talking ---

    def ask(self, image, question: str, *, max_new_tokens: int, temperature: float, seed: int = 0) -> jobs.Job:
        """Ask every pane's model; their answers grow side by side. A refused question leaves the talk as it was.
        Raises LVLMError while the last one is being answered."""
        panes, talk = self.panes, self.talk
        how = How(max_new_tokens, temperature, seed)
        exchange = Exchange.of(question, panes, how)

        def work(report: Report) -> None:
            stop = job.wish_to_stop
            with suppress(Cancelled):  # stopped while others computed: what was said stays
                exchange.grow(panes, image, stop, lambda: jobs.TURNS.let_others(stop), **asdict(how))

        def then(end: str) -> None:
            if end != "done":
                talk.remove(exchange)
            else:
                del talk[:-MOST_EXCHANGES]
                answers_ended(self)
            self.answered += 1
            self.used = time.monotonic()

        with self.lock:
            self._check_answered()
            talk.append(exchange)
            self.asked = exchange
            self.answering = job = jobs.Job("Answer", work, then, asks=True)
            return job.start()

    def _check_answered(self) -> None:
        if self.answering is not None and self.answering.busy:
            raise LVLMError("The last question is still being answered: press Stop first.")

    def take_back(self) -> Exchange:
        """The last question with its answers, out of the conversation. Raises LVLMError for none, and while it is
        being answered."""
        self._check_answered()
        if not self.talk:
            raise LVLMError("Nothing has been asked yet: please ask a question first.")
        self.answered += 1
        return self.talk.pop()

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
        for reading in list(self.keeping.readings.values()):
            reading.job.cancel()
        self.variants.clear()
        self.resting = None
        self.shared = self.scores = self.plan = None
        self.shelf.leave(self.id)


def _calibrated(shared: Shared, samples: int, balanced: bool, report: Report):
    known = shared.balanced if balanced else shared.scores
    if samples not in known:
        how = CalibrationSettings(balanced=balanced)
        known[samples] = calibrate(shared.model, load_samples("scenes", n=samples), how, report=report)
    return known[samples]
