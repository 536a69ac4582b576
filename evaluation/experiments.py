"""The paper's experiments: each a grid of cells on any model, and the table that they give.

Training is short enough for the whole set to run in an hour on two cores: `STEPS` updates on `POOL` samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from evaluation.cells import Cell, Variant
from evaluation.choices import CHOICES, PUBLISHED
from evaluation.suites import PER_TASK
from recovery import Recipe, preset

METHODS = ("widthwise", "layerwise")
RATIOS = (0.15, 0.30, 0.45, 0.60)
STEPS, POOL = 60, 1000  # of the experiments about training
FRACTIONS = (0.01, 0.05, 0.10, 0.20, 1.0)
SIZES = (1, 2, 5, 10, 20, 50)
COMBINATIONS = ("sft", "kl", "rkl", "l2", "sft+kl", "sft+rkl", "sft+l2", "sft+l2+kl", "sft+l2+rkl")
BEST = {0.15: "layerwise", 0.30: "layerwise", 0.45: "widthwise", 0.60: "widthwise"}  # the paper's choice (Table 5)
# ratio → updates and learning rate of the longer trainings: the less is gone, the less may be shaken
HEALED = {0.15: (60, 2e-4), 0.30: (160, 5e-4), 0.45: (250, 1e-3), 0.60: (350, 1e-3)}
FEW_UPDATES = {0.15: 60, 0.30: 160, 0.45: 800}  # with few samples, which take more looks at each
COMPETING_FEW = (160, 2e-4)  # of a better choice, which leaves more and is not to be shaken
HEALED_POOL, FEW = 16000, 0.05  # at two cores' pace ten minutes see about so many samples once
BARS = {0.15: 0.99, 0.30: 0.98, 0.45: 0.95, 0.60: 0.90}  # of the dense average, which `healing` is to reach
CHOICE_SAMPLES, REPAIR_SAMPLES = 16, 64  # that other choices are made by, and repairs are fitted to
BEYOND_PER_TASK = 60  # questions: many models are asked
BEYOND_PLAIN = (PUBLISHED, "global", "whole", "balanced", "rounds")  # choices that are also asked without repair
FEW_BAR = 0.95  # of it with 5% of the samples, up to 45%


@dataclass(frozen=True)
class Grid:
    """Where an experiment is run: a model, the ratios and methods of interest, and how much is asked."""

    model: str = "pocket-llava"
    suite: str = "scenes"
    seeds: tuple[int, ...] = (0,)
    ratios: tuple[float, ...] = RATIOS
    methods: tuple[str, ...] = METHODS
    per_task: int = PER_TASK
    steps: int = STEPS
    pool: int = POOL

    def cell(self, method: str = "dense", ratio: float = 0.0, recipe: Recipe | None = None, seed: int = 0,
             **more) -> Cell:  # fmt: skip
        """A cell of this grid; calibration and pool go to the variant, the rest of `more` to the cell."""
        about = {x: more.pop(x) for x in ("calibration", "pool", "choice", "repair") if x in more}
        pool = about.pop("pool", self.pool) if recipe else 0
        if recipe:
            recipe = replace(recipe, seed=seed)
        variant = Variant(self.model, method, ratio, recipe=recipe, pool=pool, seed=seed, **about)
        return Cell(variant, **{"suite": self.suite, "per_task": self.per_task} | more)

    def pruned(self, seed: int, **more) -> list[Cell]:
        """Every method at every ratio, not healed."""
        return [self.cell(method, ratio, seed=seed, **more) for method in self.methods for ratio in self.ratios]

    def recipe(self, losses: str, train: str = "lora", **more) -> Recipe:
        """A training with the losses named in words ("sft+l2"), as short as the grid's."""
        weights = {x: float(x in losses.split("+")) for x in ("sft", "kl", "rkl", "l2")}
        given = preset(self.model) | {"steps": self.steps, "precision": "bfloat16", **weights, "train": train}
        return Recipe(**given | more)

    def practice(self, seed: int, **more) -> list[Cell]:
        """The paper's best practice at each ratio: its choice of method, then SFT + L2."""
        return [self.cell(BEST[x], x, self.recipe("sft+l2"), seed, **more) for x in self.ratios if x in BEST]


@dataclass(frozen=True)
class Experiment:
    """cells(grid, seed) → what to measure; `columns` tell its rows apart; `paper` says where the paper has it."""

    name: str
    title: str
    paper: str
    cells: Callable[[Grid, int], list[Cell]]
    columns: tuple[str, ...]
    trains: bool = False

    def grid(self, grid: Grid) -> list[Cell]:
        """All cells, the dense ones first, none twice."""
        found = [x for seed in grid.seeds for x in self.cells(grid, seed)]
        return list(dict.fromkeys([*(replace(x, int8=False).dense for x in found if x.suite), *found]))


def _zero_shot(grid: Grid, seed: int) -> list[Cell]:
    return [grid.cell(probabilities=True), *grid.pruned(seed, probabilities=True)]


def _modality(grid: Grid, seed: int) -> list[Cell]:
    both = [(grid.cell(images=x), grid.pruned(seed, images=x)) for x in (True, False)]
    return [cell for dense, pruned in both for cell in (dense, *pruned)]


def _parts(grid: Grid, seed: int) -> list[Cell]:
    recipes = [grid.recipe("sft", train) for train in ("projector", "lora")]
    places = [(method, ratio) for method in grid.methods for ratio in grid.ratios]
    return [grid.cell(*place, recipe, seed) for place in places for recipe in recipes]


def _losses(grid: Grid, seed: int) -> list[Cell]:
    places = [(BEST[ratio], ratio) for ratio in grid.ratios if ratio in BEST]
    return [grid.cell(*place, grid.recipe(losses), seed) for place in places for losses in COMBINATIONS]


def _data(grid: Grid, seed: int) -> list[Cell]:
    recipes = [grid.recipe("sft+l2", fraction=fraction) for fraction in FRACTIONS]
    return [grid.cell("widthwise", ratio, recipe, seed) for ratio in grid.ratios for recipe in recipes]


def _calibration(grid: Grid, seed: int) -> list[Cell]:
    return [x for size in SIZES for x in grid.pruned(seed, calibration=size) if x.variant.ratio < 0.5]


def _efficiency(grid: Grid, seed: int) -> list[Cell]:
    return [grid.cell(suite=None), *grid.pruned(seed, suite=None)]


def _practice(grid: Grid, seed: int) -> list[Cell]:
    return [grid.cell(probabilities=True), *grid.practice(seed, probabilities=True)]


def _int8(grid: Grid, seed: int) -> list[Cell]:
    plain = [grid.cell(), *grid.practice(seed)]
    return [replace(x, int8=int8) for x in plain for int8 in (False, True)]


def _answers(grid: Grid, seed: int) -> list[Cell]:
    return [grid.cell(suite="gallery", per_task=3), *grid.practice(seed, suite="gallery", per_task=3)]


def healing_recipe(grid: Grid, ratio: float, **more) -> Recipe:
    """The recipe that heals best of those tried: all decoder weights, SFT + KL + L2, for minutes instead of seconds."""
    steps, rate = HEALED[ratio]
    given = {"learning_rate": rate, "temperature": 1.0, "steps": steps}
    return grid.recipe("sft+kl+l2", "full", **given | more)


def _healing(grid: Grid, seed: int) -> list[Cell]:
    ratios = [x for x in grid.ratios if x in HEALED]
    whole = [grid.cell(m, x, healing_recipe(grid, x), seed, pool=HEALED_POOL) for x in ratios for m in grid.methods]
    few = [
        grid.cell(method, x, healing_recipe(grid, x, fraction=FEW, steps=FEW_UPDATES[x]), seed, pool=HEALED_POOL)
        for x in ratios
        if x in FEW_UPDATES
        for method in grid.methods
    ]
    return [grid.cell(), *whole, *few]


def _competing(grid: Grid, seed: int) -> list[Cell]:
    cut = {"choice": "global", "calibration": CHOICE_SAMPLES}
    ratios = [x for x in grid.ratios if x in HEALED]
    recipes = [(x, healing_recipe(grid, x)) for x in ratios]
    recipes += [
        (x, healing_recipe(grid, x, fraction=FEW, steps=COMPETING_FEW[0], learning_rate=COMPETING_FEW[1]))
        for x in ratios
        if x in FEW_UPDATES
    ]
    before = [grid.cell("widthwise", x, seed=seed, **cut) for x in ratios]
    return [grid.cell(), *before, *(grid.cell("widthwise", x, y, seed, pool=HEALED_POOL, **cut) for x, y in recipes)]


def _beyond(grid: Grid, seed: int) -> list[Cell]:
    grid = replace(grid, per_task=min(grid.per_task, BEYOND_PER_TASK))
    ways = [(PUBLISHED, x, {}) for x in grid.methods]
    ways += [(name, x, {"calibration": CHOICE_SAMPLES}) for name, choice in CHOICES.items() for x in choice.methods]
    return [
        grid.cell(method, ratio, seed=seed, choice=name, repair=repair, **about)
        for ratio in grid.ratios
        for name, method, about in ways
        for repair in (0, REPAIR_SAMPLES)
        if (repair or name in BEYOND_PLAIN) and method in (*grid.methods, "both")
    ]


def _repaired(grid: Grid, seed: int) -> list[Cell]:
    grid = replace(grid, per_task=min(grid.per_task, BEYOND_PER_TASK))
    whole, half = (grid.recipe("sft+l2", steps=x) for x in (grid.steps, grid.steps // 2))
    ways = [{"choice": PUBLISHED}, {"choice": "global", "calibration": CHOICE_SAMPLES}]
    trained = [({"choice": PUBLISHED}, whole)]
    trained += [(way | {"repair": REPAIR_SAMPLES}, recipe) for way in ways for recipe in (whole, half)]
    return [grid.cell("widthwise", x, recipe, seed, **way) for x in grid.ratios for way, recipe in trained]


EXPERIMENTS = {
    x.name: x
    for x in (
        Experiment("zero-shot", "What pruning costs before healing", "Table 2, Figs. 2–3", _zero_shot,
                   ("method", "ratio")),
        Experiment("modality", "With images, and with words alone", "Table 4", _modality,
                   ("method", "images", "ratio")),
        Experiment("efficiency", "Memory, compute and time", "Table 3", _efficiency, ("method", "ratio")),
        Experiment("calibration", "How many samples importance needs", "Fig. 7", _calibration,
                   ("method", "ratio", "calibration")),
        Experiment("parts", "Healing the projector alone, or with LoRA", "Fig. 3", _parts,
                   ("method", "train", "ratio"), trains=True),
        Experiment("losses", "What the healing learns from", "Figs. 4–5", _losses, ("losses", "ratio"), trains=True),
        Experiment("data", "How much data healing needs", "Fig. 6", _data, ("ratio", "fraction"), trains=True),
        Experiment("practice", "The paper's best practice at each ratio", "Table 5", _practice, ("method", "ratio"),
                   trains=True),
        Experiment("int8", "Eight bits on top of pruning", "Table 7", _int8, ("int8", "ratio"), trains=True),
        Experiment("answers", "What they say, ratio by ratio", "Table 6", _answers, ("method", "ratio"), trains=True),
        Experiment("healing", "How far longer training heals", "not in the paper", _healing,
                   ("method", "fraction", "ratio"), trains=True),
        Experiment("competing", "How far longer training heals a better choice", "not in the paper", _competing,
                   ("fraction", "ratio"), trains=True),
        Experiment("beyond", "Beyond the paper: better choices, and repair without training", "not in the paper",
                   _beyond, ("method", "chosen", "repair", "ratio")),
        Experiment("repaired", "Healing on top of better choices and repair", "not in the paper", _repaired,
                   ("chosen", "repair", "planned", "ratio"), trains=True),
    )
}  # fmt: skip
BESIDES = ("healing", "competing", "beyond", "repaired")  # not the paper's, and long
ALL = tuple(x for x in EXPERIMENTS if x not in BESIDES)


def named(names: Sequence[str]) -> list[Experiment]:
    """The experiments of these names; "all" are the paper's. Raises BadSamples for an unknown one."""
    from lvlm import BadSamples

    unknown = [x for x in names if x not in EXPERIMENTS and x != "all"]
    if unknown:
        known = ", ".join((*EXPERIMENTS, "all"))
        raise BadSamples(f'There is no experiment called "{unknown[0]}": choose from {known}.')
    return [EXPERIMENTS[x] for name in names for x in (ALL if name == "all" else (name,))]
