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
from scripts.pocket.network import build_network
from scripts.pocket.recipes import RECIPES
from scripts.pocket.sizes import PATCHES, SIDE, WIDTH
from scripts.pocket.stages import STAGES, Tower, answer_loss, image_features
from scripts.pocket.symbols import SEEN, guess_patches, true_patches, word_rows
from scripts.pocket.tokenizer import build_tokenizer
from scripts.pocket.warm import teacher


@pytest.fixture(scope="module", params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


@pytest.fixture(scope="module")
def tokenizer(recipe):
    return build_tokenizer(recipe.extra_tokens)


@pytest.fixture(scope="module")
def network(recipe, tokenizer):
    return build_network(recipe, tokenizer).eval()


@pytest.fixture(scope="module")
def processor(recipe, tokenizer):
    return recipe.processor(tokenizer)


@pytest.fixture(scope="module")
def packer(recipe, tokenizer):
    return Packer(tokenizer, recipe.around)


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


def test_lessons_spell_as_the_processor_does(tokenizer, packer, processor):
    """The packer's quick table of words gives the very ids that the shipped processor gives."""
    image = draw(make_scene(random.Random(0)))
    for turn in turns(20):
        asked = processor(images=[image], text=[prompt(processor, turn.question)])
        pack = packer.start(image=True)
        packer.add(pack, turn, isolated=True)
        whole = list(asked["input_ids"][0]) + tokenizer(turn.answer).input_ids + [tokenizer.eos_token_id]
        assert pack.ids == whole, turn


def test_pixels_are_those_of_the_processor(recipe, processor):
    """Training sees the same numbers as the shipped image processor makes of the same scene."""
    image = draw(make_scene(random.Random(1)))
    shipped = processor(images=[image], text=[prompt(processor, "?")], return_tensors="pt")["pixel_values"]
    assert len(shipped) == 1
    torch.testing.assert_close(recipe.pixels(image), shipped[0], atol=1e-5, rtol=0)
    llava = RECIPES["pocket-llava"].pixels(image)
    torch.testing.assert_close(recipe.as_llava_sees(recipe.pixels(image)), llava, atol=1e-5, rtol=0)


def test_features_stand_in_reading_order(recipe, network):
    """A change in one place of the picture changes that place's feature most, whatever the tower does with patches."""
    plain = torch.zeros(PATCHES, 3, SIDE, SIDE)
    for i in range(PATCHES):
        plain[i].view(3, -1)[:, i] = 2.0
    images = plain.repeat_interleave(16, 2).repeat_interleave(16, 3)
    with torch.no_grad():
        changed = image_features(network, images) - image_features(network, torch.zeros(1, *images.shape[1:]))
    assert changed.shape == (PATCHES, PATCHES, WIDTH)
    assert (changed.norm(dim=-1).argmax(1) == torch.arange(PATCHES)).float().mean() > 0.9


def test_it_is_its_namesake_in_small(recipe, network):
    """Stock classes, ≥ 12 layers and ≥ 6 heads, tied embeddings, 5–15 M parameters; and each family's own traits."""
    text, vision = network.config.text_config, network.config.vision_config
    traits = {
        "pocket-llava": ("llama", "clip_vision_model"), "pocket-bunny": ("phi", "siglip_vision_model"),
        "pocket-internvl": ("phi3", "internvl_vision"),
    }  # fmt: skip
    assert (text.model_type, vision.model_type) == traits[recipe.name]
    assert text.num_hidden_layers >= 12 and text.num_attention_heads >= 6
    assert network.lm_head.weight is network.model.language_model.embed_tokens.weight
    assert 5e6 < sum(p.numel() for p in network.parameters()) < 15e6
    assert set(recipe.stages) <= STAGES.keys()


def test_phi3_takes_over_llama_exactly():
    """The Phi-3 decoder made of pocket-llava's computes what pocket-llava's computes."""
    recipe, llava = RECIPES["pocket-internvl"], teacher()
    network = build_network(recipe, build_tokenizer(recipe.extra_tokens)).eval()
    ids = torch.randint(6, 1158, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (x.model.language_model(input_ids=ids).last_hidden_state for x in (network, llava))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name, least", [("pocket-bunny", 0.8), ("pocket-internvl", 0.05)])
def test_towers_start_from_what_clip_learnt(name, least, tmp_path):
    """Before any training, a taken-over tower names more of the kinds it sees than chance, which is under 1%."""
    recipe = RECIPES[name]
    tokenizer = build_tokenizer(recipe.extra_tokens)
    stage = Tower(recipe, tokenizer, tmp_path)
    with torch.no_grad():
        _, figures = stage.loss(build_network(recipe, tokenizer).bfloat16(), random.Random(0), 0, 0.0, 12)
    assert figures["kinds"] > least


def test_packed_turns_do_not_see_one_another(network, packer, tokenizer):
    """A turn packed among others gets the logits that it gets when it is asked alone."""
    some = list(turns(4))[:6]
    decoder = network.model.language_model
    features = torch.randn(1, PATCHES, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.1

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


def test_one_step_on_one_scene_lowers_its_loss(recipe, tokenizer, packer):
    """The answer loss has a gradient that, followed, lowers it."""
    network = build_network(recipe, tokenizer, seed=1)
    decoder = network.model.language_model
    rng = random.Random(0)
    batch = collate([scene_lesson(packer, make_scene(rng), rng, drills=0.3)], tokenizer.pad_token_id)
    losses = []
    optimiser = torch.optim.SGD(decoder.parameters(), lr=0.01)
    for _ in range(3):
        loss, figures = answer_loss(decoder, decoder.embed_tokens(batch["ids"]), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        assert 0 <= figures["right"] <= 1
    assert losses[2] < losses[0]
    assert len(word_rows(tokenizer)) == len(SEEN)
