"""Results of cells → tables: a row a cell, and a row a point of an experiment with the mean over seeds."""

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd

from evaluation import statistics
from evaluation.cells import Cell
from evaluation.experiments import Experiment
from evaluation.store import report_of

COSTS = {  # column: (where `measure` has it, unit)
    "weights GiB": ("bytes", 2**30),
    "prefill GFLOPs": ("flops_prefill", 1e9),
    "first token ms": ("first_token_s", 1e-3),
    "tokens/s": ("tokens_per_s", 1),
    "peak GiB": ("peak_bytes", 2**30),
}


def rows(results: Mapping[Cell, dict]) -> pd.DataFrame:
    """A row a cell: what it is, and what came of it. Scores are 0…100, ratios and fractions 0…1.

    AVG-% is of the dense model asked the same; low and high are its 95% interval over questions, p the significance
    of the difference. Cells whose dense one is not among the results have none of these.
    """
    answers: dict[Cell, tuple] = {}

    def answered(cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        if cell not in answers:
            records = report_of(cell, results[cell]).records
            answers[cell] = np.array([x.right for x in records]), np.array([x.task for x in records])
        return answers[cell]

    found = []
    for cell, result in results.items():
        row = _what(cell) | {"achieved": result["achieved"], "parameters": sum(result["parameters"].values())}
        if cell.suite is None:
            row |= {x: result["cost"][name] and result["cost"][name] / unit for x, (name, unit) in COSTS.items()}
        else:
            row |= {"weights GiB": result["bytes"] / 2**30, "AVG": 100 * result["average"]}
            row |= {task: 100 * score for task, score in result["scores"].items()}
            row |= {x: 100 * value for part in ("by_format", "by_demand") for x, value in result[part].items()}
            if cell.dense in results and results[cell.dense]["average"] > 0:  # of a handful, all may be wrong
                (right, tasks), (dense, _) = answered(cell), answered(cell.dense)
                kept = statistics.retention(right, dense, tasks)
                row |= {"AVG-%": kept.percent, "low": kept.low, "high": kept.high}
                row["p"] = statistics.paired(right, dense, tasks).p
        if result.get("repair") is not None:
            row["repair s"] = result["repair"]
        if result["recovery"]:
            row |= {x: result["recovery"][x] for x in ("steps", "best_step", "samples", "seconds")}
        found.append(row)
    return pd.DataFrame(found)


def _what(cell: Cell) -> dict:
    variant, recipe = cell.variant, cell.variant.recipe
    about = {"model": variant.model, "method": variant.method, "ratio": variant.ratio, "seed": variant.seed}
    about |= {"suite": cell.suite, "calibration": variant.calibration, "images": cell.images, "int8": cell.int8}
    about |= {"chosen": variant.choice, "repair": variant.repair > 0}  # a task is called "choice"
    if recipe is None:
        return about | {"train": "none", "losses": "none", "fraction": 0.0, "planned": 0}
    return about | {
        "train": recipe.train,
        "losses": "+".join(recipe.terms),
        "fraction": recipe.fraction,
        "planned": recipe.steps,
    }


def table(experiment: Experiment, results: Mapping[Cell, dict]) -> pd.DataFrame:
    """A row a point of the experiment: means over seeds, of those that every point has been measured with, where there
    are any: else points would be compared that started from different samples.

    low and high: of AVG-%; over seeds where there are several, else over questions. p: the largest of the seeds'.
    """
    every = rows(results)
    if every.empty:
        return every
    numbers = [x for x in every.columns if pd.api.types.is_numeric_dtype(every[x]) and every[x].dtype != bool]
    columns = list(experiment.columns)
    every = every[_comparable(every, columns)]
    numbers = [x for x in numbers if x not in (*columns, "seed", "calibration", "fraction", "low", "high", "p")]
    grouped = every.groupby(columns, sort=False, dropna=False)
    found = grouped[numbers].mean()
    found["seeds"] = grouped["seed"].nunique()
    if "AVG-%" in every:
        spread = {place: statistics.seeds(group["AVG-%"]) for place, group in grouped}
        several = found["seeds"] > 1
        for end in ("low", "high"):
            over_seeds = [getattr(spread[x if isinstance(x, tuple) else (x,)], end) for x in found.index]
            found[end] = grouped[end].mean().where(~several, pd.Series(over_seeds, found.index, dtype=float))
        found["p"] = grouped["p"].max()
    return found.reset_index().dropna(axis="columns", how="all")


def single(table: pd.DataFrame, **where) -> pd.Series | None:
    """The first row whose columns have these values, of those columns that the table has; None where there is none."""
    for name, wanted in where.items():
        if name in table:
            table = table[table[name] == wanted]
    return None if table.empty else table.iloc[0]


def curves(experiment: Experiment, table: pd.DataFrame) -> list[tuple[dict[str, Hashable], pd.DataFrame]]:
    """A table's pruned rows as curves over the experiment's last column: what a curve's rows have in common (the other
    columns), and its rows in order. Over ratios each begins at the dense model, asked the same.

    Best practice is one curve: its method changes with the ratio.
    """
    *columns, x = experiment.columns
    columns = [] if experiment.name == "practice" else columns
    rows, found = table[table["ratio"] > 0], []
    for values, part in rows.groupby(columns, sort=False) if columns else [((), rows)]:
        about = dict(zip(columns, values, strict=True))
        if x == "ratio":
            part = pd.concat([_before(table, about), part])
        found.append((about, part.sort_values(x)))
    return found


def _before(table: pd.DataFrame, about: dict[str, Hashable]) -> pd.DataFrame:
    """The row of the model that nothing was removed from, asked as this curve's rows were."""
    rows = table[table["ratio"] == 0]
    for column in ("images", "int8"):
        if column in about:
            rows = rows[rows[column] == about[column]]
    return rows.head(1)


def beside_dense(table: pd.DataFrame, method: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of the dense model and of a method, by ratio; and their COSTS in % of the dense model's. Raises IndexError
    where that was not measured."""
    columns, dense = [x for x in COSTS if x in table], table[table["ratio"] == 0].iloc[0]
    rows = table[(table["method"] == method) | (table["ratio"] == 0)].sort_values("ratio")
    return rows, pd.DataFrame({x: 100 * rows[x] / dense[x] for x in columns})


def _comparable(every: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Which rows have a seed that every point has. The dense model depends on none."""
    dense = every["method"] == "dense"
    seeds = [set(x) for _, x in every[~dense].groupby(columns, dropna=False)["seed"]]
    common = set.intersection(*seeds) if seeds else set()
    return dense | every["seed"].isin(common) if common else dense | True
