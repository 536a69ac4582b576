"""A hunt on a desk: over which models, among which questions, what was found, and the job that looks for more.
Knows the library and desks, and nothing of Gradio.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from evaluation import hunt
from evaluation.cases import Case, Said, png
from evaluation.cells import CALIBRATION, QUESTIONS_SEED, Cell
from evaluation.experiments import METHODS, RATIOS
from evaluation.hunt import Failure, Hunted
from evaluation.scoring import ANSWER_TOKENS, Record
from evaluation.suites import PER_TASK, suite_of
from lvlm.errors import BadSamples, LVLMError
from lvlm.events import Event, Progress, Report
from pruning import Plan, make_plan, prune
from ui import casefile, measuring, rereading
from ui.measuring import RESULTS, Wish
from ui.rereading import Unread
from ui.variants import ORIGINAL

OVER = {"widthwise": "Heads and neurons, ratio by ratio", "layerwise": "Whole layers, ratio by ratio",
        "hand": "The models at hand"}  # fmt: skip
STEPS = {"paper": RATIOS, "fine": tuple(i / 20 for i in range(1, 13))}
assert {*OVER} == {*METHODS, "hand"}


@dataclass
class Hunting:
    """What is hunted for, and which of what was found is looked at."""

    over: str = "widthwise"
    steps: str = "paper"
    suite: str = "scenes"
    per_task: int = PER_TASK
    task: str = ""  # "": every one
    place: int | None = None  # of the failure that is looked at; None: the worst
    version: int = 0  # moves with every result
    kept: dict | None = None  # place → id of the case, for what was kept of this hunt

    def set(self, over: str, steps: str, suite: str, per_task: object) -> None:
        """Raises BadSamples for what cannot be hunted."""
        if over not in OVER:
            raise BadSamples(f'There is no hunt over "{over}": choose {", ".join(OVER)}.')
        if steps not in STEPS:
            raise BadSamples(f'There are no steps "{steps}": choose {", ".join(STEPS)}.')
        Wish().set(suite, per_task)
        self.over, self.steps, self.suite, self.per_task = over, steps, suite, int(per_task)
        self.place, self.kept = None, None


@dataclass(frozen=True, eq=False)
class Catch:
    """The original's answers, the others' (least pruned first), and what breaks; `missing` of `total` models were not
    asked yet."""

    original: list[Record]
    hunted: list[Hunted]
    failures: list[Failure]
    missing: int
    total: int

    def of(self, task: str) -> list[Failure]:
        return [x for x in self.failures if not task or self.original[x.place].task == task]


def caught(desk) -> Catch:
    """What is known so far; no model runs."""
    wish = desk.keeping.hunting
    if desk.shared is None:
        return Catch([], [], [], 0, 0)
    if wish.over == "hand":
        variants = _at_hand(desk)
        heard = [x for x in variants if (wish.suite, wish.per_task) in x.measured]
        missing = len(variants) - len(heard)
        if not heard or heard[0].id != ORIGINAL:
            return Catch([], [], [], missing, len(variants))
        records = [x.measured[(wish.suite, wish.per_task)].records for x in heard]
        hunted = [Hunted(x.kind, x.title, _gone(x), y) for x, y in zip(heard[1:], records[1:], strict=True)]
        return Catch(list(records[0]), hunted, hunt.failures(records[0], hunted), missing, len(variants))
    asked, store = _cells(desk), measuring.store()
    results = hunt.measured(asked, store)
    missing = len(asked) - len(results)
    if not any(not x.variant.ratio for x in results):
        return Catch([], [], [], missing, len(asked))
    return Catch(*_compared(tuple(results), store), missing, len(asked))


@lru_cache(maxsize=8)
def _compared(cells: tuple[Cell, ...], store) -> tuple[list, list, list]:
    original, hunted = hunt.caught(store.results(cells))
    return original, hunted, hunt.failures(original, hunted)


def _at_hand(desk) -> list:
    """The original, then the others, the least pruned first."""
    original, *others = desk.variants
    return [original, *sorted(others, key=_gone)]


def _gone(variant) -> float:
    return variant.plan.achieved if variant.plan else 0.0


def _cells(desk) -> list[Cell]:
    wish = desk.keeping.hunting
    return hunt.cells(desk.shared.name, wish.over, STEPS[wish.steps], wish.suite, wish.per_task)


def start(desk):
    """Ask those models that were not asked yet, in the background; what is done is kept whatever ends it. Raises
    LVLMError for nothing to do."""
    wish, catch = desk.keeping.hunting, caught(desk)
    if desk.shared is None:
        raise LVLMError("The model is still loading: please press again in a moment.")
    if wish.over == "hand":
        if catch.total < 2:
            raise LVLMError("Only the original is at hand: please prune it first, or hunt ratio by ratio.")
        todo = [x for x in _at_hand(desk) if (wish.suite, wish.per_task) not in x.measured]
    else:
        todo = _cells(desk)
    if not catch.missing:
        raise LVLMError("All these models were asked these questions: please choose others.")
    suite, per_task = wish.suite, wish.per_task

    def work(report: Report) -> None:
        done = 0

        def listen(event: Event) -> None:
            nonlocal done
            report(event)
            if isinstance(event, Progress) and event.stage == "experiment" and event.done > done:
                done = event.done
                wish.version += 1

        if wish.over == "hand":
            measuring.ask_all(desk, todo, suite, per_task, report)
        else:
            hunt.measure(todo, measuring.store(), RESULTS / "scratch", listen)
        wish.version += 1

    return desk.start("Hunt for failures", work, shares=True)


def picture(desk, place: int):
    """The image of a question, drawn anew; None for a question about none."""
    return _picture(desk.keeping.hunting.suite, desk.keeping.hunting.per_task, place)


@lru_cache(maxsize=64)  # a page draws the same one again and again
def _picture(suite: str, per_task: int, place: int):
    return suite_of(suite).samples(per_task, QUESTIONS_SEED, (place,))[place][1].image


def keep(desk, place: int) -> Case:
    """A failure as a case, with everybody's answers; a job adds how far each parts from what the original would have
    said. Raises LVLMError for none, and for one that was kept already."""
    wish, catch = desk.keeping.hunting, caught(desk)
    failure = next((x for x in catch.failures if x.place == place), None)
    if failure is None:
        raise LVLMError("This question breaks nothing any more: please choose another row.")
    if place in (wish.kept or {}):
        raise LVLMError("This failure is kept already: it is in the list of cases below.")
    record, image = catch.original[place], picture(desk, place)
    case = Case(
        record.question,
        (_said_original(desk, record), *_said_others(desk, catch, place)),
        desk.shared.name,
        desk.model.digest(),
        png(image),
        max_new_tokens=ANSWER_TOKENS,
        truth=record.truth,
        task=record.task,
        breaks_at=catch.hunted[failure.first].ratio,
        verdict="fails",
    )
    casefile.book().keep(case, casefile.owner(desk))
    wish.kept = {**(wish.kept or {}), place: case.id}
    rereading.read(desk, case, [Unread(i, _maker(desk, x)) for i, x in enumerate(case.sides) if i])
    return case


def _maker(desk, said: Said) -> Callable:
    """What gives the model that answered: the variant at hand, or one that the plan cuts anew."""
    variant, original = desk.variants.get(said.variant), desk.model
    if desk.keeping.hunting.over == "hand":
        return lambda model=variant.model: model
    return lambda: prune(original, Plan.from_json(said.plan))


def _said_original(desk, record: Record) -> Said:
    return casefile.said(desk.variants.get(ORIGINAL), record.answer, probability=record.probability)


def _said_others(desk, catch: Catch, place: int) -> list[Said]:
    wish, records = desk.keeping.hunting, [x.records[place] for x in catch.hunted]
    if wish.over == "hand":
        heard = [x for x in _at_hand(desk)[1:] if (wish.suite, wish.per_task) in x.measured]
        pairs = zip(heard, records, strict=True)
        return [casefile.said(x, r.answer, probability=r.probability) for x, r in pairs]
    scores = desk.shared.scores[CALIBRATION]  # what every desk and every experiment begins with
    found = []
    for x, record in zip(catch.hunted, records, strict=True):
        plan = make_plan(scores, method=wish.over, ratio=x.asked)
        found.append(
            Said(
                f"{wish.over}-{x.asked:.0%}",
                "pruned",
                x.title,
                record.answer,
                plan.achieved,
                plan.to_json(),
                probability=record.probability,
            )  # fmt: skip
        )
    return found
