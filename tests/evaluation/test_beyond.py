"""What goes beyond the paper: judged by the bars, from tables alone, and chosen once for all ratios."""

import pandas as pd
import pytest

from evaluation.beyond import healed, reached, won_back
from evaluation.choices import CHOICES, Ground, choice_of
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.suites import NINE
from pruning import CalibrationSettings, Plan, Repair, calibrate, make_plan, plan_in_rounds
from scripts.results import beyond_table, repaired_table
from tests import tiny


def ways(**kept):
    """A table of `beyond` at 30%: dense, and ways named method_choice or method_choice_repair."""
    rows = [{"method": "dense", "chosen": "published", "repair": False, "ratio": 0.0, "AVG-%": 100.0}]
    for name, percent in kept.items():
        method, choice, *repair = name.split("_")
        rows.append({"method": method, "chosen": choice, "repair": bool(repair), "ratio": 0.3, "AVG-%": percent})
    return pd.DataFrame(rows).assign(seeds=3)


def test_the_best_way_is_judged_by_what_the_published_one_loses():
    """Of 20 points lost, 14 won back are 70%: enough at 30% widthwise, where the bar is two thirds; 12 are not."""
    table = ways(widthwise_published=80, widthwise_published_repair=92, widthwise_global_repair=94)
    (row,) = won_back({"a": table}).query("method == 'widthwise'").to_dict("records")
    assert (row["best"], row["won"], row["reached"]) == ("all compete + repair", pytest.approx(0.7), True)
    (row,) = won_back({"a": ways(widthwise_published=80, widthwise_published_repair=92)})[:1].to_dict("records")
    assert row["won"] == pytest.approx(0.6) and row["reached"] is False


def test_a_searched_plan_stands_beside_both_methods():
    """It removes layers too; where it is best, it is so for widthwise and layerwise alike."""
    table = ways(widthwise_published=80, layerwise_published=90, layerwise_published_repair=91, both_search_repair=96)
    found = won_back({"a": table}).set_index("method")
    assert list(found["best"]) == 2 * ["searched + repair"]
    assert found.loc["layerwise", "won"] == pytest.approx(0.6) and found.loc["layerwise", "reached"]


def test_rounds_of_layers_stand_beside_layers():
    """Each method's rounds are held against its own published way."""
    table = ways(widthwise_published=80, widthwise_rounds=95, layerwise_published=90, layerwise_rounds_repair=93)
    found = won_back({"a": table}).set_index("method")
    assert list(found["best"]) == ["in rounds", "in rounds + repair"]
    assert found.loc["widthwise", "won"] == pytest.approx(0.75) and found.loc["layerwise", "won"] == pytest.approx(0.3)


def test_nothing_lost_is_not_judged():
    """Where the published way keeps everything there is nothing to win back, and no bar is called reached."""
    row = won_back({"a": ways(widthwise_published=100.5, widthwise_published_repair=100.2)}).iloc[0]
    assert row["won"] != row["won"] and row["reached"] is None and reached([None, True, False]) == "1 of 2"


def trained(**kept):
    """A table of `repaired` at 30%: ways named choice_updates or choice_updates_repair."""
    rows = []
    for name, percent in kept.items():
        choice, updates, *repair = name.split("_")
        rows.append({"chosen": choice, "planned": int(updates), "repair": bool(repair), "AVG-%": percent})
    return pd.DataFrame(rows).assign(ratio=0.3, seeds=3)


def test_healing_on_top_of_repair_is_judged_strictly():
    """A tenth of a point below is worse; half of the updates are enough only from the same score on, by whichever of
    the better ways; and where one was not measured nothing is judged."""
    ways = {"published_60": 90.0, "published_60_repair": 89.9, "published_30_repair": 88.0, "global_60_repair": 89.8}
    (row,) = healed(trained(**ways, global_30_repair=90.0), 60).to_dict("records")
    assert row["not worse"] is False and row["half is enough"] is True
    assert "| 30% | 3 | 90.0 | 89.9 | 88.0 | 89.8 | 90.0 | no | yes |" in repaired_table(
        trained(**ways, global_30_repair=90.0)
    )
    (row,) = healed(trained(**ways), 60).to_dict("records")
    assert row["not worse"] is None and row["half is enough"] is None


def test_the_page_says_what_was_missed():
    """A bar that was not reached is said so; a model that was not measured is left out; no results are said so."""
    said = beyond_table({"a": ways(widthwise_published=80, widthwise_published_repair=85), "b": pd.DataFrame()})
    assert "**missed**" in said and "25% (+ repair)" in said and "0 of 1 bars reached" in said and "| b |" not in said
    assert beyond_table({"b": pd.DataFrame()}) == "Not run yet."


def test_every_choice_removes_what_was_asked():
    """Each of the choices, within each of its methods, comes to the ratio as the published one does."""
    model, samples = tiny.model("llama-gqa"), tiny.samples()
    ground = Ground(model, calibrate(model, samples), samples)
    for name, choice in CHOICES.items():
        for method in choice.methods:
            plan = choice.make(ground, method, 0.2)
            assert plan.achieved == pytest.approx(0.2, abs=0.05)
            assert choice_of(Plan.from_json(plan.to_json())) == name


def test_a_plan_tells_by_which_choice_it_was_made():
    """Whole layers go as published whatever ranks units; what is none of the choices is none."""
    model, samples = tiny.model("llama-gqa"), tiny.samples()
    scores = calibrate(model, samples, CalibrationSettings(balanced=True))
    for wishes in ({}, {"ranking": "global"}, {"importance": "balanced"}):
        assert choice_of(make_plan(scores, "layerwise", 0.3, **wishes)) == "published"
    assert choice_of(make_plan(scores, ratio=0.3)) == "published"
    assert choice_of(make_plan(scores, "both", 0.3, ranking="global", depth_share=0.5)) is None
    for wishes in ({"importance": "magnitude"}, {"importance": "balanced", "ranking": "global"}):
        assert choice_of(make_plan(scores, ratio=0.2, **wishes)) is None
    for rounds, wishes in ((4, {}), (2, {"ranking": "global"}), (4, {"ranking": "global", "repair": Repair()})):
        assert choice_of(plan_in_rounds(model, samples, 0.2, rounds, **wishes)) is None


def test_every_way_of_the_table_is_measured():
    """The experiment asks for each way at each ratio, and for repair with every choice."""
    cells = EXPERIMENTS["beyond"].grid(Grid(ratios=(0.45,)))
    found = {(x.variant.method, x.variant.choice, x.variant.repair > 0) for x in cells[1:]}
    assert found == {
        *((m, "published", r) for m in ("widthwise", "layerwise") for r in (False, True)),
        *(("widthwise", x, r) for x in ("global", "balanced") for r in (False, True)),
        *(("both", "whole", r) for r in (False, True)),
        *((m, "rounds", r) for m in ("widthwise", "layerwise") for r in (False, True)), ("both", "search", True),
    }  # fmt: skip


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_column_is_called_as_a_task(name):
    """A row holds the scores of its tasks beside what tells it apart: neither takes the other's place."""
    assert not set(EXPERIMENTS[name].columns) & {x.name for x in NINE}
