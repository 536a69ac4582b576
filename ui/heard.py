"""What several models answered to the same questions. Scores and what is kept, with how sure that is, and single
records to leaf through. Plain data in, tables and small HTML fragments out; nothing of Gradio.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from pandas.io.formats.style import Styler

from evaluation import groups, statistics
from evaluation.scoring import Record, Report
from evaluation.statistics import Retention
from ui import words
from ui.texts import minus, retell, say

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


def rows(heard: Sequence[Heard]) -> pd.DataFrame:
    """A row a variant and task, the average's first: task, kind, title, score (0…100), right, asked."""
    counts = [groups.counts(x.report) for x in heard]
    found = [(task, x.kind, x.title, *mine[task]) for task in counts[0] for x, mine in zip(heard, counts, strict=True)]
    return pd.DataFrame(found, columns=["task", "kind", "title", "score", "right", "asked"])


def kept(heard: Sequence[Heard]) -> dict[str, dict[str, tuple[str, Retention]]]:
    """Group of questions → title → (kind, what it keeps of the original's score); not where that is zero."""
    shares = [groups.kept(x.report, heard[0].report) for x in heard[1:]]
    return {
        named(name): {x.title: (x.kind, share[name]) for x, share in zip(heard[1:], shares, strict=True)}
        for name in (shares[0] if shares else ())
    }


def finding(heard: Sequence[Heard]) -> str:
    """What the scores show, in one sentence: about the pruned variant, or the last that there is."""
    first = heard[0].report
    if len(heard) == 1:
        weakest = groups.hardest(first)
        return say(
            "The original answers {right} right; {task} is the hardest, at {least}",
            right=words.percent(round(first.average, 3)), task=say(weakest),
            least=words.percent(round(first.scores[weakest], 3)),
        )  # fmt: skip
    other = next((x for x in heard if x.kind == "pruned"), heard[-1])
    worst = groups.most_lost(other.report, first)
    if worst is None:
        return say("{title} does no worse than the original on any task", title=retell(other.title))
    return say(
        "{title} loses most on {task}, from {before} to {after}",
        title=retell(other.title), task=say(worst), before=words.percent(round(first.scores[worst], 3)),
        after=words.percent(round(other.report.scores[worst], 3)),
    )  # fmt: skip


def kept_finding(found: dict[str, dict[str, tuple[str, Retention]]]) -> str:
    """Which kind of question suffers most, in one sentence."""
    parts = list(found.items())[1:]  # the first is about all of them
    shares = {name: next(iter(x.values()))[1] for name, x in parts}
    ends = groups.least_and_most(shares)
    if ends is None:
        return say("How sure what is kept is")
    worst, best = (shares[x].percent for x in ends)
    if worst == best:
        return say("Every kind of question keeps {kept:.0f}%", kept=worst)
    return say(
        "What suffers most: {worst} ({kept:.0f}% kept); least: {best} ({most:.0f}%)",
        worst=say(ends[0]), kept=worst, best=say(ends[1]), most=best,
    )  # fmt: skip


def named(group: str) -> str:
    """A group of questions as it is shown."""
    return {groups.ALL: "all (AVG-%)", groups.OTHER: "other tasks"}.get(group, group)


def cards(heard: Sequence[Heard]) -> str:
    """A card a variant: its score, what it keeps of the original's, and whether that could be chance."""
    first = heard[0]
    return f'<div class="cards scored">{"".join(_card(x, first) for x in heard)}</div>'


def _card(x: Heard, first: Heard) -> str:
    chip = words.chip(x.kind, x.title)
    right = say("{right:.1f}% of the questions right", right=100 * x.report.average)
    low, high = statistics.interval(x.report.right, x.report.tasks)
    if x is first:
        said, asked = say(SURE, low=100 * low, high=100 * high), say("of {n:,} questions", n=len(x.report.right))
        return _laid(chip, f"{100 * x.report.average:.1f}%", say("right (AVG)"), said, asked)
    if not first.report.right.any():
        nothing = say("the original has nothing right")
        return _laid(chip, f"{100 * x.report.average:.1f}%", say("right (AVG)"), nothing, "")
    share = statistics.retention(x.report.right, first.report.right, first.report.tasks)
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
    test = groups.compared(x.report, first.report)
    if test is None:
        return say("right and wrong just where the original is")
    p = f"p = {words.significant(test.p, 2)}" if test.p >= 0.001 else "p < 0.001"
    if not test.beyond_chance:
        return say("could be chance ({p})", p=p)
    return say("worse beyond chance ({p})" if test.difference < 0 else "better beyond chance ({p})", p=p)


def table(heard: Sequence[Heard]) -> pd.DataFrame:
    """Right answers in %, a row a task, then formats and demands; a column a variant, and each one's change."""
    scores, changes = groups.scores([x.report for x in heard])
    found = pd.DataFrame({say("questions about"): [say(named(x)) for x in scores.index]})
    for i, x in enumerate(heard):
        found[retell(x.title)] = scores[i].to_numpy().round(1)
    for i, x in enumerate(heard[1:], start=1):
        found[say("{title}: change", title=retell(x.title))] = changes[i].to_numpy().round(1)
    return found


def worded(table: pd.DataFrame) -> Styler:
    """The table as it is read: one decimal, and changes with their sign."""
    shares = table.select_dtypes("number").columns
    changes = shares[len(shares) // 2 + 1 :]  # a column a variant, then one for each but the first
    return table.style.format("{:.1f}", subset=list(shares)).format(lambda x: minus(f"{x:+.1f}"), subset=list(changes))


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
