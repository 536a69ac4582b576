"""How long what goes beyond the paper takes: a repair, a plan in rounds and a search for better shares, as the app
makes them.

    python -m benchmarks.repair        # minutes, on an idle machine
"""

import statistics
import time
from collections.abc import Callable

from evaluation.beyond import BUNDLED
from evaluation.choices import ROUNDS
from evaluation.experiments import CHOICE_SAMPLES, REPAIR_SAMPLES
from lvlm import load
from pruning import Repair, Search, calibrate, make_plan, plan_in_rounds, prune, search_plan
from samples import load_samples

from .machine import machine
from .pages import ROOT, write_into

BAR = 10.0  # seconds, on two cores
RUNS, SEED = 3, 1  # other samples than what goes is chosen by


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def row(name: str) -> str:
    """A line of the table: the median repair of each cut, one plan in rounds, and one search."""
    model, fitted = load(name), load_samples("scenes", n=REPAIR_SAMPLES, seed=SEED)
    judged = load_samples("scenes", n=CHOICE_SAMPLES)
    scores = calibrate(model, judged)
    cells = []
    for method, ratio in (("widthwise", 0.3), ("widthwise", 0.6), ("layerwise", 0.3)):
        plan = make_plan(scores, method, ratio)
        took = statistics.median(seconds(lambda: prune(model, plan, Repair(), fitted)) for _ in range(RUNS))
        cells.append(f"{took:.1f} s{'' if took <= BAR else ' (missed)'}")
    rounds = seconds(lambda: plan_in_rounds(model, judged, 0.3, ROUNDS, ranking="global"))
    search = seconds(lambda: search_plan(model, scores, judged, 0.3, Search()))
    return f"| {name} | {' | '.join(cells)} | {rounds:.0f} s | {search:.0f} s |"


def main() -> None:
    head = f"| {REPAIR_SAMPLES} samples | widthwise 30% (bar: ≤ {BAR:.0f} s) | 60% | layerwise 30% "
    head += f"| {ROUNDS} rounds, {CHOICE_SAMPLES} samples | search, {CHOICE_SAMPLES} samples |"
    lines = [head, "|---" * 6 + "|", *map(row, BUNDLED)]
    table = "\n".join(lines) + f"\n\nThe cut included. {machine()}."
    print(table)
    write_into(ROOT / "docs/recovery.md", "repair", table)


if __name__ == "__main__":
    main()
