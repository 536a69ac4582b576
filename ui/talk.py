"""A conversation with several models at once: every exchange has one question and an answer from each pane."""

import threading
from dataclasses import dataclass

from ui.variants import Variant


@dataclass
class Answer:
    """What one variant said; `text` grows while it speaks."""

    variant: str  # its kind
    text: str = ""
    stats: object = None  # ChatStats once it ended


@dataclass
class Exchange:
    """One question and each pane's answer to it."""

    question: str
    answers: dict[str, Answer]  # "left" | "right"

    @classmethod
    def of(cls, question: str, panes: dict[str, Variant]) -> "Exchange":
        return cls(question, {side: Answer(variant.kind) for side, variant in panes.items()})

    def grow(self, panes: dict[str, Variant], image, stop: threading.Event, **how) -> None:
        """Let every pane's model answer, piece by piece in turn, until each has ended or `stop` is set."""
        streams = {}
        try:
            for side, variant in panes.items():
                streams[side] = variant.model.chat(image, self.question, stop=stop, **how)
            for side, piece in interleave(streams):
                self.answers[side].text += piece
        finally:
            for side, stream in streams.items():
                stream.close()
                self.answers[side].stats = stream.stats


def interleave(streams: dict):
    """(side, piece) from several iterators in turn, until each has ended."""
    active = dict(streams)
    while active:
        for side in list(active):
            try:
                yield side, next(active[side])
            except StopIteration:
                del active[side]
