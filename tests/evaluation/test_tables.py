"""Tables as curves: no row is lost, and each curve begins where it should."""

import pandas as pd
import pytest

from evaluation.experiments import EXPERIMENTS
from evaluation.tables import beside_dense, curves

DENSE = {"method": "dense", "ratio": 0.0}


def test_every_pruned_row_is_on_one_curve_that_begins_at_its_own_dense_model():
    """With images and without, in the order of ratios whatever the rows' order was."""
    rows = [
        {"method": m, "images": seen, "ratio": x} for m in ("a", "b") for seen in (True, False) for x in (0.6, 0.15)
    ]
    rows += [DENSE | {"images": x} for x in (True, False)]
    found = curves(EXPERIMENTS["modality"], pd.DataFrame(rows))
    assert len(found) == 4
    for about, points in found:
        assert points["ratio"].tolist() == [0.0, 0.15, 0.6] and set(points["images"]) == {about["images"]}
        assert points["method"].tolist() == ["dense", about["method"], about["method"]]


def test_best_practice_is_one_curve():
    """Its method changes with the ratio; a curve over anything else has no dense model on it."""
    rows = pd.DataFrame([DENSE, {"method": "a", "ratio": 0.15}, {"method": "b", "ratio": 0.6}])
    ((about, points),) = curves(EXPERIMENTS["practice"], rows)
    assert about == {} and points["method"].tolist() == ["dense", "a", "b"]
    data = pd.DataFrame([DENSE | {"fraction": 0.0}, {"method": "a", "ratio": 0.3, "fraction": 0.05}])
    assert [x["fraction"].tolist() for _, x in curves(EXPERIMENTS["data"], data)] == [[0.05]]


def test_costs_are_told_beside_the_dense_models():
    """The dense model costs 100% of itself, and of the other method nothing is told."""
    rows = pd.DataFrame([{"method": "a", "ratio": 0.3, "weights GiB": 3.0}, DENSE | {"weights GiB": 4.0},
                         {"method": "b", "ratio": 0.3, "weights GiB": 1.0}])  # fmt: skip
    found, shares = beside_dense(rows, "a")
    assert found["ratio"].tolist() == [0.0, 0.3] and shares["weights GiB"].tolist() == [100, 75]
    with pytest.raises(IndexError):
        beside_dense(rows[rows["ratio"] > 0], "a")
