"""How layers share what goes, on a desk: competing, searched for, weighed by images and words; remembered everywhere."""

from urllib.parse import parse_qsl

import numpy as np
import pytest

from evaluation.cases import Case
from lvlm import load
from lvlm.errors import BadPlan, LVLMError
from lvlm.model import weights_digest
from pruning import Plan, Search, Unit, make_plan, plan_in_rounds, prune
from pruning.plan import METHODS
from tests.ui.conftest import chatty, wait
from ui import casefile, links, picking, planned, reopening, replay, told
from ui import prune as tab
from ui.links import BadLink
from ui.shelf import Shelf
from ui.texts import retell, speak
from ui.workspace import Desks


@pytest.fixture
def desk(desks, monkeypatch):
    """A desk that searches on four samples and moves shares five times."""
    quick(monkeypatch)
    desk = desks.at("a")
    assert wait(desk.open("one")).state == "done"
    return desk


def quick(monkeypatch) -> None:
    monkeypatch.setattr(picking, "SEARCHED_ON", 4)
    monkeypatch.setattr(picking, "Search", lambda **how: Search(5, **how))


def test_competing_follows_the_controls_like_everything_else(desk):
    """The ranking plans at once, keeps pins and protected layers, fits budgets, and names what it makes."""
    desk.wish("widthwise", 0.3, 1, 0, "global")
    assert desk.plan.to_json() == make_plan(desk.scores, ratio=0.3, ranking="global", protect_first=1).to_json()
    picking.wishes(desk, [Unit(1, 0)], [Unit(2, 1)])
    assert desk.plan.settings["ranking"] == "global" and 0 in desk.plan.heads[1] and 1 not in desk.plan.heads[2]
    picking.limit(desk, "parameters", 0.9 * desk.plan.cost.before.parameters.total)
    assert desk.plan.settings["ranking"] == "global" and desk.plan.ratio == desk.ratio
    desk.wish("widthwise", 0.3, 0, 0, "sideways")
    assert "choose layer or global" in desk.refusal and desk.plan.settings["ranking"] == "global"
    desk.wish("widthwise", 0.3, 0, 0, "global")
    wait(desk.prune())
    assert "widthwise, competing" in desk.pruned.title
    speak("zh")
    assert "统一排名" in retell(desk.pruned.title)
    desk.wish("layerwise", 0.3, 0, 0, "global")
    assert tab._choices(desk)[1].interactive is False and tab._choices(desk)[1].info


@pytest.mark.parametrize("ranking, named, told", [
    ("layer", "both ways", "两者兼用"), ("global", "both ways, competing", "两者兼用（统一排名）")])  # fmt: skip
def test_layers_go_beside_heads_and_neurons(desk, ranking, named, told):
    """Every method of the library can be chosen; both at once is planned, named in both languages, linked and pruned."""
    assert {value for _, value in tab.METHODS} == set(METHODS)
    desk.wish("both", 0.5, 0, 0, ranking)
    assert desk.plan.to_json() == make_plan(desk.scores, "both", 0.5, ranking=ranking).to_json()
    method, shares = tab._choices(desk)
    assert method == "both" and shares.value == ranking and shares.interactive
    link = links.read(dict(parse_qsl(links.write(desk, "")[0])))
    assert (link.method, link.ranking) == ("both", ranking)
    wait(desk.prune())
    assert desk.pruned.title.endswith(named) and desk.pruned.plan is desk.plan
    speak("zh")
    assert told in retell(desk.pruned.title)


def test_a_search_plans_and_the_next_move_plans_as_ever(desk):
    """What it finds diverges no more than the published way, says so in a sentence in both languages, can be pruned
    and tried, and is left by any control; the model stays as it is."""
    before, usual = weights_digest(desk.model.network), desk.plan.to_json()
    assert wait(picking.search(desk)).state == "done" and not desk.notice
    plan, about = desk.plan, desk.plan.settings
    assert desk.searched and about["loss"] <= about["published_loss"] and plan.ratio == desk.ratio == 0.3
    assert tab._choices(desk)[0] is None and tab._choices(desk)[1].value is None
    said = told.plan(plan)
    assert said["ranking"] == "search" and said["divergence"] == [about["published_loss"], about["loss"]]
    assert "searched for on 4 samples" in plan.explain() and weights_digest(desk.model.network) == before
    wait(desk.prune())
    assert desk.pruned.title.endswith("searched") and desk.pruned.model.digest() == prune(desk.model, plan).digest()
    speak("zh")
    assert "4 个样本上搜索得出" in retell(plan.explain())
    desk.wish("widthwise", 0.3, 0, 0, desk.ranking)
    assert desk.plan.to_json() == usual and not desk.searched


def test_rounds_plan_as_the_library_does(desk):
    """By the method, ranking and samples at hand; what was done is said in both languages, and any control is left by
    plans as ever."""
    desk.wish("widthwise", 0.3, 0, 0, "global")
    usual = desk.plan.to_json()
    assert wait(picking.in_rounds(desk)).state == "done" and not desk.notice
    wanted = plan_in_rounds(desk.model, picking.load_samples("scenes", n=desk.samples), 0.3, 4, ranking="global")
    assert desk.plan.to_json() == wanted.to_json() != usual and told.plan(desk.plan)["rounds"] == 4
    assert "goes in 4 rounds" in desk.plan.explain() and not desk.searched
    wait(desk.prune())
    assert desk.pruned.title.endswith("widthwise, competing, iterative")
    speak("zh")
    assert "分 4 轮去掉" in retell(desk.plan.explain()) and "迭代" in retell(desk.pruned.title)
    desk.wish("widthwise", 0.3, 0, 0, "global")
    assert desk.plan.to_json() == usual


def test_wishes_hold_in_every_round(desk):
    """What is pinned, forced out or protected reaches the library, which keeps it."""
    desk.wish("widthwise", 0.3, 1, 0)
    picking.wishes(desk, [Unit(2, 1)], [Unit(1, 0)])
    assert wait(picking.in_rounds(desk)).state == "done" and not desk.notice
    wanted = plan_in_rounds(
        desk.model, picking.load_samples("scenes", n=desk.samples), 0.3, 4,
        protect_first=1, pinned=[Unit(2, 1)], forced=[Unit(1, 0)],
    )  # fmt: skip
    assert desk.plan.to_json() == wanted.to_json()
    assert len(desk.plan.heads[0]) == desk.plan.dense_shape[0][0]
    assert 1 in desk.plan.heads[2] and 0 not in desk.plan.heads[1]


def test_what_a_search_cannot_keep_is_said_first(desk):
    """Pins and protected layers: a sentence, and no job."""
    for pinned, forced, first in (([Unit(1)], [], 0), ([], [Unit(1, 0)], 0), ([], [], 1)):
        desk.wish("widthwise", 0.3, first, 0)
        picking.wishes(desk, pinned, forced)
        with pytest.raises(LVLMError, match="let go of"):
            picking.search(desk)
        assert not desk.busy
        picking.wishes(desk, [], [])


@pytest.mark.parametrize("work", [picking.search, picking.in_rounds])
def test_what_cannot_be_planned_changes_nothing(desk, work):
    """Nothing to remove: a sentence, and no job; a wish that fails leaves a plan that was worked out as it is."""
    desk.wish("widthwise", 0.0, 0, 0)
    with pytest.raises(LVLMError, match="move the slider"):
        work(desk)
    assert not desk.busy
    desk.wish("widthwise", 0.3, 0, 0)
    wait(work(desk))
    plan = desk.plan
    with pytest.raises(LVLMError, match="Not every layer"):
        picking.wishes(desk, [], [Unit(i) for i in range(4)])
    assert desk.plan is plan and desk.picking.forced == () and not desk.refusal


def test_controls_that_moved_meanwhile_win(desk, monkeypatch):
    """What was found for what the controls no longer say is not drawn, and a sentence says what to do."""
    search_plan = picking.search_plan

    def moved(*given):
        desk.wish("widthwise", 0.2, 0, 0)
        return search_plan(*given)

    monkeypatch.setattr(picking, "search_plan", moved)
    wait(picking.search(desk))
    assert not desk.searched and desk.plan.ratio == 0.2 and "press Search again" in desk.notice


def test_a_budget_gives_way_to_the_share_that_it_found(desk):
    """A search keeps the share; the budget is no longer claimed to be what the plan is made by."""
    picking.limit(desk, "memory", 0.85 * desk.plan.cost.before.bytes)
    share = desk.ratio
    wait(picking.search(desk))
    assert desk.searched and desk.plan.ratio == desk.ratio == share and desk.picking.budget is None


def test_images_and_words_weigh_alike_where_that_is_wished(desk):
    """Calibrated so, heads and neurons go by the balanced importance, the figures and facts show it, and plain scores
    are still there for whoever wants them."""
    plain = desk.scores
    wait(desk.calibrate(10, True))
    assert desk.balanced and desk.plan.settings["importance"] == "balanced"
    assert "balanced" in desk.plan.explain() and desk.shared.scores[10] is plain
    assert told.importance(desk.scores, desk.importance)["heads"] != told.importance(plain, "taylor")["heads"]
    assert Plan.from_json(desk.plan.to_json()).to_json() == desk.plan.to_json()
    assert len(planned.draw(desk)) == 13
    wait(picking.search(desk))
    assert desk.plan.settings["importance"] == "balanced" and desk.searched
    wait(desk.calibrate(10))
    assert desk.scores is plain and not desk.balanced and desk.plan.settings["importance"] == "taylor"


@pytest.mark.parametrize(
    "ranking, balanced", [("global", False), ("search", False), ("search", True), ("rounds", True)]
)
def test_a_link_and_a_case_give_the_same_plan(desk, desks, monkeypatch, ranking, balanced):
    """Followed on another desk, a link calibrates, plans and searches to the same plan; so does a kept case."""
    monkeypatch.setattr(links, "_model", lambda name, loaded: name)
    monkeypatch.setattr(links, "find", lambda name: name)
    wait(desk.calibrate(3 if balanced else 10, balanced))
    desk.wish("widthwise", 0.25, 0, 0, "global")
    if ranking == "rounds":
        picking.wishes(desk, [Unit(0, 1)], [])
    if ranking in ("search", "rounds"):
        wait({"search": picking.search, "rounds": picking.in_rounds}[ranking](desk))
    text, _ = links.write(desk, "")
    said = dict(parse_qsl(text))
    assert (said["ranking"], said.get("rounds")) == (("global", "1") if ranking == "rounds" else (ranking, None))
    other = desks.at("b")
    links.follow(other, links.read(dict(parse_qsl(text))), usual="one")
    while other.busy:
        wait(other.job)
    assert other.plan.to_json() == desk.plan.to_json() and links.write(other, "")[0] == text

    wait(desk.prune())
    case = Case("how many?", (casefile.said(desk.pruned, "two"),), "one", desk.model.digest(), max_new_tokens=4)
    wait(reopening._ask_again(other, Case.from_dict(case.to_dict())))
    assert other.pruned.model.digest() == desk.pruned.model.digest()
    with pytest.raises(BadLink, match="layer, global, search"):
        links.read({"ranking": "best"})


def test_the_script_of_a_session_searches_and_competes(tmp_path, monkeypatch):
    """Run, it makes the models that the session made, to the bit: by ranking, by search, by balanced scores, and in rounds."""
    quick(monkeypatch)
    folder, model = tmp_path / "model", chatty()
    model.network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    desk = Desks(Shelf(lambda name, report: load(name))).at("a")
    wait(desk.open(str(folder)))
    wait(desk.calibrate(2))
    desk.wish("widthwise", 0.3, 0, 0, "global")
    wait(desk.prune())
    desk.wish("both", 0.4, 0, 0, "global")
    wait(desk.prune())
    wait(picking.search(desk))
    wait(desk.prune())
    wait(desk.calibrate(2, True))
    wait(desk.prune())
    desk.wish("widthwise", 0.3, 0, 1, "global")
    picking.wishes(desk, [Unit(0, 1)], [Unit(1, 0)])
    wait(picking.in_rounds(desk))
    wait(desk.prune())
    text = replay.write(desk).text
    assert (
        "search_plan(original, scores_2" in text
        and "make_plan(balanced_2" in text
        and "plan_in_rounds(" in text
        and "from_json" not in text
    )
    made: dict = {}
    exec(text, made)
    for name in ("pruned-1", "pruned-2", "pruned-3", "pruned-4", "pruned-5"):
        assert made[name.replace("-", "_")].digest() == desk.variants.get(name).model.digest()
    assert len({x.model.digest() for x in desk.variants}) == 6
    desk.close()


def test_a_searched_plan_that_is_none_is_refused(desk):
    """A plan from elsewhere whose search says no numbers is no plan; nothing fails when it is explained."""
    wait(picking.search(desk))
    text = desk.plan.to_json()
    for bad in ('"loss": "much"', '"search_ids": 3'):
        key = bad.split(":")[0]
        start = text.index(key)
        end = text.index("]", start) + 1 if "ids" in key else text.index(",", start)
        with pytest.raises(BadPlan, match="not a plan"):
            Plan.from_json(text[:start] + bad + text[end:])
    assert np.isfinite(desk.plan.settings["loss"])
    wait(picking.in_rounds(desk))
    for right, wrong in (('"rounds": 4', '"rounds": "4"'), ('"repaired_between": false', '"repaired_between": 0.5')):
        assert right in desk.plan.to_json()
        with pytest.raises(BadPlan, match="not a plan"):
            Plan.from_json(desk.plan.to_json().replace(right, wrong))
