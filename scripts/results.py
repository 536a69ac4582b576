"""Writes RESULTS.md, and the healing table of the README, from the results that ship with the repository.

    python -m scripts.results

How those came to be, RESULTS.md says at its head. The same results give the same pages; a test compares them.
"""

from collections.abc import Iterable
from dataclasses import replace

import pandas as pd

from benchmarks.pages import README, ROOT, write_into
from evaluation import beyond
from evaluation.experiments import (
    BARS,
    BEYOND_PER_TASK,
    EXPERIMENTS,
    FEW,
    FEW_BAR,
    POOL,
    STEPS,
    Experiment,
    Grid,
)
from evaluation.findings import FINDINGS, Tables
from evaluation.paper import CONTRADICTIONS
from evaluation.store import SHIPPED, Store, report_of
from evaluation.tables import single, table

PAGE = ROOT / "RESULTS.md"
SEEDS = (0, 1, 2)
COMPETING = "widthwise, all compete"  # heads and neurons of all layers for one budget: a choice beyond the paper
SHOWN = ("AVG", "AVG-%", "low", "high", "p", "seeds", "free", "multiple choice", "yes/no", "reasoning", "other",
         "prefill GFLOPs", "first token ms", "tokens/s")  # fmt: skip
FORMATS = {"AVG": "{:.1f}", "p": "{:.2g}", "seeds": "{:.0f}", "prefill GFLOPs": "{:.3f}", "first token ms": "{:.1f}",
           "calibration": "{:.0f}"}  # fmt: skip
INTRODUCTION = f"""# Results

What pruning costs the bundled `pocket-llava` and what heals it, measured as the paper measures its models, and whether the paper's findings hold here. A model of
7.9 M parameters is no LLaVA-1.5-7B: a finding that fails here is a fact about this model first.

AVG is the mean of nine tasks (one for each kind of the paper's nine benchmarks, 200 fixed held-out questions each, greedy, exact match); AVG-% is its share of the
dense model's. `low` and `high` are a 95% interval: over seeds where there are several, else over questions. `p` is the significance of the difference from dense,
paired by question. Ratios are of the language backbone's parameters. Healing in these experiments is {STEPS} updates of 16 samples from {POOL:,} scenes, but for
`healing` and `competing`, which are longer, and half of `repaired`, which is shorter.

    python cli.py experiment zero-shot modality efficiency calibration --store assets/results    # nothing is trained
    python cli.py experiment parts losses data practice int8 answers healing competing repaired --seeds 3 --store assets/results
    python cli.py experiment beyond --seeds 3 --model pocket-llava --store assets/results    # and the other two models
    python -m scripts.results    # writes this page; the others compute what is missing, in hours from nothing
"""
BEYOND = """The paper's way of choosing (Taylor importance, the same share of every layer; or whole layers) beside better choices, and with repair: what stays is refitted on
64 samples, in seconds and without training. AVG-%, mean of the seeds, {questions} held-out questions a task.

"Balanced": as published, but image and text tokens count alike. "All compete": the heads and neurons of all layers are ranked together; "layers compete, too": a layer of
which all goes is removed whole. "In rounds": a quarter at a time, what is left is scored anew before more goes (widthwise, all compete). "Searched" tries how much of each
layer can go, and may remove whole layers. What removes layers and thins others stands beside both methods. "Won back" is the best way's share of what the published way
loses, best by these same questions.

    python cli.py experiment beyond --seeds 3 --model pocket-llava --store assets/results    # and the other two models

How long a repair takes is measured [by itself](docs/recovery.md#repair-seconds-and-no-training).
"""
COMPETING_SAID = (
    f'In the table above, as "{COMPETING}": heads and neurons of all layers are ranked together. '
    "An empty cell is a training that was not run."
)
REPAIRED = """`pocket-llava`, widthwise, SFT + L2 with LoRA, {questions} held-out questions a task: AVG-%, mean of the seeds, healed as published ({steps} updates), and on top of repair
and of the better choice that needs no search, with as many updates and with half. Judged by the best of these.

    python cli.py experiment repaired --seeds 3 --store assets/results
"""


def markdown(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A table."""
    columns = list(columns)
    body = [columns, ["---"] * len(columns), *([str(x) for x in line] for line in lines)]
    return "\n".join("| " + " | ".join(line) + " |" for line in body)


def _cell(name: str, value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: ""}[value]
    if not isinstance(value, float | int):
        return str(value)
    if pd.isna(value):
        return ""
    if name in ("ratio", "fraction"):
        return f"{100 * value:.0f}%"
    return FORMATS.get(name, "{:.1f}").format(value)


def shown(experiment: Experiment, found: pd.DataFrame) -> str:
    """An experiment's table as Markdown."""
    columns = [x for x in (*experiment.columns, *SHOWN) if x in found]
    return markdown(columns, ([_cell(x, row[x]) for x in columns] for row in found.to_dict("records")))


def measured(store: Store, experiment: Experiment, grid: Grid) -> pd.DataFrame:
    """The experiment's table, of what has been measured of it."""
    return table(experiment, store.results(experiment.grid(grid)))


def _bar(bar: float, found: pd.Series | None) -> str:
    """A bar, and whether what was measured against it misses it."""
    missed = found is not None and found["AVG-%"] < 100 * bar
    return f"≥ {100 * bar:.0f}{' (missed)' if missed else ''}"


def healing(tables: Tables) -> str:
    """Before and after the longer trainings, by ratio and how it was cut, against the bars; what is measured of it."""
    lines = []
    for ratio, bar in BARS.items():
        for way, before, after in (
            ("layerwise", tables["zero-shot"], tables["healing"]),
            ("widthwise", tables["zero-shot"], tables["healing"]),
            (COMPETING, tables["competing"], tables["competing"]),
        ):
            about = {"ratio": ratio} | ({} if way == COMPETING else {"method": way})
            whole, few = (single(after, fraction=x, **about) for x in (1.0, FEW))
            if whole is None and few is None:
                continue
            cut = single(before, fraction=0.0, **about)
            cells = ["" if cut is None else f"{cut['AVG-%']:.1f}"]
            cells += ["", "", "", ""] if whole is None else [
                f"{whole['AVG-%']:.1f}", str(int(whole["seeds"])), f"{whole['steps']:.0f}", f"{whole['seconds']:.0f} s"
            ]  # fmt: skip
            cells += ["" if few is None else f"{few['AVG-%']:.1f} ({int(few['seeds'])})"]
            few_bar = _bar(FEW_BAR, few) if ratio < 0.5 else ""
            lines.append([f"{ratio:.0%}", way, *cells, _bar(bar, whole), few_bar])
    columns = ("ratio", "method", "before", "healed", "seeds", "updates", "training", "with 5% of the data (seeds)",
               "bar", "bar with 5%")  # fmt: skip
    return markdown(columns, lines) if lines else "Not run yet."


def beyond_table(tables: dict[str, pd.DataFrame]) -> str:
    """Every model's ways beside the published one, against the bars."""
    tables = {model: x for model, x in tables.items() if not x.empty}
    if not tables:
        return "Not run yet."
    found, lines = beyond.won_back(tables), []
    for row in found.to_dict("records"):
        ways = [_cell("AVG-%", row[x]) for x in beyond.WAYS]
        bar = "" if pd.isna(row["bar"]) else f"≥ {row['bar']:.0%}"
        won = "" if pd.isna(row["won"]) else f"{row['won']:.0%} ({row['best']})"
        judged = {True: "reached", False: "**missed**", None: ""}[row["reached"]]
        about = (row["model"], row["method"], f"{row['ratio']:.0%}", str(int(row["seeds"])))
        lines.append((*about, *ways, won, bar, judged))
    columns = ("model", "method", "ratio", "seeds", *beyond.WAYS, "won back", "bar", "")
    return f"{beyond.reached(found['reached'])} bars reached.\n\n" + markdown(columns, lines)


def repaired_table(found: pd.DataFrame) -> str:
    """Healing on top of repair, with as many updates and with half."""
    if found.empty:
        return "Not run yet."
    rows = beyond.healed(found, STEPS)
    columns = ("ratio", "seeds", *beyond.TRAINED, "no worse", "half of the updates are enough")
    seeds = found[found["ratio"] > 0]["seeds"].min()
    lines = ([_cell(x, y) for x, y in row.items()] for row in rows.to_dict("records"))
    return markdown(columns, ([first, str(int(seeds)), *rest] for first, *rest in lines))


def page(store: Store, grid: Grid) -> tuple[str, str]:
    """RESULTS.md, and the healing table by itself."""
    tables = {name: measured(store, x, grid) for name, x in EXPERIMENTS.items()}
    parts = [INTRODUCTION, "## The paper's findings", ""]
    judged = [(x, *x.of(tables)) for x in FINDINGS]
    lines = [(x.claim, x.where, f"**{verdict}**", evidence, x.against) for x, verdict, evidence in judged]
    parts += [markdown(("finding", "in the paper", "here", "AVG-% unless said", "the paper's own numbers"), lines), ""]
    healed = healing(tables)
    for name, experiment in EXPERIMENTS.items():
        parts += [f"## {experiment.title}", "", f"`{name}`: {experiment.paper}.", ""]
        if name == "healing":
            parts += [healed, ""]
        elif name == "competing":
            parts += [COMPETING_SAID, ""]
        elif name == "answers":
            parts += [answers(store, experiment, grid), ""]
        elif name == "beyond":
            every = {x: measured(store, experiment, replace(grid, model=x)) for x in beyond.BUNDLED}
            parts += [BEYOND.format(questions=BEYOND_PER_TASK), beyond_table(every), ""]
        elif name == "repaired":
            parts += [REPAIRED.format(questions=BEYOND_PER_TASK, steps=STEPS), repaired_table(tables[name]), ""]
        else:
            parts += [shown(experiment, tables[name]) if not tables[name].empty else "Not run yet.", ""]
    parts += ["## Where the paper contradicts itself", ""]
    parts += [markdown(("where", "it says", "but"), ((x.where, x.says, x.but) for x in CONTRADICTIONS)), ""]
    return "\n".join(parts), healed


def answers(store: Store, experiment: Experiment, grid: Grid) -> str:
    """Questions, and what each variant of the first seed said (Table 6)."""
    results = {x: y for x, y in store.results(experiment.grid(grid)).items() if x.variant.seed == 0}
    if not results:
        return "Not run yet."
    records = {x.variant: report_of(x, y).records for x, y in results.items()}
    names = [f"{x.method} {x.ratio:.0%}" if x.ratio else "dense" for x in records]
    lines = [
        (of_all[0].question, of_all[0].truth, *(x.answer if x.right else f"*{x.answer}*" for x in of_all))
        for of_all in zip(*records.values())
    ]
    return "Wrong answers in italics.\n\n" + markdown(("question", "truth", *names), lines)


def main() -> None:
    text, healed = page(Store(SHIPPED, ()), Grid(seeds=SEEDS))
    PAGE.write_text(text, encoding="utf-8")
    write_into(README, "healing", healed)


if __name__ == "__main__":
    main()
