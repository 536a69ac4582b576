"""Blind votes between two answers, and what they add up to: how often a variant is preferred, and how sure that is.

A tie, and two bad answers, count as half a win for both sides. Pure functions of votes; where these are kept is no
matter here.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import combinations

import numpy as np

from evaluation.cases import BadCase
from evaluation.statistics import Z, wilson

OUTCOMES = {"left": 1.0, "right": 0.0, "tie": 0.5, "both-bad": 0.5}  # what the left one wins
PRIOR = 1.5  # standard deviation of strengths before any vote, on the scale of log odds


@dataclass(frozen=True)
class Contender:
    """A variant in a vote. made: a hash of how it was made, by which votes on it are told apart."""

    made: str
    kind: str
    title: str


@dataclass(frozen=True)
class Vote:
    """One person's choice between two answers to one question, made before any name was shown."""

    left: Contender
    right: Contender
    outcome: str
    digest: str  # of the original's weights
    question: str
    answers: tuple[str, str]
    seed: int = 0  # that drew question, contenders and sides
    voted: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self):
        if self.outcome not in OUTCOMES:
            raise BadCase(f"There is no vote {self.outcome!r}: choose {', '.join(OUTCOMES)}.")


def drawn(contenders: Sequence[str], seed: int) -> tuple[str, str]:
    """Two of them on random sides, the same for the same seed: every pair equally often, each side too.

    Raises BadCase for fewer than two.
    """
    if len(set(contenders)) < 2:
        raise BadCase("A vote needs two models: please prune first.")
    chance = random.Random(seed)
    pair = list(chance.choice(list(combinations(contenders, 2))))
    chance.shuffle(pair)
    return pair[0], pair[1]


@dataclass(frozen=True)
class Standing:
    """What the votes say of one variant.

    chance: of being preferred: against the other one where there are two, else against the reference. low, high: its
    95% interval; None for the reference itself, which nothing is measured against.
    """

    contender: Contender
    votes: int
    wins: int
    losses: int
    ties: int
    both_bad: int
    chance: float
    low: float | None
    high: float | None


def score(votes: Sequence[Vote]) -> list[Standing]:
    """Everybody who was voted on, the reference (the original if it took part) first, then the most preferred.

    Of two: shares with Wilson's interval. Of more: Bradley–Terry (`strengths`), since not all meet all.
    """
    found = {x.made: x for vote in reversed(votes) for x in (vote.left, vote.right)}
    names = sorted(found, key=lambda x: (found[x].kind != "original", x))
    if len(names) == 2:
        chances = {}
        for name in names:
            won = sum(_won(x, name) for x in votes)
            chances[name] = (won / len(votes), *wilson(won, len(votes)))
    elif names:
        theta, covariance = strengths(_games(votes, names), len(names))
        chances = {names[0]: (0.5, None, None)}
        for i, name in enumerate(names[1:], 1):
            spread = math.sqrt(max(0.0, covariance[i, i] + covariance[0, 0] - 2 * covariance[i, 0]))
            gap = theta[i] - theta[0]
            chances[name] = tuple(float(_sigmoid(x)) for x in (gap, gap - Z * spread, gap + Z * spread))
    standings = [_standing(found[x], votes, chances[x]) for x in names]
    return [*standings[:1], *sorted(standings[1:], key=lambda x: -x.chance)]


def preferred(standings: Sequence[Standing]) -> tuple[Contender, Contender] | None:
    """Who is preferred to whom beyond chance, of the first and the one least preferred to it; None where that could be
    chance. standings: of `score`, two or more."""
    first, *others = standings
    least = min(others, key=lambda x: x.chance)
    if least.high < 0.5:
        return first.contender, least.contender
    return (least.contender, first.contender) if least.low > 0.5 else None


def cast(standings: Sequence[Standing]) -> int:
    """How many votes there were; each is in two standings."""
    return sum(x.votes for x in standings) // 2


def _won(vote: Vote, name: str) -> float:
    left = OUTCOMES[vote.outcome]
    return left if vote.left.made == name else 1 - left


def _standing(contender: Contender, votes: Sequence[Vote], chance: tuple) -> Standing:
    own = [x for x in votes if contender.made in (x.left.made, x.right.made)]
    decided = [_won(x, contender.made) for x in own if x.outcome in ("left", "right")]
    wins, count = int(sum(decided)), lambda outcome: sum(x.outcome == outcome for x in own)
    return Standing(contender, len(own), wins, len(decided) - wins, count("tie"), count("both-bad"), *chance)


def _games(votes: Sequence[Vote], names: list[str]) -> list[tuple[int, int, float]]:
    place = {x: i for i, x in enumerate(names)}
    return [(place[x.left.made], place[x.right.made], OUTCOMES[x.outcome]) for x in votes]


def strengths(games: Sequence[tuple[int, int, float]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Bradley–Terry: log odds of being preferred are differences of strengths θ. games: (i, j, what i won, 0…1).

    (n,) the likeliest strengths and their (n, n) covariance (inverse Hessian there), with θ ~ N(0, PRIOR²) before any
    vote, which keeps one that won all its votes at a finite strength. Bradley & Terry, Biometrika 39 (1952).
    """
    theta = np.zeros(n)
    for _ in range(100):  # Newton's method on a strictly concave function of few variables
        slope, curvature = -theta / PRIOR**2, np.eye(n) / PRIOR**2
        for i, j, won in games:
            p = _sigmoid(theta[i] - theta[j])
            slope[[i, j]] += (won - p, p - won)
            curvature[np.ix_([i, j], [i, j])] += p * (1 - p) * np.array([[1, -1], [-1, 1]])
        step = np.linalg.solve(curvature, slope)
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            break
    return theta, np.linalg.inv(curvature)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
