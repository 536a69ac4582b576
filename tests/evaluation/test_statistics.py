"""Intervals and p-values, held against simulated models whose true scores are known, and against enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.statistics import FLIPS, interval, paired, retention, seeds, t_quantile

CHANCES = np.linspace(0.2, 0.9, 9)  # of nine tasks


def asked(per_task):
    return np.repeat(np.arange(9), per_task)


def answers(rng, tasks, shift=0.0):
    """One model's right answers where its true score is the mean of CHANCES, plus shift."""
    return rng.random(len(tasks)) < CHANCES[tasks] + shift


def two_models(rng, tasks, shift=0.0):
    """Two models that share the ease of each question, the first better by shift."""
    ease = rng.random(len(tasks))
    same = rng.random(len(tasks)) < 0.7
    other = np.where(same, ease, rng.random(len(tasks)))
    return other < CHANCES[tasks] + shift, ease < CHANCES[tasks]


def test_the_interval_covers_the_true_score_95_times_in_100():
    """Over 400 simulated models the interval holds the true score about 95% of the time, misses on both sides."""
    rng, tasks = np.random.default_rng(1), asked(40)
    ends = np.array([interval(answers(rng, tasks), tasks, i, 300) for i in range(400)])
    truth = CHANCES.mean()
    assert 0.915 < ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean() < 0.98
    assert (ends[:, 0] > truth).any() and (ends[:, 1] < truth).any()


def test_intervals_of_pairs_cover_the_true_difference_and_ratio():
    """For models that answer the same questions, the difference and the ratio to dense are covered as often."""
    rng, tasks, shift = np.random.default_rng(2), asked(40), -0.1
    hit = {"difference": 0, "ratio": 0}
    ratio = 100 * (CHANCES.mean() + shift) / CHANCES.mean()
    for i in range(300):
        pruned, dense = two_models(rng, tasks, shift)
        found, kept = paired(pruned, dense, tasks, i, 300), retention(pruned, dense, tasks, i, 300)
        hit["difference"] += found.low <= shift <= found.high
        hit["ratio"] += kept.low <= ratio <= kept.high
    assert all(0.915 < x / 300 < 0.98 for x in hit.values()), hit


def test_p_is_uniform_when_nothing_differs():
    """Of two models of one true score, p falls below 5% about 5 times in 100 and below one half about half the time."""
    rng, tasks = np.random.default_rng(3), asked(40)
    p = np.array([paired(*two_models(rng, tasks), tasks, i, 2).p for i in range(400)])
    assert 0.02 < (p <= 0.05).mean() < 0.08
    assert 0.42 < (p <= 0.5).mean() < 0.58
    assert p.min() > 0


def test_p_is_small_under_a_clear_difference():
    """Eight points fewer on 1800 questions get the smallest p that a simulation may claim, an interval without zero."""
    tasks = asked(200)
    found = paired(*two_models(np.random.default_rng(4), tasks, -0.08), tasks)
    assert found.p == 1 / (1 + FLIPS) and found.low < found.difference < found.high < 0


def test_pairing_is_kept():
    """Two models that err on the same questions are told apart where unpaired answers of the same scores are not."""
    rng, tasks = np.random.default_rng(5), asked(100)
    dense = answers(rng, tasks)
    pruned = dense & (rng.random(len(tasks)) > 0.05)
    shuffled = pruned.copy()
    for task in range(9):
        shuffled[tasks == task] = rng.permutation(shuffled[tasks == task])
    close, loose = paired(pruned, dense, tasks), paired(shuffled, dense, tasks)
    assert close.difference == pytest.approx(loose.difference)
    assert close.high - close.low < 0.5 * (loose.high - loose.low) and close.p < 0.01 < loose.p
    ratio, loose_ratio = retention(pruned, dense, tasks), retention(shuffled, dense, tasks)
    assert ratio.percent == pytest.approx(loose_ratio.percent)
    assert ratio.high - ratio.low < 0.5 * (loose_ratio.high - loose_ratio.low)


def test_p_is_that_of_all_exchanges_where_tasks_differ_in_size():
    """With tasks of 2, 5 and 9 questions the simulated p is the one that enumerating every exchange gives."""
    tasks = np.repeat([0, 1, 2], [2, 5, 9])
    pruned = np.array([1, 0] + [1, 1, 1, 0, 0] + [0, 0, 0, 0, 1, 1, 0, 1, 0], bool)
    dense = np.array([0, 0] + [0, 0, 1, 1, 0] + [1, 1, 1, 0, 1, 0, 1, 1, 0], bool)
    signs = pruned.astype(int) - dense
    weights = signs / (3 * np.bincount(tasks)[tasks])
    sums = [abs(np.dot(x, weights[signs != 0])) for x in itertools.product((-1, 1), repeat=np.count_nonzero(signs))]
    truth = np.mean(np.array(sums) >= abs(weights.sum()) - 1e-9)
    found = paired(pruned, dense, tasks)
    assert found.difference == pytest.approx(weights.sum())
    assert 0.05 < truth < 0.95 and found.p == pytest.approx(truth, abs=0.012)


def test_every_task_weighs_the_same():
    """A score is the mean over tasks, not over questions: one task of 10 counts as much as one of 1000."""
    tasks = np.repeat(["large", "small"], [1000, 10])
    dense = np.concatenate([np.arange(1000) % 2 == 0, np.ones(10, bool)])
    pruned = np.concatenate([dense[:1000], np.zeros(10, bool)])
    found = paired(pruned, dense, tasks)
    assert found.difference == pytest.approx(-0.5) and found.p < 0.01
    assert retention(pruned, dense, tasks).percent == pytest.approx(100 * 0.25 / 0.75)
    low, high = interval(dense, tasks)
    assert low < 0.75 < high and 0.73 < low


def test_models_may_change_places():
    """Exchanging the two models turns the difference and its interval round and leaves p as it is."""
    tasks = asked(50)
    pruned, dense = two_models(np.random.default_rng(6), tasks, -0.03)
    one, other = paired(pruned, dense, tasks), paired(dense, pruned, tasks)
    assert (one.difference, one.p) == (-other.difference, other.p)
    assert [one.low, one.high] == pytest.approx([-other.high, -other.low], abs=0.004)


def test_intervals_shrink_with_the_square_root_of_questions():
    """Sixteen times the questions make the interval a quarter as wide."""
    rng = np.random.default_rng(7)
    few, many = (np.ptp(interval(answers(rng, asked(n)), asked(n))) for n in (25, 400))
    assert few / many == pytest.approx(4, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=40), st.integers(0, 99)
)
def test_any_answers_give_ordered_results_whatever_their_order(rows, seed):
    """Ends are in order and in range, a seed gives one result, and neither question order nor task names matter."""
    pruned, dense, tasks = (np.array(x) for x in zip(*rows))
    found, (low, high) = paired(pruned, dense, tasks, seed, 50), interval(pruned, tasks, seed, 50)
    assert 0 <= low <= high <= 1 and -1 <= found.low <= found.high <= 1 and 0 < found.p <= 1
    mixed = np.random.default_rng(seed).permutation(len(rows))
    named = np.array(["a", "b", "c", "d"])[tasks]
    assert paired(pruned[mixed], dense[mixed], named[mixed], seed, 50) == found
    assert interval(pruned[mixed], named[mixed], seed, 50) == (low, high)


def test_another_seed_draws_other_questions():
    """The seed is used: two seeds give intervals that differ a little, and the same score."""
    tasks = asked(20)
    pruned, dense = two_models(np.random.default_rng(8), tasks, -0.05)
    one, other = paired(pruned, dense, tasks, 0), paired(pruned, dense, tasks, 1)
    assert one.difference == other.difference and (one.low, one.high) != (other.low, other.high)
    assert interval(pruned, tasks, 0) != interval(pruned, tasks, 1)


def test_identical_answers_differ_by_nothing():
    """A model against itself: difference 0 with nothing around it, p = 1, retention 100%."""
    tasks = asked(20)
    dense = answers(np.random.default_rng(9), tasks)
    found, kept = paired(dense, dense, tasks), retention(dense, dense, tasks)
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)
    assert (kept.percent, kept.low, kept.high) == (100, 100, 100)


def test_retention_needs_a_dense_model_that_knows_something():
    """Nothing right in dense is refused; a handful of right answers still gives finite ends."""
    tasks, none = np.zeros(6, int), np.zeros(6, bool)
    with pytest.raises(ValueError, match="nothing to retain"):
        retention(~none, none, tasks)
    one = np.arange(6) == 0
    kept = retention(~none, one, tasks)
    assert kept.percent == pytest.approx(600) and 0 < kept.low <= kept.high < np.inf


@pytest.mark.parametrize("right", [np.array([0.5, 1.0]), np.array([]), np.ones((2, 1)), np.ones(3)])
def test_only_right_and_wrong_are_taken(right):
    """Probabilities, no questions, and arrays that do not match their tasks are a mistake of the caller's."""
    with pytest.raises(AssertionError):
        interval(right, np.zeros(2 if right.size else 0))


def test_t_quantiles_are_the_printed_ones():
    """Of 1…100 degrees of freedom, as in every textbook's table."""
    printed = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 9: 2.2622, 30: 2.0423, 100: 1.9840}
    assert {d: round(t_quantile(d), 4) for d in printed} == printed


def test_seeds_give_a_t_interval_and_one_seed_gives_none():
    """Mean ± t · s / √n, which covers a normal mean 95 times in 100 with three seeds; n = 1 has no interval."""
    found = seeds([80.0, 82.0, 84.0])
    assert (found.mean, found.n) == (82, 3)
    assert [found.low, found.high] == pytest.approx([82 - 4.3027 * 2 / 3**0.5, 82 + 4.3027 * 2 / 3**0.5], abs=1e-3)
    rng = np.random.default_rng(10)
    three = [seeds(rng.normal(5, 2, 3)) for _ in range(200)]
    assert 0.9 < np.mean([x.low <= 5 <= x.high for x in three]) < 0.99
    one = seeds([81.5])
    assert (one.mean, one.low, one.high, one.n) == (81.5, None, None, 1)
    with pytest.raises(ValueError, match="no value"):
        seeds([])
