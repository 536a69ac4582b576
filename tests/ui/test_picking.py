"""What is picked by hand on a desk: it plans at once, undoes what cannot be, and a trial leaves no trace."""

import pytest

from lvlm.errors import BadQuestion, LVLMError
from lvlm.model import weights_digest
from pruning import Unit, facts, forecast, make_plan, overlap, prune
from tests.ui.conftest import wait
from ui import picked, picking, predicted
from ui.picking import FORCE, PIN, PLAN, UNIT
from ui.words import percent


@pytest.fixture
def desk(desks):
    desk = desks.at("a")
    assert wait(desk.open("one")).state == "done"
    return desk


def goes(desk, unit: Unit) -> bool:
    return unit.layer in desk.plan.removed_layers or unit.head not in desk.plan.heads[unit.layer]


def test_pinning_and_forcing_plan_at_once_and_can_be_undone(desk):
    """A pinned head stays, a forced one goes; pressing again gives back the plan that the scores make."""
    before = desk.plan.to_json()
    gone = next(Unit(1, h) for h in range(4) if goes(desk, Unit(1, h)))
    stays = next(Unit(1, h) for h in range(4) if not goes(desk, Unit(1, h)))
    for unit, what in ((gone, PIN), (stays, FORCE)):
        picking.select(desk, unit)
        picking.toggle(desk, what)
    assert not goes(desk, gone) and goes(desk, stays)
    assert (desk.picking.pinned, desk.picking.forced) == ((gone,), (stays,))
    picking.toggle(desk, PIN)  # of what is forced out: it is pinned instead
    assert desk.picking.forced == () and not goes(desk, stays)
    picking.wishes(desk, [], [])
    assert desk.plan.to_json() == before


def test_a_wish_that_cannot_be_met_is_said_and_not_kept(desk):
    """Forcing out what a pinned layer holds leaves plan and wishes as they were."""
    picking.wishes(desk, [Unit(2)], [])
    before = desk.plan.to_json()
    picking.select(desk, Unit(2, 1))
    with pytest.raises(LVLMError, match="layer 2 is pinned"):
        picking.toggle(desk, FORCE)
    assert desk.plan.to_json() == before and desk.refusal == ""
    assert (desk.picking.pinned, desk.picking.forced) == ((Unit(2),), ())
    picking.select(desk, None)
    with pytest.raises(LVLMError, match="click a layer or head"):
        picking.toggle(desk, PIN)


def test_a_head_that_a_layer_has_not_is_the_layer(desk):
    """Choosing another layer with fewer heads never names one that is not there."""
    picking.look_at(desk, "3.7")
    assert desk.picking.unit == Unit(3)
    picking.look_at(desk, "3.2")
    assert desk.picking.unit == Unit(3, 2)


def test_a_budget_moves_the_ratio_until_a_ratio_is_given(desk):
    """The share follows what has to fit, also when the method changes; what cannot fit keeps the plan and says so."""
    most = 0.8 * forecast(desk.scores).memory
    picking.limit(desk, "memory", most)
    found = desk.ratio
    assert 0 < found <= 0.6 and desk.plan.ratio == found and forecast(desk.scores, desk.plan).memory <= most
    desk.wish("layerwise", 0.1, 0, 0)
    assert forecast(desk.scores, desk.plan).memory <= most
    plan = desk.plan
    picking.limit(desk, "memory", 1000)
    assert desk.plan is plan and "the least memory of the weights" in desk.refusal
    picking.limit(desk, None, None)
    assert desk.refusal == "" and desk.picking.budget is None


def test_a_budget_of_time_has_the_layers_timed_once(desk):
    """The first one is a job; whoever else works with the model finds its pace there."""
    job = wait(picking.limit(desk, "first_token", 1e6))
    assert job.state == "done" and desk.shared.pace is not None and desk.ratio == 0.0
    assert picking.limit(desk, "token", 1e6) is None
    before, after = forecast(desk.scores, None, desk.shared.pace), forecast(desk.scores, desk.plan, desk.shared.pace)
    assert "Predicted: first word" in predicted.cards(desk.plan, before, after, desk.picking.budget)


@pytest.mark.parametrize("what", [UNIT, PLAN])
def test_a_trial_answers_as_the_cut_model_would(desk, what):
    """The answer with the unit, or the plan, masked is the pruned model's; nothing of the original moves."""
    picking.select(desk, Unit(1))
    digest, plan = weights_digest(desk.model.network), desk.plan
    if what == UNIT:
        plan = make_plan(desk.scores, ratio=0.0, forced=[Unit(1)])
    assert wait(picking.try_out(desk, what, "How many?")).state == "done"
    original, tried = desk.picking.trial.exchange.answers.values()
    asked = dict(max_new_tokens=picking.LONGEST_TRIAL)
    for model, answer in ((desk.model, original), (prune(desk.model, plan), tried)):
        assert answer.text == "".join(model.chat(desk.image, "How many?", **asked)) and answer.stats is not None
    assert weights_digest(desk.model.network) == digest and desk.pruned is None
    html = picked.trial(desk.picking.trial, busy=False)
    assert "The answers part at word" in html or "Both give the same answer" in html


def test_nothing_is_tried_that_is_not_there(desk, desks):
    """Without a picked unit, a question or a model there is a sentence instead."""
    with pytest.raises(LVLMError, match="Nothing is picked"):
        picking.try_out(desk, UNIT, "How many?")
    with pytest.raises(BadQuestion):
        picking.try_out(desk, PLAN, " ")
    with pytest.raises(LVLMError, match="still loading"):
        picking.try_out(desks.at("b"), PLAN, "How many?")


def test_a_kept_plan_lies_under_the_next_ones_until_it_is_dropped(desk):
    """It stays through other ratios, says what both share, and goes with its model."""
    picking.keep(desk)
    kept = desk.plan
    desk.wish("widthwise", 0.5, 0, 0)
    assert desk.picking.under(desk.plan) is kept is not desk.plan
    costs = forecast(desk.scores, kept), forecast(desk.scores, desk.plan)
    html = predicted.beside(kept, desk.plan, costs, overlap(kept, desk.plan))
    assert all(percent(x.achieved) in html for x in (kept, desk.plan)) and "agree on" in html
    picking.keep(desk)
    assert desk.picking.under(desk.plan) is None
    picking.keep(desk)
    wait(desk.open("another"))
    assert desk.picking.kept is None


def test_facts_are_told_in_words(desk):
    """Rows and columns, ranks and fate of a head; influence of a layer."""
    found = picked.facts(facts(desk.scores, Unit(1, 2)), "stays, pinned by you")
    assert "rows 16–23 of q_proj, k_proj and v_proj; columns 16–23 of o_proj" in found and "pinned by you" in found
    assert "of 4 layers" in picked.facts(facts(desk.scores, Unit(1)), "stays")
    desk.picking.wish(Unit(1), FORCE)
    desk.replan()
    assert picked.fate(Unit(1, 2), desk.plan, desk.picking) == "goes, forced out by you"
    assert picked.fate(Unit(0), desk.plan, desk.picking) == "stays in this plan"


@pytest.mark.parametrize(
    "unit, whole, name",
    [("memory", 13 * 2**30, "GiB"), ("int8", 30 * 2**20, "MiB"), ("parameters", 7.8e6, "M"), ("token", None, "ms"),
     ("flops", 7e12, "TFLOPs"), ("parameters", None, "k")],
)  # fmt: skip
def test_a_budget_is_typed_in_the_unit_that_fits_the_model(unit, whole, name):
    """GiB for large models, MiB for small ones, ms for times."""
    assert predicted.scale(unit, whole)[1] == name
