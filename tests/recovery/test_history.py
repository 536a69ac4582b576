"""What a healing's loss points show."""

import numpy as np

from lvlm.events import LossPoint
from recovery import history


def point(step: int, held_out: float | None = None, **losses: float) -> LossPoint:
    return LossPoint(step, 9, losses, held_out, 8.0, 1.0)


def test_smoothing_follows_without_running_ahead():
    """It starts at the first value, stays within the values, and moves towards each new one."""
    np.testing.assert_allclose(history.smoothed(np.array([4.0, 0.0, 0.0, 4.0])), [4.0, 3.0, 2.25, 2.6875])


def test_the_best_is_the_earliest_of_the_lowest():
    """Steps that measured nothing are no candidates; and without any there is no best."""
    points = [point(0, 2.0), point(1), point(2, 1.0), point(3, 1.0)]
    assert [x.step for x in history.measured(points)] == [0, 2, 3] and history.best(points).step == 2
    assert history.best([point(1)]) is None


def test_terms_are_those_in_use():
    """Each has its steps but the one before training, and no value under the floor."""
    found = history.terms([point(0, 1.0), point(1, l2=0.0, sft=2.0), point(2, l2=3.0, sft=1.0)], floor=0.5)
    assert list(found) == ["sft", "l2"] and found["l2"].steps == [1, 2] and found["l2"].values.tolist() == [0.5, 3.0]
    assert history.terms([point(0, 1.0)]) == {}
