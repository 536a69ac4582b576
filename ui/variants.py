"""The models on one desk: the original and the tree of what was made from it, and which of them answer side by side.
Plain data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lvlm.errors import LVLMError

KINDS = ("original", "pruned", "recovered", "int8")  # also the colours
ORIGINAL = "original"  # the id of what everything else was made from
MOST_PANES = 4
LONGEST_TITLE = 60


@dataclass(eq=False)
class Variant:
    """A model and what it was made from. What was cut from it and how it was healed hold for its children, too."""

    id: str  # "original", "pruned-1": stable, and never given twice on a desk
    kind: str  # of KINDS
    title: str  # "Pruned 30% widthwise"
    model: object  # LVLM
    parent: "Variant | None" = None
    plan: object = None  # what was cut; None of the original
    repair: int = 0  # samples that what stays was refitted on; 0: it was not
    gain: object = None  # what that gained, see pruning.Gain
    recipe: object = None  # how it was healed
    data: str = ""  # what that learnt from
    measured: dict[tuple[str, int], object] = field(default_factory=dict)  # (suite, questions a task) → Report
    cost: object = None  # as measured when it was made
    seconds: float = 0.0  # that making it took
    file: Path | None = None  # the zip file that it was saved in

    def __post_init__(self):
        if self.parent is not None:
            self.plan = self.plan or self.parent.plan
            self.repair = self.repair or self.parent.repair
            self.recipe = self.recipe or self.parent.recipe

    @property
    def depth(self) -> int:
        """Steps from the original."""
        return 0 if self.parent is None else 1 + self.parent.depth

    @property
    def origin(self) -> "Variant":
        """What nothing was done to."""
        return self if self.parent is None else self.parent.origin

    def comes_from(self, other: "Variant") -> bool:
        return self is other or (self.parent is not None and self.parent.comes_from(other))


class Variants:
    """Any number of them, as a tree. What was made from one that goes, goes too."""

    def __init__(self):
        self._known: dict[str, Variant] = {}  # in the order of making
        self._recent: list[str] = []  # ids, the one made or asked for last at the end
        self._made: dict[str, int] = {}  # of each kind, ever
        self.version = 0  # moves with every change
        self.selected: Variant | None = None  # which one is to be renamed, saved …
        self.panes: list[str] = []  # ids of those that answer, the first is what the others are compared with

    def __iter__(self) -> Iterator[Variant]:
        """Every parent before its children, siblings in the order of making."""
        return iter([y for x in self._known.values() if x.parent is None for y in self._branch(x)])

    def __len__(self) -> int:
        return len(self._known)

    def _branch(self, root: Variant) -> list[Variant]:
        return [root, *(y for x in self.children(root.id) for y in self._branch(x))]

    def children(self, id: str) -> list[Variant]:
        return [x for x in self._known.values() if x.parent is not None and x.parent.id == id]

    def get(self, id: str | None) -> Variant | None:
        return self._known.get(id)

    def find(self, id: str | None) -> Variant:
        """The same; raises LVLMError where there is none."""
        if id not in self._known:
            raise LVLMError(f'There is no model "{id}" at hand: choose {", ".join(self._known) or "one, once it is"}.')
        return self._known[id]

    def latest(self, kind: str) -> Variant | None:
        """The one of a kind that was made, or asked for again, last."""
        return next((self._known[x] for x in reversed(self._recent) if self._known[x].kind == kind), None)

    def new_id(self, kind: str) -> str:
        """For the next one of a kind."""
        if kind == ORIGINAL:
            return ORIGINAL
        self._made[kind] = self._made.get(kind, 0) + 1
        return f"{kind}-{self._made[kind]}"

    def put(self, variant: Variant) -> Variant:
        """Add one, or bring one that is there to the front. It answers in its parent's pane if it is the same model in
        8 bits, else in the last pane; the first stays what it is compared with."""
        assert variant.parent is None or variant.parent is self._known.get(variant.parent.id)
        if variant.id not in self._known:
            variant.title = self._unlike_others(variant.title)
            self._known = {**self._known, variant.id: variant}  # a new one: others go through the old one meanwhile
        self._recent = [x for x in self._recent if x != variant.id] + [variant.id]
        if variant.id not in self.panes:
            place = len(self.panes) - 1 if len(self.panes) > 1 else len(self.panes)
            if variant.kind == "int8" and variant.parent.id in self.panes:
                place = self.panes.index(variant.parent.id)
            self.panes[place : place + 1] = [variant.id]
        self.selected = variant
        self.version += 1
        return variant

    def _unlike_others(self, title: str) -> str:
        taken, number, found = {x.title for x in self}, 1, title
        while found in taken:
            number += 1
            found = f"{title} ({number})"
        return found

    def drop(self, id: str) -> None:
        """Take one away, and all that was made from it; in a pane its parent stands instead."""
        gone = self._known.get(id)
        if gone is None:
            return
        self._known = {i: x for i, x in self._known.items() if not x.comes_from(gone)}
        self._recent = [x for x in self._recent if x in self._known]
        if self.selected is not None and self.selected.id not in self._known:
            self.selected = gone.parent
        heir = gone.parent.id if gone.parent else None
        panes = [x if x in self._known else heir for x in self.panes]
        self.panes = [x for x in dict.fromkeys(panes) if x is not None]
        self.version += 1

    def rename(self, id: str, title: str) -> None:
        """Raises LVLMError for a title that cannot be told from the others."""
        variant, title = self.find(id), " ".join((title or "").split())
        if not title or len(title) > LONGEST_TITLE:
            raise LVLMError(f"A model's name has 1 to {LONGEST_TITLE} characters: please type another.")
        if any(x.title == title for x in self if x is not variant):
            raise LVLMError(f'Another model is called "{title}": please choose another name.')
        variant.title = title
        self.version += 1

    def select(self, id: str) -> None:
        """Raises LVLMError for one that there is not."""
        self.selected = self.find(id)
        self.version += 1

    def clear(self) -> None:
        """As new; only the version goes on."""
        version = self.version
        self.__init__()
        self.version = version + 1

    def show(self, ids: Sequence[str]) -> None:
        """Let these answer, in this order. Raises LVLMError for one that there is not, and for none or too many."""
        ids = list(dict.fromkeys(self.find(x).id for x in ids))
        if not 1 <= len(ids) <= MOST_PANES:
            raise LVLMError(f"{len(ids)} models cannot answer side by side: choose 1 to {MOST_PANES}.")
        self.panes = ids
        self.version += 1
