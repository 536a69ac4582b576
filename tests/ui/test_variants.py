"""The tree of a desk's models: order, names, panes, and what goes with what."""

import pytest

from lvlm import LVLMError
from ui.variants import Variant, Variants


@pytest.fixture
def tree() -> Variants:
    """original → pruned-1 → recovered-1 → int8-1, and original → pruned-2."""
    made = Variants()
    original = made.put(Variant(made.new_id("original"), "original", "Original", None))
    first = made.put(Variant(made.new_id("pruned"), "pruned", "Pruned", None, original, plan="30%"))
    made.put(Variant(made.new_id("pruned"), "pruned", "Pruned", None, original, plan="45%"))
    healed = made.put(Variant(made.new_id("recovered"), "recovered", "Recovered", None, first, recipe="LoRA"))
    made.put(Variant(made.new_id("int8"), "int8", "Small", None, healed))
    return made


def test_parents_come_before_their_children(tree):
    """The tree is told branch by branch, and a child knows what was cut and how it was healed."""
    assert [x.id for x in tree] == ["original", "pruned-1", "recovered-1", "int8-1", "pruned-2"]
    assert [x.depth for x in tree] == [0, 1, 2, 3, 1]
    assert (tree.get("int8-1").plan, tree.get("int8-1").recipe) == ("30%", "LoRA")


def test_what_was_made_from_one_that_goes_goes_too(tree):
    """Its branch goes, the rest stays, its parent answers instead, and its id is never given again."""
    assert tree.panes == ["original", "int8-1"]
    tree.drop("pruned-1")
    assert [x.id for x in tree] == ["original", "pruned-2"] and tree.panes == ["original"]
    assert tree.new_id("pruned") == "pruned-3" and tree.latest("recovered") is None
    tree.show(["pruned-2", "original"])
    tree.drop("pruned-2")
    assert tree.panes == ["original"]


def test_the_newest_stands_in_the_last_pane(tree):
    """A new one takes the last pane, an 8-bit one its parent's; the reference stays; one brought back is the latest."""
    tree.show(["original", "recovered-1", "pruned-2"])
    tree.put(Variant(tree.new_id("int8"), "int8", "Smaller", None, tree.get("recovered-1")))
    assert tree.panes == ["original", "int8-2", "pruned-2"] and tree.latest("pruned").id == "pruned-2"
    tree.put(tree.get("pruned-1"))
    assert tree.panes == ["original", "int8-2", "pruned-1"] and tree.latest("pruned").id == "pruned-1"


def test_one_to_four_that_are_there_are_shown(tree):
    """No pane twice, no unknown one, none and five are refused in a sentence; the panes stay as they were."""
    tree.show(["pruned-2", "pruned-2", "original"])
    assert tree.panes == ["pruned-2", "original"]
    for wrong in ([], ["pruned-9"], [x.id for x in tree]):
        with pytest.raises(LVLMError, match="choose"):
            tree.show(wrong)
    assert tree.panes == ["pruned-2", "original"]


def test_names_tell_variants_apart(tree):
    """A title that is taken gets a number when made, and is refused, like an empty or endless one, when typed."""
    assert [x.title for x in tree] == ["Original", "Pruned", "Recovered", "Small", "Pruned (2)"]
    tree.rename("pruned-2", "  My   cut ")
    assert tree.get("pruned-2").title == "My cut"
    for wrong in ("", "  ", "x" * 61, "Original"):
        with pytest.raises(LVLMError, match="please"):
            tree.rename("pruned-2", wrong)
    tree.rename("pruned-2", "My cut")
