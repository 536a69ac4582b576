"""What goes beyond the paper, judged: how much of the published way's loss better choices and repair win back without
training, and what repair saves of a training after it. Reads tables; the bars are the project's own.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from evaluation.choices import CHOICES, PUBLISHED
from evaluation.tables import single

BUNDLED = ("pocket-llava", "pocket-bunny", "pocket-internvl")
# (method, ratio) → the share of the published way's loss that the best way is to win back
BARS = {
    ("widthwise", 0.15): 2 / 3,
    ("widthwise", 0.30): 2 / 3,
    ("widthwise", 0.45): 1 / 2,
    ("widthwise", 0.60): 1 / 2,
    ("layerwise", 0.30): 1 / 3,
    ("layerwise", 0.45): 1 / 3,
}
WAYS = {  # column: (choice, repaired)
    "published": (PUBLISHED, False),
    "+ repair": (PUBLISHED, True),
    "balanced": ("balanced", False),
    "balanced + repair": ("balanced", True),
    "all compete": ("global", False),
    "all compete + repair": ("global", True),
    "layers compete, too": ("whole", False),
    "layers compete, too + repair": ("whole", True),
    "in rounds": ("rounds", False),
    "in rounds + repair": ("rounds", True),
    "searched + repair": ("search", True),
}
OF_BOTH = [name for name, x in CHOICES.items() if x.methods == ("both",)]
TRAINED = {  # column: (choice, repaired, by what the updates are divided)
    "published": (PUBLISHED, False, 1),
    "+ repair": (PUBLISHED, True, 1),
    "+ repair, half": (PUBLISHED, True, 2),
    "all compete + repair": ("global", True, 1),
    "all compete + repair, half": ("global", True, 2),
}


def _kept(table: pd.DataFrame, **where) -> float:
    """AVG-% of the row that these columns single out; NaN where there is none."""
    row = single(table, **where)
    return float("nan") if row is None else float(row["AVG-%"])


def won_back(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """model → the table of `beyond` → a row for each model, method and ratio whose published way was measured.

    Columns: every way's AVG-%, mean of the seeds (what thins layers and removes some whole stands beside both
    methods); won: the share of the published way's loss that the best way wins back, NaN where nothing was
    lost; best: that way; bar: what it is to win back, NaN where no bar is set; reached: None where there is none to
    reach, or nothing was lost.
    """
    rows = []
    for model, table in tables.items():
        table = table[table["method"] != "dense"]
        for method in ("widthwise", "layerwise"):
            for ratio in sorted(table["ratio"].unique()):
                row = _judged(table, method, ratio)
                if row["published"] == row["published"]:
                    rows.append({"model": model, "method": method, "ratio": ratio, **row})
    return pd.DataFrame(rows)


def _judged(table: pd.DataFrame, method: str, ratio: float) -> dict:
    kept = {
        way: _kept(table, chosen=choice, repair=repair, ratio=ratio, method="both" if choice in OF_BOTH else method)
        for way, (choice, repair) in WAYS.items()
    }
    others = {way: x for way, x in kept.items() if way != "published" and x == x}
    lost, bar = 100 - kept["published"], BARS.get((method, ratio), float("nan"))
    best = max(others, key=others.get, default=None)
    won = (others[best] - kept["published"]) / lost if best and lost > 0 else float("nan")
    seeds = table[(table["ratio"] == ratio) & (table["method"] == method)]["seeds"].min()
    reached = won >= bar if won == won and bar == bar else None
    return kept | {"best": best, "won": won, "bar": bar, "reached": reached, "seeds": seeds}


def healed(table: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The table of `repaired` → a row a ratio: AVG-% healed as published, and on top of repair and better choices, with
    all updates and with half. not worse: whether the best of these with all updates keeps what the published way does;
    half is enough: whether the best with half of them does; None where not every way was measured."""
    rows = []
    for ratio in sorted(x for x in table["ratio"].unique() if x > 0):
        kept = {
            way: _kept(table, ratio=ratio, chosen=choice, repair=repair, planned=steps // parts)
            for way, (choice, repair, parts) in TRAINED.items()
        }
        judged = dict.fromkeys(("not worse", "half is enough"))
        if not any(x != x for x in kept.values()):
            best = {
                y: max(kept[x] for x, (_, repair, parts) in TRAINED.items() if repair and parts == y) for y in (1, 2)
            }
            judged = {x: best[parts] >= kept["published"] for x, parts in zip(judged, (1, 2))}
        rows.append({"ratio": ratio} | kept | judged)
    return pd.DataFrame(rows)


def reached(rows: Sequence[bool | None]) -> str:
    """In words, how many of the bars that could be judged were reached."""
    judged = [x for x in rows if x is not None]
    return f"{sum(map(bool, judged))} of {len(judged)}"
