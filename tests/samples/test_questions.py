"""Questions: answers are true of the scene, every format occurs, and test facts are kept out of training."""

import random
from collections import Counter

import pytest

from samples.questions import ASKERS, CATEGORIES, knowledge
from samples.scenes import GRID, PLACES, make_scene
from samples.sprites import kinds

BY_NAME = {kind.name: kind for kind in kinds()}
BY_PLURAL = {kind.plural: kind for kind in kinds()}


def asked(task, n=400):
    """(scene, turn) of many scenes that can carry the task's question."""
    for seed in range(n):
        rng = random.Random(seed)
        scene = make_scene(rng)
        turn = ASKERS[task](scene, rng)
        if turn is not None:
            yield scene, turn


def names(scene):
    return Counter(kinds()[thing.kind].name for thing in scene.things)


def options(question):
    """{letter: option} of a multiple-choice question."""
    words = question.split("? ")[1].split()
    return {letter.rstrip("."): option for letter, option in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.parametrize("task", ASKERS)
def test_every_task_can_be_asked_and_answered(task):
    """Each task fits many scenes; questions and answers are never empty."""
    turns = [turn for _, turn in asked(task)]
    assert len(turns) > 40
    assert all(turn.question and turn.answer for turn in turns)


@pytest.mark.parametrize("task", ["presence", "relation", "cognition"])
def test_yes_and_no_are_equally_likely(task):
    """A yes/no task cannot be passed by always saying the same."""
    answers = Counter(turn.answer for _, turn in asked(task, 1500) if turn.answer in ("yes", "no"))
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_presence_is_true():
    """ "is there a …?" is answered yes exactly when the scene has one."""
    for scene, turn in asked("presence"):
        name = next(word.rstrip("?") for word in turn.question.split()[3:] if word.rstrip("?") in BY_NAME)
        assert turn.answer == ("yes" if names(scene)[name] else "no"), turn


def test_counts_are_true():
    """ "how many …?" is answered with the number of that kind, zero included."""
    answers = set()
    for scene, turn in asked("count"):
        plural = turn.question.split()[2].rstrip("?")
        assert int(turn.answer) == names(scene)[BY_PLURAL[plural].name]
        answers.add(turn.answer)
    assert answers >= set("01234")


def test_places_are_true():
    """ "where is …?" names the cell, "what is at …?" what stands there."""
    for scene, turn in asked("where-is"):
        name = turn.question.removeprefix("where is the ").rstrip("?")
        cell = next(thing.cell for thing in scene.things if kinds()[thing.kind].name == name)
        assert turn.answer == PLACES[cell]
    for scene, turn in asked("what-is-where"):
        cell = PLACES.index(turn.question.split(" at the ")[1].rstrip("?"))
        on_sign = scene.sign is not None and cell // GRID == scene.sign_row
        here = {thing.cell: kinds()[thing.kind].name for thing in scene.things}
        assert turn.answer == ("sign" if on_sign else here.get(cell, "nothing"))


def test_relations_are_true():
    """ "is the a left of the b?" agrees with the cells of a and b."""
    for scene, turn in asked("relation"):
        left, relation, right = (
            turn.question.rstrip("?")
            .removeprefix("is the ")
            .partition(
                next(r for r in (" left of the ", " right of the ", " above the ", " below the ") if r in turn.question)
            )
        )
        at = {kinds()[t.kind].name: divmod(t.cell, GRID) for t in scene.things}
        (row_1, column_1), (row_2, column_2) = at[left], at[right]
        truth = {
            " left of the ": column_1 < column_2, " right of the ": column_1 > column_2,
            " above the ": row_1 < row_2, " below the ": row_1 > row_2,
        }[relation]  # fmt: skip
        assert turn.answer == ("yes" if truth else "no")


def test_one_choice_is_right_and_three_are_not():
    """Of the four options only the named letter is in the image, and every letter comes up."""
    letters = Counter()
    for scene, turn in asked("choice"):
        offered = options(turn.question)
        assert len(set(offered.values())) == 4
        assert [letter for letter, name in offered.items() if names(scene)[name]] == [turn.answer]
        letters[turn.answer] += 1
    assert min(letters[letter] for letter in "abcd") > 60


def test_sums_by_category_are_true():
    """Counting by category and together adds up what is in the scene."""
    singular = {plural: category for category, plural in CATEGORIES.items()}
    for scene, turn in asked("arithmetic"):
        categories = Counter(kinds()[thing.kind].category for thing in scene.things)
        words = turn.question.rstrip("?").split()
        named = [singular[word] for word in words if word in singular]
        truth = sum(categories[c] for c in named) if named else len(scene.things)
        assert int(turn.answer) == truth, turn


def test_test_facts_are_never_asked_in_training():
    """No yes/no or choice fact of the knowledge test is a training question in that wording."""
    rng = random.Random(0)
    training = {knowledge(rng, "train").question for _ in range(20000)}
    held = [knowledge(rng, "test") for _ in range(400)]
    assert not {turn.question for turn in held} & training
    assert {turn.answer for turn in held} >= {"yes", "no", "a", "b", "c", "d"}


def test_training_teaches_no_thing_to_be_nothing():
    """Every kind that training asks "is a … a …?" about is asked about its own category too."""
    rng = random.Random(1)
    turns = {knowledge(rng, "train") for _ in range(40000)}
    asked_of, affirmed = set(), set()
    for turn in turns:
        words = turn.question.rstrip("?").split()
        if words[0] == "is" and words[-1] in CATEGORIES:
            asked_of.add(words[2])
            if turn.answer == "yes":
                affirmed.add(words[2])
    assert len(asked_of) > 100
    assert asked_of == affirmed
