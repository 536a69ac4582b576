"""What several models got right of one suite: by task, by the form of the answer, by the task's demand. And what a
variant keeps of the original's score on each of these groups of questions.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from evaluation import statistics
from evaluation.scoring import FORMATS, Report
from evaluation.statistics import Paired, Retention
from evaluation.suites import suite_of

ALL, AVERAGE = "all", "AVG"  # every question; and the score over all tasks
REASONING, OTHER = "reasoning", "other"  # demands, as `Report.by_demand` names them


def counts(report: Report) -> dict[str, tuple[float, int, int]]:
    """Task → (score 0…100, right, asked); first AVERAGE, whose questions are not counted again: 0 of 0."""
    found = {AVERAGE: (100 * report.average, 0, 0)}
    for task, score in report.scores.items():
        mine = report.tasks == task
        found[task] = (100 * score, int(report.right[mine].sum()), int(mine.sum()))
    return found


def groups(report: Report) -> dict[str, np.ndarray]:
    """Questions by what they ask for, (N,) bool each: ALL, then the formats and demands that there are several of."""
    reasoning = {x.name for x in suite_of(report.suite).tasks if x.reasoning}
    heavy = np.isin(report.tasks, list(reasoning))
    formats = {x: report.formats == x for x in FORMATS}
    found = {ALL: np.ones(len(report.tasks), bool)}
    for part in (formats, {REASONING: heavy, OTHER: ~heavy}):
        if sum(x.any() for x in part.values()) > 1:
            found |= {name: x for name, x in part.items() if x.any()}
    return found


def scores(reports: Sequence[Report]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Right answers in %, and how far they are from the first report's: a row AVERAGE, one a task, one a group but ALL;
    a column a report, by its place."""
    names = [x for x in groups(reports[0]) if x != ALL]
    found = []
    for report in reports:
        whole = {AVERAGE: report.average, **report.scores}
        parts = report.by_format() | report.by_demand()
        found.append(pd.Series(whole | {x: parts[x] for x in names}) * 100)
    table = pd.DataFrame(dict(enumerate(found)))
    return table, table.sub(table[0], axis="index")


def kept(report: Report, original: Report) -> dict[str, Retention]:
    """Group of questions → what is kept of the original's score; no group of which the original has nothing right.

    A format's score is its share of right answers; every other group's is the mean over its tasks, as AVG is.
    """
    found = {}
    for name, mine in groups(original).items():
        if original.right[mine].any():
            tasks = np.zeros(mine.sum(), int) if name in FORMATS else original.tasks[mine]
            found[name] = statistics.retention(report.right[mine], original.right[mine], tasks)
    return found


def least_and_most(kept: Mapping[str, Retention]) -> tuple[str, str] | None:
    """The groups of which least and most is kept; None for no group."""
    shares = {name: x.percent for name, x in kept.items()}
    return (min(shares, key=shares.get), max(shares, key=shares.get)) if shares else None


def hardest(report: Report) -> str:
    """The task with the lowest score."""
    return min(report.scores, key=report.scores.get)


def most_lost(report: Report, original: Report) -> str | None:
    """The task whose score fell most below the original's; None where none did."""
    worst = min(report.scores, key=lambda x: report.scores[x] - original.scores[x])
    return worst if report.scores[worst] < original.scores[worst] else None


def compared(report: Report, original: Report) -> Paired | None:
    """The difference from the original and whether it could be chance; None where the same questions are right."""
    if (report.right == original.right).all():
        return None
    return statistics.paired(report.right, original.right, original.tasks)
