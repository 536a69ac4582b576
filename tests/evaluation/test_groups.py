"""Groups of a suite's questions: every one counted once, and scores that are the report's own."""

import numpy as np
import pytest

from evaluation import groups
from evaluation.scoring import Record, Report
from evaluation.suites import SUITES


def told(right: str, truths=("yes", "4", "no", "7")) -> Report:
    """A question for each entry of right ("+" or "-"), two of each of two tasks of a suite, one that reasons."""
    tasks = SUITES["scenes"].tasks
    names = [next(x.name for x in tasks if x.reasoning == heavy) for heavy in (True, False)]
    records = [
        Record(str(i), names[i // 2], "what?", truth, truth if ok == "+" else "?")
        for i, (ok, truth) in enumerate(zip(right, truths, strict=True))
    ]
    return Report("scenes", "tiny", 0, tuple(records))


def test_every_question_is_of_one_form_and_one_demand():
    """Formats share the questions out among themselves, and so do demands; one that all have is no group."""
    found = groups.groups(told("++++"))
    assert list(found) == [groups.ALL, "yes/no", "free", groups.REASONING, groups.OTHER]
    assert (found["yes/no"] ^ found["free"]).all() and (found[groups.REASONING] ^ found[groups.OTHER]).all()
    assert "free" not in groups.groups(told("++++", ("1", "2", "3", "4")))


def test_scores_and_changes_are_the_reports_own():
    """Each group's row is its share of right answers, and its change what the other has more."""
    first, second = told("++++"), told("+-+-")
    scores, changes = groups.scores([first, second])
    assert scores.loc[groups.AVERAGE].tolist() == [100, 50] and scores.loc["yes/no"].tolist() == [100, 100]
    assert changes.loc["free"].tolist() == [0, -100] and not changes[0].any()
    counts = groups.counts(second)
    assert [x[1:] for x in counts.values()] == [(0, 0), (1, 2), (1, 2)]


def test_what_is_kept_is_least_where_most_is_lost():
    """The group without right answers keeps nothing, the one with all of them everything."""
    found = groups.kept(told("+-+-"), told("++++"))
    assert found["free"].percent == 0 and found["yes/no"].percent == 100
    uneven = ("yes", "yes", "no", "7")  # a form's questions count alike, however many of a task they are
    assert groups.kept(told("+--+", uneven), told("++++", uneven))["yes/no"].percent == pytest.approx(100 / 3)
    assert groups.least_and_most({x: found[x] for x in ("yes/no", "free")}) == ("free", "yes/no")
    assert groups.kept(told("++++"), told("----")) == {} and groups.least_and_most({}) is None


def test_the_worst_task_is_named_only_where_one_is_worse():
    """Nothing was lost by a model that is right as often in every task; and equal answers are not tested at all."""
    dense, worse = told("++++"), told("++--")
    second = list(dense.scores)[1]
    assert groups.most_lost(worse, dense) == second == groups.hardest(worse)
    assert groups.most_lost(dense, dense) is None is groups.compared(dense, dense)
    assert groups.compared(worse, dense).difference == pytest.approx(-0.5)
    assert not groups.compared(worse, dense).beyond_chance  # two of four may be chance
    many = [np.tile(list(x.records), 20).tolist() for x in (worse, dense)]
    assert groups.compared(*(Report("scenes", "tiny", 0, tuple(x)) for x in many)).beyond_chance
