"""Blind votes: who meets whom, and what the votes say."""

import math
from collections import Counter

import numpy as np
import pytest

from evaluation.cases import BadCase
from evaluation.statistics import wilson
from evaluation.votes import Contender, Vote, cast, drawn, preferred, score, strengths

O, P, R = Contender("o", "original", "Original"), Contender("p", "pruned", "30%"), Contender("r", "recovered", "Healed")


def vote(left, right, outcome) -> Vote:
    return Vote(left, right, outcome, "d", "q", ("a", "b"))


def test_every_pair_meets_as_often_on_both_sides_and_a_seed_decides():
    """3 contenders: 6 ordered pairs, each about a sixth of the draws; the same seed draws the same."""
    found = Counter(drawn(["a", "b", "c"], seed) for seed in range(3000))
    assert len(found) == 6 and all(400 < n < 600 for n in found.values())
    assert drawn(["a", "b", "c"], 7) == drawn(["a", "b", "c"], 7)
    with pytest.raises(BadCase):
        drawn(["a", "a"], 0)


@pytest.mark.parametrize(
    "won, n, low, high", [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_gives_published_intervals(won, n, low, high):
    """Newcombe, Statistics in Medicine 17 (1998), Table I, method 3: 81 of 263 → 0.2553…0.3662."""
    assert wilson(won, n) == pytest.approx((low, high), abs=1e-4)
    assert wilson(n - won, n) == pytest.approx((1 - high, 1 - low), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_two_are_told_apart_by_shares():
    """Wins on either side count for the same one; ties and two bad answers count half for both."""
    votes = [vote(O, P, "left"), vote(P, O, "right"), vote(P, O, "left"), vote(O, P, "tie"), vote(O, P, "both-bad")]
    first, second = score(votes)
    assert (first.contender, first.votes, first.wins, first.losses, first.ties, first.both_bad) == (O, 5, 2, 1, 1, 1)
    assert first.chance == 0.6 and (first.low, first.high) == wilson(3, 5)
    assert second.chance == pytest.approx(0.4) and second.low == pytest.approx(1 - first.high)
    assert score([]) == []


def test_nobody_is_preferred_while_it_could_be_chance():
    """One vote decides nothing; many name who is preferred, whichever side of the reference it is on."""
    assert preferred(score([vote(O, P, "left")])) is None
    assert preferred(score([vote(O, P, "left")] * 20)) == (O, P)
    assert preferred(score([vote(O, P, "right")] * 20)) == (P, O)
    assert cast(score([vote(O, P, "left")] * 20)) == 20 and cast([]) == 0


def test_three_are_ranked_even_where_not_all_have_met():
    """O beats R, R beats P: O is above P, whom it never met; the reference is certain, everybody else has an interval."""
    votes = [vote(O, R, "left")] * 6 + [vote(O, R, "right")] * 2 + [vote(P, R, "right")] * 6 + [vote(R, P, "right")] * 2
    first, second, third = score(votes)
    assert [x.contender for x in (first, second, third)] == [O, R, P]
    assert first.chance == 0.5 and first.low is None
    assert 0 < third.low < third.chance < third.high < 1 and third.chance < second.chance < 0.5
    mirrored = [vote(x.right, x.left, {"left": "right", "right": "left"}[x.outcome]) for x in votes]
    assert [x.chance for x in score(mirrored)] == pytest.approx([x.chance for x in score(votes)])


def test_strengths_come_near_the_truth_and_their_interval_holds_it():
    """From 3000 simulated votes the strengths are found again, within four standard errors."""
    chance, truth = np.random.default_rng(0), np.array([0.0, -0.7, 0.4])
    pairs = [(i, j) for i in range(3) for j in range(3) if i < j] * 1000
    games = [(i, j, float(chance.random() < 1 / (1 + math.exp(truth[j] - truth[i])))) for i, j in pairs]
    theta, covariance = strengths(games, 3)
    for i in (1, 2):
        error = math.sqrt(covariance[i, i] + covariance[0, 0] - 2 * covariance[0, i])
        assert abs(theta[i] - theta[0] - truth[i]) < 4 * error < 0.4


def test_a_perfect_record_stays_finite():
    """Who won three of three is likely, not certain, to win."""
    (first, *_) = [x for x in score([vote(R, P, "left")] * 3 + [vote(O, P, "tie")]) if x.contender == R]
    assert 0.5 < first.chance < 0.99 and first.high < 1
    with pytest.raises(BadCase):
        vote(O, P, "maybe")
