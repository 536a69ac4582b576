"""Scores the bundled models, dense and pruned both ways without recovery, and writes the tables that the README and the
model cards show.

    python -m benchmarks.zero_shot                          # about ten minutes a model on two cores
    python -m benchmarks.zero_shot --model pocket-bunny     # one of them; the others' recorded results stay
    python -m benchmarks.zero_shot --dense-only             # the model cards' bars alone

Calibration: 10 training scenes, seed 0. Questions (seed 1): held-out scenes, the unseen style, easy-VQA's test split;
greedy, exact match. Everything is written to benchmarks/zero_shot.json too.
"""

import argparse
import json
import platform
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import torch

from benchmarks.pages import README, ROOT, write_into
from evaluation import PER_TASK, evaluate
from lvlm import catalogue, load
from pruning import calibrate, make_plan, prune
from samples import load_samples

RESULTS = Path(__file__).with_suffix(".json")
SAMPLES = 10
SEED = 1  # of the questions; seed 0 was looked at while the model was trained
SUITES = ("skills", "skills-unseen-style", "easy-vqa")  # every kind of question by itself
RATIOS = (0.15, 0.30, 0.45, 0.60)
BARS = {  # task: what the dense model was built to reach
    "presence": 0.95, "count": 0.85, "what-is-where": 0.85, "where-is": 0.85, "choice": 0.95, "knowledge": 0.95,
    "easy-vqa": 0.95,
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One variant's scores by suite and task, 0…1."""

    method: str
    ratio: float
    achieved: float
    parameters: int
    scores: dict[str, dict[str, float]]


def score(job: tuple[str, str, float, tuple[str, ...], int]) -> Row:
    """One variant, measured in a process of its own on one core."""
    torch.set_num_threads(1)
    name, method, ratio, suites, per_task = job
    model, achieved = load(name), 0.0
    if method != "dense":
        plan = make_plan(calibrate(model, load_samples("scenes", n=SAMPLES)), method=method, ratio=ratio)
        model, achieved = prune(model, plan), plan.achieved
    scores = {suite: evaluate(model, suite, per_task, SEED).scores for suite in suites}
    return Row(method, ratio, achieved, model.parameters().total, scores)


def dense_table(dense: Row) -> str:
    """Every task's score on held-out scenes, in the unseen style, and its bar."""
    lines = ["| task | held-out | unseen style | bar |", "|---|---|---|---|"]
    unseen = dense.scores["skills-unseen-style"]
    for task, value in {**dense.scores["skills"], **dense.scores["easy-vqa"]}.items():
        bar = BARS.get(task)
        judged = "" if bar is None else f"≥ {100 * bar:.0f}: {'reached' if value >= bar else 'missed'}"
        hard = f"{100 * unseen[task]:.1f}" if task in unseen else ""
        lines.append(f"| {task} | {100 * value:.1f} | {hard} | {judged} |")
    mean = lambda scores: 100 * sum(scores.values()) / len(scores)  # noqa: E731
    return "\n".join(
        [*lines, f"| **average of the scenes** | {mean(dense.scores['skills']):.1f} | {mean(unseen):.1f} | |"]
    )


def pruned_table(rows: list[Row]) -> str:
    """Scores of every variant on the held-out scenes."""
    shown = ("presence", "count", "what-is-where", "where-is", "choice", "knowledge")
    lines = [
        "| | removed | parameters | " + " | ".join(shown) + " | average | of dense |",
        "|---" * (5 + len(shown)) + "|",
    ]
    dense_average = None
    for row in rows:
        scores = row.scores["skills"]
        average = sum(scores.values()) / len(scores)
        dense_average = dense_average or average
        name = row.method if row.method == "dense" else f"{row.method} {100 * row.ratio:.0f}%"
        cells = [name, f"{100 * row.achieved:.1f}%", f"{row.parameters / 1e6:.2f} M"]
        cells += [f"{100 * scores[task]:.1f}" for task in shown]
        lines.append(
            "| " + " | ".join([*cells, f"{100 * average:.1f}", f"{100 * average / dense_average:.0f}%"]) + " |"
        )
    return "\n".join(lines)


def families_table(results: dict[str, dict]) -> str:
    """The average over the scenes' tasks of every model that was pruned, dense and at each ratio."""
    steps = [(method, ratio) for method in ("layerwise", "widthwise") for ratio in RATIOS]
    lines = [
        "| | decoder | dense | " + " | ".join(f"{method} {100 * ratio:.0f}%" for method, ratio in steps) + " |",
        "|---" * (3 + len(steps)) + "|",
    ]
    for entry in catalogue():
        rows = [Row(**row) for row in results.get(entry.name, {}).get("rows", ())]
        average = {(x.method, x.ratio): 100 * sum(x.scores["skills"].values()) / len(x.scores["skills"]) for x in rows}
        if len(average) == 1 + len(steps):
            cells = [f"{average[step]:.1f}" for step in (("dense", 0.0), *steps)]
            lines.append("| " + " | ".join([entry.title, entry.family, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    bundled = [entry.name for entry in catalogue() if entry.bundled]
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", choices=bundled, action="append", help="may be given several times; default: all")
    options.add_argument("--dense-only", action="store_true")
    options.add_argument("--per-task", type=int, default=PER_TASK)
    options.add_argument("--processes", type=int, default=2)
    given = options.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in given.model or bundled:
        jobs = [(name, "dense", 0.0, SUITES, given.per_task)]
        if not given.dense_only:
            jobs += [
                (name, method, ratio, ("skills",), given.per_task)
                for method in ("layerwise", "widthwise")
                for ratio in RATIOS
            ]
        with ProcessPoolExecutor(given.processes) as pool:
            rows = list(pool.map(score, jobs))
        tables = {"dense scores": dense_table(rows[0])}
        if not given.dense_only:
            tables["pruned scores"] = pruned_table(rows)
        for mark, table in tables.items():
            write_into(ROOT / "assets/models" / name / "README.md", mark, table)
        if name == bundled[0] and not given.dense_only:
            write_into(README, "pruned scores", tables["pruned scores"])
        about = {"date": date.today().isoformat(), "per_task": given.per_task, "seed": SEED,
                 "calibration_samples": SAMPLES, "torch": torch.__version__,
                 "python": platform.python_version()}  # fmt: skip
        results[name] = {**about, "rows": [asdict(row) for row in rows]}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        print(name, *tables.values(), sep="\n\n")
    write_into(README, "family scores", families_table(results))


if __name__ == "__main__":
    main()
