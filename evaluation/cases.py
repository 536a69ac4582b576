"""A failure case as plain data: what was asked, what every variant answered, all that makes the same models again, and
what a person thinks of it. Knows nothing of where cases are kept or shown.
"""

import base64
import hashlib
import io
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

from PIL import Image

from lvlm import LVLMError
from lvlm.files import line
from lvlm.images import open_image
from lvlm.plain import parsed, typed

SCHEMA = 1
KINDS = ("original", "pruned", "recovered", "int8")
TAGS = {
    "miscount": "Miscount",
    "wrong-object": "Wrong object",
    "semantic-shift": "Semantic shift",
    "hallucination": "Hallucination",
    "gibberish": "Gibberish",
    "refusal": "Refusal",
}
VERDICTS = {
    "": "Not judged yet",
    "fails": "Fails where the original does not",
    "worse": "Worse, yet usable",
    "as-good": "As good",
    "better": "Better",
    "both-fail": "Both fail",
}
MOST_NOTE = 4000  # characters
MOST_REPAIRED = 1000  # samples that opening a case may repair on


class BadCase(LVLMError):
    """A case that cannot be kept, found, changed or opened again."""


@dataclass(frozen=True)
class Said:
    """One variant's answer, and how that variant comes from the original: cut by the plan, repaired on so many samples,
    then healed by the recipe, then in 8 bits, as far as each is there.

    ratio: of the language backbone, what is gone, 0…1. weights: digest of healed weights, which training on another
    machine may not give again bit for bit; plans and 8 bits do. probability: of the true answer, where that is known.
    divergence: from what the original would have said, once both have read it: `rereading.summary`.
    """

    variant: str  # its id on the desk: "original", "pruned-1"
    kind: str
    title: str
    answer: str
    ratio: float = 0.0
    plan: str | None = None  # Plan.to_json()
    recipe: dict | None = None  # Recipe.recorded()
    int8: bool = False
    repair: int = 0
    weights: str | None = None
    probability: float | None = None
    divergence: dict | None = None

    @property
    def made(self) -> str:
        """A hash of how it was made: equal for the same variant of the same model, whatever it is called."""
        stays = None
        if self.plan:
            try:
                plan = parsed(self.plan)
                stays = [plan["heads"], plan["neurons"]]
            except (ValueError, LookupError, TypeError) as error:
                raise BadCase(f"The plan of {self.title} is none ({line(error)}): please export it again.") from error
        about = [stays, self.recipe, self.weights, self.int8, *([self.repair] if self.repair else [])]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Case:
    """One question and everybody's answers.

    id: long enough that nobody guesses it, for whoever has it may read the case. model, digest: the original's name and
    weights. picture: PNG, so that the same pixels come back; None for a question about none. truth, task: of a question
    from a suite. breaks_at: share of the backbone at whose removal the first of the models looked at went wrong.
    """

    question: str
    sides: tuple[Said, ...]
    model: str
    digest: str
    picture: bytes | None = field(default=None, repr=False)
    seed: int = 0
    temperature: float = 0.0
    max_new_tokens: int = 96
    truth: str | None = None
    task: str | None = None
    breaks_at: float | None = None
    verdict: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    kept: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self):
        if not self.sides:
            raise BadCase("There is no answer to keep yet: please ask something first.")
        wrong = [x.kind for x in self.sides if x.kind not in KINDS]
        if wrong:
            raise BadCase(f"There is no kind of variant {wrong[0]!r}: it is one of {', '.join(KINDS)}.")
        if any(not 0 <= x.repair <= MOST_REPAIRED for x in self.sides):
            raise BadCase(f"A case's models are repaired on 0 to {MOST_REPAIRED:,} samples: this one asks for others.")
        check_judgement(self.verdict, self.tags, self.note)

    @property
    def image(self) -> Image.Image | None:
        return None if self.picture is None else open_image(self.picture)

    @property
    def words(self) -> str:
        """Everything in it that a person may search for, lower case."""
        told = [self.question, self.truth, self.task, self.note, self.model, *(x.answer for x in self.sides)]
        return _plain("\n".join(x for x in (*told, *(x.title for x in self.sides)) if x)).casefold()

    def judged(self, verdict: str, tags: Sequence[str], note: str) -> "Case":
        """With what a person thinks of it. Raises BadCase."""
        return replace(self, verdict=verdict, tags=tuple(x for x in TAGS if x in tags), note=_plain(note).strip())

    def reread(self, place: int, divergence: dict) -> "Case":
        """With how far one answer parts from what the original would have said."""
        sides = [replace(x, divergence=divergence) if i == place else x for i, x in enumerate(self.sides)]
        return replace(self, sides=tuple(sides))

    def to_dict(self, picture: bool = True) -> dict:
        """JSON-ready; the picture in base64."""
        data = asdict(replace(self, picture=None)) | {"schema": SCHEMA}
        data["picture"] = base64.b64encode(self.picture).decode() if picture and self.picture is not None else None
        return data

    @classmethod
    def from_dict(cls, data: dict) -> "Case":
        """Raises BadCase for what is no case."""
        try:
            data = dict(data)
            if data.pop("schema") != SCHEMA:
                raise BadCase("This case was written by another version: please keep it again.")
            data["picture"] = None if data["picture"] is None else base64.b64decode(data["picture"])
            return typed(cls, data)
        except (KeyError, TypeError, ValueError) as error:
            raise BadCase(f"This is not a case ({line(error)}): please export it again.") from error


def check_judgement(verdict: str, tags: Sequence[str], note: str) -> None:
    """Raises BadCase for a verdict or tag that there is not, and for a note of pages."""
    if verdict not in VERDICTS:
        raise BadCase(f"There is no verdict {verdict!r}: choose {', '.join(x for x in VERDICTS if x)}, or none.")
    unknown = [x for x in tags if x not in TAGS]
    if unknown:
        raise BadCase(f"There is no tag {unknown[0]!r}: choose {', '.join(TAGS)}.")
    if len(note) > MOST_NOTE:
        raise BadCase(f"The note has {len(note):,} characters: please keep it below {MOST_NOTE:,}.")


def _plain(text: str) -> str:
    """Text that any file takes: half a character, which a browser may send, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def png(image: Image.Image | None) -> bytes | None:
    """The very pixels, as a file."""
    if image is None:
        return None
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class Filter:
    """Which cases; "" and None: all. least, most: of the largest share removed among a case's variants, 0…1."""

    task: str = ""
    verdict: str | None = None  # "" means: not judged yet
    tag: str = ""
    kind: str = ""
    least: float = 0.0
    most: float = 1.0
    text: str = ""

    def __post_init__(self):
        if self.verdict is not None and self.verdict not in VERDICTS:
            raise BadCase(
                f"There is no verdict {self.verdict!r}: choose {', '.join(x for x in VERDICTS if x)}, or none."
            )
        if self.tag and self.tag not in TAGS:
            raise BadCase(f"There is no tag {self.tag!r}: choose {', '.join(TAGS)}.")
        if self.kind and self.kind not in KINDS:
            raise BadCase(f"There is no kind of variant {self.kind!r}: choose {', '.join(KINDS)}.")
        if not 0 <= self.least <= self.most <= 1:
            raise BadCase("The removed share goes from 0 to 1: please choose a smaller one first, a larger one second.")
