"""Holds lmms-eval's own runner against `evaluate`, and its scoring of the paper's benchmarks against known answers.

    make test-lmms        # builds .venv-lmms, runs this in it, and fails where anything differs; writes benchmarks/lmms.md

Same questions, same model: every answer and every score of the bundled scenes must be the same both ways, for the dense
model and for a pruned folder. Then lmms-eval's tasks for the paper's benchmarks run unchanged on made-up rows, answered
by a stand-in that knows the answers, so that each of the nine columns is known beforehand.
"""

import json
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from unittest import mock

from benchmarks import lmms_rows
from benchmarks.machine import machine
from evaluation import evaluate, lmms
from lvlm import LVLM, load
from pruning import calibrate, make_plan, prune, save
from samples import load_samples

PAGE = Path(__file__).with_suffix(".md")
TASK = "prunoscope_scenes"


def compare(called: str, model: LVLM, where: str, folder: Path) -> list[str]:
    """Rows of the table for one model; where: its name or folder. Raises ValueError where the two ways differ."""
    results = lmms.run(where, folder, [TASK], ["--batch_size", "50"])
    about = results["configs"][TASK]["metadata"]
    ours = evaluate(model, about["suite"], about["per_task"], about["seed"])
    theirs = {task: results["results"][TASK][f"{task},none"] for task in ours.scores}
    [file] = folder.rglob(f"*_samples_{TASK}.jsonl")
    said = [json.loads(line)["filtered_resps"] for line in file.read_text(encoding="utf-8").splitlines()]
    rows = []
    for task, score in ours.scores.items():
        pairs = [(a, b.answer) for a, b in zip(said, ours.records, strict=True) if b.task == task]
        same = sum(a == b for a, b in pairs)
        rows.append(f"| {called} | {task} | {theirs[task]:.4f} | {score:.4f} | {same} of {len(pairs)} |")
        if same < len(pairs) or theirs[task] != score:
            raise ValueError(f"{where}: {task} differs: {rows[-1]}")
    return rows


class Knowing:
    """Stands for an LVLM: answers rightly what `lmms_rows` asks, but for the second question of each benchmark."""

    name, device = "knowing", "cpu"

    def generate(self, prompts, max_new_tokens, batch_size):
        return [next(a for asked, a in lmms_rows.ANSWERS.items() if asked in text) for _, text in prompts]


def benchmarks(folder: Path) -> dict[str, float]:
    """The paper's nine columns of the stand-in, on made-up rows, read from the file that lmms-eval writes."""
    tasks = dict.fromkeys(task for task, *_ in lmms.PAPER.values())
    judge = mock.patch.dict(os.environ, {"API_TYPE": "dummy"})  # lmms-eval's own; MathVista asks it about no row here
    with judge, mock.patch("datasets.load_dataset", lmms_rows.load_dataset):
        with mock.patch("evaluation.lmms.load", lambda *_, **__: Knowing()):
            lmms.run("knowing", folder, list(tasks), ["--batch_size", "4"])
    [file] = folder.rglob("*_results.json")
    found = lmms.read_results(file)
    if found != lmms_rows.EXPECTED:
        raise ValueError(f"The paper's columns should be {lmms_rows.EXPECTED}, and are {found}.")
    return found


def main() -> int:
    lines = ["| model | task | lmms-eval | evaluate | same answers |", "|---" * 5 + "|"]
    dense = load("pocket-llava")
    pruned = prune(dense, make_plan(calibrate(dense, load_samples("scenes", n=10)), "widthwise", 0.30))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        save(pruned, folder / "pocket-30")
        lines += compare("pocket-llava", dense, "pocket-llava", folder / "dense")
        lines += compare("widthwise 30%", load(folder / "pocket-30"), str(folder / "pocket-30"), folder / "pruned")
        columns = benchmarks(folder / "paper")
    versions = ", ".join(f"{x} {version(x)}" for x in ("lmms_eval", "transformers", "datasets"))
    page = ["# lmms-eval's runner and ours", "", f"Written by `make test-lmms` on {machine()}; {versions}.", ""]
    page += ["The same questions by both; the pruned model is a folder, nothing healed:", "", *lines, ""]
    page += [
        "The paper's benchmarks by lmms-eval's own tasks, on two made-up rows each (MME: two pictures a kind), of which"
    ]
    page += ["the first is answered rightly, as read from the results file:", "", lmms.row(columns)]
    PAGE.write_text("\n".join(page) + "\n", encoding="utf-8")
    print("\n".join(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
