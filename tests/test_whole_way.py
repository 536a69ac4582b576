"""The whole way on every kind of checkpoint that people have: load, calibrate, plan, prune, chat, int8, save, load.

The paper's three in their authors' layouts, and today's models in the hub's. All of it with images.
"""

import pytest
import torch
from torch.nn import functional as F

from lvlm import BadImage, BadQuestion, load
from lvlm.encoding import IGNORED, encode_texts, prefix_attention, prompt_text
from lvlm.head import head_of
from lvlm.model import weights_digest
from lvlm.reshaped import shared_copy
from pruning import calibrate, make_plan, prune, quantize, save
from pruning.cost import decoder_inputs
from samples import Sample, Turn
from tests import checkpoints, tiny
from tests.lvlm.originals import FIXTURES
from tests.lvlm.originals import NAMES as ORIGINALS

WIDE, TALL = (44, 20), (24, 40)
CLOSING = {"gemma3": "<end_of_turn>", "aya_vision": "<|END_RESPONSE|><|END_OF_TURN_TOKEN|>"}


@pytest.fixture(scope="module", params=[*ORIGINALS, *checkpoints.FAMILIES])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def model(name, tmp_path_factory):
    return load(FIXTURES / name if name in ORIGINALS else checkpoints.make(name, tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def samples(model):
    """Two images of different shape, questions of different length, and no image where the model allows it."""
    found = [
        Sample("wide", tiny.picture(0, WIDE), (Turn("what is it ?", "a cat"),), "test"),
        Sample(
            "tall", tiny.picture(1, TALL), (Turn("is it red ?", "yes"), Turn("how many are there ?", "two")), "test"
        ),
    ]
    alone = Sample("none", None, (Turn("is it blue ?", "no"),), "test")
    return found if prefix_attention(model.processor) else [*found, alone]


@pytest.fixture(scope="module")
def scores(model, samples):
    return calibrate(model, samples)


@pytest.fixture(scope="module")
def asked(model):
    """A left-padded batch of two questions with an image each."""
    questions = ["what is it ?", "how many cats are there at the left ?"]
    texts = [prompt_text(model.processor, [(x, None)], True, ask=True) for x in questions]
    return encode_texts(model.processor, texts, [tiny.picture(0, WIDE), tiny.picture(1, TALL)], side="left")


@torch.no_grad()
def logits(network, batch):
    return network(**batch.inputs).logits[batch.mask]


@torch.no_grad()
def steps(network, inputs, **options):
    """Logits of four new tokens a row, and the tokens themselves."""
    options = {"min_new_tokens": 4, "max_new_tokens": 4, "do_sample": False, "output_logits": True, **options}
    found = network.generate(**inputs, **options, return_dict_in_generate=True)
    return torch.stack(found.logits), found.sequences[:, -4:]


def said(model):
    return "".join(model.chat(tiny.picture(0, WIDE), "what is it ?", max_new_tokens=6))


@pytest.mark.parametrize("method", ["layerwise", "widthwise"])
def test_each_goes_the_whole_way(model, samples, scores, method, tmp_path):
    """Pruned, it answers; in 8 bits too; and what is saved comes back bit for bit. The original keeps every bit."""
    before = weights_digest(model.network)
    pruned = prune(model, make_plan(scores, method, 0.2))
    assert pruned.parameters().decoder < model.parameters().decoder
    for kind, made in (("pruned", pruned), ("int8", quantize(pruned, "int8"))):
        answer = said(made)
        again = load(save(made, tmp_path / kind))
        batch = made.encode(samples)
        assert torch.equal(logits(again.network, again.encode(samples)), logits(made.network, batch))
        assert answer and said(again) == answer
        assert [x["step"] for x in again.history] == [x["step"] for x in made.history]
    assert weights_digest(model.network) == before


@pytest.mark.parametrize("method", ["layerwise", "widthwise", "both"])
def test_a_pruned_model_equals_its_masked_original(model, samples, scores, asked, method):
    """With images, to 1e-4 of the scale of logits: whole conversations, and cached generation after left padding."""
    plan = make_plan(scores, method, 0.2)
    pruned, wanted = prune(model, plan).network, tiny.masked(model.network, plan)
    batch = model.encode(samples)
    for found, reference in (
        (logits(pruned, batch), logits(wanted, batch)),
        (steps(pruned, asked)[0], steps(wanted, asked)[0]),
    ):
        assert (found - reference).abs().max() <= 1e-4 * reference.abs().max()


def test_ratio_0_is_the_identity(model, samples, scores):
    """Bit for bit, with images."""
    batch = model.encode(samples)
    for method in ("layerwise", "widthwise"):
        same = prune(model, make_plan(scores, method, 0.0))
        assert torch.equal(logits(same.network, batch), logits(model.network, batch))


def test_cached_generation_says_what_uncached_generation_says(model, scores, asked):
    """Positions, masks and image features are right in every step, dense and with layers removed."""
    for network in (model.network, prune(model, make_plan(scores, "layerwise", 0.2)).network):
        (cached, one), (uncached, other) = steps(network, asked), steps(network, asked, use_cache=False)
        assert torch.equal(one, other)
        assert (cached - uncached).abs().max() <= 1e-4 * uncached.abs().max()


def test_the_loss_of_calibration_is_the_networks_own(model, samples, scores):
    """Mean cross-entropy on answers, a sample at a time, from the logits that the network itself gives."""
    losses = []
    for sample in samples:
        batch = model.encode([sample])
        with torch.no_grad():
            found = model.network(**batch.inputs).logits[:, :-1].flatten(0, 1).double()
        losses.append(F.cross_entropy(found, batch.labels[:, 1:].flatten(), ignore_index=IGNORED))
    assert scores.loss == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)


def test_what_calibration_runs_is_what_the_network_computes(model, samples):
    """Decoder, then its own head, from what the network hands its decoder."""
    batch = model.encode(samples)
    network = shared_copy(model.network)
    with torch.no_grad():
        inputs = decoder_inputs(network, batch.inputs)
        hidden = network.get_decoder()(**{**inputs, "use_cache": False}).last_hidden_state
        found = head_of(network)(hidden[batch.mask])
    wanted = logits(model.network, batch)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_labels_and_image_tokens_are_where_they_belong(name, model, samples):
    """Labels are the answers up to their end mark; image tokens are those whose embeddings the network replaces."""
    batch, tokenizer = model.encode(samples), model.processor.tokenizer
    rows = [tokenizer.decode(x[x != IGNORED]) for x in batch.labels]
    end = CLOSING.get(name) or (tokenizer.eos_token if name in ORIGINALS else checkpoints.FAMILIES[name].end)
    assert [x.replace(" ", "") for x in rows[:1]] == ["acat" + end]
    assert rows[1].replace(" ", "") == ("two" + end if prefix_attention(model.processor) else "yes" + end + "two" + end)
    assert (batch.image_mask.sum(1) > 0).tolist() == [x.image is not None for x in samples]
    with torch.no_grad():
        given = decoder_inputs(shared_copy(model.network), batch.inputs)["inputs_embeds"]
        words = model.network.get_input_embeddings()(batch.inputs["input_ids"])
    assert torch.equal((given != words).any(-1), batch.image_mask)
    assert not (batch.labels[batch.image_mask] != IGNORED).any() and not (batch.labels[~batch.mask] != IGNORED).any()


def test_padding_and_neighbours_change_nothing(model, samples):
    """A sample's logits, and a question's greedy answer, are the same alone and in a batch with and without images."""
    together = model.encode(samples)
    with torch.no_grad():
        whole = model.network(**together.inputs).logits
    rotary = getattr(model.network.config.get_text_config(), "rope_parameters", None) or {}
    short = rotary.get("original_max_position_embeddings", 0)  # Phi-3's longest row chooses factors for all rows
    for row, sample in enumerate(samples):
        alone = model.encode([sample])
        if alone.mask.shape[1] <= short < together.mask.shape[1]:
            continue
        single = logits(model.network, alone)
        assert (whole[row][together.mask[row]] - single).abs().max() <= 1e-4 * single.abs().max()
    prompts = [(x.image, x.question) for x in (*samples[1:], samples[0])]
    answers = model.generate(prompts, max_new_tokens=4)
    assert short or answers == [model.generate([x], max_new_tokens=4)[0] for x in prompts] and all(answers)


def test_marks_that_a_person_types_are_only_text(model):
    """Of images, turns and ends: the prompt has its own and no more."""
    marks = [str(x) for x in model.processor.tokenizer.added_tokens_decoder.values() if x.special]
    typed = "".join([*marks, str(model.processor.image_token)])
    plain, other = (prompt_text(model.processor, [(x, None)], True, ask=True) for x in ("a b", f"a{typed}b"))
    assert "".join(other.split()) == "".join(plain.split())
    assert "".join(model.chat(tiny.picture(), f"what {typed} is it ?", max_new_tokens=2))


def test_questions_without_an_image_are_answered_or_refused(model):
    """In a sentence, where a model answers only about an image."""
    if prefix_attention(model.processor):
        with pytest.raises(BadQuestion, match="please give one"):
            model.chat(None, "what is it ?")
    else:
        assert "".join(model.chat(None, "what is it ?", max_new_tokens=3))


def test_an_answer_sees_what_came_before_it_and_no_more(model, samples):
    """Calibration's loss is of words that cannot be looked up: another last token changes no earlier answer token."""
    batch = model.encode(samples[:1])
    places = (batch.labels[0] != IGNORED).nonzero().flatten().tolist()
    other = {**batch.inputs, "input_ids": batch.inputs["input_ids"].clone()}
    other["input_ids"][0, places[-1]] = batch.inputs["input_ids"][0, places[0]]
    with torch.no_grad():
        first, second = (model.network(**x).logits[0, : places[-1]] for x in (batch.inputs, other))
    assert torch.allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (300, 1), (1, 300), (700, 500)])
def test_odd_shapes_are_answered_or_refused(model, size):
    """In a sentence, where a processor cannot take them."""
    try:
        "".join(model.chat(tiny.picture(0, size), "what is it ?", max_new_tokens=2))
    except BadImage as error:
        assert "crop" in str(error) and max(size) > 200 * min(size)


def test_earlier_questions_change_no_answer(model, asked):
    """A network keeps nothing of what it was asked before, such as the positions of an image's tokens."""
    if prefix_attention(model.processor):
        pytest.skip("takes no question without an image")
    text = encode_texts(
        model.processor, [prompt_text(model.processor, [("what is it ?", None)], None, ask=True)], [None], side="left"
    )
    network = shared_copy(model.network)
    before = steps(network, text)[0]
    steps(network, asked)
    assert torch.equal(steps(network, text)[0], before)
