"""How long it takes to make a plan and to apply it, against copying the bytes that the plan keeps.

    python -m benchmarks.surgery          # a 1.04 B bf16 decoder for cutting, LLaVA-1.5-7B's shapes for planning
    python -m benchmarks.surgery --hidden 1024 --no-table

Medians of runs that take turns, each into fresh memory, as a model that is there to stay gets it. Copying: one clone of
every kept tensor that the cut made anew (tensors that lose nothing are shared, so layerwise pruning copies nothing). The
digest that ties a plan to its model is computed once a model and reported apart.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.calibration import random_decoder
from benchmarks.machine import machine
from benchmarks.pages import README, write_into
from lvlm.anatomy import Anatomy, anatomy_of
from lvlm.catalogue import CONFIGS, network_on_meta
from lvlm.model import weights_digest
from lvlm.reshaped import keep
from pruning import Importance, Scores, Workload, make_plan
from pruning.peak import forget_peak

RUNS = 7


def random_scores(anatomy: Anatomy) -> Scores:
    """Scores drawn by chance: a plan costs the same whatever they are."""
    draw = np.random.default_rng(0)
    found = Importance(
        tuple(draw.random(x.groups) for x in anatomy.layers), tuple(draw.random(x.neurons) for x in anatomy.layers)
    )
    block = draw.random(len(anatomy.layers))
    return Scores("random", "0" * 16, anatomy, Workload(640, 576, 0), block, block, block, {"taylor": found})


def seconds(work: Callable[[], object]) -> float:
    """Of one run, after memory freed before has gone back to the system."""
    forget_peak()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cutting(network) -> list[str]:
    """Rows of the table: every method's cut beside the copy of what it makes."""
    scores = random_scores(anatomy_of(network))
    shared = {x.data_ptr() for x in network.parameters()}
    rows = []
    for method, ratio in (("layerwise", 0.3), ("widthwise", 0.15), ("widthwise", 0.3), ("widthwise", 0.6)):
        plan = make_plan(scores, method=method, ratio=ratio)
        cut = lambda: keep(network, plan.layers, plan.heads, plan.neurons)  # noqa: B023, E731
        made = [x for x in cut().parameters() if x.data_ptr() not in shared]
        copy = lambda: [x.detach().clone() for x in made]  # noqa: B023, E731
        times = [(seconds(cut), seconds(copy)) for _ in range(RUNS)]
        applied, copied = (statistics.median(x) for x in zip(*times))
        size = sum(x.nbytes for x in made)
        ratio_of = f"{applied / copied:.2f}" if size else ""
        times = f"{1e3 * applied:.0f} ms | {1e3 * copied:.0f} ms"
        rows.append(f"| {method} {ratio:.0%} | {size / 1e9:.2f} GB | {times} | {ratio_of} |")
    return rows


def planning() -> list[str]:
    """Rows of the table: every method's plan for seven billion parameters."""
    scores = random_scores(anatomy_of(network_on_meta(json.loads((CONFIGS / "llava-1.5-7b.json").read_text()))))
    rows = []
    for method in ("layerwise", "widthwise", "both"):
        for ranking in ("layer", "global"):
            plan = partial(make_plan, scores, method=method, ranking=ranking)
            plan()
            times = [seconds(plan) for _ in range(RUNS)]
            rows.append(f"| {method}, ranked by {ranking} | {1e3 * statistics.median(times):.1f} ms |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--no-table", action="store_true", help="print only")
    given = parser.parse_args()
    network = random_decoder(given.hidden, given.layers, torch.bfloat16)
    count = sum(x.numel() for x in network.parameters())
    digest = seconds(lambda: weights_digest(network))
    cuts = "\n".join(
        [
            "| cut | bytes made | applied in | copied in | applied ÷ copied (bar: ≤ 2) |",
            "|---|---|---|---|---|",
            *cutting(network),
        ]
    )
    plans = "\n".join(["| plan for LLaVA-1.5-7B's shapes | time |", "|---|---|", *planning()])
    about = f"{count / 1e9:.2f} B parameters, bf16 (its digest, once a model: {digest:.1f} s); {machine()}."
    print(cuts, about, plans, sep="\n\n")
    if not given.no_table:
        write_into(README, "surgery", f"{cuts}\n\n{about}\n\n{plans}")


if __name__ == "__main__":
    main()
