"""What the app says in English and Simplified Chinese, from assets/. Labels stand in the code in English and are looked
up; the tour's texts have keys. Plain data, no Gradio.
"""

import json
from functools import lru_cache
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
STEPS = 10  # of the tour
LANGUAGES = {"en": "English", "zh": "简体中文"}


@lru_cache(maxsize=1)
def labels() -> dict[str, str]:
    """English label → Chinese, of every tab."""
    steps = {step(number, "en"): step(number, "zh") for number in range(1, STEPS + 1)}
    return json.loads((ASSETS / "i18n/zh.json").read_text(encoding="utf-8")) | steps


def step(number: int, language: str = "en") -> str:
    """A step of the tour with its number."""
    return f"{number} · {tour(language)[f'{number}.title']}"


@lru_cache(maxsize=len(LANGUAGES))
def tour(language: str) -> dict[str, str]:
    """Key → text of the tour."""
    return json.loads((ASSETS / f"tour.{language}.json").read_text(encoding="utf-8"))


def say(language: str, key: str, **values: object) -> str:
    """A sentence of the tour with its values put in."""
    return tour(language)[key].format(**values)


def preferred(accepted: str | None) -> str:
    """The language to begin with, of a browser's Accept-Language: the first one that we speak, or else English."""
    for wish in (accepted or "").split(","):
        language = wish.strip().split(";")[0].split("-")[0].lower()
        if language in LANGUAGES:
            return language
    return "en"
