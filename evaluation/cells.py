"""What is to be measured, as plain data: a variant of a model, and what it is asked. And the name under which what
came of it is kept: a hash of everything that the answers depend on, so that nothing is computed twice."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path

from evaluation.choices import CHOICES, PUBLISHED, Ground
from evaluation.scoring import questions
from evaluation.suites import PER_TASK
from lvlm import LVLM, load
from lvlm.disk import whole
from lvlm.events import Report, silent
from pruning import Plan, Repair, Scores, calibrate, make_plan
from recovery import Recipe
from samples import load_samples

SCHEMA = 1
CALIBRATION = 10  # samples, as published
QUESTIONS_SEED = 1  # seed 0 was looked at while the bundled models were trained


@dataclass(frozen=True)
class Variant:
    """A model, and what is done to it. method "dense" and no recipe: nothing.

    calibration: samples that what goes is chosen by. pool: training samples that the recipe takes its fraction of.
    seed: of those samples and of the recipe. choice: of CHOICES, how what goes is chosen. repair: samples that what
    stays is refitted on, before any training; 0: it is not.
    """

    model: str
    method: str = "dense"
    ratio: float = 0.0
    calibration: int = CALIBRATION
    recipe: Recipe | None = None
    pool: int = 0
    seed: int = 0
    choice: str = PUBLISHED
    repair: int = 0

    @property
    def undone(self) -> "Variant":
        """The model that nothing was done to."""
        return Variant(self.model)


@dataclass(frozen=True)
class Cell:
    """One measurement. suite None: what the variant costs, instead of what it answers.

    images False: the questions are asked without their images. int8: with the decoder in 8 bits.
    probabilities: also of the true answers.
    """

    variant: Variant
    suite: str | None = "scenes"
    per_task: int = PER_TASK
    images: bool = True
    int8: bool = False
    probabilities: bool = False
    questions_seed: int = QUESTIONS_SEED

    @property
    def dense(self) -> "Cell":
        """The same asked of the model that nothing was done to."""
        return replace(self, variant=self.variant.undone, int8=False)

    def to_dict(self) -> dict:
        """JSON-ready; a recipe as recorded, without this machine's folders."""
        data = asdict(self)
        recipe = self.variant.recipe
        data["variant"]["recipe"] = None if recipe is None else recipe.recorded()
        for name, plain in (("choice", PUBLISHED), ("repair", 0)):  # so that what has neither is called as ever
            if data["variant"][name] == plain:
                del data["variant"][name]
        return data

    @property
    def name(self) -> str:
        """A hash of what was asked for."""
        return _digest(self.to_dict())


@dataclass(frozen=True, eq=False)
class Work:
    """One model to be made, and the cells that measure it with the keys of their results."""

    variant: Variant
    plan: Plan | None
    cells: tuple[tuple[str, Cell], ...]


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:20]


@lru_cache(maxsize=64)
def _questions_digest(suite: str, per_task: int, seed: int) -> str:
    return _digest([(task, x.id, x.question, x.answer) for task, x in questions(suite, per_task, seed, False)])


@lru_cache(maxsize=64)
def _training_digest(pool: int, seed: int) -> str:
    """Of the first samples' words: what the reader draws changes in all of them or in none."""
    found = load_samples("scenes", n=min(pool, 50), seed=seed)
    return _digest([[(turn.question, turn.answer) for turn in x.turns] for x in found])


class Desk:
    """Turns cells into work: holds the model at hand, its scores and plans. scratch: keeps scores between runs."""

    def __init__(self, scratch: Path, report: Report = silent):
        self.scratch, self.report = scratch, report
        self._model: LVLM | None = None
        self._name = ""
        self._scores: dict[tuple, Scores] = {}
        self._grounds: dict[tuple, Ground] = {}

    def model(self, name: str) -> LVLM:
        if self._name != name:
            self._model, self._name, self._scores, self._grounds = None, "", {}, {}
            self._model, self._name = load(name, report=self.report, step="calibrate-checkpointing"), name
        return self._model

    def scores(self, variant: Variant) -> Scores:
        """Importance for a variant, from the disk where it was judged before."""
        model, about = self.model(variant.model), (variant.calibration, variant.seed)
        if about not in self._scores:
            file = self.scratch / "scores" / f"{model.digest()}-{about[0]}-{about[1]}.safetensors"
            if not file.exists():
                samples = load_samples("scenes", n=about[0], seed=about[1])
                calibrate(model, samples, seed=about[1], report=self.report).save(file)
            self._scores[about] = Scores.load(file)
        return self._scores[about]

    def ground(self, variant: Variant) -> Ground:
        """What a variant's plan is made from."""
        about = (variant.calibration, variant.seed)
        if about not in self._grounds:
            samples = load_samples("scenes", n=variant.calibration, seed=variant.seed)
            ground = Ground(self.model(variant.model), self.scores(variant), samples, variant.seed, self.report)
            self._grounds = {about: ground}  # a search's samples are held: one at a time
        return self._grounds[about]

    def plan(self, variant: Variant) -> Plan | None:
        """What goes, from the disk where it took trying to find out. None for a dense model."""
        if variant.method == "dense":
            return None
        if variant.choice == PUBLISHED:
            return make_plan(self.scores(variant), method=variant.method, ratio=variant.ratio)
        about = [variant.method, variant.ratio, variant.calibration, variant.seed, variant.choice]
        file = self.scratch / "plans" / f"{_digest([SCHEMA, self.model(variant.model).digest(), *about])}.json"
        if not file.exists():
            plan = CHOICES[variant.choice].make(self.ground(variant), variant.method, variant.ratio)
            with whole(file, "A plan") as part:
                part.write_text(plan.to_json(), encoding="utf-8")
        return Plan.from_json(file.read_text(encoding="utf-8"))

    def key(self, cell: Cell, plan: Plan | None) -> str:
        """Of the weights, what stays of them, what they learn, and what is asked; not of how one came to it."""
        variant, recipe = cell.variant, cell.variant.recipe
        stays = None if plan is None else [[x.tolist() for x in plan.heads], [x.tolist() for x in plan.neurons]]
        learnt = (
            None if recipe is None else [recipe.recorded(), variant.pool, _training_digest(variant.pool, variant.seed)]
        )
        asked = None
        if cell.suite:
            asked = [cell.suite, cell.per_task, _questions_digest(cell.suite, cell.per_task, cell.questions_seed)]
        refitted = [[asdict(Repair()), variant.repair, variant.seed]] if variant.repair else []
        about = [SCHEMA, self.model(variant.model).digest(), stays, learnt, asked, cell.images, cell.int8]
        return _digest(about + refitted)

    def work(self, cells, wanted) -> list[Work]:
        """What is still to be done for these cells: those that make the same model together, in their order.

        wanted(key, cell): whether its result is missing.
        """
        found: dict[str, list] = {}
        made: dict[str, tuple[Variant, Plan | None]] = {}
        for cell in cells:
            plan = self.plan(cell.variant)
            key = self.key(cell, plan)
            if wanted(key, cell):
                one = self.key(replace(cell, suite=None, images=True, int8=False), plan)  # the model alone
                made.setdefault(one, (cell.variant, plan))
                found.setdefault(one, []).append((key, cell))
        # of two cells with one key, the one that asks for more
        fullest = {one: dict(sorted(x, key=lambda y: y[1].probabilities)) for one, x in found.items()}
        return [Work(*made[one], tuple(x.items())) for one, x in fullest.items()]
