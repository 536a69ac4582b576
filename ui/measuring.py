"""What a desk measures: the models at hand on a suite, and the paper's experiments on its model. Holds what a visitor
chose, starts the jobs, and finds what was measured before; knows the library and desks, and nothing of Gradio.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from evaluation.cells import QUESTIONS_SEED, Cell
from evaluation.experiments import EXPERIMENTS, Experiment, Grid
from evaluation.runner import run
from evaluation.scoring import evaluate
from evaluation.store import Store, report_of
from evaluation.suites import PER_TASK, suite_of
from evaluation.tables import table
from lvlm.catalogue import find
from lvlm.errors import BadSamples, LVLMError
from lvlm.events import Event, Progress, Report
from ui.heard import EVERY_TASK, FILTERS, Heard
from ui.lines import FAMILIES
from ui.words import percent

RESULTS = Path("out/results")  # of this app's own runs; what is shipped lies below (see evaluation.store)
AT_HAND = 50  # questions a task asked of the models at hand
SEEDS = (0, 1, 2)  # whatever of these was measured is shown
SUITES = {"scenes": "Scenes", "scenes-unseen-style": "An art style never seen", "easy-vqa": "easy-VQA"}


@dataclass
class Wish:
    """What is asked, and how much of it."""

    suite: str = "scenes"
    per_task: int = AT_HAND

    def set(self, suite: str, per_task: object) -> None:
        """Raises BadSamples for what cannot be asked."""
        if suite not in SUITES:
            raise BadSamples(f'There is no suite called "{suite}": choose {", ".join(SUITES)}.')
        if not (isinstance(per_task, int | float) and float(per_task).is_integer() and 1 <= per_task <= PER_TASK):
            raise BadSamples(f"{per_task} questions a task cannot be asked: choose 1 to {PER_TASK}.")
        self.suite, self.per_task = suite, int(per_task)


@dataclass
class Browse:
    """Which records are looked at: of the models at hand ("desk") or of the experiment; compared with which other."""

    source: str | None = None  # None: the models at hand once they were asked, else the experiment
    other: int = 1  # place among the variants; the original is 0
    task: str = EVERY_TASK
    which: str = "all"  # of FILTERS


@dataclass
class Measuring:
    """A visitor's choices on the Measure tab."""

    opened: bool = False  # nothing is worked out before somebody looks
    version: int = 0  # moves with every measurement
    wish: Wish = field(default_factory=Wish)
    refusal: str = ""
    experiment: str = "zero-shot"
    asked: Wish = field(default_factory=lambda: Wish(per_task=PER_TASK))
    seeds: int = 1
    papers: str | None = None  # the paper's model whose lines lie under ours; "" none, None the one alike
    browse: Browse = field(default_factory=Browse)


# --- the models at hand ---


def heard(desk) -> list[Heard]:
    """What the variants at hand answered to what is asked now; empty unless the original is among them."""
    wish = desk.measuring.wish
    found = [(x, x.measured.get((wish.suite, wish.per_task))) for x in desk.variants]
    found = [Heard(x.kind, x.title, report) for x, report in found if report is not None]
    return found if found and found[0].kind == "original" else []


def unheard(desk) -> list:
    """Variants at hand that were not asked this yet."""
    wish = desk.measuring.wish
    return [x for x in desk.variants if (wish.suite, wish.per_task) not in x.measured]


def ask(variant, suite: str, per_task: int, report: Report) -> None:
    """Put a suite's questions to a variant, which keeps the answers."""
    found = evaluate(variant.model, suite, per_task, QUESTIONS_SEED, probabilities=True, report=report)
    variant.measured[(suite, per_task)] = found


def score(desk):
    """Ask every variant at hand what it was not asked yet. Raises LVLMError for nothing to ask."""
    wish = replace(desk.measuring.wish)
    todo = unheard(desk)
    if desk.model is None:
        raise LVLMError("The model is still loading: please press again in a moment.")
    if not todo:
        raise LVLMError("All models at hand were asked these questions: choose others, or prune or heal anew.")

    def work(report: Report) -> None:
        ask_all(desk, todo, wish.suite, wish.per_task, report)

    title = "Score the original" if len(todo) == 1 and todo[0].kind == "original" else f"Score {_models(len(todo))}"
    return desk.start(title, work, shares=True)


def ask_all(desk, variants: list, suite: str, per_task: int, report: Report) -> None:
    """Put a suite's questions to several variants, one after the other."""
    for place, variant in enumerate(variants):
        ask(variant, suite, per_task, _part(report, place, len(variants), variant.title))
        desk.measuring.version += 1


def _models(n: int) -> str:
    return "1 model" if n == 1 else f"{n} models"


def _part(report: Report, place: int, of: int, title: str) -> Report:
    """One variant's answers, then its truths' probabilities, as a part of the whole job's progress."""

    def listen(event: Event) -> None:
        if isinstance(event, Progress) and event.stage in ("answer", "likelihood"):
            done = 2 * place + (event.stage == "likelihood") + event.done / event.total
            report(Progress("score", round(1000 * done), 2000 * of, f"{title}: {event.text}"))
        else:
            report(event)

    return listen


# --- the paper's experiments ---


@dataclass(frozen=True, eq=False)
class Found:
    """What of an experiment was measured before, and what a run would add."""

    results: dict[Cell, dict]
    table: pd.DataFrame
    missing: int
    total: int


def store() -> Store:
    return Store(RESULTS)


def grid(desk) -> Grid:
    """Where the experiments are run: the model at hand, asked what the visitor chose."""
    asked = desk.measuring.asked
    seeds = tuple(range(desk.measuring.seeds))
    return Grid(desk.shared.name, asked.suite, seeds, per_task=asked.per_task)


def choose(desk, name: str, suite: str, per_task: object, seeds: float | None) -> None:
    """Which experiment it is about, on which suite, with how many questions a task and seeds. Raises LVLMError."""
    if name not in EXPERIMENTS:
        raise LVLMError(f'There is no experiment called "{name}": choose {", ".join(EXPERIMENTS)}.')
    desk.measuring.asked.set(suite, per_task)
    desk.measuring.experiment = name
    desk.measuring.seeds = max(1, min(len(SEEDS), int(seeds or 1)))


def found(desk) -> Found:
    """Of the experiment at hand; no model runs."""
    one, here, kept = EXPERIMENTS[desk.measuring.experiment], grid(desk), store()
    known = kept.known()
    keys = {x: known[_name(x)] for x in one.grid(replace(here, seeds=SEEDS)) if _name(x) in known}
    results = {x: result for x, key in keys.items() if (result := kept.get(key)) is not None}
    rows = _tabled(one.name, kept, tuple((x, keys[x]) for x in results))
    wanted = one.grid(here)
    return Found(results, rows, sum(not _kept(kept, known, x) for x in wanted), len(wanted))


@lru_cache(maxsize=1 << 14)
def _name(cell: Cell) -> str:
    return cell.name


@lru_cache(maxsize=64)
def _tabled(name: str, kept: Store, keys: tuple[tuple[Cell, str], ...]) -> pd.DataFrame:
    return table(EXPERIMENTS[name], {cell: kept.get(key) for cell, key in keys})


def complete(desk) -> set[str]:
    """Names of the experiments of which nothing is missing on this model."""
    kept, here = store(), grid(desk)
    known = kept.known()
    return {x.name for x in EXPERIMENTS.values() if all(_kept(kept, known, cell) for cell in x.grid(here))}


def _kept(kept: Store, known: dict[str, str], cell: Cell) -> bool:
    key = known.get(_name(cell))
    return key is not None and kept.has(key, cell)


def run_experiment(desk):
    """Measure what the experiment at hand lacks, in processes of their own; what was done is kept whatever ends it."""
    if desk.model is None:
        raise LVLMError("The model is still loading: please press again in a moment.")
    one, here = EXPERIMENTS[desk.measuring.experiment], grid(desk)
    done = 0

    def work(report: Report) -> None:
        def listen(event: Event) -> None:
            nonlocal done
            report(event)
            if isinstance(event, Progress) and event.stage == "experiment" and event.done > done:
                done = event.done  # the page draws what is there so far
                desk.measuring.version += 1

        run(one.grid(here), store(), RESULTS / "scratch", report=listen)

    return desk.start(f"Measure: {one.title.lower()}", work, shares=True)


def papers(desk) -> str:
    """Whose lines of the paper lie under ours: the visitor's choice, or its model of the same decoder family."""
    if desk.measuring.papers is not None:
        return desk.measuring.papers
    entry = find(desk.shared.name) if desk.shared else None
    return FAMILIES.get(entry.family, "") if entry else ""


# --- record by record ---


def source(desk) -> str:
    """Whose records are looked at: "desk" or "experiment"."""
    return desk.measuring.browse.source or ("desk" if heard(desk) else "experiment")


def compared(desk) -> list[tuple[str, object]]:
    """(label, variant or cell) of everything whose records can be looked at; the original first."""
    if source(desk) == "desk":
        return [(x.title, x) for x in heard(desk)]
    one, results = EXPERIMENTS[desk.measuring.experiment], found(desk).results
    cells = [x for x in results if x.suite and "answers" in results[x]]
    cells = [x for x in cells if not x.variant.ratio] + [x for x in cells if x.variant.ratio]
    return [(label(one, x), x) for x in cells]


def records(desk) -> list[Heard]:
    """The original's answers and the compared one's; of the models at hand everybody's."""
    browse, every = desk.measuring.browse, compared(desk)
    if source(desk) == "desk":
        return [x for _, x in every]
    if len(every) < 2:
        return []
    results = found(desk).results
    name, cell = every[min(browse.other, len(every) - 1)]
    if cell.dense not in results:
        return []
    first = Heard("original", "Original", report_of(cell.dense, results[cell.dense]))
    return [first, Heard(_kind(cell), name, report_of(cell, results[cell]))]


def _kind(cell: Cell) -> str:
    return "int8" if cell.int8 else "recovered" if cell.variant.recipe else "pruned"


def label(experiment: Experiment, cell: Cell) -> str:
    """A cell in words, as far as this experiment tells cells apart."""
    variant, recipe = cell.variant, cell.variant.recipe
    if not variant.ratio:
        parts = ["Original"]
    else:
        parts = [f"{variant.method} {percent(variant.ratio)}"]
    told = {
        "train": recipe and recipe.train, "losses": recipe and "+".join(recipe.terms),
        "fraction": recipe and f"{percent(recipe.fraction)} of the data",
        "calibration": variant.ratio and f"{variant.calibration} sample{'s' if variant.calibration > 1 else ''}",
        "images": "words alone" if not cell.images else "", "int8": "8 bits" if cell.int8 else "",
    }  # fmt: skip
    parts += [str(told[x]) for x in experiment.columns if told.get(x)]
    if variant.seed:
        parts.append(f"seed {variant.seed}")
    return ", ".join(parts)


def said(results: dict[Cell, dict]) -> tuple[list[str], list]:
    """Of the few questions of `answers`: (V,) names of the variants, least pruned first, and (V, N) records."""
    cells = sorted((x for x in results if not x.variant.seed), key=lambda x: x.variant.ratio)
    names = ["original" if not x.variant.ratio else percent(x.variant.ratio) for x in cells]
    return names, [report_of(x, results[x]).records for x in cells]


def picture(desk, place: int):
    """The image of a question, drawn anew; None for a question about none."""
    if source(desk) == "desk":
        wish, seed = desk.measuring.wish, QUESTIONS_SEED
        suite, per_task = wish.suite, wish.per_task
    else:
        every = compared(desk)
        cell = every[min(desk.measuring.browse.other, len(every) - 1)][1]
        suite, per_task, seed = cell.suite, cell.per_task, cell.questions_seed
    return suite_of(suite).samples(per_task, seed, (place,))[place][1].image


def look_at(desk, whose: str, other: str | None, task: str, which: str) -> None:
    """Filter the records: of the models at hand ("desk") or the experiment, compared with whom, task and outcome."""
    browse = desk.measuring.browse
    if which not in FILTERS:
        raise BadSamples(f'There is no filter "{which}": choose {", ".join(FILTERS)}.')
    if whose not in ("desk", "experiment"):
        raise BadSamples(f'There are no answers of "{whose}": choose desk or experiment.')
    browse.source = whose
    labels = [x for x, _ in compared(desk)]
    browse.other = labels.index(other) if other in labels else 1
    browse.task, browse.which = task or EVERY_TASK, which
