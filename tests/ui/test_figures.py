"""Figures and sentences of what pruning costs, on made-up results."""

import json
from dataclasses import replace

import numpy as np
import pytest

from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.tables import table
from tests.ui import made_up
from ui import costs, figures, lines

GRID = Grid(per_task=6)
DRAWN = [x for x in EXPERIMENTS if x not in ("efficiency", "answers")]


@pytest.fixture(scope="module")
def tables():
    """Every experiment's table."""
    return {name: table(one, made_up.results(name, GRID)) for name, one in EXPERIMENTS.items()}


@pytest.mark.parametrize("name", DRAWN)
def test_every_row_is_a_point_of_one_line(tables, name):
    """Each measured row is drawn once, at its own place and height; over ratios every line begins before pruning."""
    drawn, x = lines.ours(name, tables[name]), lines.axis(name)
    rows = tables[name][tables[name]["ratio"] > 0]
    scale = 1 if x == "calibration" else 100
    points = [(a, b) for line in drawn for a, b in zip(line.x, line.y, strict=True) if not (x == "ratio" and a == 0)]
    assert sorted(points) == sorted(zip(scale * rows[x].astype(float), rows["AVG-%"], strict=True))
    if x == "ratio":
        assert all(line.x[0] == 0 for line in drawn)
        assert all(line.y[0] == 100 for line in drawn if line.name != "8 bits")


@pytest.mark.parametrize("name", DRAWN)
def test_no_two_lines_look_alike(tables, name):
    """Lines differ in name, and in more than their colour."""
    drawn = lines.ours(name, tables[name])
    assert len({x.name for x in drawn}) == len(drawn)
    assert len({x.look for x in drawn}) == len({x.look[1:] for x in drawn}) == len(drawn)


@pytest.mark.parametrize("name", DRAWN)
def test_every_line_is_named_once_in_the_legend(tables, name):
    """By itself, or together with the line that it is the filled twin of, in whose group it comes and goes."""
    drawn = lines.ours(name, tables[name])
    traces = figures.experiment(lines.axis(name), drawn).data
    named = [x.legendgroup for x in traces if x.showlegend]
    assert sorted(named) == sorted({x.legendgroup for x in traces})
    for line, trace in zip(drawn, traces, strict=True):
        assert trace.name == line.name and trace.legendgroup == (line.twin or line.name)
        assert trace.showlegend == (line.twin not in {x.name for x in drawn})
    assert (len(named) < len(drawn)) == (name == "beyond")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_titles_say_what_the_numbers_say(tables, name):
    """Every experiment's figure has a sentence with a number in it; where too little is measured, its plain title."""
    said = costs.finding(name, tables[name])
    assert said != EXPERIMENTS[name].title and any(x.isdigit() for x in said)
    assert costs.finding(name, tables[name].head(1)) == EXPERIMENTS[name].title


def test_a_sentence_follows_its_numbers(tables):
    """The zero-shot title has the very values of the table, and eight bits that cost nothing are said to."""
    zero = tables["zero-shot"].copy()
    zero.loc[(zero["method"] == "widthwise") & (zero["ratio"] == 0.3), "AVG-%"] = 12.3
    assert "12%" in costs.finding("zero-shot", zero)
    both = tables["int8"].copy()
    both["AVG-%"] = 90.0
    assert "cost nothing" in costs.finding("int8", both)


def test_zones_stand_where_the_sliders_do(tables):
    """Safe to 30, tipping to 50, extreme beyond, on figures over ratios and on no others."""
    zero = figures.experiment("ratio", lines.ours("zero-shot", tables["zero-shot"]))
    zones = [(x.x0, x.x1) for x in zero.layout.shapes if x.type == "rect"]
    assert zones == [(0, 30), (30, 50), (50, 66)]
    data = figures.experiment("fraction", lines.ours("data", tables["data"]))
    assert data.layout.xaxis.type == "log" and not [x for x in data.layout.shapes if x.type == "rect"]


def test_intervals_are_drawn_around_the_points(tables):
    """Error bars end at the table's low and high; a crowd of lines has them in the hover alone."""
    drawn = lines.ours("zero-shot", tables["zero-shot"])
    bars = figures.experiment("ratio", drawn).data[0].error_y
    assert bars.visible and np.allclose(np.array(bars.array) + drawn[0].y, drawn[0].high)
    assert np.allclose(drawn[0].y - np.array(bars.arrayminus), drawn[0].low)
    crowd = figures.experiment("ratio", lines.ours("losses", tables["losses"]))
    assert len(crowd.data) == 9 and not any(x.error_y.visible for x in crowd.data)
    assert all("95%" in x for trace in crowd.data for x in trace.hovertext)


@pytest.mark.parametrize("name, model, count", [
    ("zero-shot", "Bunny-v1.0-3B", 2), ("practice", "Mini-InternVL-Chat-4B-V1-5", 1), ("modality", "LLaVA-v1.5-7B", 2),
    ("int8", "LLaVA-v1.5-7B", 2), ("int8", "Bunny-v1.0-3B", 0), ("losses", "LLaVA-v1.5-7B", 0),
])  # fmt: skip
def test_the_papers_lines_lie_under_ours(tables, name, model, count):
    """They are drawn first, in the look of ours that they belong to, and start at 100% (8 bits a little below)."""
    printed = lines.printed(name, model)
    assert len(printed) == count
    ours = {x.name: x.look for x in lines.ours(name, tables[name])}
    assert all(ours[x.under] == x.look and (x.x[0], round(x.y[0])) in ((0, 100), (0, 98)) for x in printed)
    names = [x.name for x in figures.experiment("ratio", lines.ours(name, tables[name]), printed).data]
    assert names[:count] == [x.name for x in printed] and len(names) == count + len(ours)


def test_suspect_points_are_crossed_out_and_explained():
    """A point of the paper's that is not to be trusted has a cross, says why on hover, and in the words below."""
    printed = lines.printed("modality", "LLaVA-v1.5-7B")
    words_alone = figures.experiment("ratio", [], printed).data[1]
    assert [x == "x-thin-open" for x in words_alone.marker.symbol] == [False, True, False, False, False]
    assert "3.55%" in words_alone.hovertext[1] and "3.55%" not in words_alone.hovertext[2]
    assert set(figures.experiment("ratio", [], printed).data[0].marker.symbol) == {"circle"}
    said = costs.contradictions("modality", lines.suspicions(printed))
    assert "at 15%" in said and "not of 1.07%" in said and "Table 4" in said


def test_findings_are_judged_beside_their_evidence(tables):
    """The paper's findings of an experiment stand with verdict and numbers; without results they are open."""
    html = costs.judged("zero-shot", tables["zero-shot"])
    assert html.count("<li>") == 4 and "widthwise" in html and "contradicted" in html.lower()
    assert costs.judged("zero-shot", tables["zero-shot"].head(0)).count("Not measured") == 4
    assert costs.judged("answers", tables["answers"]) == ""


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_tables_are_worded_for_reading(tables, name):
    """Ratios in %, weights in MiB, and columns named; no row is lost."""
    shown = costs.shown(name, tables[name])
    assert len(shown) == len(tables[name]) and shown["removed %"].max() == (45 if name == "calibration" else 60)
    assert 10 < shown["weights MiB"].max() < 40 and not {"ratio", "achieved", "int8"} & set(shown)


def test_efficiency_has_a_panel_a_measure(tables):
    """Each panel starts at 100% of the original, and hovers carry the quantity with its unit."""
    found = figures.efficiency(tables["efficiency"])
    assert len(found.data) == 8 and all(x.y[0] == 100 for x in found.data)
    assert "MiB" in found.data[0].hovertext[1] and "% of the original's" in found.data[0].hovertext[1]
    assert {x.text for x in found.layout.annotations} >= {"weights", "words a second"}


def test_partial_results_are_drawn():
    """An experiment that was cancelled half-way has its figure of what is there."""
    cells = made_up.results("zero-shot", GRID)
    for n in (1, 3, 6):
        some = dict(list(cells.items())[:n])
        drawn = lines.ours("zero-shot", table(EXPERIMENTS["zero-shot"], some))
        json.loads(figures.experiment("ratio", drawn).to_json())
        assert sum(len(x.x) - 1 for x in drawn) == n - 1


def test_seeds_are_told():
    """A mean over seeds says so."""
    two = table(EXPERIMENTS["data"], made_up.results("data", replace(GRID, seeds=(0, 1), ratios=(0.3,))))
    assert "mean of 2 seeds" in lines.ours("data", two)[0].told[0]
