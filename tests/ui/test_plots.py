import json

import numpy as np
import pytest

from ui import plots

LAYERS, HEADS, NEURONS = 6, 4, 40


@pytest.fixture
def rows():
    chance = np.random.default_rng(0)
    return [10 ** chance.normal(size=HEADS) for _ in range(LAYERS)], [
        10 ** chance.normal(size=NEURONS) for _ in range(LAYERS)
    ]


def everything(rows):
    return [np.arange(len(row)) for row in rows]


def crossed(figure):
    """(layer, head) of every cross in a head map."""
    return set(zip(figure.data[-1].y, figure.data[-1].x, strict=True))


def test_exactly_the_removed_heads_are_crossed_out(rows):
    """Every head that goes carries a cross and none that stays does, whole removed layers included."""
    kept = everything(rows[0])
    kept[1], kept[4] = np.array([0, 3]), np.array([], dtype=int)
    assert crossed(plots.heads(rows[0], kept)) == {(1, 1), (1, 2), (4, 0), (4, 1), (4, 2), (4, 3)}


def test_a_heads_colour_is_shown_once(rows):
    """The map of what stays and the faded map of what goes cover every head once between them."""
    kept = everything(rows[0])
    kept[2] = np.array([1])
    stays, goes = (np.array(trace.z, dtype=float) for trace in plots.heads(rows[0], kept).data[:2])
    assert (np.isfinite(stays) ^ np.isfinite(goes)).all()


def test_layers_of_unequal_width_are_drawn(rows):
    """A decoder whose layers differ in heads and neurons has figures too; zero importance is allowed."""
    heads = [row[: 1 + i % HEADS] for i, row in enumerate(rows[0])]
    neurons = [row[: 8 + 3 * i] for i, row in enumerate(rows[1])]
    heads[0] = np.zeros(1)
    json.loads(plots.heads(heads, everything(heads)).to_json())
    json.loads(plots.neurons(neurons, everything(neurons)).to_json())


def test_removed_layers_are_hatched_and_kept_ones_solid():
    """Bars of removed layers are the only hatched ones."""
    values = np.linspace(1, 2, LAYERS)
    solid, hatched = plots.influence(values, (2, 5), values, values).data
    assert set(np.flatnonzero(np.isfinite(np.array(hatched.x, dtype=float)))) == {2, 5}
    assert set(np.flatnonzero(np.isfinite(np.array(solid.x, dtype=float)))) == {0, 1, 3, 4}
    assert hatched.marker.pattern.shape == "/" and not solid.marker.pattern.shape


def test_the_neuron_cut_stands_where_the_share_says(rows):
    """A layer that loses a quarter of its neurons has its mark at a quarter of the width; a whole one has none."""
    kept = everything(rows[1])
    kept[3] = np.argsort(rows[1][3])[NEURONS // 4 :]
    line = plots.neurons(rows[1], kept).data[-1]
    np.testing.assert_array_equal(line.x, [NEURONS / 4 - 0.5, NEURONS / 4 - 0.5, np.nan])
    np.testing.assert_array_equal(line.y, [2.5, 3.5, np.nan])


def test_bar_lengths_of_the_network_are_its_parameters():
    """Solid and hatched parts of a layer add up to its parameters before pruning."""
    attention, mlp = np.full(LAYERS, 100.0), np.full(LAYERS, 300.0)
    figure = plots.network(attention, mlp, attention * 0.5, mlp * 0)
    assert np.nansum([np.array(trace.x, dtype=float) for trace in figure.data]) == (attention + mlp).sum()


@pytest.mark.parametrize(
    "sentence, text",
    [
        (plots.influence_finding(np.array([6, 1, 1, 2.0]), ()), "1 of 4 layers carries 60% of the influence"),
        (plots.influence_finding(np.array([6, 1, 1, 2.0]), (1, 2)), "Layers 1 and 2 carry 20% of the influence and go"),
        (plots.influence_finding(np.array([6, 1, 1, 2.0]), (3,)), "Layer 3 carries 20% of the influence and goes"),
        (plots.heads_finding([np.array([1.0, 9])], [[1]]), "1 of 2 heads go; they hold 10% of the heads' importance"),
        (
            plots.neurons_finding([np.array([1.0, 1, 8])], [[2]]),
            "67% of the neurons go; they hold 20% of the neurons' importance",
        ),
        (plots.network_finding(1000, 1000), "All 1.00k parameters of the decoder layers stay"),
    ],
)
def test_titles_state_the_finding(sentence, text):
    """The sentence over a figure is what its numbers say."""
    assert sentence == text


def test_figures_share_rows_and_margins(rows):
    """Same height and top margin everywhere, and no background of their own, so that eyes travel and themes show."""
    values = np.linspace(1, 2, LAYERS)
    figures = [
        plots.influence(values, (), values, values),
        plots.heads(rows[0], everything(rows[0])),
        plots.neurons(rows[1], everything(rows[1])),
        plots.network(values, values, values, values),
    ]
    assert len({(f.layout.height, f.layout.margin.t, f.layout.margin.b) for f in figures}) == 1
    assert {f.layout.paper_bgcolor for f in figures} == {"rgba(0,0,0,0)"}


def test_a_removed_part_begins_where_the_kept_one_ends():
    """Within a layer attention, then MLP follow one another without overlap."""
    attention, mlp = np.full(LAYERS, 100.0), np.full(LAYERS, 300.0)
    bars = plots.network(attention, mlp, attention * 0.4, mlp * 0.5).data
    pieces = sorted(
        (float(b), float(b + x))
        for bar in bars
        for x, b in zip(bar.x[:1], np.broadcast_to(bar.base, LAYERS))
        if np.isfinite(x)
    )
    assert pieces == [(0, 40), (40, 100), (100, 250), (250, 400)]
