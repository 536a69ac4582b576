"""The gallery: example images that ship with the app, each with questions worth asking."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "assets/examples"


@dataclass(frozen=True)
class Example:
    """One image with one question; several may share an image."""

    image_path: Path
    question: str
    title: str  # of the image
    task: str  # what the question tries


def examples() -> tuple[Example, ...]:
    """Every bundled example, in the gallery's order. None of the images was in the training data."""
    table = json.loads((FOLDER / "examples.json").read_text(encoding="utf-8"))
    return tuple(
        Example(FOLDER / picture["image"], question, picture["title"], task)
        for picture in table
        for task, question in picture["questions"]
    )
