"""The numbers that an experiment comes down to: what the sentence over its figure is about. AVG-% is in % of
the original's score, ratios and fractions are 0…1, as in `tables.table`.
"""

import math
from collections.abc import Callable

import pandas as pd

from evaluation.choices import PUBLISHED
from evaluation.experiments import BARS

Numbers = dict[str, float | str]


def highlight(experiment: str, table: pd.DataFrame) -> Numbers | None:
    """An experiment's numbers by name (see HIGHLIGHTS); None while too little of it is measured."""
    if table.empty or not (table["ratio"] > 0).any():
        return None
    try:
        found = HIGHLIGHTS[experiment](table)
    except (IndexError, KeyError, ValueError):  # a part of the grid is missing
        return None
    return None if any(isinstance(x, float) and math.isnan(x) for x in found.values()) else found


def mean(table: pd.DataFrame, column: str = "AVG-%", **where) -> float:
    """Of a column over the rows that these columns single out; NaN where there are none."""
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    return float(table[column].mean())


def middle(table: pd.DataFrame) -> float:
    """The ratio that a sentence is about: 30%, or else the smallest measured. Raises IndexError for none."""
    ratios = sorted(x for x in table["ratio"].unique() if x > 0)
    return 0.30 if 0.30 in ratios else ratios[0]


def _zero_shot(t: pd.DataFrame) -> Numbers:
    """What both methods keep at one ratio."""
    ratio = middle(t)
    return {"ratio": ratio, **{x: mean(t, method=x, ratio=ratio) for x in ("widthwise", "layerwise")}}


def _modality(t: pd.DataFrame) -> Numbers:
    """What widthwise loses at one ratio with the picture (seen), and with the words alone (blind)."""
    ratio = middle(t)
    seen, blind = (100 - mean(t, method="widthwise", ratio=ratio, images=x) for x in (True, False))
    return {"ratio": ratio, "seen": seen, "blind": blind}


def _efficiency(t: pd.DataFrame) -> Numbers:
    """How much less memory a model without some layers takes, and how much less time to its first word, in %."""
    ratio = middle(t)
    memory, time = (
        100 * (1 - mean(t, x, method="layerwise", ratio=ratio) / float(t[t["ratio"] == 0][x].iloc[0]))
        for x in ("weights GiB", "first token ms")
    )
    return {"ratio": ratio, "memory": memory, "time": time}


def _calibration(t: pd.DataFrame) -> Numbers:
    """What is kept on average after importance from one, ten and fifty samples."""
    t = t[t["ratio"] > 0]
    return {name: mean(t, calibration=x) for name, x in (("one", 1), ("ten", 10), ("fifty", 50))}


def _parts(t: pd.DataFrame) -> Numbers:
    """How many points LoRA heals more than the projector alone, on average."""
    return {"more": mean(t, train="lora") - mean(t, train="projector")}


def _losses(t: pd.DataFrame) -> Numbers:
    """The combinations of losses that keep most and least on average, and what they keep."""
    means = t[t["losses"] != "none"].groupby("losses")["AVG-%"].mean()
    best, worst = means.idxmax(), means.idxmin()
    return {"best": best, "most": float(means[best]), "worst": worst, "least": float(means[worst])}


def _data(t: pd.DataFrame) -> Numbers:
    """What 5% of the data heals to on average, and all of it."""
    return {"few": mean(t, fraction=0.05), "whole": mean(t, fraction=1.0)}


def _practice(t: pd.DataFrame) -> Numbers:
    """What is kept at the smallest and at the largest ratio."""
    t = t[t["ratio"] > 0].sort_values("ratio")
    first, last = t.iloc[0], t.iloc[-1]
    found = {"smallest": first["ratio"], "most": first["AVG-%"], "largest": last["ratio"], "least": last["AVG-%"]}
    return {name: float(x) for name, x in found.items()}


def _int8(t: pd.DataFrame) -> Numbers:
    """The most that 8 bits cost at any ratio, in points, and the share of the weights' memory that they save, in %."""
    both = t.pivot(index="ratio", columns="int8", values=["AVG-%", "weights GiB"]).dropna()
    most = float((both[("AVG-%", False)] - both[("AVG-%", True)]).max())
    less = 100 * (1 - float((both[("weights GiB", True)] / both[("weights GiB", False)]).mean()))
    return {"most": most, "less": less}


def _answers(t: pd.DataFrame) -> Numbers:
    """Right answers in % before pruning, and at the largest ratio."""
    t = t.sort_values("ratio")
    first, last = t.iloc[0], t.iloc[-1]
    return {"before": float(first["AVG"]), "after": float(last["AVG"]), "ratio": float(last["ratio"])}


def _healing(t: pd.DataFrame) -> Numbers:
    """How many models that were trained on all the data reach the bar of their ratio (BARS)."""
    t = t[(t["ratio"] > 0) & (t["fraction"] == 1)]
    return {"reached": sum(x["AVG-%"] >= 100 * BARS[x["ratio"]] for x in t.to_dict("records")), "of": len(t)}


def _beyond(t: pd.DataFrame) -> Numbers:
    """What widthwise keeps at one ratio as published, and by the best way that removes no whole layers only."""
    ratio = middle(t)
    plain = mean(t, method="widthwise", chosen=PUBLISHED, repair=False, ratio=ratio)
    best = float(t[(t["ratio"] == ratio) & (t["method"] != "layerwise")]["AVG-%"].max())
    return {"ratio": ratio, "plain": plain, "best": best}


def _repaired(t: pd.DataFrame) -> Numbers:
    """What half of the training heals to after a better choice and repair, and all of it as published."""
    t = t[t["ratio"] > 0]
    half = mean(t, chosen="global", repair=True, planned=t["planned"].min())
    return {"half": half, "whole": mean(t, repair=False, planned=t["planned"].max())}


HIGHLIGHTS: dict[str, Callable[[pd.DataFrame], Numbers]] = {
    "zero-shot": _zero_shot, "modality": _modality, "efficiency": _efficiency, "calibration": _calibration,
    "parts": _parts, "losses": _losses, "data": _data, "practice": _practice, "int8": _int8, "answers": _answers,
    "healing": _healing, "competing": _healing, "beyond": _beyond, "repaired": _repaired,
}  # fmt: skip
