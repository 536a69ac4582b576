"""Figures of a healing run: what is drawn is what was measured, and the title says it."""

import json

import numpy as np

from lvlm.events import LossPoint
from ui import curves
from ui.figure import table
from ui.words import VARIANT_COLOURS


def points(held: dict[int, float], total: int = 10, terms=("sft", "l2")) -> list[LossPoint]:
    """A run of ten steps whose terms fall, looked at where `held` says."""
    found = []
    for step in range(total + 1):
        losses = {x: (k + 1) / (step + 1) for k, x in enumerate(terms)} if step else {}
        found.append(LossPoint(step, total, losses, held.get(step), 8.0, 1.0))
    return found


FELL = points({0: 2.0, 5: 0.5, 10: 1.0})


def test_the_title_says_how_far_the_held_out_loss_fell():
    """From the pruned model's to the lowest, whose weights are kept."""
    assert curves.held_out_finding(FELL) == "The held-out loss fell from 2.00 to 0.500 (−75%)"
    assert "not fallen" in curves.held_out_finding(points({0: 1.0, 5: 2.0}))
    assert "as the model heals" in curves.held_out_finding([]) == curves.held_out_finding(points({0: 1.0}))


def test_held_out_losses_are_drawn_where_they_were_measured():
    """The recovered model's line has the measured points, the pruned one's is level, and the ring marks the best."""
    level, line, ring = curves.held_out(FELL).data
    assert list(line.x) == [0, 5, 10] and list(line.y) == [2.0, 0.5, 1.0]
    assert line.line.color == VARIANT_COLOURS["recovered"] and level.line.color == VARIANT_COLOURS["pruned"]
    assert list(level.y) == [2.0, 2.0] and (list(ring.x), list(ring.y)) == ([5], [0.5])


def test_every_term_in_use_has_a_line_of_its_own_dash_and_a_name():
    """Faint and smoothed, told apart without a colour; a loss of zero can be drawn on the logarithmic scale."""
    for terms in (("sft",), ("sft", "kl", "rkl", "l2")):
        figure = curves.terms(points({0: 1.0}, terms=terms))
        assert len(figure.data) == 2 * len(terms)
        assert len({x.line.dash for x in figure.data[1::2]}) == len(terms)
        assert [x.text for x in figure.layout.annotations] == [curves.NAMES[x] for x in terms]
    exact = [LossPoint(1, 1, {"sft": 1.0, "kl": 0.0}, None, 1.0, 1.0)]
    assert np.isfinite(curves.terms(exact).layout.yaxis.range).all()


def test_the_table_has_what_each_batch_lost():
    """Beside the smoothed line every term's own losses stand in the file, term by term, exactly."""
    run = points({0: 1.0})
    found = table(json.loads(curves.terms(run).to_json()))
    assert list(found["series"].unique()) == ["SFT", "L2"]
    for series, name in (("SFT", "sft"), ("L2", "l2")):
        rows = found[found["series"] == series]
        assert rows["loss on its batch"].tolist() == [x.losses[name] for x in run[1:]]
        assert rows["step"].tolist() == list(range(1, 11))


def test_names_do_not_lie_over_one_another():
    """Lines that end together are named apart."""
    same = [LossPoint(s, 3, {"sft": 0.5, "kl": 0.5, "l2": 0.5}, None, 1.0, 1.0) for s in (1, 2, 3)]
    places = sorted(x.y for x in curves.terms(same).layout.annotations)
    assert np.diff(places).min() >= 0.05  # a line of text in 200 pixels


def test_before_anything_is_known_there_is_a_figure():
    """No point, or none with a loss yet: a quiet figure with words instead of axes."""
    for figure in (curves.held_out([]), curves.terms([]), curves.terms(points({0: 1.0})[:1])):
        assert not figure.data and figure.layout.annotations[0].text == "Drawn as the model heals"
