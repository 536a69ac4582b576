"""A conversation with several models at once: every exchange has one question and an answer of each."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ui.variants import Variant


@dataclass
class Answer:
    """What one variant said; `text` grows while it speaks. Its kind and title stay as they were when it was asked."""

    variant: str  # its id
    kind: str
    title: str
    text: str = ""
    stats: object = None  # ChatStats once it ended


@dataclass
class Exchange:
    """One question and every asked variant's answer to it, by the variant's id and in the order of the panes."""

    question: str
    answers: dict[str, Answer]

    @classmethod
    def of(cls, question: str, panes: Sequence[Variant]) -> "Exchange":
        return cls(question, {x.id: Answer(x.id, x.kind, x.title) for x in panes})

    def grow(self, panes: Sequence[Variant], image, stop: threading.Event, **how) -> None:
        """Let every pane's model answer, piece by piece in turn, until each has ended or `stop` is set."""
        streams = {}
        try:
            for variant in panes:
                streams[variant.id] = variant.model.chat(image, self.question, stop=stop, **how)
            for id, piece in interleave(streams):
                self.answers[id].text += piece
        finally:
            for id, stream in streams.items():
                stream.close()
                self.answers[id].stats = stream.stats


def interleave(streams: dict):
    """(key, piece) from several iterators in turn, until each has ended."""
    active = dict(streams)
    while active:
        for key in list(active):
            try:
                yield key, next(active[key])
            except StopIteration:
                del active[key]
