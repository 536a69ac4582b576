"""How long the paper's experiments take on a bundled model from nothing, for one seed.

    OMP_NUM_THREADS=1 python -m benchmarks.full_set out/set         # most of an hour, on an idle machine
    OMP_NUM_THREADS=1 python -m benchmarks.full_set out/set --seed 1

The folder must not exist yet: it is where the results are kept afterwards. The zero-shot sweep goes first and is timed
by itself; then all the others as one run.
"""

import argparse
import time
from pathlib import Path

from evaluation.experiments import ALL, Grid, named
from evaluation.runner import run
from evaluation.store import Store

from .machine import machine
from .pages import ROOT, write_into

MODEL, SWEEP = "pocket-llava", "zero-shot"
BARS = {SWEEP: 4, "all": 60}  # minutes


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the paper's experiments from nothing.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.folder.exists():
        parser.error(f"{given.folder} exists: what lies in it would not be measured again, so nothing could be timed.")
    store, grid, began = Store(given.folder, ()), Grid(MODEL, seeds=(given.seed,)), time.perf_counter()
    lines = ["| experiments | measurements | of them of healed models | minutes | bar |", "|---" * 5 + "|"]
    for name, bar in BARS.items():
        cells = list(dict.fromkeys(x for one in named([name]) for x in one.grid(grid)))
        run(cells, store, given.folder / "scratch")
        minutes, healed = (time.perf_counter() - began) / 60, sum(x.variant.recipe is not None for x in cells)
        verdict = "" if minutes <= bar else " (missed)"
        said = name if name in ALL else f"all {len(ALL)}"
        lines.append(f"| {said} | {len(cells)} | {healed} | {minutes:.1f} | ≤ {bar}{verdict} |")
        print(lines[-1], flush=True)
    table = "\n".join(lines) + f"\n\nSeed {given.seed}. {machine()}"
    print(table)
    write_into(ROOT / "docs/evaluation.md", "full set", table)


if __name__ == "__main__":
    main()
