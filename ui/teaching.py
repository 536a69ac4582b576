"""What a visitor does on the guided tour: what was computed for it, and the work behind each step. Knows the library
and desks, and nothing of Gradio.
"""

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache

import pandas as pd

from evaluation.advisor import Goal, Way, smallest, ways
from evaluation.cells import QUESTIONS_SEED, Cell
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.scoring import evaluate
from evaluation.store import Store
from evaluation.tables import table
from lvlm import LVLM
from lvlm.errors import LVLMError
from lvlm.events import Event, LossPoint, Progress, Report
from lvlm.images import open_image
from pruning import Plan, Takeover, make_plan, prune, quantize, takeover
from pruning.dependencies import Group, group
from pruning.effects import Effect, Effects, effects
from pruning.hidden import Activity, Gap, Trace, activity, gap, trace
from recovery import Recipe, recover
from samples import Sample, Turn, examples, load_samples
from ui import jobs
from ui.healing import read
from ui.measuring import store
from ui.shelf import is_small
from ui.texts import tell

TRAINING_STEPS, QUESTIONS = 40, 4  # of a projector that is trained here; questions of each task
LESSONS = 6  # samples that Taylor can be held against
TAKEN_ON = 24  # samples that the part beyond the paper looks at
LONGEST = 24  # tokens of an answer on the tour


@dataclass(frozen=True)
class Trained:
    """A projector that was trained here: shares of right answers, 0…1, of so many questions."""

    method: str
    ratio: float
    pruned: float
    healed: float
    original: float
    questions: int


@dataclass(frozen=True)
class Stored:
    """The model whole and pruned, each as it is and in 8 bits."""

    ratio: float
    question: str
    sizes: dict[str, int]  # name → bytes of the weights
    answers: dict[str, str]


@dataclass
class Teaching:
    """A visitor's way through the tour; all of it about the model at hand."""

    step: int = 0  # none was shown yet
    switched: dict[int, Effects] = field(default_factory=dict)  # sample → heads switched off so far
    answers: dict[tuple, list[str]] = field(default_factory=dict)  # (picture, method, ratio) → what was said
    trained: list[Trained] = field(default_factory=list)
    stored: Stored | None = None
    beyond: bool = False  # whether what comes after the tour is open
    goal: Goal = field(default_factory=Goal)
    digest: str = ""  # of the model
    version: int = 0  # of what long work found


def of(desk) -> Teaching:
    """The desk's tour; begins anew with another model. Raises LVLMError where it cannot be taken."""
    if desk.model is None or desk.scores is None:
        raise LVLMError(tell("loading"))
    if not is_small(desk.model):
        raise LVLMError(tell("large", name=desk.shared.name))
    digest = desk.model.digest()
    if desk.teaching.digest != digest:
        was = desk.teaching
        desk.teaching = Teaching(was.step, beyond=was.beyond, digest=digest, version=was.version)
    return desk.teaching


@contextmanager
def machine(model):
    """Hold the machine for what takes a moment: the model at hand, also where it is put away while this waits."""
    with jobs.TURNS.turn(threading.Event()):
        yield model


# --- what is asked about ---


def pictures() -> list[tuple[str, str, tuple[str, ...]]]:
    """(title, path, questions) of every example picture."""
    found: dict[str, tuple[str, list[str]]] = {}
    for x in examples():
        found.setdefault(str(x.image_path), (x.title, []))[1].append(x.question)
    return [(title, path, tuple(asked)) for path, (title, asked) in found.items()]


def asked(picture: int, question: str) -> Sample:
    """A question about an example picture. Raises LVLMError for a picture that is not there, or an empty question."""
    known = pictures()
    if not (isinstance(picture, int) and 0 <= picture < len(known)):
        raise LVLMError(f"There is no picture {picture}: choose 0 to {len(known) - 1}.")
    if not (question or "").strip():
        raise LVLMError("The question is empty: please type one.")
    title, path, _ = known[picture]
    return Sample(title, open_image(path), (Turn(question.strip(), ""),), "general")


def lesson(number: int) -> Sample:
    """A bundled question with its right answer: the longest of one of the first scenes. Raises LVLMError."""
    if not (isinstance(number, int) and 0 <= number < LESSONS):
        raise LVLMError(f"There is no sample {number}: choose 0 to {LESSONS - 1}.")
    whole = load_samples("scenes", n=LESSONS)[number]
    return replace(whole, turns=(max(whole.turns, key=lambda x: len(x.answer)),))


# --- the steps' work ---


def activity_of(desk, kind: str, layer: int, unit: int, picture: int, question: str) -> Activity:
    of(desk)
    sample = asked(picture, question)
    with machine(desk.model) as model:
        return activity(model, sample, layer, kind, unit)


def group_of(desk, kind: str, layer: int, unit: int) -> Group:
    of(desk)
    return group(desk.model.anatomy, layer, kind, unit)


def trace_of(desk, picture: int, question: str) -> Trace:
    of(desk)
    sample = asked(picture, question)
    with machine(desk.model) as model:
        return trace(model, sample)


def gap_of(desk, picture: int, removed: list[int]) -> Gap:
    of(desk)
    sample = asked(picture, pictures()[picture][2][0])
    with machine(desk.model) as model:
        return gap(model, sample, removed)


def takeover_of(desk, layer: int, ratio) -> Takeover:
    """What the neurons of a layer that stay can take over, with `ratio` percent gone. Raises LVLMError."""
    if not isinstance(ratio, int | float) or not 0 < ratio <= 60:
        raise LVLMError("The share to remove is out of range: choose 1 to 60.")
    plan = plan_of(desk, "widthwise", ratio / 100)
    with machine(desk.model) as model:
        return takeover(model, plan, layer, _taken_on())


@lru_cache(maxsize=1)
def _taken_on() -> tuple:
    return tuple(load_samples("scenes", n=TAKEN_ON))


def heads_of(desk, number: int, layer: int) -> Effects:
    """Everything known of a sample's heads, this layer's switched off now if they were not before."""
    known = of(desk).switched.get(number)
    if known is None or layer not in {x.group.layer for x in known.effects}:
        with machine(desk.model) as model:
            _add(desk, number, effects(model, lesson(number), _heads(model, [layer])))
    return desk.teaching.switched[number]


def switch_all(desk, number: int):
    """The same for every layer, as a job. Raises LVLMError."""
    of(desk)
    model, sample = desk.model, lesson(number)

    def work(report: Report) -> None:
        layers = len(model.anatomy.layers)
        for layer in range(layers):
            report(Progress("effects", layer, layers, f"layer {layer + 1} of {layers}"))
            known = desk.teaching.switched.get(number)
            if known is None or layer not in {x.group.layer for x in known.effects}:
                _add(desk, number, effects(model, sample, _heads(model, [layer])))
                desk.teaching.version += 1

    return desk.start("Switch off every head", work)


def _heads(model: LVLM, layers) -> list[Group]:
    return [group(model.anatomy, i, "heads", u) for i in layers for u in range(model.anatomy.layers[i].groups)]


def _add(desk, number: int, found: Effects) -> None:
    teaching = desk.teaching
    known: dict[tuple[int, int], Effect] = {}
    for x in (*(teaching.switched[number].effects if number in teaching.switched else ()), *found.effects):
        known[x.group.layer, x.group.unit] = x
    teaching.switched[number] = Effects(found.loss, tuple(known[x] for x in sorted(known)))


def plan_of(desk, method: str, ratio: float) -> Plan:
    of(desk)
    return make_plan(desk.scores, method=method, ratio=ratio)


def said_at(desk, picture: int, method: str, ratio: float) -> tuple[list[str], list[str], list[str]]:
    """(questions, the original's answers, the pruned model's) about a picture. Raises LVLMError."""
    teaching, plan = of(desk), plan_of(desk, method, ratio)
    _, path, questions = pictures()[picture]
    image = open_image(path)
    original = desk.model
    for name, make in (("", lambda: original), (method, lambda: prune(original, plan))):
        key = (picture, name, ratio if name else 0)
        if key not in teaching.answers:
            with machine(original):
                prompts = [(image, x) for x in questions]
                teaching.answers[key] = make().generate(prompts, max_new_tokens=LONGEST)
    return list(questions), teaching.answers[picture, "", 0], teaching.answers[picture, method, ratio]


def projector_recipe() -> Recipe:
    """A short training of the projector alone on right answers."""
    return Recipe(train="projector", sft=1.0, l2=0.0, steps=TRAINING_STEPS, batch=8, held_out=8, fraction=0.05,
                  learning_rate=3e-4)  # fmt: skip


def train_projector(desk, method: str, ratio: float):
    """Prune, train the projector alone, and ask before and after, as a job. Raises LVLMError."""
    of(desk)
    model, plan, recipe = desk.model, plan_of(desk, method, ratio), projector_recipe()

    def work(report: Report) -> Trained:
        def listen(event: Event) -> None:
            report(event)
            if isinstance(event, LossPoint):
                report(Progress("recover", event.step, event.total, f"step {event.step} of {event.total}"))

        def heard(one: LVLM):
            return evaluate(one, "scenes", QUESTIONS, QUESTIONS_SEED, report=report)

        cut = prune(model, plan)
        before, whole = heard(cut), heard(model)
        after = heard(recover(cut, None, read("scenes", recipe), recipe, report=listen))
        return Trained(method, ratio, before.average, after.average, whole.average, len(whole.records))

    def done(found: Trained) -> None:
        kept = [x for x in desk.teaching.trained if (x.method, x.ratio) != (method, ratio)]
        desk.teaching.trained = [*kept, found]
        desk.teaching.version += 1

    return desk.start("Train the projector alone", work, done)


def store_in_8_bits(desk, ratio: float, picture: int):
    """The model and what pruning leaves of it, each in 8 bits too, asked the same, as a job. Raises LVLMError."""
    of(desk)
    model, plan = desk.model, plan_of(desk, "layerwise", ratio)
    _, path, questions = pictures()[picture]

    def work(report: Report) -> Stored:
        report(Progress("quantize", 0, 4, "pruning"))
        models = {"original": model, "pruned": prune(model, plan)}
        for place, (name, one) in enumerate((("int8", "original"), ("both", "pruned"))):
            report(Progress("quantize", place + 1, 4, "storing in 8 bits"))
            models[name] = quantize(models[one], "int8")
        report(Progress("quantize", 3, 4, "asking"))
        prompt = [(open_image(path), questions[0])]
        answers = {name: x.generate(prompt, max_new_tokens=LONGEST)[0] for name, x in models.items()}
        return Stored(ratio, questions[0], {name: x.bytes() for name, x in models.items()}, answers)

    def done(found: Stored) -> None:
        desk.teaching.stored = found
        desk.teaching.version += 1

    return desk.start("Store in 8 bits", work, done)


def measured(desk, experiment: str) -> pd.DataFrame:
    """An experiment's table on this model, as was measured before; what ships lies in assets/results."""
    of(desk)
    kept = store()
    known = kept.known()
    cells = EXPERIMENTS[experiment].grid(Grid(desk.shared.name, "scenes"))
    return _tabled(experiment, kept, tuple((x, known[x.name]) for x in cells if x.name in known))


@lru_cache(maxsize=8)
def _tabled(experiment: str, kept: Store, keys: tuple[tuple[Cell, str], ...]) -> pd.DataFrame:
    results = {cell: kept.get(key) for cell, key in keys}
    return table(EXPERIMENTS[experiment], {cell: x for cell, x in results.items() if x is not None})


def advised(desk, memory: float, kept: float, int8: bool, training: str) -> tuple[list[Way], float]:
    """Ways to a goal, the best first, and the least share of the memory there is. Raises LVLMError."""
    teaching = of(desk)
    teaching.goal = Goal(memory, kept, int8, training)
    return ways(desk.scores, teaching.goal, store()), smallest(desk.scores, int8)


def apply(desk) -> Way | None:
    """Set Prune and Heal to the best way to the goal; None where there is none, or nothing would be removed."""
    goal = of(desk).goal
    found, _ = advised(desk, goal.memory, goal.kept, goal.int8, goal.training)
    if not found or not found[0].ratio:
        return None
    best = found[0]
    desk.wish(best.method, best.ratio, desk.protect_first, desk.protect_last, best.ranking)
    desk.repair = best.repair
    desk.healing.choose("advised")
    desk.version += 1
    return best
