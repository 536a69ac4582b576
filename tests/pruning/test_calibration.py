"""Calibration: what it reports, what it leaves alone, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lvlm import BadPlan, BadSamples, Cancelled, LayerScored, NotEnoughMemory, Progress, SampleScored, memory
from lvlm.memory import Shapes
from lvlm.model import weights_digest
from pruning import CalibrationSettings, Scores, calibrate, calibration, make_plan, measure, prune, quantize
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def scores(model):
    return calibrate(model, tiny.samples(3), seed=7)


def test_scores_have_a_number_for_every_layer_head_and_neuron(model, scores):
    """Shapes follow the anatomy; every number is finite and no importance negative."""
    layers = model.anatomy.layers
    assert scores.block_influence.shape == (len(layers),)
    assert [x.shape for x in scores.heads] == [(x.groups,) for x in layers]
    assert [x.shape for x in scores.neurons] == [(x.neurons,) for x in layers]
    for importance in scores.importance.values():
        for part in (*importance.heads, *importance.neurons):
            assert np.isfinite(part).all() and (part >= 0).all()
    assert scores.sample_ids == ("s0", "s1", "s2") and scores.seed == 7


def test_block_influence_splits_into_image_and_text_tokens(model, scores):
    """The whole is the token-weighted mean of its image and text parts."""
    batches = [model.encode([x]) for x in tiny.samples(3)]
    image = sum(int(x.image_mask.sum()) for x in batches)
    text = sum(int(x.mask.sum()) for x in batches) - image
    assert image == 2 * tiny.IMAGE_TOKENS
    mixed = (scores.block_influence_image * image + scores.block_influence_text * text) / (image + text)
    np.testing.assert_allclose(mixed, scores.block_influence, rtol=1e-9)


def test_events_tell_every_sample_and_layer(model):
    """A listener hears progress to the end, each sample's loss and each layer's score so far."""
    heard = []
    found = calibrate(model, tiny.samples(2), report=heard.append)
    samples = [x for x in heard if isinstance(x, SampleScored)]
    assert [(x.index, x.total) for x in samples] == [(0, 2), (1, 2)]
    assert np.mean([x.loss for x in samples]) == pytest.approx(found.loss)
    assert [x.done for x in heard if isinstance(x, Progress)] == [0, 1, 2]
    last = [x for x in heard if isinstance(x, LayerScored)][-4:]
    assert [x.block_influence for x in last] == pytest.approx(list(found.block_influence))


def test_a_cancelled_calibration_leaves_the_model_as_it_was(model):
    """Raising from the callback stops at once; no gradient, hook or bit stays behind."""

    def stop(event):
        if isinstance(event, SampleScored):
            raise Cancelled("enough")

    calibrate(model, tiny.samples(1))  # transformers itself installs hooks at a first call
    hooks = [len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.network.modules()]
    before = weights_digest(model.network)
    flags = [x.requires_grad for x in model.network.parameters()]
    with pytest.raises(Cancelled):
        calibrate(model, tiny.samples(3), report=stop)
    assert weights_digest(model.network) == before
    assert flags == [x.requires_grad for x in model.network.parameters()]
    assert all(x.grad is None for x in model.network.parameters())
    assert hooks == [len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.network.modules()]


def test_no_gradient_outlives_its_weight_and_nothing_else_gets_one(model):
    """During backward at most one decoder linear holds a gradient, and nothing outside the decoder's linears."""
    from pruning.calibration import DecoderBatch, Scorer
    from pruning.cost import decoder_inputs

    scorer = Scorer(model.network, model.anatomy, CalibrationSettings())
    held = []
    original = scorer._weight

    def spy(*args):
        held.append(sum(x.grad is not None for x in scorer.network.parameters()))
        original(*args)

    for module, layer in zip(scorer.decoder.layers, model.anatomy.layers):
        for shape in layer.linears:
            weight = module.get_submodule(shape.path).weight
            weight.register_post_accumulate_grad_hook(
                lambda w: held.append(sum(x.grad is not None for x in everything))
            )
    everything = list(scorer.network.parameters())
    batch = model.encode(tiny.samples(2)[:1])
    scorer.add(DecoderBatch(decoder_inputs(model.network, batch.inputs), batch.labels, batch.mask, batch.image_mask))
    assert held and max(held) <= 1
    wanted = {f"{x.path}.weight" for x in model.anatomy.layers[0].linears}
    trained = {n.split("layers.")[1].split(".", 1)[1] for n, x in scorer.network.named_parameters() if x.requires_grad}
    assert trained == wanted


@pytest.mark.parametrize("family", sorted(tiny.FAMILIES))
def test_checkpointing_changes_memory_not_scores(family):
    """With and without activation checkpointing, every score is the same to rounding."""
    if family.startswith("internvl"):
        pytest.skip("needs a processor of its own; its decoder is tested as phi3 and qwen2")
    model = tiny.model(family)
    plain, saved = (calibrate(model, tiny.samples(2), CalibrationSettings(checkpointing=x)) for x in (False, True))
    np.testing.assert_allclose(plain.block_influence, saved.block_influence, rtol=1e-6)
    for kind in plain.importance:
        for part in ("heads", "neurons"):
            for a, b in zip(getattr(plain.importance[kind], part), getattr(saved.importance[kind], part)):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


def test_activations_are_checkpointed_by_themselves_where_memory_is_short(model, scores, monkeypatch):
    """With room for the lean way only, calibration takes it unasked, to the same scores; told not to, it refuses."""
    runs = []
    really = calibration.checkpoint
    monkeypatch.setattr(calibration, "checkpoint", lambda *args, **options: runs.append(1) or really(*args, **options))
    assert calibrate(model, tiny.samples(3), seed=7).digest == scores.digest and not runs
    tokens = max(model.encode([x]).mask.numel() for x in tiny.samples(3))
    shapes = Shapes.of(model.network)
    lean, plain = (
        memory.need(shapes, x, 4, weights=0, tokens=tokens).extra for x in ("calibrate-checkpointing", "calibrate")
    )
    assert lean < plain
    monkeypatch.setenv(memory.OVERRIDE, str((lean + plain) / 2 / 2**30))
    found = calibrate(model, tiny.samples(3), seed=7)
    assert runs
    for ours, theirs in zip(found.neurons, scores.neurons):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    with pytest.raises(NotEnoughMemory, match="checkpointing"):
        calibrate(model, tiny.samples(3), CalibrationSettings(checkpointing=False))


def test_the_loss_is_the_networks_own(model):
    """The loss on answer tokens alone equals what the network's forward computes from the labels."""
    sample = tiny.samples(2)[:1]
    batch = model.encode(sample)
    with torch.no_grad():
        wanted = float(model.network(**batch.inputs, labels=batch.labels).loss)
    assert calibrate(model, sample).loss == pytest.approx(wanted, rel=1e-5)


def test_the_order_of_samples_does_not_matter(model, scores):
    """Scores are sums over samples."""
    turned = calibrate(model, tiny.samples(3)[::-1])
    np.testing.assert_allclose(turned.block_influence, scores.block_influence, rtol=1e-6)
    np.testing.assert_allclose(turned.heads[0], scores.heads[0], rtol=1e-5)


def test_bf16_and_fp32_agree_on_what_matters():
    """bf16 with fp32 sums ranks neurons nearly as fp32 does."""
    found = [calibrate(tiny.model("llama", dtype=x), tiny.samples(3)) for x in (torch.float32, torch.bfloat16)]
    for exact, rough in zip(*(x.neurons for x in found)):
        ranks = [np.argsort(np.argsort(x)) for x in (exact, rough)]
        assert np.corrcoef(*ranks)[0, 1] > 0.97


def test_the_cheap_form_of_taylor_needs_no_weight_gradient(model, scores):
    """|Σ w·g| from activations alone is the "taylor-sum" that a pass with weight gradients finds beside Σ|w·g|."""
    cheap = calibrate(model, tiny.samples(3), CalibrationSettings(taylor="activations"))
    assert set(scores.importance) - set(cheap.importance) == {"taylor-sum"}
    for part in ("heads", "neurons"):
        for found, wanted in zip(getattr(cheap, part), getattr(scores.importance["taylor-sum"], part)):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * wanted.max())


def test_rank_correlation_tells_how_alike_two_measures_order_units(scores):
    """1 with itself, −1 with its reverse, in between for the two forms of Taylor; NaN where there is one unit only."""
    one = scores.importance["taylor"]
    turned = replace(one, heads=tuple(-x for x in one.heads), neurons=tuple(-x for x in one.neurons))
    both = replace(scores, importance={**scores.importance, "turned": turned})
    for part in ("heads", "neurons"):
        np.testing.assert_allclose(getattr(both.rank_correlation("taylor", "taylor"), part), 1)
        np.testing.assert_allclose(getattr(both.rank_correlation("taylor", "turned"), part), -1)
    assert 0.3 < scores.rank_correlation("taylor", "taylor-sum").neurons.mean() < 1
    single = replace(both, importance={"taylor": replace(one, heads=tuple(x[:1] for x in one.heads))})
    assert np.isnan(single.rank_correlation("taylor", "taylor").heads).all()


def test_scores_save_and_load_whole(scores, tmp_path):
    """One file gives back every number and every fact; plans made from it are the same."""
    again = Scores.load(scores.save(tmp_path / "scores.safetensors"))
    for name in ("model", "digest", "anatomy", "workload", "sample_ids", "seed", "settings", "versions", "loss"):
        assert getattr(again, name) == getattr(scores, name), name
    assert make_plan(again, "both", 0.4).to_json() == make_plan(scores, "both", 0.4).to_json()
    assert {x.name for x in tmp_path.iterdir()} == {"scores.safetensors"}


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 100])
def test_a_file_that_is_no_scores_file_is_refused(tmp_path, content):
    """With one sentence that says what to do."""
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadPlan, match="calibrate"):
        Scores.load(tmp_path / "x")
    with pytest.raises(BadPlan, match="calibrate"):
        Scores.load(tmp_path / "missing")


def test_a_plan_for_other_weights_is_refused(model, scores):
    """Same shape, other weights: the digest tells."""
    other = tiny.model("llama-gqa", seed=1)
    with pytest.raises(BadPlan, match="calibrate this model"):
        prune(other, make_plan(scores, "widthwise", 0.3))


@pytest.mark.parametrize(
    "samples, words",
    [
        ([], "at least one sample"),
        ([tiny.Sample("e", None, (tiny.Turn("what?", " "),), "test")], "empty answer"),
        ([tiny.Sample("e", None, (), "test")], "empty answer"),
        ([tiny.Sample("l", None, (tiny.Turn("what " * 100, "yes"),), "test")], "longer than"),
    ],
)
def test_samples_that_teach_nothing_are_refused(model, samples, words):
    """Zero samples, empty answers, and samples beyond the context."""
    with pytest.raises(BadSamples, match=words):
        calibrate(model, samples)


def test_an_int8_model_has_no_gradients(model):
    """It says to calibrate the model it was made from."""
    with pytest.raises(BadSamples, match="made from"):
        calibrate(quantize(model), tiny.samples(1))


def test_pruned_models_calibrate_and_prune_again(model, scores):
    """A pruned model is an LVLM like any other."""
    once = prune(model, make_plan(scores, "both", 0.3))
    twice = prune(once, make_plan(calibrate(once, tiny.samples(2)), "widthwise", 0.2))
    assert twice.parameters().decoder < once.parameters().decoder < model.parameters().decoder
    assert [x["step"] for x in twice.history] == ["prune", "prune"]


def test_a_chat_goes_on_while_the_model_is_calibrated_and_measured(model, monkeypatch):
    """Calibrating, pruning and counting run and hook copies only: whoever talks to the model notices nothing."""
    own = set(model.network.modules())
    seen = []

    def spy(name, original):
        def call(self, *args, **kwargs):
            seen.append(name)
            assert self not in own, f"{name} on the original"
            return original(self, *args, **kwargs)

        return call

    for name in ("register_forward_pre_hook", "register_forward_hook", "requires_grad_", "train"):
        monkeypatch.setattr(torch.nn.Module, name, spy(name, getattr(torch.nn.Module, name)))
    decoder = type(model.network.get_decoder())
    monkeypatch.setattr(decoder, "forward", spy("forward", decoder.forward))
    scores = calibrate(model, tiny.samples(3))
    prune(model, make_plan(scores, "both", 0.4))
    measure(model, timed=False)
    assert {"forward", "register_forward_pre_hook", "register_forward_hook"} <= set(seen)
