"""Desks under a memory budget: who gives way, what is said, and that everything comes back as it was."""

import gc
import threading
import weakref

import pytest
import torch

from lvlm import NotEnoughMemory, memory
from recovery import Recipe
from tests import tiny
from tests.ui.conftest import wait
from ui import budget, jobs


@pytest.fixture
def desks(desks, monkeypatch):
    """Nobody counts as being at it, and models that were opened cannot be loaded from disk but as themselves."""
    monkeypatch.setattr(budget, "AT_IT", -1.0)
    return desks


def opened(desks, key: str, name: str):
    desk = desks.at(key)
    wait(desk.open(name))
    return desk


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.network(**tiny.inputs()).logits


def test_nobody_gives_way_while_an_answer_is_read_closely(desks):
    """A desk whose answer waits to be read keeps its models; then they may go."""
    desk = opened(desks, "a", "one")
    with jobs.TURNS.turn(threading.Event()):
        desk.looking.job = job = jobs.Job("Read", lambda report: None).start()
        assert not budget._idle(desk)
    wait(job)
    assert budget._idle(desk)


def test_storages_count_once(desks):
    """Two desks with one model, and what is cut by layers from it, take no more than the one model."""
    a, b = opened(desks, "a", "one"), opened(desks, "b", "one")
    alone = memory.held([a.model.network])
    assert desks.budget.held() == alone == memory.held([a.model.network, b.model.network])
    a.wish("layerwise", 0.3, 0, 0)
    wait(a.prune())
    assert desks.budget.held() == alone
    a.wish("widthwise", 0.3, 0, 0)
    wait(a.prune())
    assert alone < desks.budget.held() < 2 * alone
    assert desks.budget.held(but=a) == alone


def test_room_is_asked_for_again_and_again(desks, monkeypatch):
    """Models are counted once as long as none comes or goes, however often a step asks for room meanwhile."""
    desk, counted = opened(desks, "a", "one"), []
    count = memory.held
    monkeypatch.setattr(memory, "held", lambda networks: counted.append(0) or count(networks))
    for _ in range(9):
        desk.version += 1  # something else on the desk
        assert desks.budget.room(1) == desks.budget.limit - desks.budget.held()
    assert len(counted) <= 1
    wait(desk.prune())
    counted.clear()
    desks.budget.room(1)
    assert len(counted) == 1


def test_the_one_who_was_away_longest_gives_way_and_finds_all_again(desks):
    """Models are freed, said by name, and come back bit for bit with the visitor: cut, healed and 8-bit ones."""
    a, b = opened(desks, "a", "one"), opened(desks, "b", "other")
    a.healing.own, a.healing.asked = Recipe(train="projector", steps=2, batch=2), 0
    wait(a.heal())
    wait(a.small("recovered-1"))
    a.variants.rename("pruned-1", "My cut")
    before = {x.id: logits(x.model) for x in a.variants}
    gone = [weakref.ref(x.model.network) for x in a.variants]
    a.used = b.used - 5

    desks.budget.limit = desks.budget.held() - 1
    assert desks.budget.room(1) > 1
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4 and b.model is not None and desks.shelf.names == ["other"]
    assert desks.peek("a").model is None  # who only looks brings nothing back
    desks.budget.limit *= 10
    assert desks.at("a") is a
    wait(a.job)
    assert [x.id for x in a.variants] == ["original", "pruned-1", "recovered-1", "int8-1"]
    assert all(torch.equal(logits(x.model), before[x.id]) for x in a.variants)
    assert a.variants.get("pruned-1").title == "My cut" and a.resting is None and not a.notice


def test_what_goes_past_the_budget_is_refused_in_a_sentence(desks):
    """Where nobody can give way, a job ends with what it takes and what is left, and all stays as it was."""
    desk = opened(desks, "a", "one")
    desk.answering = desk.job  # at work: it does not give way to itself
    memory.keep_within(desks.budget.room)
    desks.budget.limit = desks.budget.held() + 10
    desk.job.state = "running"
    try:
        with pytest.raises(NotEnoughMemory, match="left of the budget: please"):
            memory.check("Pruning one", 1000, "cpu")
    finally:
        desk.job.state = "done"
    assert desk.model is not None
    memory.keep_within(None)
    memory.check("Pruning one", 1000, "cpu")


def test_a_return_that_fails_can_be_tried_again(desks, monkeypatch):
    """Without room to come back, a sentence says so; the next click tries again."""
    desk = opened(desks, "a", "one")
    desks.budget.limit = 1
    desks.budget.room(1)
    assert desk.resting is not None
    with monkeypatch.context() as patch:
        patch.setattr(desk.shelf, "_load", lambda name, report: (_ for _ in ()).throw(NotEnoughMemory("No room.")))
        desks.at("a")
        wait(desk.job)
        assert desk.notice == "No room." and desk.resting is not None and desk.model is None
    desks.at("a")
    wait(desk.job)
    assert desk.model is not None and len(desk.variants) == 1
