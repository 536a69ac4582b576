"""The advisor: what it proposes fits the goal as its own plan counts it, and every estimate has its evidence."""

import math
from dataclasses import replace

import pytest

from evaluation.advisor import Evidence, Goal, Point, Way, int8_bytes, known, papers_model, smallest, usual, ways
from evaluation.store import SHIPPED, Store
from lvlm import BadPlan
from pruning import make_plan, prune, quantize
from tests import tiny


@pytest.fixture
def nothing(tmp_path):
    return Store(tmp_path, below=())


@pytest.mark.parametrize("family", ["llama-gqa", "phi"])
def test_bytes_in_8_bits_are_counted_exactly(family):
    """What the advisor counts for a pruned model in 8 bits is what storing it takes."""
    model = tiny.model(family)
    cut = prune(model, make_plan(tiny.scores(model), ratio=0.3))
    assert int8_bytes(cut.anatomy, cut.bytes()) == quantize(cut).bytes()


@pytest.mark.parametrize("memory", [1.0, 0.9, 0.8])
def test_every_way_fits_the_memory_and_the_best_comes_first(memory, nothing):
    """No way takes more than the goal; a percent less removed would; and those that keep enough come first."""
    found = ways(tiny.scores(tiny.model()), Goal(memory, kept=0.9), nothing)
    assert found and all(x.memory <= memory + 1e-9 for x in found)
    assert [x.reached for x in found] == sorted((x.reached for x in found), reverse=True)
    assert {x.int8 for x in found} == {False, True}
    whole = [x for x in found if not x.ratio]
    assert len({x.int8 for x in whole}) == len(whole)  # with nothing to remove there is one way, not two
    assert all(x.recipe is None for x in whole)


def test_what_does_not_fit_gives_no_way(nothing):
    """Below the smallest that can be reached there is none."""
    scores = tiny.scores(tiny.model())
    least = smallest(scores, int8=True)
    assert not ways(scores, Goal(least - 0.01), nothing) and ways(scores, Goal(least + 0.02), nothing)
    assert least < smallest(scores, int8=False)


def test_what_is_known_of_a_plan_is_the_first_evidence_that_reaches_so_far(nothing):
    """What the paper printed is given at the plan's own ratio; where nobody measured so far out, or in, nothing is."""
    plan = replace(make_plan(tiny.scores(tiny.model()), ratio=0.3), ratio=0.45)
    kept, evidence = known(plan, "none", nothing)
    assert evidence.where == "Table 2" and kept == evidence.at(0.45) < evidence.at(0.30)
    assert known(replace(plan, ratio=0.99), "none", nothing) is None
    assert known(plan, "few", nothing)[1].where == "Table 5"
    assert known(replace(plan, ratio=0.3), "few", nothing) is None  # the paper healed widthwise from 45% on


def test_without_our_own_results_the_paper_is_the_evidence(nothing):
    """An unknown model is judged by LLaVA's rows: Table 2 as it is, Table 5 healed, Table 7 in 8 bits."""
    scores = tiny.scores(tiny.model())
    told = {
        (e.source, e.where) for w in ways(scores, Goal(0.8, int8=False, training="none"), nothing) for e in w.evidence
    }
    assert told == {("paper", "Table 2")}
    healed = ways(scores, Goal(0.8, int8=False), nothing)
    assert {e.where for w in healed for e in w.evidence} == {"Table 5"} and all(w.recipe for w in healed)
    assert papers_model("tiny-llama") == "LLaVA-v1.5-7B" and papers_model("pocket-bunny") == "Bunny-v1.0-3B"


def test_our_own_results_come_before_the_papers():
    """The bundled model was healed here: that is what its estimate comes from, at the points as measured."""
    from evaluation.advisor import _pruned

    ours, papers = _pruned("pocket-llava", "layerwise", "few", Store(SHIPPED))
    assert (ours.source, papers.source) == ("ours", "paper")
    assert ours.at(0.30) == ours.points[1].kept and ours.points[1].low <= ours.points[1].kept <= ours.points[1].high


@pytest.mark.parametrize("training", ["none", "few"])
def test_better_choices_are_proposed_where_they_were_measured(training, nothing):
    """On the bundled model, what competes (and repair, where nothing is trained) stands beside the published ways and
    comes first, with evidence of its own; its plan is of that ranking. Elsewhere nothing but the published is."""
    scores = replace(tiny.scores(tiny.model()), model="pocket-llava")
    goal = Goal(0.8, kept=0.9, int8=False, training=training)
    found = ways(scores, goal, Store(SHIPPED))
    assert found[0].ranking == "global" and found[0].plan.settings["ranking"] == "global"
    usual = next(x for x in found if (x.method, x.ranking, x.repair) == ("widthwise", "layer", False))
    assert found[0].kept > usual.kept and {x.where.split(",")[0] for x in found[0].evidence} == {
        "beyond" if training == "none" else "competing"
    }
    assert any(x.repair for x in found) == (training == "none")
    assert all(x.ranking == "layer" and not x.repair for x in ways(scores, goal, nothing))


def test_what_is_known_is_of_the_plans_own_choice(nothing):
    """A competing or searched plan is never told the published way's numbers, nor one made otherwise anybody's."""
    scores = replace(tiny.scores(tiny.model()), model="pocket-llava")
    plan = make_plan(scores, ratio=0.3, ranking="global")
    kept, evidence = known(plan, "none", Store(SHIPPED))
    assert evidence.where.startswith("beyond") and kept > known(make_plan(scores, ratio=0.3), "none", Store(SHIPPED))[0]
    assert known(plan, "none", Store(SHIPPED), repair=True)[0] > kept and known(plan, "none", nothing) is None
    searched = replace(plan, method="both", settings=plan.settings | {"ranking": "search"})
    assert known(searched, "none", Store(SHIPPED), repair=True)[0] > 90 and known(searched, "few", nothing) is None
    for other in ({"importance": "balanced"}, {"importance": "magnitude"}, {"rounds": 3, "repaired_between": False}):
        assert known(replace(plan, settings=plan.settings | other), "none", Store(SHIPPED)) is None


def test_an_estimate_lies_between_its_points_and_ends_with_them():
    """Linear between neighbours, 100% at nothing removed, unknown beyond, and blind to points not to be trusted."""
    found = Evidence(
        "ours", "x", "m", "layerwise", (Point(0.2, 90.0), Point(0.4, 50.0), Point(0.5, 99.0, suspect="no"))
    )
    assert found.at(0.1) == 95 and found.at(0.3) == 70 and found.at(0.0) == 100
    assert math.isnan(found.at(0.45))
    assert [x.ratio for x in found.around(0.3)] == [0.2, 0.4]


@pytest.mark.parametrize("wrong", [{"memory": 0}, {"memory": 1.5}, {"kept": -1}, {"training": "much"}])
def test_a_goal_that_is_none_is_refused(wrong):
    """Shares beyond 0…1 and an unknown amount of training are refused in words."""
    with pytest.raises(BadPlan):
        Goal(**wrong)


def test_what_8_bits_cost_is_ours_where_it_was_measured(nothing):
    """The bundled model in 8 bits was asked the same as in 16; an unknown one is taken to be LLaVA of Table 7."""
    from evaluation.advisor import _int8

    ours, papers = _int8("pocket-llava", Store(SHIPPED)), _int8("tiny-llama", nothing)
    assert (ours.source, papers.where) == ("ours", "Table 7") and ours.int8 and papers.int8
    assert abs(ours.at(0.0) - 100) < 1 and papers.at(0.0) == pytest.approx(100 * 52.5 / 53.7)


def test_the_usual_way_stands_beside_a_better_one():
    """The published way of the same method and bits, where it is known what that keeps; itself has none beside it."""

    def way(kept, **more):
        return Way("widthwise", 0.3, False, None, None, 0.7, kept, True, (), **more)

    better, published = way(95.0, choice="global"), way(90.0)
    assert usual(better, [better, published]) is published
    assert usual(way(96.0, repair=True), [better, published]) is published
    assert usual(published, [better, published]) is None
    assert usual(better, [better, way(float("nan"))]) is None and usual(better, [better]) is None
