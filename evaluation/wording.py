"""Where two answers part, word by word: `said` and `other` are their words in order."""

from collections.abc import Sequence
from difflib import SequenceMatcher


def parts_at(said: Sequence[str], other: Sequence[str]) -> int | None:
    """Place of the first word that differs, which may be the end of the shorter one; None: they are the same."""
    if list(said) == list(other):
        return None
    pairs = enumerate(zip(said, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(said), len(other)))


def shared(said: Sequence[str], other: Sequence[str]) -> tuple[set[int], set[int]]:
    """Places, in either, of the words that both have in the same order (difflib's longest matching blocks)."""
    blocks = SequenceMatcher(a=said, b=other, autojunk=False).get_matching_blocks()
    here = {i for x in blocks for i in range(x.a, x.a + x.size)}
    return here, {i for x in blocks for i in range(x.b, x.b + x.size)}
