"""An experiment's table as lines, over the paper's own. Which rows make one, and how it looks; no Plotly."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from evaluation import paper, tables
from evaluation.choices import PUBLISHED
from evaluation.experiments import COMBINATIONS, EXPERIMENTS, STEPS
from ui.texts import retell, say
from ui.words import VARIANT_COLOURS, percent, significant

METHOD_LOOKS = {"widthwise": ("#ea7317", "solid", "circle"), "layerwise": ("#2f7fd6", "dash", "diamond")}
RATIO_LOOKS = {
    0.15: ("#a3b1c6", "solid", "circle"),
    0.30: ("#64748b", "dash", "square"),
    0.45: ("#f2a65a", "dot", "diamond"),
    0.60: ("#c2410c", "dashdot", "triangle-up"),
}  # colours of the slider's zones
LOSS_COLOURS = ("#64748b", "#2f7fd6", "#0f9f8f", "#8b5cf6", "#c026d3", "#b7791f", "#16a34a", "#ea7317", "#dc2626")
TOGETHER = [frozenset(x.split("+")) for x in COMBINATIONS]
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "star", "cross", "pentagon", "hexagram")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
WAY_LOOKS = {  # (method, choice) of `beyond` → its name, and colour, dash and symbol; open symbols are not repaired
    ("widthwise", PUBLISHED): ("widthwise as published", METHOD_LOOKS["widthwise"]),
    ("layerwise", PUBLISHED): ("layerwise as published", METHOD_LOOKS["layerwise"]),
    ("widthwise", "global"): ("all heads and neurons compete", ("#8b5cf6", "dot", "square")),
    ("both", "whole"): ("whole layers compete, too", ("#be185d", "dot", "pentagon")),
    ("widthwise", "balanced"): ("image and text tokens alike", ("#c026d3", "dash", "cross")),
    ("widthwise", "rounds"): ("all compete, in rounds", ("#16a34a", "longdash", "triangle-up")),
    ("layerwise", "rounds"): ("layerwise in rounds", ("#b7791f", "longdashdot", "triangle-down")),
    ("both", "search"): ("searched", ("#0f9f8f", "dashdot", "star")),
}
X_TITLES = {
    "ratio": "language model removed (%)",
    "fraction": "training data used (%)",
    "calibration": "calibration samples",
}
FAMILIES = {  # a decoder's family → the paper's model of that family
    "llama": "LLaVA-v1.5-7B",
    "phi3": "Mini-InternVL-Chat-4B-V1-5",
    "phi": "Bunny-v1.0-3B",
}


@dataclass(frozen=True)
class Line:
    """Points that belong together; all fields but name and look have one entry a point. x as drawn, y in % of dense."""

    name: str
    look: tuple[str, str, str]  # colour, dash, symbol
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray
    high: np.ndarray
    told: tuple[str, ...]  # hover sentences
    symbols: tuple[str, ...] = ()  # where points of one line differ
    twin: str = ""  # the line whose look, unfilled, it shares, and which names both in a legend


@dataclass(frozen=True)
class Printed:
    """A line of the paper's. `under` is the name of ours that it belongs to."""

    under: str
    name: str
    look: tuple[str, str, str]
    x: np.ndarray
    y: np.ndarray
    suspect: tuple[str, ...]
    told: tuple[str, ...] = field(default=())


def axis(experiment: str) -> str:
    """The column that is the x axis."""
    return EXPERIMENTS[experiment].columns[-1]


def ours(experiment: str, table: pd.DataFrame) -> list[Line]:
    """A line a combination of all columns but the last; over ratios each begins at the model before pruning."""
    if table.empty or "AVG-%" not in table:
        return []
    found = tables.curves(EXPERIMENTS[experiment], table)
    return [_line(experiment, about, rows, axis(experiment)) for about, rows in found]


def _line(experiment: str, about: dict, rows: pd.DataFrame, x: str) -> Line:
    name, look = _appearance(experiment, about)
    methods = rows["method"] if experiment == "practice" else ()
    told = tuple(_sentence(experiment, name, row, x) for row in rows.to_dict("records"))
    scale = 1 if x == "calibration" else 100
    values = (rows[c].to_numpy(float) for c in ("AVG-%", "low", "high"))
    symbols = tuple(METHOD_LOOKS.get(m, ("", "", "circle"))[2] for m in methods)
    twin = say(WAY_LOOKS[about["method"], about["chosen"]][0]) if experiment == "beyond" and about["repair"] else ""
    return Line(name, look, scale * rows[x].to_numpy(float), *values, told, symbols, twin)


def _appearance(experiment: str, about: dict) -> tuple[str, tuple[str, str, str]]:
    """Name and look. The first column gives the colour, the second dash and symbol."""
    if experiment == "practice":
        return say("healed as the paper advises"), (VARIANT_COLOURS["recovered"], "solid", "circle")
    if experiment == "int8":
        return (say("8 bits"), (VARIANT_COLOURS["int8"], "dash", "square")) if about["int8"] else (
            say("16 bits"), (VARIANT_COLOURS["recovered"], "solid", "circle"))  # fmt: skip
    if experiment == "losses":
        i = TOGETHER.index(frozenset(about["losses"].split("+")))
        return about["losses"].upper().replace("+", " + "), (LOSS_COLOURS[i], DASHES[i % 6], SYMBOLS[i])
    if experiment == "data":
        return say("{share} removed", share=percent(about["ratio"])), RATIO_LOOKS.get(
            about["ratio"], ("#64748b", "solid", "circle")
        )
    if experiment in ("competing", "repaired"):
        return _trained(experiment, about)
    if experiment == "beyond":
        name, look = WAY_LOOKS[about["method"], about["chosen"]]
        named = say("{way}, repaired", way=say(name)) if about["repair"] else say(name)
        return named, (*look[:2], look[2] + ("" if about["repair"] else "-open"))
    method = about["method"]
    colour, dash, symbol = METHOD_LOOKS[method]
    named = retell(method)
    if experiment == "modality":
        return (say("{method}, with images", method=named), (colour, dash, symbol)) if about["images"] else (
            say("{method}, words alone", method=named), (colour, "dot", f"{symbol}-open"))  # fmt: skip
    if experiment == "parts":
        return (say("{method}, LoRA", method=named), (colour, dash, symbol)) if about["train"] == "lora" else (
            say("{method}, projector alone", method=named), (colour, "dot", f"{symbol}-open"))  # fmt: skip
    if experiment == "calibration":
        _, dash, symbol = RATIO_LOOKS.get(about["ratio"], ("", "solid", "circle"))
        return say("{method}, {share}", method=named, share=percent(about["ratio"])), (
            colour,
            dash,
            symbol + ("" if method == "widthwise" else "-open"),
        )
    if experiment == "healing":
        if about["fraction"] == 1:
            return say("{method}, all the data", method=named), (colour, dash, symbol)
        share = percent(about["fraction"])
        return say("{method}, {share} of the data", method=named, share=share), (colour, "dot", f"{symbol}-open")
    return named, (colour, dash, symbol)


def _trained(experiment: str, about: dict) -> tuple[str, tuple[str, str, str]]:
    """Of trainings that go beyond the paper's."""
    plain, healed = "#64748b", VARIANT_COLOURS["recovered"]
    if experiment == "repaired":
        n = about["planned"]
        if not about["repair"]:
            return say("as published, {n} updates", n=n), (plain, "solid", "circle")
        look = ("dot", "diamond") if 2 * n <= STEPS else ("dash", "square")
        if about["chosen"] == PUBLISHED:
            return say("on top of repair, {n} updates", n=n), (healed, look[0], f"{look[1]}-open")
        return say("better choice and repair, {n} updates", n=n), (healed, *look)
    if about["fraction"] == 0:
        return say("before training"), (plain, "dot", "circle-open")
    if about["fraction"] == 1:
        return say("all the data"), (healed, "solid", "circle")
    return say("{share} of the data", share=percent(about["fraction"])), (healed, "dash", "square-open")


def _sentence(experiment: str, name: str, row: dict, x: str) -> str:
    """What a point says."""
    if row.get("ratio") == 0:
        at = say("before pruning")
    else:
        at = {
            "ratio": lambda: say("{share} removed", share=percent(row[x])),
            "fraction": lambda: say("{share} of the training data", share=percent(row[x])),
            "calibration": lambda: say("{n} {n:sample|samples}", n=row[x]),
        }[x]()
    kept = say("It keeps {kept:.1f}% of the original's score", kept=row["AVG-%"])
    if not np.isnan(row["low"]):
        kept += say(" (95%: {low:.1f} to {high:.1f}%)", low=row["low"], high=row["high"])
    about = [name]
    if experiment == "practice" and row.get("method") != "dense":
        about.append(retell(row["method"]))
    right = say("{right:.1f}% of the questions right", right=row["AVG"])
    seeds = f"<br>{say('mean of {seeds} seeds', seeds=row['seeds'])}" if row.get("seeds", 1) > 1 else ""
    return f"<b>{', '.join([*about, at])}</b><br>{kept}<br>{right}{seeds}"


# --- the paper's ---


def printed(experiment: str, model: str) -> list[Printed]:
    """The paper's lines of an experiment on one of its models; none where it prints no numbers."""
    if experiment == "zero-shot":
        return [_of_table(experiment, {"method": x}, paper.line(model, x, 2)) for x in METHOD_LOOKS]
    if experiment == "practice":
        return [_of_table(experiment, {}, paper.line(model, "", 5))]
    if model != FAMILIES["llama"]:
        return []  # Tables 4 and 7 are about LLaVA alone
    if experiment == "modality":
        found = paper.by_modality()
        return [_of_table(experiment, {"method": "widthwise", "images": x}, line) for x, line in found.items()]
    if experiment == "int8":
        return [_of_table(experiment, {"int8": x}, line) for x, line in paper.by_precision().items()]
    return []


def _of_table(experiment: str, about: dict, line: paper.Line) -> Printed:
    under, look = _appearance(experiment, about)
    told = tuple(
        say(
            "<b>The paper: {line}, {share} removed</b><br>It keeps {kept}% of the original's score",
            line=under,
            share=percent(r),
            kept=significant(y),
        )  # fmt: skip
        + (f"<br>{say('Not to be trusted: {why}', why=retell(why))}" if why else "")
        for r, y, why in zip(line.ratios, line.retention, line.suspect, strict=True)
    )
    return Printed(
        under,
        say("paper: {line}", line=under),
        look,
        100 * line.ratios,
        line.retention,
        line.suspect,
        told,
    )


def suspicions(lines: list[Printed]) -> list[str]:
    """Each reason not to trust a point once, with the points it is about."""
    about: dict[str, list[str]] = {}
    for line in lines:
        for x, why in zip(line.x, line.suspect, strict=True):
            if why:
                about.setdefault(why, []).append(say("{line} at {share}%", line=line.under, share=significant(x, 2)))
    return [f"{say(', ').join(places)}: {retell(why)}." for why, places in about.items()]
