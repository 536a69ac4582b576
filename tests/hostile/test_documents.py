"""What a person hands over as text: plans, recipes, cases, instruction data, links. Each is taken, or refused in a
sentence; what is taken can be used to the end."""

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save as as_bytes

from evaluation.cases import Case, Said
from evaluation.reports import as_csv, as_html, as_jsonl, from_jsonl
from pruning import Plan, Scores, make_plan, prune
from pruning.checkpoint import card
from recovery import Recipe
from samples import load_samples
from tests import tiny
from tests.hostile.generated import CUT, OUT, VALUES, damaged, hostile, texts
from ui import links


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def scores(model):
    return tiny.scores(model)


PLANNED = tiny.model("llama-gqa")
SCORES = tiny.scores(PLANNED)
PLANS = [
    json.loads(make_plan(SCORES, "widthwise", 0.3).to_json()),
    json.loads(make_plan(SCORES, "layerwise", 0.3, protect=[0]).to_json()),
    json.loads(make_plan(SCORES, "both", 0.3).to_json()),
]


def _scores() -> tuple[dict, dict]:
    """What a file of scores says of them, and their arrays."""
    with tempfile.TemporaryDirectory() as place:
        path = SCORES.save(Path(place) / "scores")
        with safe_open(path, framework="np") as file:
            return json.loads(file.metadata()["prunoscope"]), {x: file.get_tensor(x) for x in file.keys()}


def _stored(about, arrays: dict) -> bytes:
    text = about if isinstance(about, str) else about.decode("utf-8", "replace")
    return as_bytes({k: np.ascontiguousarray(x) for k, x in arrays.items()}, metadata={"prunoscope": text})


def _less(gone: set) -> dict:
    return {k: x for k, x in ARRAYS.items() if k not in gone}


def _framed(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


@hostile("plans", text=texts(*PLANS))
def test_plans(guard, text):
    """A plan that is taken explains itself, is written as it was read, and cuts the model or is refused for it."""

    def use():
        plan = Plan.from_json(text.decode("utf-8", "replace"))
        assert plan.explain()
        again = Plan.from_json(plan.to_json())
        assert again.to_json() == plan.to_json()
        pruned = prune(PLANNED, plan)
        assert pruned.parameters().total <= PLANNED.parameters().total and card(pruned, True, "because").encode()
        return plan

    guard.check(use)


ABOUT, ARRAYS = _scores()
ARRAY = st.one_of(
    st.sampled_from([np.zeros(0), np.zeros(4, np.int64), np.zeros((2, 2)), np.float64(1), np.full(4, np.nan)]),
    st.builds(lambda n, x: np.full(n, x), st.integers(0, 60), st.sampled_from([0.0, -1.0, 1e308, np.inf])),
)
OTHERS = st.dictionaries(
    st.sampled_from([*ARRAYS, "taylor.heads.0004", "other.heads.0000", "taylor", ".", "evil"]), ARRAY, max_size=2
)


@hostile(
    "scores",
    data=st.one_of(
        st.builds(lambda x, other: _stored(x, ARRAYS | other), texts(ABOUT), OTHERS),
        st.builds(
            lambda gone: _stored(json.dumps(ABOUT), _less(gone)), st.sets(st.sampled_from([*ARRAYS]), max_size=2)
        ),
        st.builds(
            lambda cuts: damaged(_stored(json.dumps(ABOUT), ARRAYS), cuts), st.lists(CUT, min_size=1, max_size=3)
        ),
        st.builds(lambda x: _framed(x), texts({"__metadata__": {"prunoscope": json.dumps(ABOUT)}})),
    ),
)
def test_scores(guard, data):
    """Scores that are taken make plans of every kind, and are written as they were read."""
    path = guard.workspace / "scores.safetensors"
    path.write_bytes(data)

    def use():
        found = Scores.load(path)
        for method in ("widthwise", "layerwise", "both"):
            assert make_plan(found, method, 0.3, importance=next(iter(found.importance))).explain()
        assert Scores.load(found.save(guard.workspace / "again")).sample_ids == found.sample_ids
        return found

    guard.check(use)


@hostile("recipes", text=texts(Recipe().to_dict(), Recipe(train="projector", l2=0.0, minutes=2.0).to_dict()))
def test_recipes(guard, text):
    """A recipe that is taken is written as it was read, and every number in it can be counted with."""

    def use():
        recipe = Recipe.from_json(text.decode("utf-8", "replace"))
        assert Recipe.from_json(recipe.to_json()) == recipe
        assert sum(recipe.weights.values()) > 0 and recipe.terms and recipe.recorded()
        return recipe

    guard.check(use)


def _case() -> dict:
    plan = json.dumps(PLANS[0])
    said = Said("pruned-1", "pruned", "Pruned 30%", "three apples", 0.3, plan, probability=0.5)
    first = Said("original", "original", "Original", "two apples")
    picture = tiny.picture()
    from evaluation.cases import png

    return Case("How many?", (first, said), "tiny", "0" * 16, png(picture), tags=("miscount",), note="x").to_dict()


@hostile("cases", text=texts(_case()))
def test_cases(guard, text):
    """A case that is taken can be shown, searched, and written in every format."""

    def use():
        cases = from_jsonl(text.decode("utf-8", "replace"))
        for case in cases:
            assert isinstance(case.words, str) and [x.made for x in case.sides]
            if case.picture is not None:
                assert case.image.mode == "RGB"
        assert as_csv(cases) and as_html(cases) and [x.id for x in from_jsonl(as_jsonl(cases))] == [x.id for x in cases]
        return cases

    guard.check(use)


TALK = [
    {
        "id": f"{i}",
        "image": "images/a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nHow many apples?"},
            {"from": "gpt", "value": "Two."},
        ],
    }
    for i in range(2)
]
NAMES = st.one_of(
    st.sampled_from(
        [*OUT, "images/link.png", "images/way/secret.png", "images", ".", "images/pipe", "a/../images/a.png"]
    ),
    st.text(max_size=20),
    st.builds(
        lambda n, rest: "../" * n + rest, st.integers(1, 6), st.sampled_from(["outside/secret.png", "etc/passwd"])
    ),
)
ENTRIES = st.one_of(
    texts(TALK),
    st.builds(lambda name: json.dumps([TALK[0] | {"image": name}]).encode("utf-8", "surrogatepass"), NAMES),
)


@hostile("instruction data", text=ENTRIES)
def test_instruction_data(guard, text):
    """Pictures come from the folder of the data alone: no way up, no link out, no address, no pipe to wait at."""
    folder = guard.workspace
    if not (folder / "images").exists():
        _pictures(guard)
    (folder / "data.json").write_bytes(text)
    for sample in guard.check(lambda: load_samples(folder / "data.json")) or ():
        assert sample.question and sample.answer and (sample.image is None or sample.image.mode == "RGB")


def _pictures(guard):
    import os

    images = guard.workspace / "images"
    images.mkdir()
    tiny.picture().save(images / "a.png")
    (images / "link.png").symlink_to(guard.outside / "secret.png")
    (images / "way").symlink_to(guard.outside)
    (images / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(images / "pipe")


SAID = {
    "model": "pocket-llava",
    "method": "widthwise",
    "ratio": "30",
    "protect": "1,0",
    "pin": "3,4.2",
    "out": "5",
    "samples": "10",
    "scene": "",
    "q": "How many apples?",
}
ODD = st.one_of(
    st.sampled_from(
        [str(x) for x in VALUES] + ["1e400", "-0", "0x10", "٣", "²", "3.²", "9" * 5000, "1," * 3000, "nan", "inf"]
    ),
    st.text(max_size=30),
    st.from_regex(r"[0-9.,eE+-]{0,12}", fullmatch=True),
)


@hostile("links", said=st.dictionaries(st.sampled_from(list(SAID)), ODD, max_size=3))
def test_links(guard, said):
    """An address restores what the catalogue and this app know, in range, and nothing of the machine."""

    def use():
        found = links.read(SAID | said)
        if found is None:
            return None
        assert found.ratio is None or 0 <= found.ratio <= 1
        assert 1 <= found.samples <= links.MOST_SAMPLES and all(0 <= x <= 4 for x in found.protect)
        assert make_plan(SCORES, pinned=found.pinned, forced=found.forced, ratio=0.0)
        return found

    guard.check(use)
