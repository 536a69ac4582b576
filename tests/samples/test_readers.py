"""Readers: seeded, split for certain, and clear about what is wrong with somebody's own file."""

import json

import pytest
from PIL import Image

from lvlm.errors import BadSamples
from samples import TASKS, examples, load_samples


def fingerprint(samples):
    return [(s.id, s.task, s.turns, s.image.tobytes() if s.image else None) for s in samples]


def test_the_same_seed_gives_the_same_scenes():
    """Samples depend on split and seed alone, and the first few do not depend on how many are asked for."""
    first = fingerprint(load_samples("scenes", n=8, seed=3))
    assert first == fingerprint(load_samples("scenes", n=8, seed=3))
    assert first == fingerprint(load_samples("scenes", n=20, seed=3))[:8]
    assert first != fingerprint(load_samples("scenes", n=8, seed=4))


def test_splits_share_no_image():
    """Training, test and unseen-style scenes are different pictures."""
    pictures = [
        {s.image.tobytes() for s in load_samples("scenes", split=split, n=40) if s.image}
        for split in ("train", "test", "unseen-style")
    ]
    assert not pictures[0] & pictures[1] and not pictures[1] & pictures[2]


def test_tasks_take_turns():
    """n samples cover the tasks evenly; test samples ask one thing, training samples several."""
    found = load_samples("scenes", split="test", n=2 * len(TASKS))
    assert [s.task for s in found] == [*TASKS, *TASKS]
    assert all(len(s.turns) == 1 for s in found)
    assert all(len(s.turns) > 1 for s in load_samples("scenes", n=len(TASKS)) if s.task != "knowledge")
    assert [s.image is None for s in found] == [s.task == "knowledge" for s in found]


def test_easy_vqa_keeps_its_own_split():
    """easy-VQA's test questions come from its test images, and sampling is seeded."""
    found = load_samples("easy-vqa", split="test", n=5, seed=1)
    assert [s.id for s in found] == [s.id for s in load_samples("easy-vqa", split="test", n=5, seed=1)]
    assert all(s.id.startswith("easy-vqa/test/") and s.image.mode == "RGB" for s in found)


@pytest.mark.parametrize("reader", ["scenes", "easy-vqa"])
def test_pictures_are_drawn_where_they_are_wanted(reader):
    """Leaving pictures out changes no word, and the ones asked for are those of the whole."""
    whole, one = (load_samples(reader, "test", n=5, seed=2, pictures=x) for x in (None, (1,)))
    assert [x.turns for x in whole] == [x.turns for x in one]
    assert [x.image is not None for x in one] == [i == 1 for i in range(5)]
    assert one[1].image.tobytes() == whole[1].image.tobytes()


@pytest.fixture
def instruction_file(tmp_path):
    """Writes entries as LLaVA's instruction JSON beside one image, and returns the file."""
    Image.new("RGB", (8, 8), "red").save(tmp_path / "red.png")

    def write(entries):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(entries))
        return path

    return write


def talk(*values):
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def test_llava_instruction_data_is_read(instruction_file):
    """Conversations become turns without the image marker; an entry may have no image."""
    path = instruction_file(
        [
            {"id": "x", "image": "red.png", "conversations": talk("<image>\nWhat colour?", "Red.", "Sure?", "Yes.")},
            {"id": "y", "conversations": talk("Hello?", "Hi.")},
        ]
    )
    first, second = load_samples(path)
    assert [(t.question, t.answer) for t in first.turns] == [("What colour?", "Red."), ("Sure?", "Yes.")]
    assert first.image.size == (8, 8) and second.image is None


@pytest.mark.parametrize(
    "entries, says",
    [
        ({}, "JSON list"),
        ([], "JSON list"),
        ([{"id": 1}], "conversations"),
        ([{"conversations": talk("only a question")}], "conversations"),
        ([{"conversations": talk("a", "b")[::-1]}], "alternate"),
        ([{"conversations": talk("<image>", "b")}], "empty"),
        ([{"image": "gone.png", "conversations": talk("a", "b")}], "cannot be opened"),
    ],
)
def test_a_wrong_instruction_file_is_explained(instruction_file, entries, says):
    """Each way of getting the file wrong is told in a sentence that names it."""
    with pytest.raises(BadSamples, match=says):
        load_samples(instruction_file(entries))


@pytest.mark.parametrize(
    "asked, says",
    [
        (dict(reader="scenes", n=0), "at least one"),
        (dict(reader="scenes"), "how many"),
        (dict(reader="scenes", n=1, split="dev"), "no split"),
        (dict(reader="scenes", n=1, tasks=["smell"]), "no task"),
        (dict(reader="easy-vqa", n=10**6), "there are only"),
        (dict(reader="nonsense", n=1), "no data called"),
        (dict(reader="gone.json", n=1), "no file"),
    ],
)
def test_an_impossible_wish_is_explained(asked, says):
    """Each wrong argument is told in a sentence that names it."""
    with pytest.raises(BadSamples, match=says):
        load_samples(**asked)


def test_examples_are_there():
    """Every example's image exists, is square, and comes with at least three questions."""
    found = examples()
    paths = [example.image_path for example in found]
    assert len(set(paths)) >= 8
    for path in set(paths):
        assert Image.open(path).size == (384, 384)
        assert paths.count(path) >= 3
