"""What several models answered to the same questions. Scores and what is kept, with how sure that is, and single
records to leaf through. Plain data in, tables and small HTML fragments out; nothing of Gradio.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from evaluation import statistics
from evaluation.scoring import FORMATS, Record, Report
from evaluation.statistics import Retention
from evaluation.suites import suite_of
from ui import words
from ui.texts import minus, retell, say

AVERAGE = "AVG"
FILTERS = {
    "all": "Every question",
    "lost": "Original right, other wrong",
    "won": "Original wrong, other right",
    "differ": "Answers differ",
}
EVERY_TASK = "every task"
SURE = "95%: {low:.1f} to {high:.1f}%"


@dataclass(frozen=True, eq=False)
class Heard:
    """One variant's answers. Of several that are compared, the first is the original's."""

    kind: str  # its colour: "original", "pruned", "recovered" or "int8"
    title: str
    report: Report

    @cached_property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return np.array([x.right for x in self.report.records])

    @cached_property
    def tasks(self) -> np.ndarray:
        """(N,) names."""
        return np.array([x.task for x in self.report.records])

    @cached_property
    def formats(self) -> np.ndarray:
        """(N,) names."""
        return np.array([x.format for x in self.report.records])


def rows(heard: Sequence[Heard]) -> pd.DataFrame:
    """A row a variant and task, the average's first: task, kind, title, score (0…100), right, asked."""
    found = []
    for task in (AVERAGE, *heard[0].report.scores):
        for x in heard:
            mine = x.tasks == task
            score = x.report.average if task == AVERAGE else x.report.scores[task]
            found.append((task, x.kind, x.title, 100 * score, int(x.right[mine].sum()), int(mine.sum())))
    return pd.DataFrame(found, columns=["task", "kind", "title", "score", "right", "asked"])


def groups(heard: Sequence[Heard]) -> dict[str, np.ndarray]:
    """Questions by what they ask for, (N,) bool each: all, then the formats and demands that there are several of."""
    first = heard[0]
    reasoning = {x.name for x in suite_of(first.report.suite).tasks if x.reasoning}
    heavy = np.isin(first.tasks, list(reasoning))
    formats = {x: first.formats == x for x in FORMATS}
    demands = {"reasoning": heavy, "other tasks": ~heavy}
    found = {"all (AVG-%)": np.ones(len(first.tasks), bool)}
    for part in (formats, demands):
        if sum(x.any() for x in part.values()) > 1:
            found |= {name: x for name, x in part.items() if x.any()}
    return found


def kept(heard: Sequence[Heard]) -> dict[str, dict[str, tuple[str, Retention]]]:
    """Group of questions → title → (kind, what it keeps of the original's score); not where that is zero.

    A format's score is its share of right answers; every other group's is the mean over its tasks, as AVG is.
    """
    first, found = heard[0], {}
    for name, mine in groups(heard).items():
        if not first.right[mine].any():
            continue
        tasks = np.zeros(mine.sum(), int) if name in FORMATS else first.tasks[mine]
        found[name] = {
            x.title: (x.kind, statistics.retention(x.right[mine], first.right[mine], tasks)) for x in heard[1:]
        }
    return found


def finding(heard: Sequence[Heard]) -> str:
    """What the scores show, in one sentence: about the pruned variant, or the last that there is."""
    first = heard[0]
    if len(heard) == 1:
        weakest = min(first.report.scores, key=first.report.scores.get)
        return say(
            "The original answers {right} right; {task} is the hardest, at {least}",
            right=words.percent(round(first.report.average, 3)), task=say(weakest),
            least=words.percent(round(first.report.scores[weakest], 3)),
        )  # fmt: skip
    other = next((x for x in heard if x.kind == "pruned"), heard[-1])
    before, now = first.report.scores, other.report.scores
    worst = min(now, key=lambda x: now[x] - before[x])
    if now[worst] >= before[worst]:
        return say("{title} does no worse than the original on any task", title=retell(other.title))
    return say(
        "{title} loses most on {task}, from {before} to {after}",
        title=retell(other.title), task=say(worst), before=words.percent(round(before[worst], 3)),
        after=words.percent(round(now[worst], 3)),
    )  # fmt: skip


def kept_finding(found: dict[str, dict[str, tuple[str, Retention]]]) -> str:
    """Which kind of question suffers most, in one sentence."""
    parts = {name: x for name, x in found.items() if name != next(iter(found), None)}
    told = {name: next(iter(x.values()))[1].percent for name, x in parts.items() if x}
    if not told:
        return say("How sure what is kept is")
    worst, best = min(told, key=told.get), max(told, key=told.get)
    if told[worst] == told[best]:
        return say("Every kind of question keeps {kept:.0f}%", kept=told[worst])
    return say(
        "What suffers most: {worst} ({kept:.0f}% kept); least: {best} ({most:.0f}%)",
        worst=say(worst), kept=told[worst], best=say(best), most=told[best],
    )  # fmt: skip


def cards(heard: Sequence[Heard]) -> str:
    """A card a variant: its score, what it keeps of the original's, and whether that could be chance."""
    first = heard[0]
    return f'<div class="cards scored">{"".join(_card(x, first) for x in heard)}</div>'


def _card(x: Heard, first: Heard) -> str:
    chip = words.chip(x.kind, x.title)
    right = say("{right:.1f}% of the questions right", right=100 * x.report.average)
    low, high = statistics.interval(x.right, x.tasks)
    if x is first:
        said, asked = say(SURE, low=100 * low, high=100 * high), say("of {n:,} questions", n=len(x.right))
        return _laid(chip, f"{100 * x.report.average:.1f}%", say("right (AVG)"), said, asked)
    if not first.right.any():
        nothing = say("the original has nothing right")
        return _laid(chip, f"{100 * x.report.average:.1f}%", say("right (AVG)"), nothing, "")
    share = statistics.retention(x.right, first.right, x.tasks)
    return _laid(
        chip,
        f"{share.percent:.1f}%",
        say("kept (AVG-%)"),
        f"{say(SURE, low=share.low, high=share.high)} · {right}",
        significance(x, first),
    )


def _laid(chip: str, number: str, unit: str, first: str, second: str) -> str:
    return (
        f'<div class="card">{chip}<p class="now"><b>{number}</b> <small>{unit}</small></p>'
        f'<p class="was"><span>{first}</span><span>{second}</span></p></div>'
    )


def significance(x: Heard, first: Heard) -> str:
    """Whether a difference from the original could be chance, in words."""
    if (x.right == first.right).all():
        return say("right and wrong just where the original is")
    test = statistics.paired(x.right, first.right, first.tasks)
    p = f"p = {words.significant(test.p, 2)}" if test.p >= 0.001 else "p < 0.001"
    if test.p >= 0.05:
        return say("could be chance ({p})", p=p)
    return say("worse beyond chance ({p})" if test.difference < 0 else "better beyond chance ({p})", p=p)


def table(heard: Sequence[Heard]) -> pd.DataFrame:
    """Right answers in %, a row a task, then formats and demands; a column a variant, and each one's change."""
    wide = rows(heard).pivot(index="task", columns="title", values="score")
    wide = wide.loc[[AVERAGE, *heard[0].report.scores]]
    for name, mine in groups(heard).items():
        if mine.all():
            continue
        for x in heard:
            score = x.report.by_format()[name] if name in FORMATS else _mean_over_tasks(x, mine)
            wide.loc[name, x.title] = 100 * score
    found = pd.DataFrame({say("questions about"): [say(x) for x in wide.index]})
    for x in heard:
        found[retell(x.title)] = wide[x.title].to_numpy().round(1)
    for x in heard[1:]:
        found[say("{title}: change", title=retell(x.title))] = (
            (wide[x.title] - wide[heard[0].title]).to_numpy().round(1)
        )
    return found


def worded(table: pd.DataFrame) -> Styler:
    """The table as it is read: one decimal, and changes with their sign."""
    shares = table.select_dtypes("number").columns
    changes = shares[len(shares) // 2 + 1 :]  # a column a variant, then one for each but the first
    return table.style.format("{:.1f}", subset=list(shares)).format(lambda x: minus(f"{x:+.1f}"), subset=list(changes))


def _mean_over_tasks(x: Heard, mine: np.ndarray) -> float:
    names = set(x.tasks[mine])
    return sum(x.report.scores[name] for name in names) / len(names)


# --- one by one ---


def chosen(heard: Sequence[Heard], which: str, other: int, task: str) -> list[int]:
    """Places of the records that a filter lets through; it compares the first with heard[other]."""
    first, second = heard[0].report.records, heard[min(other, len(heard) - 1)].report.records
    passes = {
        "all": lambda a, b: True,
        "lost": lambda a, b: a.right and not b.right,
        "won": lambda a, b: b.right and not a.right,
        "differ": lambda a, b: a.answer != b.answer,
    }[which]
    pairs = enumerate(zip(first, second, strict=True))
    return [i for i, (a, b) in pairs if passes(a, b) and task in (EVERY_TASK, a.task)]


def listed(heard: Sequence[Heard], places: Sequence[int]) -> pd.DataFrame:
    """A row a record: number, task, question, truth, and each variant's answer (in brackets: how likely the
    truth is to it).
    """
    records = [[x.report.records[i] for x in heard] for i in places]
    columns = ["#", say("task"), say("question"), say("true answer")]
    data = [[i + 1, say(r[0].task), r[0].question, r[0].truth] for i, r in zip(places, records, strict=True)]
    found = pd.DataFrame(data, columns=columns)
    for v, x in enumerate(heard):
        found[retell(x.title)] = [_said(r[v]) for r in records]
    return found


def written(heard: Sequence[Heard], places: Sequence[int]) -> pd.DataFrame:
    """The same for a file: answers, whether they are right, and the truth's probability in columns of their own."""
    found = pd.DataFrame([(r.id, r.task, r.question, r.truth) for r in (heard[0].report.records[i] for i in places)],
                         columns=["id", "task", "question", "truth"])  # fmt: skip
    for x in heard:
        records = [x.report.records[i] for i in places]
        found[x.title] = [r.answer for r in records]
        found[f"{x.title}: right"] = [r.right for r in records]
        found[f"{x.title}: probability of the truth"] = [r.probability for r in records]
    return found


def _said(record: Record) -> str:
    held = "" if record.probability is None else f" ({100 * record.probability:.0f}%)"
    return f"{'✓' if record.right else '✗'} {record.answer or '–'}{held}"


def detail(heard: Sequence[Heard], place: int) -> str:
    """One question with everybody's answer, and how likely each held the true one."""
    first = heard[0].report.records[place]
    answers = "".join(answer(x.kind, x.title, x.report.records[place]) for x in heard)
    return (
        f'<div class="record"><h3>{words.escape(first.question)}</h3>'
        f"{true(first.truth, say(first.task))}{answers}</div>"
    )


def true(truth: str, about: str) -> str:
    """The true answer, and a word on what is asked."""
    said = say("True: <b>{truth}</b>", truth=words.escape(truth))
    return f"<p>{said} <small>{words.escape(about)}</small></p>"


def answer(kind: str, title: str, record: Record) -> str:
    """What one variant said to a question, whether that is right, and how likely it held the true answer."""
    mark = "right" if record.right else "wrong"
    likely = ""
    if record.probability is not None:
        likely = (
            f"<small>{say('gives the true answer {likely:.0f}%', likely=100 * record.probability)}</small>"
            f'<div class="meter"><i style="width:{100 * record.probability:.1f}%"></i></div>'
        )
    said = words.escape(record.answer) or f"<em>{say('nothing')}</em>"
    return f'<div class="said said-{kind} {mark}">{words.chip(kind, title)}<p>{said}</p>{likely}</div>'
