"""Repair as a switch beside Prune: what it makes, and that everything that makes variants again makes it again."""

from dataclasses import replace
from urllib.parse import parse_qsl

import pytest

from evaluation.cases import BadCase, Case
from lvlm import load
from tests.ui.conftest import chatty, wait
from ui import casefile, links, making, predicted, reopening, replay, resting, told
from ui.healing import strongest
from ui.links import Link
from ui.runs import Run, unfinished
from ui.shelf import Shelf
from ui.workspace import Desks


@pytest.fixture
def desk(desks, monkeypatch):
    """A desk with half of the model pruned and what stays repaired on twelve samples."""
    monkeypatch.setattr(making, "REPAIRED_ON", 12)
    monkeypatch.setattr(making, "COMPARED_ON", {"train": 8, "test": 8})
    desk = desks.at("a")
    wait(desk.open("one"))
    desk.wish("widthwise", 0.3, 0, 0)
    desk.repair = True
    wait(desk.prune())
    assert not desk.notice
    return desk


def test_repair_stands_beside_what_it_repaired(desk):
    """Both are made at once, the repaired one of the other, as small as it, and all three answer."""
    plain, fixed = desk.variants.get("pruned-1"), desk.variants.get("pruned-2")
    assert fixed.parent is plain and (plain.repair, fixed.repair) == (0, 12)
    assert fixed.plan is plain.plan and fixed.model.parameters() == plain.model.parameters()
    assert fixed.model.digest() != plain.model.digest()
    assert [x.id for x in desk.panes] == ["original", "pruned-1", "pruned-2"] and desk.pruned is fixed


def test_what_was_repaired_is_not_repaired_again(desk):
    """Pressing again brings it to the front; without the switch the plain cut comes, and is never cut anew."""
    fixed, plain = desk.pruned, desk.pruned.parent
    assert desk.prune() is None and desk.pruned is fixed
    desk.repair = False
    assert desk.prune() is None and desk.pruned is plain
    desk.variants.drop(fixed.id)
    desk.repair = True
    wait(desk.prune())
    assert desk.pruned.parent is plain and desk.pruned.model.digest() == fixed.model.digest()
    assert len(desk.variants) == 3


def test_the_page_and_the_api_tell_what_it_took_and_gained(desk):
    """Seconds, samples, and the share of the original's words before and after, on either kind of samples."""
    found = told.variant(desk.pruned)
    assert found["repaired_on"] == 12 and set(found["gain"]) == {"fitted", "fresh"}
    html = predicted.result(desk.pruned, None)
    assert "on 12 samples, without training" in html and "→" in html
    assert "Repaired in" not in predicted.result(desk.pruned.parent, None)


def test_a_repaired_model_comes_back_from_its_rest(desk):
    """Put away and brought back, it has the same weights."""
    before = desk.pruned.model.digest()
    resting.put_away(desk, {})
    wait(resting.bring_back(desk))
    assert desk.pruned.model.digest() == before and desk.pruned.repair == 12


def test_a_case_repairs_again(desk, desks):
    """On another desk the case of a repaired model makes it as it was."""
    said = casefile.said(desk.pruned, "two")
    assert said.made != casefile.said(desk.pruned.parent, "two").made
    case = Case("how many?", (said,), "one", desk.model.digest(), max_new_tokens=4)
    with pytest.raises(BadCase, match="1,000 samples"):
        replace(case, sides=(replace(said, repair=10**9),))
    other = desks.at("b")
    wait(other.open("one"))
    wait(reopening._ask_again(other, Case.from_dict(case.to_dict())))
    assert other.pruned.repair == 12 and other.pruned.model.digest() == desk.pruned.model.digest()


def test_an_unfinished_healing_run_knows_of_the_repair(desk):
    """What was healed is made again with its repair before the training goes on."""
    run = Run.begin("abc", desk.plan, strongest(desk.plan), "scenes", 12)
    point = run.folder / "checkpoints" / "step-1"
    point.mkdir(parents=True)
    (point / "state.json").write_text('{"total": 2, "curve": [[0, {}, 1.0]]}', encoding="utf-8")
    assert unfinished("abc").repair == 12


def test_a_link_carries_the_switch(desk, monkeypatch):
    """What is written of a desk with the switch on sets it elsewhere; without it nothing is said of it."""
    text, _ = links.write(desk, "")
    assert dict(parse_qsl(text))["repair"] == "1"
    desk.repair = False
    assert "repair" not in links.write(desk, "")[0]
    monkeypatch.setattr(links, "_model", lambda name, loaded: name)
    assert links.read(dict(parse_qsl(text))).repair
    links._plan(desk, Link(method="widthwise", ratio=0.2, repair=True))
    assert desk.repair


def test_the_script_of_a_session_repairs(tmp_path, monkeypatch):
    """Run, it makes the models that the session made, to the bit."""
    monkeypatch.setattr(making, "REPAIRED_ON", 4)
    monkeypatch.setattr(making, "COMPARED_ON", {"train": 2, "test": 2})
    folder, model = tmp_path / "model", chatty()
    model.network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    desk = Desks(Shelf(lambda name, report: load(name))).at("a")
    wait(desk.open(str(folder)))
    desk.repair = True
    wait(desk.prune())
    made: dict = {}
    exec(replay.write(desk).text, made)
    assert made["pruned_2"].digest() == desk.pruned.model.digest()
    assert made["pruned_1"].digest() == desk.pruned.parent.model.digest()
    desk.close()
