"""Answering a suite in batches of similar length against one question after the other.

    python -m benchmarks.throughput        # a minute, on an idle machine
"""

import time

from evaluation import evaluate, questions
from evaluation.scoring import BATCH
from lvlm import load

from .machine import machine
from .pages import ROOT, write_into

BAR, PER_TASK, MODELS = 3.0, 40, ("pocket-llava", "pocket-bunny", "pocket-internvl")


def main() -> None:
    lines = [f"| model | one by one | batches of {BATCH} | × (bar: ≥ 3) | same answers |", "|---" * 5 + "|"]
    for name in MODELS:
        model, speeds, said = load(name), [], []
        count = len(questions("scenes", PER_TASK, 1, True))
        for size in (1, BATCH):
            evaluate(model, "scenes", 1, 1, size)  # warm
            began = time.perf_counter()
            found = evaluate(model, "scenes", PER_TASK, 1, size)
            speeds.append(count / (time.perf_counter() - began))
            said.append([x.answer for x in found.records])
        same = sum(a == b for a, b in zip(*said))
        times = speeds[1] / speeds[0]
        verdict = f"{times:.1f}{'' if times >= BAR else ' (missed)'}"
        lines.append(f"| {name} | {speeds[0]:.1f}/s | {speeds[1]:.1f}/s | {verdict} | {same} of {count} |")
    table = "\n".join(lines) + f"\n\n{machine()}"
    print(table)
    write_into(ROOT / "docs/evaluation.md", "throughput", table)


if __name__ == "__main__":
    main()
