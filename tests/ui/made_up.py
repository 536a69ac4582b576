"""Made-up results of the paper's experiments, as the runner would keep them: no model is needed to draw them."""

import random

from evaluation.cells import Cell
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.scoring import Record, Report, questions
from evaluation.store import Store


def share(cell: Cell) -> float:
    """How many of the questions are answered right: the less, the more is gone; training and pictures help."""
    variant, recipe = cell.variant, cell.variant.recipe
    lost = variant.ratio ** (1.2 if variant.method == "widthwise" else 1.6) * (0.8 if cell.images else 0.5)
    if recipe:
        lost *= 0.2 + 0.1 * (recipe.train == "projector") + 0.2 * (1 - recipe.fraction) + 0.1 * (not recipe.sft)
    return max(0.0, 0.95 - 1.3 * lost - 0.02 * cell.int8 - 0.3 * variant.ratio / (1 + variant.calibration))


def result(cell: Cell) -> dict:
    """What is kept of a cell."""
    gone = 1 - cell.variant.ratio
    about = {"parameters": {"vision": 2_000_000, "projector": 100_000, "decoder": round(5_500_000 * gone)},
             "bytes": round(30e6 * gone * (0.6 if cell.int8 else 1)), "recovery": None, "achieved": cell.variant.ratio,
             "torch": "0", "seconds": 1.0, "probabilities": None}  # fmt: skip
    if cell.suite is None:
        deep = 0.95 if cell.variant.method == "layerwise" else 1.05
        cost = {"bytes": 30e6 * gone, "flops_prefill": 1e9 * gone, "first_token_s": 0.03 * gone * deep,
                "tokens_per_s": 90 / gone / deep, "peak_bytes": None}  # fmt: skip
        return about | {"cost": cost}
    chance = random.Random(cell.name)
    records = []
    for task, x in questions(cell.suite, cell.per_task, cell.questions_seed, False):
        right = chance.random() < share(cell)
        answer = x.answer if right else {"yes": "no", "no": "yes"}.get(x.answer, "a clock")
        records.append(Record(x.id, task, x.question, x.answer, answer, round(0.6 * right + 0.4 * chance.random(), 4)))
    found = Report(cell.suite, cell.variant.model, cell.questions_seed, tuple(records))
    return about | {
        "answers": [x.answer for x in records], "scores": found.scores, "average": found.average,
        "probabilities": [x.probability for x in records] if cell.probabilities else None,
        "by_format": found.by_format(), "by_demand": found.by_demand(),
    }  # fmt: skip


def results(name: str, grid: Grid) -> dict[Cell, dict]:
    """Of every cell of an experiment."""
    return {x: result(x) for x in EXPERIMENTS[name].grid(grid)}


def fill(store: Store, name: str, grid: Grid) -> None:
    """Keep an experiment's made-up results."""
    found = results(name, grid)
    for cell, x in found.items():
        store.put(cell.name, cell, x)
    store.note((cell, cell.name) for cell in found)
