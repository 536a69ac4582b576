"""The models on one desk: the original, what was made from it, and which two of them are compared. Plain data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

ORDER = ("original", "pruned", "recovered")  # of a pair, the earlier one is on the left


@dataclass(eq=False)
class Variant:
    """A model and what it was made from. `kind` is also its colour; an int8 one stands in its parent's place."""

    kind: str  # of ORDER, or "int8"
    title: str  # "Pruned 30% widthwise"
    model: object  # LVLM
    parent: "Variant | None" = None
    measured: dict[tuple[str, int], object] = field(default_factory=dict)  # (suite, questions a task) → Report

    @property
    def depth(self) -> int:
        """Steps from the original."""
        return 0 if self.parent is None else 1 + self.parent.depth

    def comes_from(self, other: "Variant") -> bool:
        return self is other or (self.parent is not None and self.parent.comes_from(other))


class Variants:
    """At most one of each kind. What was made from one that goes, goes too."""

    def __init__(self):
        self._kinds: dict[str, Variant] = {}
        self.pair = ("original", "pruned")  # kinds on the left and on the right

    def __iter__(self) -> Iterator[Variant]:
        """In the order of ORDER, int8 last."""
        return iter([self._kinds[x] for x in (*ORDER, "int8") if x in self._kinds])

    def get(self, kind: str) -> Variant | None:
        return self._kinds.get(kind)

    def put(self, variant: Variant) -> None:
        """Add one, in the place of what its kind was; a new one that is no int8 goes to the right-hand pane."""
        self.drop(variant.kind)
        self._kinds[variant.kind] = variant
        if variant.kind in ORDER[1:]:
            self.show("original", variant.kind)

    def drop(self, kind: str) -> None:
        """Take one away, and all that was made from it."""
        gone = self._kinds.get(kind)
        self._kinds = {k: x for k, x in self._kinds.items() if gone is None or not x.comes_from(gone)}
        if self.pair[1] not in self._kinds:
            self.show("original", "pruned")

    def clear(self) -> None:
        self.__init__()

    def show(self, left: str, right: str) -> None:
        """Compare these two; int8 weights of another model than the right one go."""
        self.pair = (left, right)
        small = self._kinds.get("int8")
        if small is not None and small.parent is not self._kinds.get(right):
            del self._kinds["int8"]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """What can be compared."""
        return list(combinations([x for x in ORDER if x in self._kinds], 2))

    @property
    def left(self) -> Variant | None:
        return self._kinds.get(self.pair[0])

    @property
    def right(self) -> Variant | None:
        """The variant on the right, in int8 where that is on."""
        return self._kinds.get("int8") or self._kinds.get(self.pair[1])
