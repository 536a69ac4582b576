"""What the neurons that stay can take over from those that go."""

import numpy as np
import pytest

from lvlm import BadPlan, BadSamples
from pruning import calibrate, make_plan, takeover
from tests import tiny


@pytest.mark.parametrize("family", ["llama-gqa", "phi"])
def test_a_twin_is_taken_over_whole(family):
    """A neuron that goes and says exactly what one that stays says is replaced by it; what nobody says is not."""
    model, samples = tiny.model(family), tiny.samples(8)
    plan = make_plan(calibrate(model, samples), "widthwise", 0.5)
    kept, layer = plan.neurons[1], model.network.get_decoder().layers[1]
    gone = np.setdiff1d(np.arange(model.anatomy.layers[1].neurons), kept)
    for cut in model.anatomy.layers[1].cuts:
        if cut.kind == "neurons" and cut.dim == 0:
            linear = layer.get_submodule(cut.path)
            for values in (linear.weight, *([] if linear.bias is None else [linear.bias])):
                values.data[cut.start + gone[0]] = values.data[cut.start + kept[0]]
    found = takeover(model, plan, 1, samples)
    assert list(found.neurons) == list(gone) and found.stay == len(kept)
    assert found.shares[0] == pytest.approx(1, abs=0.02)
    assert 0 <= found.shares.min() and found.shares.max() <= 1 and 0 <= found.together <= 1


def test_what_the_rest_says_by_chance_is_not_called_taken_over():
    """On samples that nothing was fitted to, noise explains nothing: with one neuron left, hardly anything."""
    model, samples = tiny.model("llama-gqa"), tiny.samples(8)
    scores = calibrate(model, samples)
    many, few = (takeover(model, make_plan(scores, "widthwise", x), 0, samples) for x in (0.1, 0.5))
    assert few.stay < many.stay and few.together < many.together


def test_a_layer_that_loses_no_neurons_is_refused():
    """Nothing goes, or the whole layer: either is said, as are too few samples."""
    model, samples = tiny.model("llama-gqa"), tiny.samples(8)
    scores = calibrate(model, samples)
    with pytest.raises(BadPlan, match="no neurons go"):
        takeover(model, make_plan(scores, "widthwise", 0.0), 0, samples)
    with pytest.raises(BadSamples, match="at least"):
        takeover(model, make_plan(scores, "widthwise", 0.5), 0, samples[:2])
