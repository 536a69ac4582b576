"""A conversation with several models at once: every exchange has one question and an answer of each."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lvlm.chat import ChatStream
from lvlm.errors import BadQuestion
from ui.limits import HOTTEST, LONGEST_ANSWER
from ui.variants import Variant

LAST_SEED = 2**32 - 1


@dataclass(frozen=True)
class How:
    """How answers are made: alike by every model that is asked, and again when it is asked again."""

    max_new_tokens: int = 96
    temperature: float = 0.0
    seed: int = 0

    @classmethod
    def wished(cls, max_new_tokens, temperature, seed) -> "How":
        """What a person typed. Raises BadQuestion for numbers nobody can mean."""
        if not (isinstance(max_new_tokens, int | float) and 1 <= max_new_tokens <= LONGEST_ANSWER):
            raise BadQuestion(f"An answer of {max_new_tokens} tokens is out of range: choose 1 to {LONGEST_ANSWER}.")
        if not (isinstance(temperature, int | float) and 0 <= temperature <= HOTTEST):
            raise BadQuestion(f"A temperature of {temperature} is out of range: choose 0 to {HOTTEST}.")
        if not (isinstance(seed, int | float) and 0 <= seed <= LAST_SEED and seed == int(seed)):
            raise BadQuestion(f"{seed} is no seed: choose a whole number from 0 to {LAST_SEED}.")
        return cls(int(max_new_tokens), float(temperature), int(seed))


@dataclass
class Answer:
    """What one variant said; `text` grows while it speaks. Its kind and title stay as they were when it was asked."""

    variant: str  # its id
    kind: str
    title: str
    text: str = ""
    stats: object = None  # ChatStats once it ended
    tokens: tuple[int, ...] = ()  # ids, the end mark included, once it ended
    divergence: object = None  # Divergence from the exchange's first variant, once that has read it


@dataclass
class Exchange:
    """One question and every asked variant's answer to it, by the variant's id and in the order of the panes."""

    question: str
    answers: dict[str, Answer]
    how: How = How()

    @classmethod
    def of(cls, question: str, panes: Sequence[Variant], how: How = How()) -> "Exchange":
        return cls(question, {x.id: Answer(x.id, x.kind, x.title) for x in panes}, how)

    def grow(self, panes: Sequence[Variant], image, stop: threading.Event, pause: Callable[[], None], **how) -> None:
        """Let every pane's model answer, piece by piece in turn, until each has ended or `stop` is set.

        pause: called after each piece of all, while no model computes; where it raises, what was said stays.
        """
        streams = {}
        try:
            for variant in panes:
                streams[variant.id] = variant.model.chat(image, self.question, stop=stop, **how)
            for id, piece in interleave(streams, pause):
                self.answers[id].text += piece
        finally:
            for id, stream in streams.items():
                stream.close()
                self.answers[id].stats, self.answers[id].tokens = stream.stats, stream.tokens


def interleave(streams: dict[str, ChatStream], pause: Callable[[], None]) -> Iterator[tuple[str, str]]:
    """(key, piece) from several answers, one piece of each at a time, computed beside each other."""
    active = dict(streams)
    while active:
        for stream in active.values():
            stream.advance()
        for key in list(active):
            try:
                yield key, next(active[key])
            except StopIteration:
                del active[key]
        if active:
            pause()
