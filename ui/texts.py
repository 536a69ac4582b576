"""What the app says in English and Simplified Chinese, from assets/. Short texts stand in the code in English, which is
what they are looked up by; long ones, of the tour, have keys. Plain data, no Gradio.
"""

import json
import re
from contextvars import ContextVar
from functools import lru_cache
from numbers import Number
from pathlib import Path
from string import Formatter

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STEPS = 10  # of the tour
LANGUAGES = {"en": "English", "zh": "简体中文"}
_SPOKEN = ContextVar("language", default="en")  # of the event at hand; a job's thread speaks English


def speak(language: str) -> None:
    """Say what follows in this event in a visitor's language: `Desks.peek` does, as every event begins there."""
    _SPOKEN.set(language)


def spoken() -> str:
    """The language of the event at hand."""
    return _SPOKEN.get()


@lru_cache(maxsize=1)
def labels() -> dict[str, str]:
    """English text → Chinese, of every tab. Named fields stand in braces; see `say`."""
    steps = {step(number, "en"): step(number, "zh") for number in range(1, STEPS + 1)}
    steps |= {tour("en")[x]: tour("zh")[x] for x in ("beyond.title", "beyond.open")}
    return json.loads((ASSETS / "i18n/zh.json").read_text(encoding="utf-8")) | steps


def step(number: int, language: str = "en") -> str:
    """A step of the tour with its number."""
    return f"{number} · {tour(language)[f'{number}.title']}"


@lru_cache(maxsize=len(LANGUAGES))
def tour(language: str) -> dict[str, str]:
    """Key → text of the tour."""
    return json.loads((ASSETS / f"tour.{language}.json").read_text(encoding="utf-8"))


def minus(text: str) -> str:
    """A text whose numbers below zero have a minus sign, not a hyphen."""
    return re.sub(r"(?<![\w–-])-(?=\.?\d)", "−", text)


class _Plural(Formatter):
    """`str.format` with one more kind of field: {n:case|cases} is the first word for one, the second for any other.
    Numbers below zero have a minus sign."""

    def format_field(self, value, format_spec: str) -> str:
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if value == 1 else many
        said = super().format_field(value, format_spec)
        return minus(said) if isinstance(value, Number) else said


_FORMAT = _Plural()


def say(english: str, /, **fields: object) -> str:
    """A text in the visitor's language with its fields put in; what is in no table, such as a suite's name, stays."""
    found = english if spoken() == "en" else labels().get(english, english)
    return _FORMAT.vformat(found, (), fields) if fields else found


def tell(key: str, /, **fields: object) -> str:
    """A sentence of the tour in the visitor's language with its fields put in."""
    return _FORMAT.vformat(tour(spoken())[key], (), fields) if fields else tour(spoken())[key]


_ENDS = re.compile(r"(?<=[.!?])(?<!Fig\.)(?<!Figs\.) (?=[A-Z0-9])")  # between two sentences
_HOLDS = {  # what fields of these names hold; others hold anything
    "share": r"[\d.]+%",
    "number": r"[-−+]?[\d.,]+",
    "ranges": r"[\d–, ]+",
    "last": r"[\d–]+",
    "method": r"(?:both )?[a-z]+(?:, [a-z]+)*",
    "go": "goes|go",
    "trained": r"projector|LoRA|all weights",
    "heads": r"[\d,]+ attention heads?(?: \(.*\))?",
    "neurons": r"[\d,]+ MLP neurons?",
    "where": r"§[\d.]+",
}


@lru_cache(maxsize=1)
def _elsewhere() -> dict[str, str]:
    """English → Chinese of what is made outside of this folder, and of what errors say."""
    told = (json.loads((ASSETS / f"i18n/zh.{x}.json").read_text(encoding="utf-8")) for x in ("library", "errors"))
    return {english: chinese for table in told for english, chinese in table.items()}


@lru_cache(maxsize=1)
def _sentences() -> list[tuple[re.Pattern, str]]:
    """(what finds it, Chinese) of those with fields; what has the most words of its own comes first."""
    holes = re.compile(r"\\\{(\w+)\\\}")

    def finding(sentence: str) -> re.Pattern:
        held = holes.sub(lambda x: f"(?P<{x[1]}>{_HOLDS.get(x[1], '.+?')})", re.escape(sentence))
        return re.compile(held, re.DOTALL)

    order = sorted((x for x in _elsewhere() if "{" in x), key=lambda x: -len(re.sub(r"\{\w+\}", "", x)))
    return [(finding(x), _elsewhere()[x]) for x in order]


@lru_cache(maxsize=4096)
def _in_chinese(text: str) -> str:
    """A text as a whole, or sentence by sentence; what fits nothing stays."""
    known = _elsewhere().get(text) or labels().get(text)
    if known is not None:
        return known
    if len(parts := _ENDS.split(text)) > 1:
        return "".join(map(_in_chinese, parts))
    for pattern, chinese in _sentences():
        if found := pattern.fullmatch(text):
            return chinese.format(**{name: _in_chinese(x) for name, x in found.groupdict().items()})
    parts = text.split("; ")
    return "；".join(map(_in_chinese, parts)) if len(parts) > 1 else text


def retell(text: str) -> str:
    """An English sentence that was made elsewhere, in the visitor's language: a model's name, a job's title, what an
    error says. What nobody wrote in Chinese, such as a name that a person gave, stays as it is."""
    return text if spoken() == "en" else _in_chinese(text)


def preferred(accepted: str | None) -> str:
    """The language to begin with, of a browser's Accept-Language: the first one that we speak, or else English."""
    for wish in (accepted or "").split(","):
        language = wish.strip().split(";")[0].split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return "en"
