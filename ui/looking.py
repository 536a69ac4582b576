"""Looking closer at one answer on a desk: word by word beside the model it is compared with, and where both look in the
picture. Knows the library and jobs, and nothing of Gradio.
"""

from dataclasses import dataclass, field

from evaluation.divergence import Divergence, diverge
from lvlm.attention import attention_to_image, averaged
from lvlm.chat import encode_prompt
from lvlm.errors import LVLMError
from lvlm.events import Progress
from lvlm.views import Grid, grid_of
from pruning.lineage import descent, place_of
from ui import jobs
from ui.shelf import is_small
from ui.talk import Answer, Exchange
from ui.variants import Variant

MEASURES = ("probability", "kl")  # what colours a word


@dataclass(frozen=True)
class Gaze:
    """What two models attended to in the picture while they chose one token of an answer."""

    answer: Answer
    token: int
    image: object  # PIL
    grid: Grid | None
    weights: dict[str, tuple]  # by the variant's id: per layer (heads, image tokens)


@dataclass
class Looking:
    """What a visitor looks at. Whatever is chosen here and is there no more gives way to what is."""

    exchange: Exchange | None = None  # None: the last one
    of: str = ""  # id of the variant whose answer is read
    token: int | None = None  # place in the answer; None: where the two part, or the first
    layer: int | None = None  # counted in the model that nothing was cut from; None: the mean of all
    head: int | None = None  # of that layer; None: the mean of all
    by: str = MEASURES[0]
    gaze: Gaze | None = None
    refusal: str = ""  # why the last wish was not granted
    job: jobs.Job | None = None
    version: int = 0

    @property
    def busy(self) -> bool:
        return self.job is not None and self.job.busy


@dataclass(frozen=True)
class Pair:
    """An answer, who gave it, and with whom it is compared."""

    exchange: Exchange
    answer: Answer
    reference: Variant
    other: Variant
    choices: tuple[Answer, ...] = field(default=())  # all answers of the exchange that can be read

    @property
    def divergence(self) -> Divergence | None:
        return self.answer.divergence


def chosen(desk) -> Pair | None:
    """The answer to look at, of the chosen exchange or the last; None before two models have answered."""
    looking, talk = desk.looking, desk.talk
    if not talk:
        return None
    exchange = looking.exchange if any(x is looking.exchange for x in talk) else talk[-1]
    reference, *others = (desk.variants.get(x) for x in exchange.answers)
    others = [x for x in others if x is not None and exchange.answers[x.id].stats and exchange.answers[x.id].tokens]
    if reference is None or not others:
        return None
    other = next((x for x in others if x.id == looking.of), others[0])
    answers = tuple(exchange.answers[x.id] for x in others)
    return Pair(exchange, exchange.answers[other.id], reference, other, answers)


def token_of(desk, pair: Pair) -> int:
    """The place of the answer that is looked at."""
    token, found = desk.looking.token, pair.divergence
    if token is not None and token < len(pair.answer.tokens):
        return token
    return (found.parts_at or 0) if found else 0


def choose(desk, exchange: Exchange, of: str) -> None:
    """Look at one variant's answer of an exchange."""
    desk.looking.exchange, desk.looking.of, desk.looking.token = exchange, of, None
    desk.looking.version += 1


def point(desk, token: int | None, layer: int | None, head: int | None) -> None:
    """Look at one token, through one layer and head, or their means. Raises LVLMError for what there is not."""
    pair = _pair(desk)
    layers = {x.layer: x.heads for x in descent(pair.reference.model)}
    if token is not None and not 0 <= token < len(pair.answer.tokens):
        raise LVLMError(f"The answer has no token {token}: choose 0 to {len(pair.answer.tokens) - 1}.")
    if layer is not None and layer not in layers:
        raise LVLMError(f"{pair.reference.title} has no layer {layer}: choose {', '.join(map(str, layers))}.")
    if head is not None and (layer is None or head not in layers[layer]):
        raise LVLMError(f"There is no head {head} to look through: choose a layer first, then one of its heads.")
    desk.looking.token, desk.looking.layer, desk.looking.head = token, layer, head
    desk.looking.version += 1


def _pair(desk) -> Pair:
    pair = chosen(desk)
    if pair is None:
        raise LVLMError("There is nothing to compare yet: ask two models a question first.")
    return pair


def answers_ended(desk) -> None:
    """Look at the newest answers; where reading takes so little that nobody need ask for it, it begins."""
    desk.looking.exchange = desk.looking.token = None
    desk.looking.version += 1
    if desk.model is not None and is_small(desk.model) and chosen(desk) is not None:
        read(desk)


def read(desk) -> jobs.Job | None:
    """Let both models read the chosen answer; None where that was done. Raises LVLMError before there is one."""
    pair, image = _pair(desk), desk.image
    if pair.divergence is not None:
        return None

    def work(report) -> None:
        pair.answer.divergence = diverge(
            pair.reference.model, pair.other.model, image, pair.exchange.question, pair.answer.tokens, report=report
        )

    return _start(desk, "Read word by word", work)


def look(desk) -> jobs.Job | None:
    """See what both attended to at the chosen token; None where that is known. Raises LVLMError as `read`."""
    pair, image, known = _pair(desk), desk.image, desk.looking.gaze
    token = token_of(desk, pair)
    if image is None:
        raise LVLMError("There is no picture to look at: choose one and ask again.")
    if known is not None and known.answer is pair.answer and known.token == token:
        return None

    def work(report) -> None:
        question, said = pair.exchange.question, pair.answer.tokens[:token]
        weights = {}
        for done, one in enumerate((pair.reference, pair.other)):
            report(Progress("gaze", done, 2, one.title))
            weights[one.id] = attention_to_image(one.model, image, question, said)
        grid = grid_of(pair.reference.model, encode_prompt(pair.reference.model, image, question), image.size)
        desk.looking.gaze = Gaze(pair.answer, token, image, grid, weights)

    return _start(desk, "See where both look", work)


def _start(desk, title: str, work) -> jobs.Job:
    looking = desk.looking
    looking.refusal = ""

    def then(end: str) -> None:
        looking.refusal = job.error
        looking.version += 1
        desk.answered += 1

    looking.job = job = jobs.Job(title, work, then)
    return job.start()


def cancel(desk) -> None:
    """Stop to read, or to see where both look, at the next model."""
    if desk.looking.job is not None:
        desk.looking.job.cancel()


def seen(desk, variant: Variant):
    """(image tokens,) weights of a variant at the chosen layer and head; None where it has lost them."""
    looking, model = desk.looking, variant.model
    weights = looking.gaze.weights[variant.id]
    if looking.layer is None:
        return averaged(weights)
    at = place_of(model, looking.layer, looking.head)
    return None if at is None else averaged(weights, *at)


def lost(desk, variant: Variant) -> str:
    """Which of the chosen layer and head a variant has lost, in a sentence."""
    layer, head = desk.looking.layer, desk.looking.head
    if place_of(variant.model, layer) is None:
        return f"Layer {layer} was cut out of {variant.title}: it looks nowhere there."
    return f"Head {head} of layer {layer} was cut out of {variant.title}: it looks nowhere there."
