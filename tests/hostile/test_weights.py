"""Files of weights, their index, and what else lies in a model's folder: headers that lie, names that lead elsewhere,
links, pipes. All is settled from headers and names; nothing is allocated for what only a header promises."""

import json
import os
import shutil
import struct

import pytest
from hypothesis import strategies as st

from lvlm import load
from lvlm.files import INDEX, bytes_in, header, numbers_in, weight_files
from lvlm.safety import shown
from pruning import save
from tests import tiny
from tests.hostile.generated import CUT, OUT, damaged, edited, hostile, texts, written
from tests.hostile.generated import EDITS as CHANGES

ENTRIES = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
    "c": {"dtype": "I64", "shape": [], "data_offsets": [32, 40]},
}
ENDS = (0, 24, 32, 40, 41, 8, 1 << 31, 1 << 62, (1 << 64) - 1, -8)
TENSOR = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(
            ["F64", "F32", "F16", "BF16", "I8", "U8", "BOOL", "F8_E4M3", "F4", "C64", "X", "", 7, None]
        ),
        "shape": st.lists(
            st.sampled_from([0, 1, 2, 3, 6, 10, 1 << 31, 1 << 62, (1 << 64) - 1, -1, 2.5, None, "3"]), max_size=5
        ),
        "data_offsets": st.lists(st.sampled_from(ENDS), min_size=1, max_size=3),
    }
)


def framed(text: bytes, length=None, data: bytes = b"\0" * 40) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text + data


FILES = st.one_of(
    st.builds(lambda edits: framed(written(edited(ENTRIES, edits))), CHANGES),
    st.builds(lambda x: framed(written({"a": x})), TENSOR),
    st.builds(lambda x: framed(written(ENTRIES | x)), st.dictionaries(st.sampled_from("abcd"), TENSOR, min_size=1)),
    st.builds(
        lambda n: framed(written(ENTRIES), n), st.sampled_from([0, 1, 7, 1 << 20, 1 << 32, 1 << 63, (1 << 64) - 1])
    ),
    st.builds(lambda cuts: damaged(framed(written(ENTRIES)), cuts), st.lists(CUT, min_size=1, max_size=3)),
    st.builds(framed, texts(ENTRIES)),
    st.builds(lambda n: framed(written(ENTRIES), None, b"\0" * n), st.integers(0, 80)),
    st.builds(lambda n: framed(written(ENTRIES) + b" " * n), st.integers(0, 64)),
)


@hostile("safetensors headers", data=FILES)
def test_headers(guard, data):
    """What is taken fits its file to the byte."""
    path = guard.workspace / "model.safetensors"
    path.write_bytes(data)

    def use():
        found = header(path)
        assert sum(x["data_offsets"][1] - x["data_offsets"][0] for x in found.values()) < len(data)
        assert 0 <= numbers_in(path) * 0.5 <= len(data) and 0 <= bytes_in(path, None) <= len(data)
        assert bytes_in(path, 4) <= 16 * len(data)
        return found

    guard.check(use)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory):
    return save(tiny.model("llama", layers=1), tmp_path_factory.mktemp("models") / "tiny")


WHERE = {"metadata": {"total_size": 24}, "weight_map": {"a": "model.safetensors", "b": "model.safetensors"}}
TARGETS = [
    *OUT,
    "../outside/secret.safetensors",
    "link.safetensors",
    "sub/model.safetensors",
    "./model.safetensors",
    "model.safetensors\0",
    "pipe.safetensors",
    "MODEL.SAFETENSORS",
    "",
]


@hostile(
    "indexes of weights",
    text=st.one_of(
        texts(WHERE),
        st.builds(lambda x: written({"weight_map": {"a": x, "b": "model.safetensors"}}), st.sampled_from(TARGETS)),
    ),
)
def test_indexes(guard, text):
    """An index names files of its folder, whatever it says."""
    folder = guard.workspace / "model"
    if not folder.exists():
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(framed(written(ENTRIES)))
    (folder / INDEX).write_bytes(text)
    found = guard.check(lambda: weight_files(folder))
    assert found in (None, [folder / "model.safetensors"])


NAMES = (
    "config.json",
    "tokenizer.json",
    "model.safetensors",
    "chat_template.jinja",
    "generation_config.json",
    "other.txt",
    "processor_config.json",
    "pruning.json",
    "sub/config.json",
    "sub",
    "adapter_config.json",
    INDEX,
    "model-00001-of-00001.safetensors",
    "spiece.model",
    ".hidden.json",
)
KINDS = ("link", "up", "absolute", "loop", "folder", "pipe", "socket", "device", "dangling", "itself", "unreadable")


@hostile(
    "files of a folder", made=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(KINDS), min_size=1, max_size=3)
)
def test_folders(guard, harmless, made):
    """Links, pipes, devices and folders under the names of a model's files: never followed, never waited for."""
    folder = guard.workspace / "model"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(harmless, folder)
    for name, kind in made.items():
        place = folder / name
        if name.startswith("sub/"):
            if (folder / "sub").exists() or (folder / "sub").is_symlink():
                continue
            (folder / "sub").mkdir()
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        elif place.exists() or place.is_symlink():
            place.unlink()
        _put(place, kind, guard.outside)
    guard.forget()

    def use():
        with shown(folder, "model"):
            pass
        return load(folder)

    found = guard.check(use)
    assert found is None or not {"secret"} & set(found.network.state_dict())


def _put(place, kind, outside) -> None:
    secret = outside / ("secret.safetensors" if place.suffix == ".safetensors" else "secret.json")
    if kind == "link":
        place.symlink_to(secret)
    elif kind == "up":
        place.symlink_to(os.path.relpath(secret, place.parent))
    elif kind == "absolute":
        place.symlink_to("/etc/passwd")
    elif kind == "loop":
        place.symlink_to(place.name)
    elif kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        os.mknod(place, 0o140644)
    elif kind == "device":
        place.symlink_to("/dev/zero")
    elif kind == "dangling":
        place.symlink_to("nowhere")
    elif kind == "itself":
        place.symlink_to(place.parent)
    else:
        place.write_bytes(b"\xff" * 64)
        place.chmod(0)


def test_a_shard_outside_is_not_opened(guard, harmless):
    """The secrets would be read as weights: neither Python nor the library in Rust opens them."""
    folder = guard.workspace / "model"
    shutil.copytree(harmless, folder)
    for name in TARGETS:
        (folder / INDEX).write_bytes(written({"weight_map": {"secret": name}}))
        guard.check(lambda: load(folder))
    assert json.loads((guard.outside / "secret.json").read_text())["secret"] == 1
    guard.forget()
