"""Many visitors at once: everyone's answers are what their own models say, whoever else computes meanwhile."""

import pytest

from recovery import Recipe
from tests import tiny
from tests.ui.conftest import wait

QUESTIONS = ("how many apples?", "what is at the top?", "are there dogs?", "is it red or blue?")


@pytest.fixture
def visitors(desks) -> list:
    """Four desks: two models, each cut in two ways."""
    found = []
    for place, (name, method) in enumerate((x, y) for x in ("one", "another") for y in ("widthwise", "layerwise")):
        desk = desks.at(str(place))
        wait(desk.open(name))
        desk.wish(method, 0.3, 0, 0)
        wait(desk.prune())
        found.append(desk)
    return found


def alone(desk, picture, question: str, tokens: int) -> list[str]:
    """What the desk's models say when nobody else asks."""
    return ["".join(x.model.chat(picture, question, max_new_tokens=tokens)) for x in desk.panes]


def test_everybody_hears_their_own_models(desks, visitors):
    """All ask at once, two on models that they share, while somebody heals and somebody else calibrates and cuts:
    every answer is, to the letter, what the same models say alone, and nobody waits for the healing to end."""
    pictures = [tiny.picture(i) for i in range(len(visitors))]
    given = list(zip(visitors, pictures, QUESTIONS, strict=True))
    wanted = [alone(desk, picture, question, 24) for desk, picture, question in given]
    assert len({x for answers in wanted for x in answers}) == 8  # so that a mix-up would be seen
    patient = desks.at("patient")
    wait(patient.open("one"))
    patient.healing.own, patient.healing.asked = Recipe(train="projector", steps=100_000, batch=2), 0
    healing = patient.heal()
    other = desks.at("other")
    wait(other.open("one"))
    asked = [desk.ask(picture, question, max_new_tokens=24, temperature=0) for desk, picture, question in given]
    works = [other.calibrate(3)]
    for job in (*asked, *works):
        assert wait(job).state == "done"
    assert healing.busy
    healing.cancel()
    wait(healing)
    for desk, answers in zip(visitors, wanted, strict=True):
        assert [x.text for x in desk.talk[-1].answers.values()] == answers
    assert [len(desk.talk) for desk in visitors] == [1] * 4 and [x.text for x in other.talk] == []


def test_nobody_sees_or_changes_anothers_models(visitors):
    """Names, panes, drops and 8-bit copies of one desk leave another's as they were, and the shared original whole."""
    mine, others = visitors[0], visitors[1]
    digest, panes = others.model.digest(), [x.id for x in others.panes]
    assert mine.model is others.model and mine.variants.get("pruned-1") is not others.variants.get("pruned-1")
    wait(mine.small("original"))
    mine.variants.rename("original", "Mine")
    mine.variants.show(["pruned-1"])
    mine.drop("pruned-1")
    assert [x.title for x in others.variants][0] == "Original" and [x.id for x in others.panes] == panes
    mine.close()
    others.model._digest = None
    assert others.model.digest() == digest and others.variants.get("pruned-1").model is not None
