"""The pocket models' tokenizer: byte-level BPE in which every word that scenes and questions use is one token."""

import random
import re

import easy_vqa
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from samples.questions import ASKERS, CATEGORIES, knowledge
from samples.scenes import BACKGROUNDS, PLACES, SIGN_WORDS, make_scene
from samples.sprites import kinds

PAD, BOS, EOS, IMAGE, USER, ASSISTANT = "<pad>", "<s>", "</s>", "<image>", "<user>", "<assistant>"
IMAGE_START, IMAGE_END = "<img>", "</img>"  # around InternVL's images
SPECIAL = [PAD, BOS, EOS, IMAGE, USER, ASSISTANT]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<user>' if message['role'] == 'user' else '<assistant>' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def lexicon() -> list[str]:
    """Every word of the scenes, the questions and easy-VQA, sorted."""
    rng, words = random.Random(0), set()
    texts = [w for k in kinds() for w in (k.name, k.plural)]
    texts += [*CATEGORIES, *CATEGORIES.values(), *BACKGROUNDS, *PLACES, *SIGN_WORDS]
    for _ in range(4000):
        scene = make_scene(rng)
        turns = [ask(scene, rng) for ask in ASKERS.values()] + [knowledge(rng, "train")]
        texts += [f"{turn.question} {turn.answer}" for turn in turns if turn]
    questions, answers, _ = easy_vqa.get_train_questions()
    texts += list(questions) + list(answers)
    for text in texts:
        words.update(re.findall(r"[a-z]+", text))
    return sorted(words)


def build_tokenizer(extra: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    """Lower-cases, splits into words, and knows each word of the lexicon as one token; other text falls into pieces.

    extra: special tokens by attribute name, which get ids after all others if they are new.
    """
    core = Tokenizer(models.BPE())
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)]
    )
    core.decoder = decoders.ByteLevel()
    words = lexicon()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator([" ".join(words), " ".join("0123456789")], trainer)
    core.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, bos_token=BOS, eos_token=EOS, model_max_length=1024,
        extra_special_tokens={"image_token": IMAGE, "user_token": USER, "assistant_token": ASSISTANT, **(extra or {})},
        clean_up_tokenization_spaces=False, padding_side="left",
    )  # fmt: skip
    tokenizer.chat_template = CHAT_TEMPLATE
    pieces = [word for word in words if len(tokenizer(word, add_special_tokens=False).input_ids) != 1]
    if pieces:
        raise ValueError(f"these words are not one token: {pieces[:10]}")
    return tokenizer
