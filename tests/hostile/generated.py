"""Bad inputs by the thousand: a good document with a few places made hostile, and good bytes damaged. Seeded."""

import copy
import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.hostile.guard import CASES

DEEP = 3000
OUT = (
    "../outside/secret.json",
    "../../outside/secret.png",
    "/etc/passwd",
    "file:///etc/passwd",
    "~/.ssh/id_rsa",
    "http://127.0.0.1:9/secret.png",
    "https://example.com/x.json",
    "data:image/png;base64,AAAA",
    "..\\outside",
    "secret.json\0.png",
    "//127.0.0.1/share",
    "CON",
    "/proc/self/environ",
    "/dev/zero",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    -7,
    10**4,
    10**6,
    1 << 31,
    1 << 63,
    -(1 << 63),
    10**30,
    -(10**30),
    0.5,
    -0.5,
    1e-300,
    1e308,
    float("nan"),
    float("inf"),
    float("-inf"),
    1e18,
)
WORDS = (
    "",
    "x",
    " ",
    "\0",
    "\n",
    "\ud800",
    "é" * 300,
    "a" * 10_000,
    "None",
    "true",
    "-1",
    "1e9",
    "__class__",
    "os.system",
    "{{ 7 * 7 }}",
    "{% include 'x' %}",
    "<image>",
    "evil/model",
    "../evil",
    "%s%n",
    "${HOME}",
    "sdpa",
    "float32",
    "cuda",
    "auto",
    "last",
    "taylor",
)
SHAPES = (
    [],
    {},
    [[]],
    [None],
    [{}],
    [0],
    [-1],
    [10**18],
    [1, 2, 3],
    ["x"],
    {"x": 1},
    {"": {}},
    [[1, 2], [3, 4]],
    [0] * 1000,
    {"auto_map": {"AutoModel": "evil.M"}},
    {"model_type": "llava"},
    {"rope_type": "yarn", "factor": 1e9},
    {"quant_method": "gptq"},
)
VALUES = (None, True, False, *NUMBERS, *WORDS, *OUT, *SHAPES)
ACTIONS = ("set", "set", "set", "drop", "add", "wrap", "double", "swap")
RAW = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"{}",
    b"7",
    b'"x"',
    b"NaN",
    b"\xef\xbb\xbf{}",
    b"\xff\xfe{\0}\0",
    b"\x00" * 100,
    b"\xff" * 100,
    b"{" * DEEP,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b'{"a":1e999}',
    b'{"a":' + b"9" * 10_000 + b"}",
    b"{'a': 1}",
    b'{"a": 1,}',
    b'{"a"',
    b"\x80\x04\x95",
    b"PK\x03\x04",
    b"<svg/>",
    b"#!/bin/sh",
    b'{"\\ud800": 1}',
    b'{"a": "' + b"x" * 200_000 + b'"}',
)
EDIT = st.tuples(st.integers(0, 1 << 30), st.sampled_from(ACTIONS), st.sampled_from(range(len(VALUES))))
EDITS = st.lists(EDIT, min_size=1, max_size=4)
CUT = st.tuples(
    st.sampled_from(("cut", "flip", "insert", "zero", "repeat")), st.integers(0, 1 << 30), st.binary(max_size=8)
)


def hostile(name: str, **given_):
    """A test of as many inputs as guard.CASES says, the same in every run and on every machine."""
    how = settings(
        max_examples=CASES[name],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    return lambda test: pytest.mark.tries(name)(how(given(**given_)(test)))


def edited(document, edits):
    """A copy of a JSON value with these edits, each at a place that its number leads to."""
    whole = [copy.deepcopy(document)]
    for number, action, value in edits:
        place, key = _place(whole, number)
        new = copy.deepcopy(VALUES[value])
        if action == "drop" and place is not whole:
            del place[key]
        elif action == "add" and isinstance(place, dict):
            place[str(new)[:40]] = new
        elif action == "add":
            place.append(new) if place is not whole else None
        elif action == "wrap":
            place[key] = [place[key]] if number % 2 else {"x": place[key]}
        elif action == "double" and isinstance(place[key], list):
            place[key] = place[key] * 2
        elif action == "swap" and len(place) > 1:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            other = keys[number % len(place)]
            place[key], place[other] = place[other], place[key]
        else:
            place[key] = new
        if not whole:
            whole = [None]
    return whole[0]


def _place(whole, number):
    """(container, key): a way down from the top, by the number's digits; long lists count like short ones."""
    place, key = whole, 0
    while isinstance(place[key], dict | list) and place[key]:
        inner = place[key]
        number, stop = divmod(number, 5)
        if stop == 0 and place is not whole:
            break
        keys = list(inner) if isinstance(inner, dict) else range(len(inner))
        number, index = divmod(number, len(keys))
        place, key = inner, keys[index]
    return place, key


def damaged(data: bytes, cuts) -> bytes:
    """Bytes with a few of them gone, changed or put in."""
    found = bytearray(data)
    for how, number, more in cuts:
        at = number % (len(found) + 1)
        if how == "cut":
            del found[at:]
        elif how == "flip" and found:
            found[at % len(found)] ^= 1 << number % 8
        elif how == "insert":
            found[at:at] = more
        elif how == "zero":
            found[at : at + 16] = bytes(len(found[at : at + 16]))
        else:
            found[at:at] = found[at : at + 64]
    return bytes(found)


def written(document) -> bytes:
    """As JSON, whatever is in it; half characters too."""
    return json.dumps(document).encode("utf-8", "surrogatepass")


def texts(*documents):
    """Bytes of a JSON file: mostly one of these documents with edits, sometimes damaged bytes or none of it at all."""
    document = st.sampled_from(documents)
    mostly = st.builds(lambda x, edits: written(edited(x, edits)), document, EDITS)
    broken = st.builds(lambda x, cuts: damaged(written(x), cuts), document, st.lists(CUT, min_size=1, max_size=3))
    return st.one_of(mostly, mostly, mostly, mostly, broken, st.sampled_from(RAW))
