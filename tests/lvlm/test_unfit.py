"""Checkpoints that are broken in a way no file tells: whatever meets it first says so in one sentence."""

import pytest
from tokenizers import decoders

from evaluation.scoring import truth_probabilities
from lvlm import BrokenCheckpoint, load
from lvlm.attention import attention_to_image
from lvlm.forcing import answer_logits
from lvlm.unfit import unbroken
from pruning import calibrate, measure, save
from pruning.hidden import trace
from recovery import Recipe, recover
from tests import tiny
from tests.lvlm.originals import reconfigure

QUESTION = "how many apples are there ?"
SFT = Recipe(train="projector", sft=1.0, l2=0.0, steps=1, batch=2)
USES = {
    "chat": lambda model: "".join(model.chat(tiny.picture(), QUESTION, max_new_tokens=1)),
    "generate": lambda model: model.generate([(tiny.picture(), QUESTION)], 1),
    "calibrate": lambda model: calibrate(model, tiny.samples(2)),
    "recover": lambda model: recover(model, None, tiny.samples(4), SFT),
    "teach": lambda model: recover(model, model, tiny.samples(4), Recipe(train="projector", kl=1.0, steps=1, batch=2)),
    "measure": lambda model: measure(model),
    "score": lambda model: truth_probabilities(model, tiny.samples(2)),
    "trace": lambda model: trace(model, tiny.samples(2)[0]),
    "force": lambda model: answer_logits(model, tiny.picture(), QUESTION, [5]),
    "look": lambda model: attention_to_image(model, tiny.picture(), QUESTION),
}


@pytest.mark.parametrize("use", USES)
def test_a_processor_that_disagrees_with_its_config(use):
    """More tokens for a picture than the network has features: one sentence, whichever step meets it."""
    model = tiny.model(layers=1)
    model.processor.num_additional_image_tokens = 3
    with pytest.raises(BrokenCheckpoint, match="do not fit together") as caught:
        USES[use](model)
    assert "\n" not in str(caught.value) and str(caught.value).endswith("Please download both again.")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save(tiny.model(layers=1), tmp_path_factory.mktemp("model") / "tiny")


WORDS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<image>": 3, "a": 4, "漢": 5, "a漢": 6}
PANICS = {
    "while it is read": {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
    "while it cuts a text": {"pre_tokenizer": {"type": "FixedLength", "length": 0}},
    "and ends the process": {
        "model__continuing_subword_prefix": "é",
        "model__vocab": WORDS,
        "model__merges": [["a", "漢"]],
    },
}


@pytest.mark.parametrize("broken", PANICS)
def test_a_tokenizer_that_panics(saved, broken):
    """What makes the tokenizers library panic, which no `except Exception` hears of, is a broken checkpoint."""
    before = (saved / "tokenizer.json").read_bytes()
    reconfigure(saved, "tokenizer.json", **PANICS[broken])
    try:
        with pytest.raises(BrokenCheckpoint, match="download") as caught:
            "".join(load(saved).chat(None, QUESTION, max_new_tokens=3))
    finally:
        (saved / "tokenizer.json").write_bytes(before)
    assert "tiny" in str(caught.value) and "\n" not in str(caught.value)


def test_a_tokenizer_that_panics_at_an_answer():
    """So is one whose answers cannot be written, streamed or in a batch."""
    model = tiny.model(layers=1)
    with model.chat(None, QUESTION, max_new_tokens=1) as answer:
        next(answer, "")
    tokenizer = model.processor.tokenizer
    letter = tokenizer.convert_ids_to_tokens(answer.tokens[0])[0]
    tokenizer.backend_tokenizer.decoder = decoders.Strip(letter, 0, 99)  # more than there are
    for use in (lambda: [*model.chat(None, QUESTION, max_new_tokens=1)], lambda: model.generate([(None, QUESTION)], 1)):
        with pytest.raises(BrokenCheckpoint, match="download"):
            use()


def test_only_panics_are_taken_for_broken_checkpoints():
    """Ctrl-C and mistakes of our own pass as they are."""
    for error in (KeyboardInterrupt, ZeroDivisionError):
        with pytest.raises(error), unbroken("tiny"):
            raise error
