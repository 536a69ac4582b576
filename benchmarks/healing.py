"""How far recovery heals the bundled model, and which of the paper's findings hold on it.

    python -m benchmarks.healing                          # everything that is not in benchmarks/healing.json yet
    python -m benchmarks.healing --only healing           # one experiment: healing, few, trained, combinations
    python -m benchmarks.healing --minutes 1 --seeds 1 --per-task 20 --dry     # a trial that writes nothing

Each run: calibrate on 10 samples, prune, recover for `--minutes` on two threads, then score on held-out scenes (seed 1,
greedy, exact match), as benchmarks/zero_shot.py does. "Of dense" is a share of the dense average. Results are
written after each run, so that an interrupted evening goes on where it stopped.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from evaluation import PER_TASK, evaluate
from lvlm import LVLM, load
from lvlm.events import LossPoint
from pruning import calibrate, make_plan, prune
from recovery import Recipe, preset, recover
from samples import load_samples

from .machine import machine
from .pages import README, write_into

RESULTS = Path(__file__).resolve().parent / "healing.json"
MODEL, QUESTIONS_SEED = "pocket-llava", 1
POOL = 16000  # training samples; at two cores' pace ten minutes see about so many once
FEW = 0.05  # of the pool
METHODS = ("layerwise", "widthwise")
BARS = {0.15: 0.99, 0.30: 0.98, 0.45: 0.95, 0.60: 0.90}  # of the dense average, with the best recipe
FEW_BAR = 0.95  # of the dense average, with 5% of the data, up to 45%
BEST = Recipe(
    **preset(MODEL) | {"learning_rate": 5e-4},
    train="full",
    sft=1.0,
    kl=1.0,
    l2=1.0,
    temperature=1.0,
    precision="bfloat16",
)
COMBINATIONS = ("sft", "kl", "rkl", "l2", "sft+kl", "sft+rkl", "sft+l2", "sft+l2+kl", "sft+l2+rkl")


@dataclass(frozen=True)
class Run:
    """One healed model to be: a row of a table, for one seed."""

    experiment: str
    label: str
    method: str
    ratio: float
    recipe: Recipe

    @property
    def key(self) -> str:
        return f"{self.experiment} | {self.label} | {self.method} | {self.ratio} | {self.recipe.seed}"


def losses(combination: str) -> dict[str, float]:
    """Weights of a combination such as "sft+l2"."""
    return {x: float(x in combination.split("+")) for x in ("sft", "kl", "rkl", "l2")}


def runs(minutes: float, seeds: int) -> Iterator[Run]:
    """All of them, the bars' first."""
    for seed in range(seeds):
        best = replace(BEST, minutes=minutes, seed=seed)
        for ratio in BARS:
            for method in METHODS:
                yield Run("healing", "best recipe", method, ratio, best)
        for ratio in (0.15, 0.30, 0.45):
            for method in METHODS:
                yield Run("few", f"{FEW:.0%} of the data", method, ratio, replace(best, fraction=FEW))
        sft = replace(best, **losses("sft"))
        for ratio in BARS:
            for method in METHODS:
                for train, rate in (("projector", 1e-3), ("lora", 1e-3), ("full", BEST.learning_rate)):
                    yield Run("trained", train, method, ratio, replace(sft, train=train, learning_rate=rate))
        for ratio in (0.15, 0.60):
            for name in COMBINATIONS:
                recipe = replace(best, train="lora", learning_rate=1e-3, **losses(name))
                yield Run("combinations", name, "widthwise", ratio, recipe)


def heal(run: Run, model: LVLM, scores, samples, per_task: int) -> dict:
    """Prune, heal and score: what benchmarks/healing.json keeps of a run."""
    pruned = prune(model, make_plan(scores, method=run.method, ratio=run.ratio))
    points: list[LossPoint] = []
    began = time.perf_counter()
    healed = recover(
        pruned, model if run.recipe.needs_teacher else None, samples, run.recipe,
        lambda event: points.append(event) if isinstance(event, LossPoint) else None,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    found = evaluate(healed, "scenes", per_task, QUESTIONS_SEED)
    step = healed.history[-1]
    return {**asdict(run), "key": run.key, "recipe": run.recipe.recorded(), "scores": found.scores,
            "average": found.average, "seconds": seconds, "steps": step["steps"], "best_step": step["best_step"],
            "samples": step["samples"], "held_out": [step["held_out_before"], step["held_out"]]}  # fmt: skip


# --- tables ---


def mean(results: list[dict], dense: float, **wanted) -> tuple[float, float, int] | None:
    """(mean share of dense, spread between seeds, seeds) of the runs that match."""
    found = [x["average"] / dense for x in results if all(x[k] == v for k, v in wanted.items())]
    return (statistics.mean(found), max(found) - min(found), len(found)) if found else None


def shown(value: tuple[float, float, int] | None) -> str:
    return "" if value is None else f"{100 * value[0]:.1f}"


def healing_table(results: list[dict], zero: list[dict], dense: float) -> str:
    """Before and after, by method and ratio, against the bars."""
    lines = ["| ratio | method | before | healed | seeds | spread | 5% of the data | bar |", "|---" * 8 + "|"]
    for ratio, bar in BARS.items():
        for method in METHODS:
            after = mean(results, dense, experiment="healing", method=method, ratio=ratio)
            few = mean(results, dense, experiment="few", method=method, ratio=ratio)
            before = next((x["average"] / dense for x in zero if (x["method"], x["ratio"]) == (method, ratio)), None)
            cells = [f"{100 * ratio:.0f}%", method, "" if before is None else f"{100 * before:.1f}", shown(after)]
            cells += [str(after[2]), f"{100 * after[1]:.1f}"] if after else ["", ""]
            lines.append("| " + " | ".join([*cells, shown(few), f"≥ {100 * bar:.0f}"]) + " |")
    return "\n".join(lines)


def trained_table(results: list[dict], dense: float) -> str:
    """SFT of the projector alone, with LoRA, and of everything."""
    lines = ["| SFT of | " + " | ".join(f"{m} {100 * r:.0f}%" for m in METHODS for r in BARS) + " |", "|---" * 9 + "|"]
    for train in ("projector", "lora", "full"):
        found = [
            mean(results, dense, experiment="trained", label=train, method=m, ratio=r) for m in METHODS for r in BARS
        ]
        lines.append(f"| {train} | " + " | ".join(map(shown, found)) + " |")
    return "\n".join(lines)


def combinations_table(results: list[dict], dense: float) -> str:
    """Each combination of losses, LoRA, widthwise."""
    lines = ["| losses (LoRA, widthwise) | 15% | 60% |", "|---|---|---|"]
    for name in COMBINATIONS:
        found = [mean(results, dense, experiment="combinations", label=name, ratio=r) for r in (0.15, 0.60)]
        lines.append(f"| {name.upper().replace('+', ' + ')} | " + " | ".join(map(shown, found)) + " |")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", choices=("healing", "few", "trained", "combinations"), action="append")
    options.add_argument("--ratio", type=float, action="append", choices=list(BARS))
    options.add_argument("--method", choices=METHODS, action="append")
    options.add_argument("--minutes", type=float, default=9.0)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--per-task", type=int, default=PER_TASK)
    options.add_argument("--pool", type=int, default=POOL)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--dry", action="store_true", help="write nothing")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    model = load(MODEL)
    scores = calibrate(model, load_samples("scenes", n=10))
    samples = load_samples("scenes", n=given.pool)
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() and not given.dry else {"runs": []}
    if "dense" not in kept:
        kept["dense"] = evaluate(model, "scenes", given.per_task, QUESTIONS_SEED).average
    done = {x["key"] for x in kept["runs"]}
    for run in runs(given.minutes, given.seeds):
        asked = (given.only, run.experiment), (given.ratio, run.ratio), (given.method, run.method)
        if run.key in done or any(wanted and x not in wanted for wanted, x in asked):
            continue
        found = heal(run, model, scores, samples, given.per_task)
        kept["runs"].append(found)
        kept["machine"] = machine()
        share = found["average"] / kept["dense"]
        print(f"{run.key}: {share:.1%} of dense, {found['steps']} steps, {found['seconds']:.0f} s", flush=True)
        if not given.dry:
            RESULTS.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    zero = json.loads((RESULTS.parent / "zero_shot.json").read_text(encoding="utf-8"))[MODEL]["rows"]
    zero = [{**x, "average": statistics.mean(x["scores"]["scenes"].values())} for x in zero]
    tables = {
        "healing": healing_table(kept["runs"], zero, kept["dense"]) + f"\n\n{kept.get('machine', '')}.",
        "trained": trained_table(kept["runs"], kept["dense"]),
        "combinations": combinations_table(kept["runs"], kept["dense"]),
    }
    for name, table in tables.items():
        print(f"\n{table}")
        if not given.dry:
            write_into(README, name, table)


if __name__ == "__main__":
    main()
