"""Failure cases on a desk: what is kept of a conversation, which cases are looked at and how. Beside it hunts and blind
votes, which have modules of their own. Knows the library and desks, and nothing of Gradio.
"""

from dataclasses import asdict, dataclass, field

from evaluation.cases import BadCase, Case, Filter, png
from evaluation.rereading import summary
from ui import casefile, rereading
from ui.blind import Blind
from ui.hunting import Hunting
from ui.rereading import Reading, Unread
from ui.variants import ORIGINAL

SHARES = {  # of what is removed, for the filter
    "": (0.0, 1.0),
    "up to 30%": (0.0, 0.32),
    "30 to 50%": (0.28, 0.52),
    "above 50%": (0.5, 1.0),
}


@dataclass
class Keeping:
    """A visitor's choices on the Cases tab."""

    opened: bool = False  # nothing is worked out before somebody looks
    version: int = 0  # moves with every case
    which: Filter = Filter()
    removed: str = ""  # of SHARES
    chosen: str | None = None  # id of the case that is looked at
    sure: str | None = None  # id of one that is deleted if the button is pressed again
    refusal: str = ""
    linked: str | None = None  # id that the page's address named
    again: object = None  # what became of the case that was opened again (ui.reopening.Again)
    hunting: Hunting = field(default_factory=Hunting)
    blind: Blind = field(default_factory=Blind)
    readings: dict[str, Reading] = field(default_factory=dict)  # by the case's id, until all its answers were read
    read: int = 0  # moves when a reading ends

    @property
    def busy(self) -> bool:
        """Whether answers of kept cases are being read, or wait for it."""
        return any(x.job.busy for x in list(self.readings.values()))

    def model_changed(self) -> None:
        """Another original lies on the desk: what was found on the last one goes; cases and their filter stay."""
        self.hunting.place = self.hunting.kept = self.blind.match = self.again = None
        self.blind.left_out = set()


def look_for(desk, task: str, verdict: str, tag: str, kind: str, removed: str, text: str) -> None:
    """Filter the cases; "" lets all through, and the verdict "none" those that were not judged. Raises BadCase."""
    if removed not in SHARES:
        raise BadCase(f'There is no share "{removed}": choose {", ".join(x for x in SHARES if x)}.')
    least, most = SHARES[removed]
    judged = {"": None, "none": ""}.get(verdict, verdict)
    desk.keeping.which = Filter(task or "", judged, tag or "", kind or "", least, most, text or "")
    desk.keeping.removed = removed


def keep_talk(desk) -> Case:
    """The last question with everybody's answers as a case. Raises BadCase before there is one.

    How far each answer parts from what the original would have said goes with it where the chat has looked at that; a
    job reads the others, and adds it.
    """
    if desk.answering is not None and desk.answering.busy:
        raise BadCase("The answers are still growing: please wait for their end, or press Stop.")
    if not desk.talk:
        raise BadCase("There is no answer to keep yet: please ask something first.")
    exchange = desk.talk[-1]
    asked = [(desk.variants.get(x.variant), x) for x in exchange.answers.values()]
    asked = [(variant, answer) for variant, answer in asked if variant]
    by_original = next(iter(exchange.answers)) == ORIGINAL  # others are read beside whoever stands first
    known = [summary(x.divergence) if by_original and x.divergence else None for _, x in asked]
    sides = tuple(casefile.said(v, x.text, divergence=y) for (v, x), y in zip(asked, known, strict=True))
    if not sides:
        raise BadCase("None of the models that answered is at hand any more: please ask again.")
    case = Case(
        exchange.question, sides, desk.shared.name, desk.model.digest(), png(desk.image), **asdict(exchange.how)
    )
    casefile.book().keep(case, casefile.owner(desk))
    desk.keeping.chosen = case.id
    desk.keeping.version += 1
    unread = [
        Unread(place, lambda model=variant.model: model, tuple(answer.tokens))
        for place, (variant, answer) in enumerate(asked)
        if variant.id != ORIGINAL and known[place] is None and answer.tokens
    ]
    rereading.read(desk, case, unread)
    return case


def cases(desk, owner: str | None) -> list[Case]:
    """Those that the filter lets through, newest first, without pictures; owner None: everybody's."""
    return casefile.book().find(desk.keeping.which, owner, pictures=False)


def judge(desk, owner: str | None, verdict: str, tags: list[str], note: str) -> None:
    """What a person thinks of the case that is looked at. Raises BadCase."""
    casefile.book().judge(_chosen(desk), verdict, tags or (), note or "", owner)
    desk.keeping.version += 1


def drop(desk, owner: str | None) -> None:
    """Delete the case that is looked at, if asked twice. Raises BadCase."""
    keeping, id = desk.keeping, _chosen(desk)
    if keeping.sure != id:
        keeping.sure = id
        return
    casefile.book().drop(id, owner)
    rereading.cancel(desk, id)
    keeping.chosen = keeping.sure = None
    keeping.hunting.kept = {k: x for k, x in (keeping.hunting.kept or {}).items() if x != id}
    keeping.version += 1


def _chosen(desk) -> str:
    if desk.keeping.chosen is None:
        raise BadCase("No case is chosen: please click one in the list.")
    return desk.keeping.chosen
