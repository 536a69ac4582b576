"""How sure a score is: intervals and paired significance from right and wrong answers, as pure functions of arrays.

Everywhere `right` is (N,) of 0/1, one entry a question, `tasks` (N,) its task, and a score the mean over tasks of
their shares of right answers, 0…1: the paper's AVG. Intervals are 95% and equal for the same seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

ROUNDS = 2000  # of the bootstrap: an end of the interval is then good to about a twentieth of its width
FLIPS = 20_000  # of the permutation test: no p-value is smaller than 1/20 001
LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)  # 1.96
ENDS = (50 * (1 - LEVEL), 50 * (1 + LEVEL))  # percentiles


def interval(right: np.ndarray, tasks: np.ndarray, seed: int = 0, rounds: int = ROUNDS) -> tuple[float, float]:
    """Bootstrap percentile interval of the score: questions are drawn anew within each task.

    It collapses to a point where every task is all right or all wrong: no resampling can tell more from such answers.
    """
    _, drawn = _draws(np.asarray(right), np.asarray(right), np.asarray(tasks), seed, rounds)
    return _ends(drawn[:, 0])


@dataclass(frozen=True)
class Paired:
    """A variant against dense on the same questions."""

    difference: float  # of scores, -1…1; below 0: dense is better
    low: float
    high: float
    p: float  # of a difference this large, either way, if it made no odds which model had answered

    @property
    def beyond_chance(self) -> bool:
        """Whether the difference is significant at LEVEL."""
        return self.p < 1 - LEVEL


def paired(
    right: np.ndarray, dense_right: np.ndarray, tasks: np.ndarray, seed: int = 0, rounds: int = ROUNDS
) -> Paired:
    """The difference of two models' scores, its bootstrap interval and its significance.

    The interval draws whole questions anew within each task, both models' answers together. The test exchanges the two
    models' answers question by question at random (as McNemar's does: only questions that one of them got right
    matter) and counts how often the difference of *scores*, in which every task weighs the same, gets as far from 0
    as the one found. p = (1 + count) / (1 + FLIPS), so a test by simulation stays a valid one (Davison & Hinkley,
    Bootstrap Methods and their Application, 1997, §4.2).
    """
    right, dense_right, tasks = np.asarray(right, bool), np.asarray(dense_right, bool), np.asarray(tasks)
    found, drawn = _draws(right, dense_right, tasks, seed, rounds)
    difference = float(found[0] - found[1])
    _, where, asked = np.unique(tasks, return_inverse=True, return_counts=True)
    sizes, of_size = np.unique(asked, return_inverse=True)  # tasks of one size weigh their questions alike: one draw
    discordant = np.bincount(of_size[where], weights=right != dense_right).astype(int)
    won = np.random.default_rng(seed).binomial(discordant, 0.5, size=(FLIPS, len(sizes)))
    flipped = ((2 * won - discordant) / sizes).sum(axis=1) / len(asked)
    count = np.count_nonzero(np.abs(flipped) >= abs(difference) - 1e-12)  # ties count: sums of floats may differ
    return Paired(difference, *_ends(drawn[:, 0] - drawn[:, 1]), (1 + count) / (1 + FLIPS))


@dataclass(frozen=True)
class Retention:
    """The paper's AVG-%, in % of dense."""

    percent: float
    low: float
    high: float


def retention(
    right: np.ndarray, dense_right: np.ndarray, tasks: np.ndarray, seed: int = 0, rounds: int = ROUNDS
) -> Retention:
    """A variant's score over dense's, with a bootstrap interval that draws both models' answers together.

    Raises ValueError where dense has nothing right. Rounds that happen to draw none of dense's right answers, which
    takes a handful of questions, are left out.
    """
    found, drawn = _draws(np.asarray(right), np.asarray(dense_right), np.asarray(tasks), seed, rounds)
    if not found[1]:
        raise ValueError("Dense answers nothing right: there is nothing to retain.")
    drawn = drawn[drawn[:, 1] > 0]
    return Retention(float(100 * found[0] / found[1]), *_ends(100 * drawn[:, 0] / drawn[:, 1]))


@dataclass(frozen=True)
class Seeds:
    """Values of the same experiment from several training seeds."""

    mean: float
    low: float | None  # None: one seed tells nothing of the others
    high: float | None
    n: int


def seeds(values: Sequence[float]) -> Seeds:
    """Mean over training seeds with Student's t interval; none for a single seed. Raises ValueError for no value."""
    values = np.asarray(values, float)
    if not values.size:
        raise ValueError("There is no value to average.")
    mean, n = float(values.mean()), values.size
    if n == 1:
        return Seeds(mean, None, None, n)
    half = t_quantile(n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
    return Seeds(mean, mean - half, mean + half, n)


@cache
def t_quantile(degrees: int) -> float:
    """Student's t that a variable with these degrees of freedom stays below with probability (1 + LEVEL) / 2.

    With t = √degrees · tan a, the angle a has a density ∝ cos(a)^(degrees - 1) on ±π/2, which is summed here.
    """
    angles = np.linspace(0, math.pi / 2, 200_001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(degrees) * math.tan(np.interp(LEVEL, below / below[-1], angles))


def wilson(won: float, n: int, z: float = Z) -> tuple[float, float]:
    """Wilson's score interval of a share, 0…1: `won` of `n`, halves allowed. (0, 1) where nothing was counted.

    Never outside 0…1 and never a point, unlike share ± z·√(share·(1 − share) / n): Wilson, JASA 22 (1927).
    """
    assert 0 <= won <= n, "no more can be won than there is"
    if not n:
        return 0.0, 1.0
    share, extra = won / n, z * z / n
    middle = (share + extra / 2) / (1 + extra)
    half = z * math.sqrt(share * (1 - share) / n + extra / (4 * n)) / (1 + extra)
    return max(0.0, middle - half), min(1.0, middle + half)


def _draws(right, dense_right, tasks, seed, rounds) -> tuple[np.ndarray, np.ndarray]:
    """Scores of (variant, dense): (2,) as found and (rounds, 2) with questions drawn anew within each task.

    Of 0/1 answers only how many questions of a task fall into each of the four cells matters: drawing questions with
    replacement is drawing those counts from a multinomial.
    """
    assert right.ndim == 1 and right.shape == dense_right.shape == tasks.shape and right.size, "one entry a question"
    assert np.isin(right, (0, 1)).all() and np.isin(dense_right, (0, 1)).all(), "right or wrong"
    names, where = np.unique(tasks, return_inverse=True)
    cells = np.zeros((len(names), 4), int)  # per task: neither, only dense, only the variant, both
    np.add.at(cells, (where, 2 * right.astype(int) + dense_right), 1)
    asked = cells.sum(axis=1)
    drawn = np.random.default_rng(seed).multinomial(asked, cells / asked[:, None], size=(rounds, len(names)))
    return _scores(cells[None], asked)[0], _scores(drawn, asked)


def _scores(cells: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(rounds, T, 4) counts → (rounds, 2) scores of (variant, dense)."""
    both = np.stack([cells[..., 2] + cells[..., 3], cells[..., 1] + cells[..., 3]], axis=-1)
    return (both / asked[:, None]).mean(axis=1)


def _ends(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, ENDS)
    return float(low), float(high)
