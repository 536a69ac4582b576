"""Better choices of what goes: searched shares, rounds, and importance that weighs images and words alike."""

import gc
import weakref

import numpy as np
import pytest
import torch

from lvlm import BadPlan, BadSamples, Cancelled, Progress
from lvlm.model import weights_digest
from pruning import CalibrationSettings, Importance, Repair, Unit, calibrate, make_plan, prune, search
from pruning.rounds import laid_over, plan_in_rounds
from pruning.search import Search, gone_by, search_plan
from pruning.trials import Trials
from samples import Sample, Turn
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def scores(model):
    return calibrate(model, tiny.samples())


def useless(family="llama-gqa", layer=1):
    """A model of which one layer's MLP and all but one of its heads say nothing."""
    model = tiny.model(family)
    module, about = model.network.get_decoder().layers[layer], model.anatomy.layers[layer]
    for cut in about.cuts:
        if cut.dim == 1:
            linear = module.get_submodule(cut.path)
            linear.weight.data[:, cut.start + (cut.width if cut.kind == "heads" else 0) :] = 0
            if linear.bias is not None and cut.kind == "neurons":
                linear.bias.data.zero_()
    model._digest = None
    return model


def test_a_trial_is_what_the_pruned_model_would_be(model, scores):
    """The divergence that a mask gives is that of the model cut so, from the original, to rounding."""
    samples = tiny.samples()
    trials = Trials(model, scores.importance["taylor"], samples)
    plan = make_plan(scores, "widthwise", 0.3)
    gone = gone_by(plan)
    cut = Trials(prune(model, plan), calibrate(prune(model, plan), samples).importance["taylor"], samples)
    total = count = 0
    for (_, _, wanted), (_, _, found) in zip(trials.batches, cut.batches):
        total, count = total + float((wanted.exp() * (wanted - found)).sum()), count + len(wanted)
    assert trials.loss(gone) == pytest.approx(total / count, rel=1e-3)
    assert trials.loss(np.zeros_like(gone)) == pytest.approx(0, abs=1e-9)


def test_a_search_takes_what_says_nothing_first():
    """Where one layer's MLP and most of its heads add nothing, a small target takes from that layer alone."""
    model = useless()
    plan = search_plan(model, calibrate(model, tiny.samples()), tiny.samples(), 0.08, Search(moves=0, layers=False))
    touched = [i for i, (h, n) in enumerate(plan.dense_shape) if (len(plan.heads[i]), len(plan.neurons[i])) != (h, n)]
    assert touched == [1]


@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.4])
def test_a_search_meets_its_target(model, scores, ratio):
    """To within a head and a neuron of a layer where no layer goes whole; the model is untouched."""
    before = weights_digest(model.network)
    plan = search_plan(model, scores, tiny.samples(), ratio, Search(moves=6, layers=False))
    _, group, neuron = np.array(plan.unit_costs).T
    assert abs(plan.achieved - ratio) <= (group.max() + neuron.max()) / scores.anatomy.parts.decoder
    assert len(plan.layers) == len(plan.dense_shape) and weights_digest(model.network) == before
    prune(model, plan)


def test_moves_never_make_it_worse_and_repeat_themselves(model, scores):
    """More moves end at a divergence that is no higher; the same seed gives the same plan."""
    found = [search_plan(model, scores, tiny.samples(), 0.4, Search(moves=n)) for n in (1, 12, 12)]
    assert found[1].settings["loss"] <= found[0].settings["loss"]
    assert found[1].to_json() == found[2].to_json()


def test_a_search_is_never_worse_than_the_published_way(model, scores):
    """What it ends with diverges no more than the same share of every layer does, and both numbers are what the samples
    say."""
    trials = Trials(model, scores.importance["taylor"], tiny.samples())
    for ratio, moves in ((0.1, 0), (0.3, 0), (0.3, 8)):
        plan = search_plan(model, scores, tiny.samples(), ratio, Search(moves, layers=False), trials=trials)
        about = plan.settings
        assert about["loss"] == trials.loss(gone_by(plan)) <= about["published_loss"]
        usual = trials.loss(gone_by(make_plan(scores, "widthwise", ratio)))
        assert about["published_loss"] == pytest.approx(usual, rel=0.1)  # to the neurons that meet the target


def test_a_search_that_begins_badly_begins_with_the_published_way(model, scores, monkeypatch):
    """Where what the curves propose is worse than the same share of every layer, that is what it moves on from."""
    trials, proposed = Trials(model, scores.importance["taylor"], tiny.samples()), []

    def badly(hulls, whole, prices, target):
        gone = np.zeros_like(whole)
        gone[0] = whole[0] - 1
        proposed.append(search._filled(gone, whole, prices, target))
        return proposed[0]

    monkeypatch.setattr(search, "_knapsack", badly)
    about = search_plan(model, scores, tiny.samples(), 0.3, Search(0, layers=False), trials=trials).settings
    assert about["loss"] == about["published_loss"] < trials.loss(proposed[0])


def test_trials_leave_nothing_behind(model, scores):
    """However many were made, no tensor stays but those that were there before the first, and all go with the trials,
    whether or not the collector of cycles ran."""

    def tensors() -> int:
        return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        trials = Trials(model, scores.importance["taylor"], tiny.samples())
        kept = weakref.ref(trials.batches[0][2])
        trials.loss(np.zeros_like(trials.whole))
        before = tensors()
        for n in range(1, 9):
            trials.loss(np.minimum(n, trials.whole - 1))
        assert tensors() == before
        del trials
        assert kept() is None
    finally:
        gc.enable()


def test_a_search_may_take_whole_layers():
    """A layer that adds nothing goes as one where layers may go, and keeps a head and a neuron where they may not."""
    model = useless()
    for path in ("self_attn.o_proj", "mlp.down_proj"):
        linear = model.network.get_decoder().layers[1].get_submodule(path)
        for x in linear.parameters():
            x.data.zero_()
    model._digest = None
    scores = calibrate(model, tiny.samples())
    share = scores.anatomy.layers[1].parameters / scores.anatomy.parts.decoder
    plan = search_plan(model, scores, tiny.samples(), share, Search(moves=0))
    assert plan.method == "both" and plan.removed_layers == (1,)
    assert search_plan(model, scores, tiny.samples(), share, Search(moves=0, layers=False)).removed_layers == ()


def test_what_cannot_be_searched_is_refused(model, scores):
    """Ratios, samples without answers, unknown importance, negative moves: a sentence each. Raising ends a search."""
    mute = Sample("m", None, (Turn("a b", ""),), "test")
    for arguments, words in (
        ((tiny.samples(), 1.0), "below 1"),
        ((tiny.samples(), 0.2, Search(importance="none")), "none"),
    ):
        with pytest.raises(BadPlan, match=words):
            search_plan(model, scores, *arguments)
    with pytest.raises(BadPlan, match="less than 0"):
        Search(moves=-1)
    with pytest.raises((BadSamples, BadPlan)):
        search_plan(model, scores, [mute], 0.2)

    def stop(event):
        if isinstance(event, Progress) and event.done == 3:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        search_plan(model, scores, tiny.samples(), 0.2, report=stop)


@pytest.mark.parametrize("method", ["widthwise", "layerwise"])
def test_one_round_is_the_plan_itself(model, scores, method):
    """With one round, what goes is what `make_plan` removes."""
    once, plan = plan_in_rounds(model, tiny.samples(), 0.3, 1, method=method), make_plan(scores, method, 0.3)
    assert once.layers == plan.layers and once.achieved == plan.achieved
    for part in ("heads", "neurons"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(once, part), getattr(plan, part)))


@pytest.mark.parametrize("method, wishes", [("widthwise", {"ranking": "global"}), ("layerwise", {}), ("both", {})])
def test_rounds_take_more_and_more_of_the_original(model, method, wishes):
    """Each round's scores are of what is left; what went stays gone, and the target is met."""
    few = plan_in_rounds(model, tiny.samples(), 0.5, 2, method=method, repair=Repair(), **wishes)
    half = plan_in_rounds(model, tiny.samples(), 0.25, 1, method=method, **wishes)
    assert few.achieved == pytest.approx(0.5, abs=0.1) and half.achieved < few.achieved
    assert few.settings["rounds"] == 2 and few.settings["repaired_between"] and few.ratio == 0.5
    assert set(few.layers) <= set(half.layers)
    for part in ("heads", "neurons"):
        assert all(set(a) <= set(b) for a, b in zip(getattr(few, part), getattr(half, part)))


def test_a_round_goes_by_scores_of_what_is_left(model):
    """What the second round removes is what the pruned model's own scores call least, in the original's numbers."""
    one = plan_in_rounds(model, tiny.samples(), 0.2, 1, ranking="global")
    two = plan_in_rounds(model, tiny.samples(), 0.4, 2, ranking="global")
    anew = calibrate(prune(model, one), tiny.samples())
    for layer in one.layers:
        stayed = one.neurons[layer]
        went = ~np.isin(stayed, two.neurons[layer])
        values = anew.neurons[one.layers.index(layer)]
        assert not went.any() or values[went].max() < values[~went].min()
    assert any((~np.isin(one.neurons[x], two.neurons[x])).any() for x in one.layers)


def test_scores_laid_over_keep_the_order_of_what_went(model, scores):
    """What is left has its new numbers; what went lies below it, the later it went the higher, in its old order."""
    plan = make_plan(scores, "both", 0.4)
    found = calibrate(prune(model, plan), tiny.samples())
    laid = laid_over(scores, found, plan)
    for place, layer in enumerate(plan.layers):
        assert laid.block_influence[layer] == found.block_influence[place]
        stays = np.isin(np.arange(len(scores.neurons[layer])), plan.neurons[layer])
        np.testing.assert_array_equal(laid.neurons[layer][stays], found.neurons[place])
        gone, before = laid.neurons[layer][~stays], scores.neurons[layer][~stays]
        assert (gone < 0).all() and (np.argsort(gone, kind="stable") == np.argsort(before, kind="stable")).all()
    assert plan.removed_layers and (laid.block_influence[list(plan.removed_layers)] < 0).all()
    further = make_plan(laid, "both", 0.5)
    again = laid_over(laid, calibrate(prune(model, further), tiny.samples()), further)
    for layer in further.layers:
        index = np.arange(len(scores.neurons[layer]))
        early = ~np.isin(index, plan.neurons[layer])
        late = ~np.isin(index, further.neurons[layer]) & ~early
        if early.any() and late.any():
            assert again.neurons[layer][early].max() < again.neurons[layer][late].min()


def test_small_rounds_take_whole_heads(model):
    """Rounds of less than one head take as many as one go takes, and wishes hold in every round."""
    count = 8
    pinned = (Unit(2, 0),)
    many = plan_in_rounds(model, tiny.samples(), 0.4, count, protect_first=1, pinned=pinned)
    once = plan_in_rounds(model, tiny.samples(), 0.4, 1, protect_first=1, pinned=pinned)
    assert [len(x) for x in many.heads] == [len(x) for x in once.heads]
    assert sum(map(len, many.heads)) < sum(x for x, _ in many.dense_shape)
    assert tuple(map(len, (many.heads[0], many.neurons[0]))) == many.dense_shape[0] and 0 in many.heads[2]


def test_rounds_to_a_budget_end_at_it(model, scores):
    """A budget is met as by one plan; what cannot be met is said before anything is removed."""
    size = make_plan(scores, "widthwise", 0.3, metric="bytes").cost.after.bytes
    plan = plan_in_rounds(model, tiny.samples(), rounds=2, budget=size, metric="bytes")
    assert plan.cost.after.bytes == pytest.approx(size, rel=0.01) and plan.ratio is None
    seen = []
    for wrong in ({"rounds": 0}, {"protect_first": 99}, {"ratio": 0.99}, {"ranking": "none"}):
        with pytest.raises(BadPlan):
            plan_in_rounds(model, tiny.samples(), **wrong, report=seen.append)
    assert {x.done for x in seen if isinstance(x, Progress) and x.stage == "rounds"} == {0}


@pytest.mark.parametrize("family", ["llama-gqa", "phi3", "gemma2"])
def test_what_units_do_to_images_and_words_adds_up(family):
    """Image and text contributions of a sample are those of all its tokens: where one kind has no token, the other's
    alone is |Σ w·g| of the projections; "balanced" gives either half of the whole."""
    model = tiny.model(family)
    scores = calibrate(model, tiny.samples(), CalibrationSettings(balanced=True))
    found = scores.importance["balanced"]
    assert sum(float(x.sum()) for part in (found.heads, found.neurons) for x in part) == pytest.approx(2)
    words = [x for x in tiny.samples() if x.image is None] or [Sample("w", None, (Turn("a b c", "d"),), "test")]
    mute = calibrate(model, words, CalibrationSettings(balanced=True)).importance
    assert not any(x.any() for x in mute["image"].heads) and any(x.any() for x in mute["text"].heads)


def test_checkpointing_counts_tokens_once(model):
    """Recomputed layers add nothing twice."""
    a, b = (
        calibrate(model, tiny.samples(), CalibrationSettings(balanced=True, checkpointing=x)).importance["balanced"]
        for x in (False, True)
    )
    for x, y in zip(a.heads + a.neurons, b.heads + b.neurons):
        np.testing.assert_allclose(x, y, rtol=1e-4)


def test_weighing_alike_is_by_shares():
    """A measure a thousand times larger counts no more; one of zeros counts nothing."""
    small = Importance((np.array([1.0, 3.0]),), (np.array([4.0]),))
    large = Importance((np.array([1000.0, 1000.0]),), (np.array([2000.0]),))
    none = Importance((np.zeros(2),), (np.zeros(1),))
    both = small.balanced(large)
    np.testing.assert_allclose(both.heads[0], [0.125 + 0.25, 0.375 + 0.25])
    np.testing.assert_allclose(small.balanced(none).neurons[0], [0.5])
