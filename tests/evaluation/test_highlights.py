"""The numbers that an experiment's table comes down to."""

import pandas as pd
import pytest

from evaluation.experiments import EXPERIMENTS
from evaluation.highlights import HIGHLIGHTS, highlight


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([{"method": "widthwise", **x} for x in rows])


def test_each_drawn_experiment_has_numbers():
    """None is forgotten; and without a pruned row there are none to tell."""
    assert set(HIGHLIGHTS) == set(EXPERIMENTS)
    for name in HIGHLIGHTS:
        assert highlight(name, table({"ratio": 0.0, "AVG-%": 100.0})) is None is highlight(name, pd.DataFrame())


def test_a_sentence_is_about_the_middle_where_it_was_measured():
    """30% where there is one, else the smallest ratio; a method that was not measured leaves nothing to say."""
    rows = [{"method": m, "ratio": x, "AVG-%": 100 * (1 - x) - 5 * (m == "layerwise")}
            for m in ("widthwise", "layerwise") for x in (0.15, 0.30, 0.60)]  # fmt: skip
    found = highlight("zero-shot", table(*rows))
    assert found == {"ratio": 0.30, "widthwise": pytest.approx(70), "layerwise": pytest.approx(65)}
    assert highlight("zero-shot", table(*(x for x in rows if x["ratio"] != 0.30)))["ratio"] == 0.15
    assert highlight("zero-shot", table(*(x for x in rows if x["method"] == "widthwise"))) is None


def test_ends_are_those_of_the_means():
    """The best combination of losses is that of the highest mean over ratios, not of the single highest value."""
    rows = [("sft", 0.15, 99), ("sft", 0.3, 50), ("l2", 0.15, 80), ("l2", 0.3, 80), ("none", 0.3, 100)]
    found = highlight("losses", table(*({"losses": x, "ratio": r, "AVG-%": y} for x, r, y in rows)))
    assert found == {"best": "l2", "most": 80, "worst": "sft", "least": 74.5}


def test_eight_bits_cost_the_most_at_any_ratio():
    """The largest loss counts, and the mean of what is saved; ratios measured in one precision only do not."""
    rows = [(0.0, False, 100, 4), (0.0, True, 99, 2), (0.3, False, 90, 3), (0.3, True, 86, 1.5), (0.6, False, 9, 2)]
    about = ("ratio", "int8", "AVG-%", "weights GiB")
    assert highlight("int8", table(*(dict(zip(about, x)) for x in rows))) == {"most": 4, "less": 50}


def test_bars_are_reached_from_their_value_on():
    """A model that keeps its ratio's bar exactly has reached it; trained on a part of the data it is not counted."""
    rows = [(0.15, 1, 99), (0.30, 1, 97.9), (0.30, 0.05, 99), (0.0, 1, 100)]
    found = table(*({"ratio": r, "fraction": f, "AVG-%": y} for r, f, y in rows))
    assert highlight("healing", found) == {"reached": 1, "of": 2}
