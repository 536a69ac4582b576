"""From a goal (so much of the memory, so much of the score) to a method, a ratio and a recipe, with the evidence for
it: our results where the model was measured, and else the paper's tables. Runs no model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from evaluation import paper
from evaluation.choices import PUBLISHED, choice_of
from evaluation.experiments import EXPERIMENTS, METHODS, Grid
from evaluation.store import Store
from lvlm import Anatomy, BadPlan
from lvlm.catalogue import find
from pruning import Plan, Scores, make_plan
from recovery import advise
from recovery.recipe import FEW

MOST_RATIO = 0.60  # nothing was measured beyond
TRAINING = ("none", "few", "all")  # no healing, on few samples, on all of them
SEEDS = (0, 1, 2)
BETTER = (("global", False), ("global", True), (PUBLISHED, True))  # (choice, repaired): proposed where measured
RANKINGS = {PUBLISHED: "layer", "global": "global"}  # choice → `make_plan`'s ranking
PAPERS = {"llama": "LLaVA-v1.5-7B", "phi3": "Mini-InternVL-Chat-4B-V1-5", "phi": "Bunny-v1.0-3B"}  # by family


@dataclass(frozen=True)
class Goal:
    """memory: share of the weights' bytes that may be left, kept: share of the original's score that must be, 0…1."""

    memory: float = 0.7
    kept: float = 0.98
    int8: bool = True  # whether 8 bits are welcome
    training: str = "few"

    def __post_init__(self):
        if not (0 < self.memory <= 1 and 0 <= self.kept <= 1) or self.training not in TRAINING:
            raise BadPlan("A goal is a share of the memory and one of the score, each up to 1: please choose both.")


@dataclass(frozen=True)
class Point:
    """What a method kept at a ratio, in % of the original's score. low, high: the worst and the best seed's."""

    ratio: float
    kept: float
    low: float = float("nan")
    high: float = float("nan")
    suspect: str = ""


@dataclass(frozen=True)
class Evidence:
    """A curve over the ratio, least pruned first. source: "ours" or "paper"; where: which experiment or table."""

    source: str
    where: str
    model: str
    method: str  # as in `make_plan`
    points: tuple[Point, ...]
    int8: bool = False  # about 8 bits: of what the same model keeps in 16

    def at(self, ratio: float) -> float:
        """Between two points in a line; NaN beyond the last. % of the original's score."""
        known = [x for x in self.points if not x.suspect]
        known = known if known and known[0].ratio == 0 else [Point(0.0, 100.0), *known]
        ratios, kept = [x.ratio for x in known], [x.kept for x in known]
        return float(np.interp(ratio, ratios, kept)) if ratio <= ratios[-1] + 1e-9 else float("nan")

    def around(self, ratio: float) -> tuple[Point, ...]:
        """The measured points next to a ratio, which the estimate lies between."""
        below = [x for x in self.points if x.ratio <= ratio + 1e-9][-1:]
        above = [x for x in self.points if x.ratio > ratio + 1e-9][:1]
        return (*below, *above)


@dataclass(frozen=True)
class Way:
    """One way to the goal. kept: expected, % of the original's score (NaN: nothing known); memory: share of bytes."""

    method: str
    ratio: float
    int8: bool
    plan: Plan
    recipe: object  # Recipe of the paper's chart, or None without healing
    memory: float
    kept: float
    reached: bool  # both goals
    evidence: tuple[Evidence, ...]
    choice: str = PUBLISHED  # as in `evaluation.choices`
    repair: bool = False  # what stays is refitted, without training

    @property
    def ranking(self) -> str:
        """As in `make_plan`."""
        return RANKINGS[self.choice]


def int8_bytes(anatomy: Anatomy, weights: int) -> int:
    """What `weights` bytes of a model become once its decoder linears are stored in 8 bits, with a scale a row."""
    linears = [x for layer in anatomy.layers for x in layer.linears]
    return weights - sum(x.rows * x.columns * (anatomy.itemsize - 1) - 4 * x.rows for x in linears)


def ways(scores: Scores, goal: Goal, store: Store) -> list[Way]:
    """Every method with and without 8 bits at the least ratio that fits the memory, the best first.

    Beside the published ways come better choices of what goes, and repair, where they were measured at such a ratio.
    One that is expected to reach the goal comes before others, then whichever keeps more. Empty where nothing fits:
    see `smallest`.
    """
    found: dict[tuple, Way] = {}
    for int8 in (False, True) if goal.int8 else (False,):
        for method in METHODS:
            plan = _least(scores, method, goal.memory, int8)
            if plan is not None:  # where nothing has to go, both methods are one
                found.setdefault((int8, plan.ratio and method), _way(scores, plan, int8, goal, store))
            for better in BETTER:
                if not any(_pruned(scores.model, method, goal.training, store, *better)):
                    continue
                plan = _least(scores, method, goal.memory, int8, RANKINGS[better[0]])
                way = plan and plan.ratio and _way(scores, plan, int8, goal, store, *better)
                if way and np.isfinite(way.kept):
                    found[int8, method, *better] = way
    found = list(found.values())
    return sorted(found, key=lambda x: (not x.reached, -(x.kept if np.isfinite(x.kept) else -1.0), x.int8))


def known(plan: Plan, training: str, store: Store, repair: bool = False) -> tuple[float, Evidence] | None:
    """What a plan's way of choosing and ratio keep, in % of the original's score, repaired or not and healed as said
    (one of `TRAINING`), and the evidence for it; None where nobody measured it, or not between such ratios."""
    choice = choice_of(plan)
    if choice is None:
        return None
    every = _pruned(plan.model, "both" if choice == "search" else plan.method, training, store, choice, repair)
    ratio = plan.ratio or 0.0
    reaching = (x for x in every if x.points[0].ratio <= ratio + 1e-9)
    return next(((x.at(ratio), x) for x in reaching if np.isfinite(x.at(ratio))), None)


def usual(way: Way, among: list[Way]) -> Way | None:
    """The published way in the place of a better choice or a repair, where it is expected to keep something known;
    None where `way` is it already."""
    wanted = (way.method, way.int8, PUBLISHED, False)
    found = next((x for x in among if (x.method, x.int8, x.choice, x.repair) == wanted), None)
    return None if found is None or found is way or not np.isfinite(found.kept) else found


def smallest(scores: Scores, int8: bool) -> float:
    """The least share of the memory that can be reached, 0…1."""
    plans = [_plan(scores, method, round(100 * MOST_RATIO)) for method in METHODS]
    return min(share(scores, x, int8) for x in plans if x is not None)


def _plan(scores: Scores, method: str, percent: int, ranking: str = "layer") -> Plan | None:
    try:
        return make_plan(scores, method=method, ratio=percent / 100, ranking=ranking)
    except BadPlan:  # more than there is to take
        return None


def _least(scores: Scores, method: str, memory: float, int8: bool, ranking: str = "layer") -> Plan | None:
    """The least that has to go, in whole percents, by bisection; None where even the most is not enough."""
    low, high = 0, round(100 * MOST_RATIO)

    def fits(plan: Plan | None) -> bool:
        return plan is not None and share(scores, plan, int8) <= memory + 1e-9

    if fits(plan := _plan(scores, method, low, ranking)):
        return plan
    if not fits(_plan(scores, method, high, ranking)):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(_plan(scores, method, middle, ranking)) else (middle, high)
    return _plan(scores, method, high, ranking)


def share(scores: Scores, plan: Plan, int8: bool) -> float:
    """What is left of the weights' bytes, 0…1."""
    after = plan.cost.after.bytes
    if int8:
        sizes = ([len(x) for x in plan.heads], [len(x) for x in plan.neurons])
        after = int8_bytes(scores.anatomy.kept(plan.layers, *sizes), after)
    return after / plan.cost.before.bytes


def _way(
    scores: Scores, plan: Plan, int8: bool, goal: Goal, store: Store, choice: str = PUBLISHED, repair: bool = False
) -> Way:
    ratio = plan.ratio or 0.0
    recipe = advise(plan) if goal.training != "none" and ratio else None
    every = _pruned(scores.model, plan.method, goal.training, store, choice, repair)
    evidence = tuple(every) if ratio else ()
    kept = next((x.at(ratio) for x in evidence if np.isfinite(x.at(ratio))), float("nan")) if ratio else 100.0
    if int8:
        small = _int8(scores.model, store)
        # Beyond the last measured ratio, what 8 bits cost is taken to go on.
        evidence, kept = (*evidence, small), kept * small.at(min(ratio, small.points[-1].ratio)) / 100
    left = share(scores, plan, int8)
    reached = left <= goal.memory + 1e-9 and kept >= 100 * goal.kept - 1e-9
    return Way(plan.method, ratio, int8, plan, recipe, left, kept, reached, evidence, choice, repair)


def _pruned(
    model: str, method: str, training: str, store: Store, choice: str = PUBLISHED, repair: bool = False
) -> Iterator[Evidence]:
    """What is known of a method at all ratios, healed as said: ours first, then the paper's, which knows neither other
    choices nor repair."""
    if (choice, repair) != (PUBLISHED, False):
        healed = {"none": ("beyond", None), "few": ("competing", FEW), "all": ("competing", 1.0)}
        experiment, fraction = healed[training]
        yield from _ours(model, experiment, method, fraction, store, choice, repair)
        return
    if training == "none":
        yield from _ours(model, "zero-shot", method, None, store)
        yield _printed(model, method, 2)
        return
    yield from _ours(model, "healing", method, FEW if training == "few" else 1.0, store)
    yield _printed(model, method, 5)


def _ours(
    model: str, experiment: str, method: str, fraction: float | None, store: Store, choice: str = PUBLISHED,
    repair: bool = False,
) -> Iterator[Evidence]:  # fmt: skip
    """An experiment's results of one method, healed on this fraction of the samples (None: not at all); nothing if it
    was not measured."""
    results = store.results(EXPERIMENTS[experiment].grid(Grid(model, "scenes", SEEDS)))
    seeds: dict[float, list[float]] = {}
    for cell, result in results.items():
        dense, variant = results.get(cell.dense), cell.variant
        asked = (variant.method, variant.choice, bool(variant.repair)) == (method, choice, repair)
        if not asked or not variant.ratio or dense is None:
            continue
        if (variant.recipe.fraction if variant.recipe else None) == fraction:
            seeds.setdefault(variant.ratio, []).append(100 * result["average"] / dense["average"])
    points = [Point(x, sum(found) / len(found), min(found), max(found)) for x, found in sorted(seeds.items())]
    if points:
        most = max(map(len, seeds.values()))
        yield Evidence("ours", f"{experiment}, {most} seed{'s' if most > 1 else ''}", model, method, tuple(points))


def papers_model(model: str) -> str:
    """The paper's model of the same decoder family, or LLaVA."""
    entry = find(model)
    return PAPERS.get(entry.family, PAPERS["llama"]) if entry else PAPERS["llama"]


def _printed(model: str, method: str, number: int) -> Evidence:
    """The paper's own curve: Table 2 without recovery; of Table 5 the points of this method."""
    about = papers_model(model)
    line = paper.line(about, method if number == 2 else "", number)
    rows = zip(line.ratios, line.retention, line.methods, line.suspect, strict=True)
    points = tuple(Point(float(r), float(k), suspect=s) for r, k, m, s in rows if r and m.startswith(method))
    return Evidence("paper", f"Table {number}", about, method, points)


def _int8(model: str, store: Store) -> Evidence:
    """What 8 bits keep of the same model in 16, by how much was pruned before: ours, or else Table 7."""
    results = store.results(EXPERIMENTS["int8"].grid(Grid(model, "scenes", SEEDS)))
    kept: dict[float, list[float]] = {}
    for cell, result in results.items():
        whole = results.get(replace(cell, int8=False))
        if cell.int8 and whole is not None and whole["average"]:
            kept.setdefault(cell.variant.ratio, []).append(100 * result["average"] / whole["average"])
    if kept:
        points = (Point(x, sum(found) / len(found), min(found), max(found)) for x, found in sorted(kept.items()))
        return Evidence("ours", "int8", model, "layerwise", tuple(points), int8=True)
    pairs = {x.ratio: {y.bits: y.average for y in paper.TABLE_7 if y.ratio == x.ratio} for x in paper.TABLE_7}
    points = (Point(ratio, 100 * of[8] / of[16]) for ratio, of in pairs.items())
    return Evidence("paper", "Table 7", PAPERS["llama"], "layerwise", tuple(points), int8=True)
