"""The paper's own figures, as data: Tables 2 and 5 row by row, its small tables, and where it contradicts itself.

Scores are the paper's (0…100; MME-C 0…800, MME-P 0…2000); ratios are 0…1; retention is in % of dense, as AVG-% is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.scoring import FORMATS
from evaluation.suites import NINE

FILE = Path(__file__).resolve().parent.parent / "assets/paper-tables.csv"

BENCHMARKS = tuple(x.benchmark for x in NINE)
PER_POINT = {"MME-C": 8, "MME-P": 20}  # full marks are 800 and 2000, and 100 everywhere else
BY_FORMAT = dict(zip(FORMATS, (("MMMU", "SQA", "AI2D"), ("MME-C", "MME-P", "POPE"), ("MathVista", "DocVQA", "GQA"))))
BY_DEMAND = {
    "reasoning": tuple(x.benchmark for x in NINE if x.reasoning),
    "other": tuple(x.benchmark for x in NINE if not x.reasoning),
}


def average(scores: Mapping[str, float]) -> float:
    """AVG, 0…100: (MMMU + SQA + MathVista + AI2D + MME-C/8 + MME-P/20 + POPE + DocVQA + GQA) / 9.

    Raises KeyError where one of BENCHMARKS is missing.
    """
    return _mean(scores, BENCHMARKS)


def _mean(scores: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(scores[x] / PER_POINT.get(x, 1) for x in names) / len(names)


@lru_cache(maxsize=1)
def _tables() -> pd.DataFrame:
    kinds = {x: "float64" for x in BENCHMARKS}
    found = pd.read_csv(FILE, dtype={"size_printed": "str", "suspect": "str"})
    found = found.rename(columns={"MME_C": "MME-C", "MME_P": "MME-P", "AVG_percent": "AVG-%"})
    found.insert(3, "ratio", found.pop("ratio_percent") / 100)
    found.insert(4, "billions", found.pop("size_printed").str.removesuffix("B").astype("float64"))
    found = found.astype({**kinds, "AVG": "float64", "AVG-%": "float64"})
    found["suspect"] = found["suspect"].fillna("")
    found["average"] = [average(x) for x in found[list(BENCHMARKS)].to_dict("records")]
    found["retention"] = 100 * found["average"] / _of_dense(found, found["average"])
    return found


def _of_dense(rows: pd.DataFrame, values: pd.Series) -> pd.Series:
    """For each row the value of the dense row of the same table and model."""
    return values.where(rows["method"] == "dense").groupby([rows["table"], rows["model"]]).transform("first")


def tables() -> pd.DataFrame:
    """The 42 rows of Tables 2 (no recovery) and 5 (best practice).

    Columns: table (2 or 5), model, method ("dense", "widthwise", "layerwise", in Table 5 with "+ft+l2"), ratio,
    billions (of parameters, as printed; Table 5 prints none), the nine BENCHMARKS, AVG and AVG-% as printed, suspect
    (why not to trust the row; "" if nothing is known against it), and average and retention as the formula has them.
    Printed and computed agree to within 0.01 in all rows but two, both marked suspect.
    """
    return _tables().copy()


@dataclass(frozen=True)
class Line:
    """A curve of the paper's over the ratio, dense first; all fields have one entry a point."""

    ratios: np.ndarray  # 0…1
    retention: np.ndarray  # % of dense, from the nine printed scores
    methods: tuple[str, ...]
    suspect: tuple[str, ...]  # why not to trust the point; "": nothing known against it


def line(model: str, method: str = "", table: int = 2) -> Line:
    """A model's curve. method: what its name begins with; "" takes all, as Table 5's changes with the ratio.

    Raises ValueError where that is not one point a ratio: nothing of that name, or several methods at once.
    """
    rows = _tables().query("table == @table and model == @model")
    rows = rows[(rows["method"] == "dense") | rows["method"].str.startswith(method)].sort_values("ratio")
    if len(rows) < 2 or rows["ratio"].duplicated().any():
        raise ValueError(f'Table {table} has no single curve of "{model}" whose method begins with "{method}".')
    points = rows[["ratio", "retention"]].to_numpy().T
    return Line(*points, tuple(rows["method"]), tuple(rows["suspect"]))


def kept(model: str, method: str, ratio: float, table: int = 2) -> float | None:
    """What a method keeps at a ratio, in % of dense: Table 2 without recovery, Table 5 with it; None where that is not
    printed."""
    rows = _tables().query("table == @table and model == @model and method != 'dense'")
    rows = rows[rows["method"].str.startswith(method) & ((rows["ratio"] - ratio).abs() < 0.005)]
    return float(rows["retention"].iloc[0]) if len(rows) else None


def retained(groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """Retention of groups of benchmarks (BY_FORMAT, BY_DEMAND), for every row of `tables()`: the paper's Fig. 2.

    A group's retention is its mean score over dense's, MME on the others' scale, as AVG-% is of all nine; the paper
    gives no formula, but its 31.5% for free generation comes from means of scores, not from a mean of ratios.
    Columns: table, model, method, ratio, suspect, then one a group.
    """
    rows = _tables()
    found = rows[["table", "model", "method", "ratio", "suspect"]].copy()
    for name, benchmarks in groups.items():
        mean = _mean(rows, benchmarks)
        found[name] = 100 * mean / _of_dense(rows, mean)
    return found


@dataclass(frozen=True)
class Degradation:
    """A row of Table 4: LLaVA-v1.5-7B pruned widthwise, with the image and with the words alone."""

    ratio: float
    multimodal: float  # AVG
    text_only: float
    multimodal_loss: float  # % of dense, as printed
    text_only_loss: float
    suspect: str = ""


TABLE_4 = (
    Degradation(0.0, 53.70, 40.30, 0.0, 0.0),
    Degradation(0.15, 48.80, 38.87, 9.13, 1.07, "38.87 of 40.30 is a loss of 3.55%, not of 1.07%"),
    Degradation(0.30, 42.90, 36.12, 20.11, 10.38),
    Degradation(0.45, 17.42, 17.36, 67.56, 56.92),
    Degradation(0.60, 3.62, 2.80, 93.26, 93.05),
)


def by_modality() -> dict[bool, Line]:
    """Table 4 as curves: with images (True), and with the words alone; each in % of dense asked the same."""
    ratios, methods = np.array([x.ratio for x in TABLE_4]), ("dense", *["widthwise"] * (len(TABLE_4) - 1))
    seen, blind = (np.array([getattr(x, y) for x in TABLE_4]) for y in ("multimodal", "text_only"))
    return {
        True: Line(ratios, 100 * seen / seen[0], methods, ("",) * len(ratios)),
        False: Line(ratios, 100 * blind / blind[0], methods, tuple(x.suspect for x in TABLE_4)),
    }


@dataclass(frozen=True)
class Stored:
    """A row of Table 7: LLaVA-v1.5-7B, pruned layerwise and recovered (Table 5), in 16 or in 8 bits."""

    ratio: float
    bits: int
    gib: float
    average: float  # AVG


TABLE_7 = (
    Stored(0.0, 16, 13.2, 53.7),
    Stored(0.0, 8, 7.5, 52.5),
    Stored(0.15, 16, 11.3, 52.68),
    Stored(0.15, 8, 6.5, 51.9),
    Stored(0.30, 16, 9.4, 51.75),
    Stored(0.30, 8, 5.4, 50.8),
)


def by_precision() -> dict[bool, Line]:
    """Table 7 as curves: in 8 bits (True), and in 16; both in % of dense in 16 bits."""
    dense = next(x.average for x in TABLE_7 if not x.ratio and x.bits == 16)
    found = {}
    for int8 in (False, True):
        rows = [x for x in TABLE_7 if (x.bits == 8) == int8]
        retention = np.array([100 * x.average / dense for x in rows])
        methods = tuple("layerwise" if x.ratio else "dense" for x in rows)
        found[int8] = Line(np.array([x.ratio for x in rows]), retention, methods, ("",) * len(rows))
    return found


@dataclass(frozen=True)
class Efficiency:
    """A row of Table 3, as far as §4.2.3 repeats it."""

    model: str
    method: str
    ratio: float
    teraflops: float
    milliseconds: float


TABLE_3 = (  # the table's own cells are empty in the copy that these figures were read from
    Efficiency("LLaVA-v1.5-7B", "widthwise", 0.30, 6.89, 84.4),
    Efficiency("LLaVA-v1.5-7B", "layerwise", 0.30, 6.92, 80.7),
)


@dataclass(frozen=True)
class Contradiction:
    """Something the paper says that its own numbers, or the models it names, do not bear out."""

    where: str
    says: str
    but: str


CONTRADICTIONS = (
    Contradiction(
        "§4.2.1, AI2D",
        "Widthwise reaches 65.64 on AI2D versus 52.73 layerwise, a gap of 12.91.",
        "65.64 is Bunny's SQA at 15%. Its AI2D is 55.73 versus 52.73: a gap of 3.00.",
    ),
    Contradiction(
        "§4.2.1, free generation",
        "At 15% on Bunny widthwise is better by 2.2% relative to layerwise overall, and by 31.5% on free generation.",
        "Both are shares of widthwise's own score. Relative to layerwise they are 2.3% and 45.9%.",
    ),
    Contradiction(
        "§4.2.1, Table 2",
        "Widthwise pruning consistently outperforms layerwise pruning when nothing is finetuned.",
        "Not on LLaVA at 45%: 17.42 widthwise, 18.47 layerwise.",
    ),
    Contradiction(
        "Table 2, Mini-InternVL at 60%",
        "AVG is 5.12 widthwise and 3.48 layerwise.",
        "The nine scores of these two rows average 4.19 and 2.81; the other 40 rows follow the formula.",
    ),
    Contradiction(
        "Table 4, 15%",
        "Without images the loss is 1.07%.",
        "38.87 of 40.30 is a loss of 3.55%.",
    ),
    Contradiction(
        "Table 5, Mini-InternVL",
        "Nine benchmarks were measured at each of four ratios after recovery.",
        "In each row all nine scores are Table 2's dense ones times one constant (0.991, 0.960, 0.862, 0.794).",
    ),
    Contradiction(
        "Tables 2 and 5, dense rows",
        "The same three dense models.",
        "Mini-InternVL's GQA is 62.57 and 62.50, Bunny's SQA 70.70 and 70.72. Each table is measured against its own.",
    ),
    Contradiction(
        "Abstract, §4.5",
        "5% of the data retains over 95% of the original performance (abstract).",
        "§4.5 says over 90%, and of what the full data set recovers, not of the original.",
    ),
    Contradiction(
        "Table 1",
        "The projector has 0.01B parameters in LLaVA and 0.02B in Bunny.",
        "Two linear layers of their sizes have 21.0M and 9.5M: the two look swapped.",
    ),
    Contradiction(
        "Table 7, §5.3",
        "The total memory footprint in fp16 is 13.2, 11.3 and 9.4 GiB (for dense, the text says 13.5).",
        "These are the bytes of the weights alone, of layerwise models: 13.16, 11.27 and 9.39 GiB.",
    ),
    Contradiction(
        "Table 3",
        "Memory, FLOPs and latency of three models at all ratios.",
        "Our copy of the table is empty; the text repeats FLOPs and latency of LLaVA at 30% only.",
    ),
)
