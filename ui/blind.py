"""Blind votes on a desk: who takes part, the pair that answered last, and what all votes say. Names are no part of what
is shown until the vote. Knows the library and desks, and nothing of Gradio.
"""

import random
import secrets
from dataclasses import dataclass, field

from evaluation.cells import QUESTIONS_SEED
from evaluation.scoring import ANSWER_TOKENS, questions
from evaluation.suites import suite_of
from evaluation.votes import Contender, Standing, Vote, drawn, score
from lvlm.errors import LVLMError
from lvlm.events import Progress, Report
from lvlm.images import check_question
from ui import casefile

SOURCES = {"drawn": "Drawn scenes, all kinds of question", "own": "The picture in Chat"}
SUITE, EACH = "skills", 20  # a pool of 300 questions of 15 kinds
TRIES = 6  # questions, until one is found that two models answer differently


@dataclass
class Match:
    """Two answers to one question. left, right: ids of variants; `vote` is there once it was judged."""

    seed: int
    left: str
    right: str
    question: str
    image: object
    truth: str | None
    answers: tuple[str, str]
    contenders: tuple[Contender, Contender]
    vote: Vote | None = None


@dataclass
class Blind:
    """What is chosen, and the match at hand. seed: of the next one's question, pair and sides."""

    source: str = "drawn"
    question: str = ""
    left_out: set[str] = field(default_factory=set)  # ids of variants that take no part
    seed: int = field(default_factory=lambda: secrets.randbits(31))
    match: Match | None = None
    alike: int = 0  # questions skipped for the last match, since both gave the same answer
    version: int = 0


def taking_part(desk) -> list:
    """The variants that may meet."""
    return [x for x in desk.variants if x.id not in desk.keeping.blind.left_out]


def choose(desk, source: str, question: str, ids: list[str]) -> None:
    """Whence the questions, and who takes part. Raises LVLMError for no such source."""
    if source not in SOURCES:
        raise LVLMError(f'There are no questions from "{source}": choose {", ".join(SOURCES)}.')
    blind = desk.keeping.blind
    blind.source, blind.question = source, question or ""
    blind.left_out = {x.id for x in desk.variants} - set(ids or ())
    blind.version += 1


def start(desk):
    """Let two models, drawn by the seed, answer a question. Raises LVLMError for fewer than two or for no question."""
    blind, own = desk.keeping.blind, desk.keeping.blind.source == "own"
    variants, image = {x.id: x for x in taking_part(desk)}, desk.image
    contenders = {x.id: Contender(casefile.said(x, "").made, x.kind, x.title) for x in variants.values()}
    drawn(list(variants), 0)  # raises for fewer than two
    question = check_question(blind.question) if own else ""
    tries = 1 if own else TRIES

    def work(report: Report) -> Match:
        for skipped in range(tries):
            seed = blind.seed
            blind.seed = random.Random(seed).getrandbits(31)
            left, right = drawn(list(variants), seed)
            asked = (question, image, None) if own else _drawn_question(seed)
            answers = []
            for i, id in enumerate((left, right)):
                report(Progress("answer", i, 2, "two models answer" if not skipped else "the next question"))
                answers += variants[id].model.generate([(asked[1], asked[0])], ANSWER_TOKENS)
            blind.alike = skipped
            if answers[0] != answers[1]:
                break
        return Match(seed, left, right, *asked, tuple(answers), (contenders[left], contenders[right]))

    def done(match: Match) -> None:
        blind.match = match
        blind.version += 1

    return desk.start("Answer for a blind vote", work, done)


def _drawn_question(seed: int) -> tuple[str, object, str]:
    """(question, image, true answer): one of the pool, the same for the same seed."""
    pool = questions(SUITE, EACH, QUESTIONS_SEED, False)
    place = random.Random(f"question {seed}").randrange(len(pool))
    _, sample = suite_of(SUITE).samples(EACH, QUESTIONS_SEED, (place,))[place]
    return sample.question, sample.image, sample.answer


def vote(desk, outcome: str) -> None:
    """Judge the match at hand: "left", "right", "tie" or "both-bad". Raises LVLMError for none, or a second vote."""
    match = desk.keeping.blind.match
    if match is None:
        raise LVLMError("There are no answers to judge yet: please press Next pair first.")
    if match.vote is not None:
        raise LVLMError("This pair is judged already: please press Next pair.")
    given = Vote(*match.contenders, outcome, desk.model.digest(), match.question, match.answers, match.seed)
    casefile.book().vote(given, casefile.owner(desk))
    match.vote = given
    desk.keeping.blind.version += 1


def standings(desk, owner: str | None) -> list[Standing]:
    """What the votes on variants of the model at hand add up to; owner None: everybody's."""
    return score(casefile.book().votes(desk.model.digest(), owner)) if desk.model else []
