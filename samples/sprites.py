"""The drawings that scenes are made of: ≥ 100 kinds of everyday object, each in several art styles."""

import json
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).resolve().parent.parent / "assets/sprites"


@dataclass(frozen=True)
class Kind:
    name: str  # "apple"
    plural: str  # "apples"
    category: str  # "fruit"
    row: int  # in the atlas


@lru_cache(maxsize=1)
def _table() -> dict:
    return json.loads((FOLDER / "kinds.json").read_text())


@lru_cache(maxsize=1)
def kinds() -> tuple[Kind, ...]:
    """Every kind of object, in the atlas's order."""
    return tuple(Kind(k["name"], k["plural"], k["category"], row) for row, k in enumerate(_table()["kinds"]))


@lru_cache(maxsize=1)
def styles() -> tuple[str, ...]:
    """The art styles, in the atlas's order."""
    return tuple(_table()["styles"])


@lru_cache(maxsize=1)
def _atlas() -> Image.Image:
    return Image.open(FOLDER / "sprites.webp").convert("RGBA")


@cache
def sprite(row: int, style: str) -> Image.Image:
    """One kind's drawing in one style: a square RGBA image, trimmed to what is visible."""
    cell, column = _table()["cell"], styles().index(style)
    return _atlas().crop((cell * column, cell * row, cell * (column + 1), cell * (row + 1)))
