"""How importance is shared out: every share is a part of one whole, and layers may differ in width."""

import numpy as np
import pytest

from pruning import shares


@pytest.fixture
def rows():
    chance = np.random.default_rng(0)
    return [10 ** chance.normal(size=n) for n in (40, 7, 23)]


def test_what_goes_and_what_stays_hold_everything(rows):
    """Two plans of which one removes what the other keeps lose all importance between them, and nothing twice."""
    kept = [np.flatnonzero(row > 1) for row in rows]
    rest = [np.flatnonzero(row <= 1) for row in rows]
    first, second = shares.lost(rows, kept), shares.lost(rows, rest)
    assert first.units + second.units == first.of == 70 and first.importance + second.importance == pytest.approx(1)
    assert first.importance < second.importance and first.share == first.units / 70
    found = shares.common(shares.going(rows, kept), shares.going(rows, rest))
    assert (found.both, found.first, found.second) == (0, first.units, second.units)
    assert shares.lost([np.zeros(3)], [[0]]).importance == 0  # nothing is no part of nothing


def test_the_fewest_that_hold_a_part_would_not_with_one_less():
    """They are the largest, wherever they stand; of nothing but zeros they hold nothing."""
    values = np.array([1.0, 6.0, 2.0, 1.0])
    assert shares.fewest(values, 0.6) == (1, 0.6) and shares.fewest(values, 0.61) == (2, 0.8)
    assert (
        shares.share(values, [1, 2]) == 0.8 and shares.share(np.zeros(3), [0]) == 0 == shares.fewest(np.zeros(3), 1)[1]
    )


def test_groups_keep_each_layers_mean_and_what_goes_comes_first(rows):
    """Groups weighed by their size give the layer's own mean and share; the last to go stands at the cut."""
    kept = [np.arange(len(row) // 2, len(row)) for row in rows]
    found, gone = shares.groups(rows, kept, 7), shares.gone_of_each(rows, kept)
    for i, row in enumerate(rows):
        sizes = np.diff(np.linspace(0, len(row), 8).round().astype(int))
        assert (found.importance[i] * sizes).sum() == pytest.approx(row.sum())
        assert (found.goes[i] * sizes).sum() == pytest.approx(gone[i] * len(row))
        assert (np.diff(found.goes[i]) <= 0).all()
    whole = shares.groups(rows, [np.arange(len(row)) for row in rows], 7)
    assert (np.diff(whole.importance) >= 0).all() and not whole.goes.any()


def test_a_unit_is_weighed_against_its_own_layer(rows):
    """Relative importance has a mean of 1 in every layer and no number past its end; rank 1 is the layer's largest."""
    laid = shares.laid(rows)
    found, ranks = shares.relative(laid, 1.0), shares.ranks(laid)
    np.testing.assert_allclose(np.nanmean(found, axis=1), 1)
    assert [np.isfinite(x).sum() for x in found] == [40, 7, 23]
    for i, row in enumerate(rows):
        assert sorted(ranks[i, : len(row)]) == list(range(1, len(row) + 1)) and ranks[i, np.argmax(row)] == 1
    assert (shares.relative(np.zeros((1, 3)), 1.0) == 1).all()
    assert shares.weightiest([np.ones(3), np.full(2, 9.0)]) == 1 and shares.top_tenth([np.ones(20)]) == 0.1


def test_a_histogram_counts_every_unit_once(rows):
    """Bars of what stays and what goes add up to all units, zeros and layers of zeros included."""
    rows = [*rows, np.array([0.0, 1.0]), np.zeros(4)]
    kept = [np.arange(0, len(row), 2) for row in rows]
    found = shares.histogram(rows, kept)
    assert (found.stays.sum(), found.goes.sum()) == (sum(map(len, kept)), 76 - sum(map(len, kept)))
    for bars, stay in ((found.stays, True), (found.goes, False)):
        chosen = [row[np.isin(np.arange(len(row)), some) == stay] / (row.mean() or 1) for row, some in zip(rows, kept)]
        values = np.log10(np.maximum(np.concatenate(chosen), shares.LEAST))
        assert (bars == np.histogram(values, found.edges)[0]).all()
    assert found.edges[0] == np.log10(shares.LEAST) and shares.below([np.array([1, 1, 1, 9.0])], 0.5) == 0.75


def test_what_is_known_of_rows_is_not_told_of_others(rows):
    """Sorted and binned once for the same arrays; others, and others of the same numbers, are looked at anew."""
    kept = [np.arange(0, len(row), 2) for row in rows]
    first = shares.groups(rows, kept, 2).importance
    assert (shares.groups(list(rows), kept, 2).importance == first).all()
    turned = [row[::-1].copy() for row in rows]
    wanted = shares.groups([row.copy() for row in turned], kept, 2).importance
    assert (shares.groups(turned, kept, 2).importance == wanted).all() and (wanted != first).any()
    double = [np.concatenate([row, row]) for row in rows]
    both = shares.histogram(double, [np.arange(0)] * len(rows))
    assert both.goes.sum() == 2 * sum(map(len, rows)) and not both.stays.any()
