"""Where answers part, word by word."""

import pytest

from evaluation.wording import parts_at, shared


@pytest.mark.parametrize(
    "said, other, place",
    [("a b c", "a x c", 1), ("a b", "a b c", 2), ("", "a", 0), ("a b", "a b", None), ("", "", None)],
)
def test_answers_part_at_the_first_word_that_differs(said, other, place):
    """Either way round; where one only goes on, at its next word."""
    assert parts_at(said.split(), other.split()) == place == parts_at(other.split(), said.split())


def test_shared_words_are_the_same_words_in_the_same_order():
    """Read off either answer they are one list; a word that moved is not shared twice."""
    said, other = "two red apples on a table".split(), "on a table two green apples".split()
    here, there = shared(said, other)
    assert [said[i] for i in sorted(here)] == [other[i] for i in sorted(there)] == ["on", "a", "table"]
    assert shared(said, said)[0] == set(range(6)) and shared(said, []) == (set(), set())
