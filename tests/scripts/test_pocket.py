"""The builder of the pocket models: what it trains on is what the shipped model will be asked."""

import random

import numpy as np
import pytest
import torch

from samples.questions import ASKERS
from samples.sample import Turn
from samples.scenes import draw, draw_with_labels, make_scene
from samples.sprites import kinds
from scripts.pocket.lessons import Packer, collate, drill, scene_lesson
from scripts.pocket.network import PATCHES, build_network, build_processor
from scripts.pocket.stages import answer_loss, image_features, pixels
from scripts.pocket.symbols import SEEN, guess_patches, true_patches, word_rows
from scripts.pocket.tokenizer import build_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def network(tokenizer):
    return build_network(tokenizer).eval()


@pytest.fixture(scope="module")
def packer(tokenizer):
    return Packer(tokenizer)


def turns(n=60):
    for seed in range(n):
        rng = random.Random(seed)
        scene = make_scene(rng)
        yield from (turn for ask in ASKERS.values() if (turn := ask(scene, rng)))


def prompt(processor, question):
    content = [{"type": "image"}, {"type": "text", "text": question}]
    return processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)


def test_a_word_is_a_token(tokenizer):
    """Every kind, singular and plural, is one token, and no two share one; case does not matter."""
    ids = [tokenizer(word, add_special_tokens=False).input_ids for k in kinds() for word in {k.name, k.plural}]
    assert all(len(i) == 1 for i in ids) and len({i[0] for i in ids}) == len(ids)
    assert tokenizer("Dog").input_ids == tokenizer("dog").input_ids
    assert tokenizer.decode(tokenizer("Zürich 42!").input_ids).strip() == "zürich  4 2 !"


def test_lessons_spell_as_the_processor_does(tokenizer, packer):
    """The packer's quick table of words gives the very ids that the shipped processor gives."""
    processor = build_processor(tokenizer)
    for turn in turns():
        asked = processor(images=[draw(make_scene(random.Random(0)))], text=[prompt(processor, turn.question)])
        pack = packer.start(image=True)
        packer.add(pack, turn, isolated=True)
        whole = list(asked["input_ids"][0]) + tokenizer(turn.answer).input_ids + [tokenizer.eos_token_id]
        assert pack.ids == whole, turn


def test_pixels_are_those_of_the_processor(tokenizer):
    """Training sees the same numbers as the shipped image processor makes of the same scene."""
    image = draw(make_scene(random.Random(1)))
    shipped = build_processor(tokenizer).image_processor(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(pixels(image), shipped, atol=1e-5, rtol=0)


def test_features_are_those_of_the_network(network):
    """Training's shortcut through tower and projector equals the stock network's own image features."""
    images = torch.stack([pixels(draw(make_scene(random.Random(seed)))) for seed in range(2)])
    with torch.no_grad():
        own = network.get_image_features(pixel_values=images)
        own = getattr(own, "pooler_output", own)
        torch.testing.assert_close(torch.stack(list(own)), image_features(network, images), atol=1e-5, rtol=1e-4)


def test_packed_turns_do_not_see_one_another(network, packer, tokenizer):
    """A turn packed among others gets the logits that it gets when it is asked alone."""
    some = list(turns(4))[:6]
    decoder = network.model.language_model
    features = torch.randn(1, PATCHES, 192, generator=torch.Generator().manual_seed(0)) * 0.1

    def hidden(pack):
        batch = collate([pack], tokenizer.pad_token_id)
        embeds = decoder.embed_tokens(batch["ids"]).clone()
        embeds[batch["ids"] == packer.token["<image>"]] = features[0]
        out = decoder(inputs_embeds=embeds, attention_mask=batch["mask"], position_ids=batch["positions"])
        return out.last_hidden_state[0]

    together = packer.start(image=True)
    for turn in some:
        packer.add(together, turn, isolated=True)
    groups = np.array(together.groups)
    with torch.no_grad():
        packed = hidden(together)
        for number, turn in enumerate(some, start=1):
            alone = packer.start(image=True)
            packer.add(alone, turn, isolated=True)
            own = np.array(alone.groups) == 1
            torch.testing.assert_close(
                packed[: len(groups)][groups == number], hidden(alone)[: len(own)][own], atol=1e-4, rtol=1e-4
            )


def test_only_answers_are_learnt(packer, tokenizer):
    """Labels stand on the answer and its end, or on a drill's asked words, and nowhere else."""
    pack = packer.start(image=True)
    packer.add(pack, Turn("is there a dog?", "yes"), isolated=True)
    learnt = [label for label in pack.labels if label != -100]
    assert tokenizer.decode(learnt) == " yes</s>"
    for seed in range(20):
        rng = random.Random(seed)
        turn, only = drill(make_scene(rng), rng)
        pack = packer.start(image=True)
        packer.add(pack, turn, isolated=True, only=only)
        words = turn.answer.split()
        learnt = [label for label in pack.labels if label != -100]
        assert tokenizer.decode(learnt).split() == " ".join(words[i] for i in sorted(only)).split()


def test_drills_are_true():
    """A drill's numbers agree with the scene."""
    for seed in range(60):
        rng = random.Random(seed)
        scene = make_scene(rng)
        turn, _ = drill(scene, rng)
        if turn.question == "count":
            words = turn.answer.split()
            here = {kinds()[t.kind].name for t in scene.things} | {kinds()[t.kind].plural for t in scene.things}
            assert all((number != "0") == (word in here) for word, number in zip(words[::2], words[1::2], strict=True))


def test_symbolic_patches_agree_with_drawn_ones():
    """What the decoder is shown before the tower exists is mostly what a drawn scene shows: same words, same patches."""
    same = []
    for seed in range(40):
        scene = make_scene(random.Random(seed))
        drawn = true_patches(draw_with_labels(scene)[1], scene.background, scene.sign)
        same.append((drawn == guess_patches(scene, random.Random(0), noise=0.0)).mean())
    assert np.mean(same) > 0.85
    assert len(set(SEEN)) == len(SEEN)


def test_one_step_on_one_scene_lowers_its_loss(tokenizer, packer):
    """The answer loss has a gradient that, followed, lowers it."""
    network = build_network(tokenizer, seed=1)
    decoder = network.model.language_model
    rng = random.Random(0)
    batch = collate([scene_lesson(packer, make_scene(rng), rng, drills=0.3)], tokenizer.pad_token_id)
    losses = []
    optimiser = torch.optim.SGD(decoder.parameters(), lr=0.05)
    for _ in range(3):
        loss, figures = answer_loss(decoder, decoder.embed_tokens(batch["ids"]), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert 0 <= figures["right"] <= 1
    assert losses[2] < losses[0]
    assert len(word_rows(tokenizer)) == len(SEEN)
