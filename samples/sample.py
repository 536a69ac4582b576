"""What one piece of visual-instruction data is. It knows nothing of files, models or tokens."""

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Turn:
    """One question and its true answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Sample:
    """An image, or none, and the turns of talk about it."""

    id: str  # says where it came from: reader, split and number; recorded with every result
    image: Image.Image | None
    turns: tuple[Turn, ...]
    task: str  # the kind of the last question, e.g. "count"

    @property
    def question(self) -> str:
        return self.turns[-1].question

    @property
    def answer(self) -> str:
        return self.turns[-1].answer
