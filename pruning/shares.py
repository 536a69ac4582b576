"""How importance is shared out among layers, heads and neurons, and how much of it goes: arithmetic on arrays.

`rows`: per layer the importance of its units, (units,) each, layers of unequal width allowed. `kept`: per layer the
indices that stay; none where the whole layer goes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .about import Overlap

Rows = Sequence[np.ndarray]
Kept = Sequence[Sequence[int]]
LEAST = 1e-4  # of a layer's mean: a histogram counts what is less there
BINS = 30


class _Same:
    """Rows by identity: what follows from them alone is found once, however often a slider moves."""

    def __init__(self, rows: Rows):
        self.rows = tuple(rows)  # held, so that no other array can come to have their ids

    def __hash__(self) -> int:
        return hash(tuple(map(id, self.rows)))

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, _Same) and len(self.rows) == len(other.rows)
        return same and all(a is b for a, b in zip(self.rows, other.rows))


def share(values: np.ndarray, chosen: Sequence[int]) -> float:
    """What these entries hold of the sum, 0…1; 0 where there is nothing to hold."""
    total = float(np.sum(values))
    return float(np.sum(values[list(chosen)])) / total if total else 0.0


def fewest(values: np.ndarray, part: float) -> tuple[int, float]:
    """How few of the largest entries hold this part of the sum, 0…1, and the part that they do hold."""
    total, descending = float(np.sum(values)), np.cumsum(np.sort(values)[::-1])
    few = int(np.searchsorted(descending, part * total)) + 1
    return few, float(descending[few - 1] / total) if total else 0.0


def laid(rows: Rows) -> np.ndarray:
    """(L, widest): rows of unequal length as one array, NaN past a row's end."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def going(rows: Rows, kept: Kept) -> np.ndarray:
    """(L, widest) bool: True where a unit that exists is not kept."""
    gone = np.zeros((len(rows), max(map(len, rows))), dtype=bool)
    for i, row in enumerate(rows):
        gone[i, : len(row)] = True
        gone[i, np.asarray(kept[i], dtype=int)] = False
    return gone


def common(first: np.ndarray, second: np.ndarray) -> Overlap:
    """How many units two plans remove alike, or one of them alone. first, second: bool of one shape, True: goes."""
    return Overlap(int((first & second).sum()), int((first & ~second).sum()), int((second & ~first).sum()))


@dataclass(frozen=True)
class Lost:
    """Units that go, of how many; and the share, 0…1, of all importance that they hold."""

    units: int
    of: int
    importance: float

    @property
    def share(self) -> float:
        return self.units / self.of


def lost(rows: Rows, kept: Kept) -> Lost:
    """What goes under a plan, over all layers."""
    gone, importance = going(rows, kept), sum(float(np.sum(row)) for row in rows)
    held = sum(float(np.sum(row[gone[i, : len(row)]])) for i, row in enumerate(rows))
    return Lost(int(gone.sum()), sum(map(len, rows)), held / importance if importance else 0.0)


def gone_of_each(rows: Rows, kept: Kept) -> np.ndarray:
    """(L,): of each layer's units the share that goes, 0…1."""
    return np.array([(len(row) - len(stays)) / len(row) for row, stays in zip(rows, kept, strict=True)])


def weightiest(rows: Rows) -> int:
    """The layer whose units have the most importance together."""
    return int(np.argmax([np.sum(row) for row in rows]))


def top_tenth(rows: Rows) -> float:
    """The share of all importance, 0…1, that each layer's top tenth of units hold together."""
    importance = sum(float(np.sum(row)) for row in rows)
    top = sum(float(np.sum(np.sort(row)[-len(row) // 10 :])) for row in rows)
    return top / importance if importance else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """(L, widest): each unit's place in its layer, from 1, the highest first; units that tie share the best place."""
    return 1 + np.sum(values[:, None, :] > values[:, :, None], axis=2)


def relative(values: np.ndarray, of_nothing: float) -> np.ndarray:
    """(L, widest): importance over the layer's mean. of_nothing: what stands in a layer of nothing but zeros."""
    means = np.nanmean(values, axis=1, keepdims=True)
    found = np.divide(values, means, out=np.full_like(values, of_nothing), where=means > 0)
    found[np.isnan(values)] = np.nan
    return found


@dataclass(frozen=True, eq=False)
class Groups:
    """A layer's units in groups of (about) one size: (L, groups) each."""

    importance: np.ndarray  # their mean
    goes: np.ndarray  # the share of each group that goes, 0…1


def groups(rows: Rows, kept: Kept, count: int) -> Groups:
    """Each layer's units, those that go before those that stay, either from least to most important, in `count` groups;
    no layer has fewer units."""
    found = Groups(np.empty((len(rows), count)), np.empty((len(rows), count)))
    orders = _orders(_Same(rows))
    for i, row in enumerate(rows):
        goes = np.ones(len(row), dtype=bool)
        goes[np.asarray(kept[i], dtype=int)] = False
        order = orders[i]
        order = np.concatenate([order[goes[order]], order[~goes[order]]])
        edges = np.linspace(0, len(row), count + 1).round().astype(int)
        for out, values in ((found.importance, row), (found.goes, goes)):
            out[i] = np.add.reduceat(values[order], edges[:-1], dtype=float) / np.diff(edges)
    return found


@lru_cache(maxsize=4)
def _orders(same: _Same) -> list[np.ndarray]:
    """Of each row, from least to most important."""
    return [np.argsort(row) for row in same.rows]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Units by their importance over their layer's mean. edges: (BINS + 1,), its log10; stays, goes: (BINS,) counts."""

    edges: np.ndarray
    stays: np.ndarray
    goes: np.ndarray


def histogram(rows: Rows, kept: Kept) -> Histogram:
    """Of all units of these layers; what has less than LEAST of its layer's mean counts as that."""
    found = _spread(_Same(rows))
    gone = going(rows, kept)[found.there]
    return Histogram(found.edges, *(np.bincount(found.bins[gone == x], minlength=BINS) for x in (False, True)))


def below(rows: Rows, part: float) -> float:
    """The share of units, 0…1, that have less than this part of their layer's mean importance."""
    return float(np.mean(_spread(_Same(rows)).relative < part))


@dataclass(frozen=True, eq=False)
class _Spread:
    """Of N units: relative (N,), importance over the layer's mean; bins (N,): where in a histogram of these edges.
    there: (L, widest) bool, where they stand among the rows."""

    there: np.ndarray
    relative: np.ndarray
    edges: np.ndarray
    bins: np.ndarray


@lru_cache(maxsize=4)
def _spread(same: _Same) -> _Spread:
    relatives = relative(laid(same.rows), 0.0)
    there = np.isfinite(relatives)
    values = np.log10(np.maximum(relatives[there], LEAST))
    edges = np.linspace(values.min(), max(values.max(), values.min() + 0.1), BINS + 1)
    bins = np.minimum(np.searchsorted(edges, values, side="right") - 1, BINS - 1)  # the last one has both its ends
    return _Spread(there, relatives[there], edges, bins)
