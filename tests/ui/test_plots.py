import json

import numpy as np
import pytest

from pruning import Split, Unit
from ui import bars, plots, spread

LAYERS, HEADS, NEURONS = 6, 4, 40


@pytest.fixture
def rows():
    chance = np.random.default_rng(0)
    return [10 ** chance.normal(size=HEADS) for _ in range(LAYERS)], [
        10 ** chance.normal(size=NEURONS) for _ in range(LAYERS)
    ]


def everything(rows):
    return [np.arange(len(row)) for row in rows]


def crossed(figure, what=plots.GOES):
    """(layer, head) of every head that carries the cross or stroke of a fate."""
    return {x for trace in figure.data if trace.name == what and trace.type == "scatter" for x in zip(trace.y, trace.x)}


def lengths(figure, what, name=""):
    """Layers whose bars are drawn as this fate, and their lengths."""
    traces = [x for x in figure.data if x.type == "bar" and x.name.startswith(name) and x.name.endswith(", " + what)]
    return {int(y): float(x) for t in traces for y, x in zip(t.y, np.array(t.x, dtype=float)) if np.isfinite(x)}


def parts(stays, first=0, both=0, second=0) -> Split:
    return Split(*(np.full(LAYERS, float(x)) for x in (stays, both, first, second)))


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
    """Bars of removed layers are the only hatched ones, over image and over text tokens."""
    values = np.linspace(1, 2, LAYERS)
    figure = bars.influence(values, (2, 5), values * 2, values * 3)
    for name, factor in (("image", 2), ("text", 3)):
        assert lengths(figure, plots.GOES, name) == {i: factor * values[i] for i in (2, 5)}
        assert set(lengths(figure, plots.STAYS, name)) == {0, 1, 3, 4}
    for trace in figure.data:
        assert bool(trace.marker.pattern.shape) == trace.name.endswith(plots.GOES) if trace.type == "bar" else True
    assert list(next(x for x in figure.data if x.name == "all tokens").x) == list(values)


def test_influence_over_no_image_draws_no_image_bar():
    """Samples without pictures leave those bars out."""
    values = np.linspace(1, 2, LAYERS)
    figure = bars.influence(values, (2,), np.full(LAYERS, np.nan), values)
    assert not lengths(figure, plots.STAYS, "image") and len(lengths(figure, plots.STAYS, "text")) == LAYERS - 1


def test_two_plans_lie_over_each_other(rows):
    """What both remove, what only one does and what only the other does carry different strokes, in every figure."""
    kept, other = everything(rows[0]), everything(rows[0])
    kept[1], other[1] = np.array([0, 3]), np.array([0, 2])  # 1 goes in both, 2 in one, 3 in the other
    figure = plots.heads(rows[0], kept, other=other)
    assert crossed(figure, plots.BOTH) == {(1, 1)}
    assert crossed(figure, plots.GOES) == {(1, 2)} and crossed(figure, plots.ONLY_KEPT) == {(1, 3)}

    values = np.linspace(1, 2, LAYERS)
    figure = bars.influence(values, (2, 5), values, values, other=(5, 0))
    drawn = {what: set(lengths(figure, what)) for what in (plots.GOES, plots.ONLY_KEPT, plots.BOTH, plots.STAYS)}
    assert list(drawn.values()) == [{2}, {0}, {5}, {1, 3, 4}]
    shapes = {x.name.split(", ")[1]: x.marker.pattern.shape for x in figure.data if x.type == "bar"}
    assert len(set(shapes.values())) == 4

    figure = bars.network(parts(40, 20, 30, 10), parts(1), 5, 5, 5)
    for what, size in ((plots.STAYS, 40), (plots.GOES, 20), (plots.BOTH, 30), (plots.ONLY_KEPT, 10)):
        assert lengths(figure, what, "attention") == dict.fromkeys(range(LAYERS), size)

    neurons = everything(rows[1])
    fewer = [x[NEURONS // 2 :] for x in neurons]
    assert [x.line.dash for x in plots.neurons(rows[1], neurons, fewer).data[2:]] == ["solid", "dot"]


def test_pins_and_what_is_forced_out_are_marked_at_their_places(rows):
    """A ring at a pinned head, a crossed square at a forced one, a frame around what is looked at."""
    marks = plots.Marks((Unit(1, 2), Unit(3)), (Unit(4, 0),), Unit(2, 3))
    figure = plots.heads(rows[0], everything(rows[0]), marks=marks)
    rings = [x for x in figure.data if x.type == "scatter" and x.marker.symbol == "circle-open"][0]
    assert set(zip(rings.y, rings.x)) == {(1, 2), (3, -0.5)}
    assert [x for x in figure.data if x.type == "scatter" and x.marker.symbol == "square-x-open"][0].y == (4,)
    assert [(x.y0, x.y1) for x in figure.layout.shapes] == [(1.5, 2.5)] * 2
    assert (figure.layout.shapes[0].x0, figure.layout.shapes[0].x1) == (2.5, 3.5)
    values = np.linspace(1, 2, LAYERS)
    for figure in (
        bars.influence(values, (), values, values, marks=marks),
        bars.network(parts(1), parts(1), 1, 1, 1, marks),
        plots.neurons(rows[1], everything(rows[1]), marks=marks),
    ):
        assert len(figure.layout.shapes) == 1


def test_the_neuron_cut_stands_where_the_share_says(rows):
    """A layer that loses a quarter of its neurons has its mark at a quarter of the width; a whole one has none."""
    kept = everything(rows[1])
    kept[3] = np.argsort(rows[1][3])[NEURONS // 4 :]
    line = plots.neurons(rows[1], kept).data[-1]
    np.testing.assert_array_equal(line.x, [NEURONS / 4 - 0.5, NEURONS / 4 - 0.5, np.nan])
    np.testing.assert_array_equal(line.y, [2.5, 3.5, np.nan])


def test_areas_of_the_network_are_its_parameters():
    """Bars of every layer add up to its parameters, and a block around them has its own area, however large."""
    figure = bars.network(parts(100, 20), parts(200, 80), vision=1000, projector=40, words=400)
    totals = np.zeros(LAYERS)
    for name in ("attention", "MLP"):
        for what in (plots.STAYS, plots.GOES):
            for layer, size in lengths(figure, what, name).items():
                totals[layer] += size
    assert totals.tolist() == [400] * LAYERS
    blocks = {x.name: x for x in figure.data if ", " not in x.name}
    assert {name: x.x[0] * max(1, x.width[0]) for name, x in blocks.items()} == {
        "vision tower": 1000, "projector": 40, "embeddings and output head": 400,
    }  # fmt: skip
    bottoms = sorted((x.y[0] - max(1, x.width[0]) / 2, x.y[0] + max(1, x.width[0]) / 2) for x in blocks.values())
    assert bottoms[0][1] < bottoms[1][0] and bottoms[1][1] < -0.5 and bottoms[2][0] > LAYERS - 0.5  # none overlaps


def test_a_histogram_counts_every_neuron_once(rows):
    """Those that stay and those that go add up to the layer, or to all layers."""
    kept = everything(rows[1])
    kept[2] = np.arange(10, NEURONS)
    for layer, total, gone in ((None, LAYERS * NEURONS, 10), (2, NEURONS, 10), (0, NEURONS, 0)):
        stays, goes = (sum(x.y) for x in spread.spread(rows[1], kept, layer).data)
        assert (stays + goes, goes) == (total, gone)
    equal = spread.spread([np.zeros(8)], [np.arange(8)], None)
    assert sum(equal.data[0].y) == 8
    assert spread.spread_finding([np.array([1.0, 1, 1, 9])], [[0]], 0).startswith("Layer 0: 75% of the neurons")


@pytest.mark.parametrize(
    "sentence, text",
    [
        (bars.influence_finding(np.array([6, 1, 1, 2.0]), ()), "1 of 4 layers carries 60% of the influence"),
        (bars.influence_finding(np.array([6, 1, 1, 2.0]), (1, 2)), "Layers 1 and 2 carry 20% of the influence and go"),
        (bars.influence_finding(np.array([6, 1, 1, 2.0]), (3,)), "Layer 3 carries 20% of the influence and goes"),
        (plots.heads_finding([np.array([1.0, 9])], [[1]]), "1 of 2 heads go; they hold 10% of the heads' importance"),
        (
            plots.neurons_finding([np.array([1.0, 1, 8])], [[2]]),
            "67% of the neurons go; they hold 20% of the neurons' importance",
        ),
        (bars.network_finding(1000, 1000), "All 1.00k parameters of the decoder layers stay"),
        (
            bars.network_finding(1000, 1, (10_000, 0, 2)),
            "10.0k parameters go in both plans, 2.00 only in the kept one",
        ),
        (
            bars.influence_finding(np.ones(4), (1, 2), (2, 3)),
            "1 layer goes in both plans, 1 only now, 1 only in the kept one",
        ),
        (plots.heads_finding([np.ones(3)], [[0]], [[0]]), "Both plans remove the same heads"),
        (
            plots.heads_finding([np.ones(3)], [[0, 1]], [[1, 2]]),
            "No heads go in both plans, 1 only now, 1 only in the kept one",
        ),
    ],
)
def test_titles_state_the_finding(sentence, text):
    """The sentence over a figure is what its numbers say."""
    assert sentence == text


def test_figures_share_rows_and_margins(rows):
    """Same height and top margin everywhere, and no background of their own, so that eyes travel and themes show."""
    values = np.linspace(1, 2, LAYERS)
    figures = [
        bars.influence(values, (), values, values),
        plots.heads(rows[0], everything(rows[0])),
        plots.neurons(rows[1], everything(rows[1])),
        spread.spread(rows[1], everything(rows[1]), None),
    ]
    assert len({(f.layout.height, f.layout.margin.t, f.layout.margin.b) for f in figures}) == 1
    assert {f.layout.paper_bgcolor for f in figures} == {"rgba(0,0,0,0)"}


def test_a_removed_part_begins_where_the_kept_one_ends():
    """Within a layer attention, then MLP follow one another without overlap."""
    drawn = bars.network(parts(40, 60), parts(150, 150), 1, 1, 1).data
    pieces = sorted(
        (float(b), float(b + x))
        for bar in drawn
        if ", " in bar.name
        for x, b in zip(bar.x[:1], np.broadcast_to(bar.base, LAYERS))
        if np.isfinite(x)
    )
    assert pieces == [(0, 40), (40, 100), (100, 250), (250, 400)]
