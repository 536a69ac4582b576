"""Cells: what a result depends on, and that nothing is computed twice, lost, or mistaken for another."""

import os
import signal
from dataclasses import replace

import pytest

from evaluation import runner
from evaluation.cells import Cell, Desk, Variant, Work
from evaluation.experiments import BESIDES, EXPERIMENTS, Grid, named
from evaluation.runner import compute, run
from evaluation.store import Store, report_of
from evaluation.tables import rows, table
from lvlm import BadSamples, Cancelled, LVLMError
from lvlm.events import Progress
from pruning import make_plan
from recovery import Recipe

SMALL = Grid(ratios=(0.15, 0.45), per_task=3, steps=2, pool=40)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return Desk(tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def here(monkeypatch):
    """Work is done in this process; what was made is counted."""
    made = []

    def serially(todo, scratch, workers, tick):
        for work in todo:
            made.append(work)
            tick()
            yield from compute(work, scratch)

    monkeypatch.setattr(runner, "_in_processes", serially)
    return made


def test_a_key_holds_everything_that_answers_depend_on(desk):
    """Model, what stays, recipe, samples, questions, images and bits: each changes the key; names for them do not."""
    cell = Cell(Variant("pocket-llava", "layerwise", 0.30), per_task=3)
    recipe = Recipe(steps=2)
    healed = replace(cell, variant=replace(cell.variant, recipe=recipe, pool=40))
    others = [
        replace(cell, variant=Variant("pocket-bunny", "layerwise", 0.30)),
        replace(cell, variant=Variant("pocket-llava")),
        replace(cell, variant=replace(cell.variant, ratio=0.45)),
        replace(cell, variant=replace(cell.variant, method="widthwise")),
        replace(cell, per_task=4), replace(cell, questions_seed=2), replace(cell, suite="easy-vqa"),
        replace(cell, suite=None), replace(cell, images=False), replace(cell, int8=True), healed,
        replace(healed, variant=replace(healed.variant, recipe=replace(recipe, steps=3))),
        replace(healed, variant=replace(healed.variant, pool=41)),
        replace(healed, variant=replace(healed.variant, recipe=replace(recipe, seed=1))),
        replace(cell, variant=replace(cell.variant, method="widthwise", choice="global")),
        replace(cell, variant=replace(cell.variant, repair=4)),
        replace(cell, variant=replace(cell.variant, repair=4, seed=1)),
    ]  # fmt: skip
    keys = [desk.key(x, desk.plan(x.variant)) for x in (cell, *others)]
    assert len(set(keys)) == len(keys)
    plan = desk.plan(cell.variant)
    same = make_plan(desk.scores(cell.variant), method="layerwise", ratio=0.301)
    assert desk.key(cell, plan) == desk.key(replace(cell, probabilities=True), same)
    elsewhere = replace(healed, variant=replace(healed.variant, recipe=replace(recipe, cache="/a/folder")))
    assert desk.key(elsewhere, plan) == desk.key(healed, plan)


def test_nothing_is_computed_twice(here, tmp_path):
    """A second run, and an experiment that shares cells with it, make only what is missing."""
    store = Store(tmp_path / "store", ())
    cells = EXPERIMENTS["zero-shot"].grid(SMALL)
    first = run(cells, store, tmp_path)
    assert len(here) == 5 and set(first) == set(cells)
    assert run(cells, store, tmp_path) == first and len(here) == 5
    run(EXPERIMENTS["modality"].grid(SMALL), store, tmp_path)
    assert all(not cell.images for work in here[5:] for _, cell in work.cells) and len(here) == 10
    assert store.results(cells) == first  # found by name, without a model
    shipped = Store(tmp_path / "other", (tmp_path / "store",))
    assert run(cells, shipped, tmp_path) == first and len(here) == 10


def test_a_cell_that_asks_for_more_is_measured_again(here, tmp_path):
    """Without probabilities a result does not serve a cell that wants them; with them it serves both."""
    store = Store(tmp_path / "store", ())
    plain = SMALL.cell()
    more = replace(plain, probabilities=True)
    run([plain], store, tmp_path)
    found = run([plain, more], store, tmp_path)
    assert len(here) == 2 and found[plain] == found[more] and len(found[more]["probabilities"]) == 27
    run([plain, more], store, tmp_path)
    assert len(here) == 2


def test_cells_of_one_model_are_measured_together(desk):
    """A model is made once for its suites, its words alone and its eight bits."""
    cells = [SMALL.cell(), SMALL.cell(images=False), SMALL.cell(int8=True), SMALL.cell("layerwise", 0.15)]
    todo = desk.work(cells, lambda key, cell: True)
    assert [len(x.cells) for x in todo] == [3, 1]


def test_what_is_timed_is_done_alone_and_first(desk, tmp_path, monkeypatch):
    """Whatever number of processes is asked for: costs are measured one by one, before anything is asked of anybody; a
    model that must be trained is made once for both."""
    shifts = []

    def watched(todo, scratch, workers, tick):
        shifts.append((workers, [[cell.suite for _, cell in x.cells] for x in todo]))
        return (x for x in ())

    monkeypatch.setattr(runner, "_in_processes", watched)
    healed = SMALL.cell("layerwise", 0.15, Recipe(steps=2))
    cells = [SMALL.cell(), SMALL.cell(suite=None), SMALL.cell("layerwise", 0.15), healed, replace(healed, suite=None)]
    run(cells, Store(tmp_path / "store", ()), tmp_path, workers=3)
    assert shifts == [(1, [[None], ["scenes", None]]), (3, [["scenes"], ["scenes"]])]


def test_a_cancelled_run_keeps_what_is_finished_and_goes_on(here, tmp_path):
    """Raising from report ends a run; the next one makes only the rest."""
    store = Store(tmp_path / "store", ())
    cells = EXPERIMENTS["zero-shot"].grid(SMALL)

    def impatient(event):
        if isinstance(event, Progress) and event.stage == "experiment" and event.done == 2:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run(cells, store, tmp_path, report=impatient)
    assert len(store.results(cells)) == 2
    run(cells, store, tmp_path)
    assert len({id(x) for x in here}) == 5 and len(store.results(cells)) == 5


def test_processes_give_the_results_of_one(tmp_path):
    """Two processes measure what this one does, a healed and an int8 model too."""
    cells = [SMALL.cell(), *SMALL.practice(0)[:1], replace(SMALL.cell("layerwise", 0.15), int8=True)]
    found = run(cells, Store(tmp_path / "store", ()), tmp_path, workers=2)
    desk = Desk(tmp_path)
    for work in desk.work(cells, lambda key, cell: True):
        for key, cell, result in compute(work, tmp_path):
            assert {k: v for k, v in found[cell].items() if k in ("answers", "scores", "average", "bytes")} == {
                k: v for k, v in result.items() if k in ("answers", "scores", "average", "bytes")
            }
    healed = found[cells[1]]["recovery"]
    assert healed["steps"] == 2 and healed["held_out"] > 0


def dies(work, scratch):
    """Stands for work that the system kills, as it does for want of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def dies_once(work, scratch):
    """Stands for work whose first process is killed."""
    if not (scratch / "died").exists():
        (scratch / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return [("key", work, {})]


def test_a_dead_process_is_tried_again_and_then_named(tmp_path, monkeypatch):
    """Work whose process is killed runs again in a new one; if every one is killed, a sentence says so."""
    work = Work(Variant("pocket-llava"), None, ())
    monkeypatch.setattr(runner, "compute", dies_once)
    assert [key for key, _, _ in runner._in_processes([work], tmp_path, 1, lambda: None)] == ["key"]
    monkeypatch.setattr(runner, "compute", dies)
    monkeypatch.setattr(runner, "TRIES", 1)
    with pytest.raises(LVLMError, match="died 1 times"):
        list(runner._in_processes([work], tmp_path, 1, lambda: None))


def test_results_that_are_none_are_refused(tmp_path):
    """A damaged file is named, never taken for a result."""
    store = Store(tmp_path, ())
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "abc.json.gz").write_bytes(b"nothing")
    with pytest.raises(LVLMError, match="delete it"):
        store.get("abc")
    assert store.get("abd") is None


def test_tables_have_a_row_a_point_with_means_over_seeds(here, tmp_path):
    """AVG-% is of the dense model asked the same; several seeds become one row with their spread."""
    grid = replace(SMALL, seeds=(0, 1))
    experiment = EXPERIMENTS["zero-shot"]
    results = run(experiment.grid(grid), Store(tmp_path / "store", ()), tmp_path)
    every, found = rows(results), table(experiment, results)
    assert len(every) == 9 and len(found) == 5
    dense = found[found.method == "dense"].iloc[0]
    assert dense["AVG-%"] == 100 and dense["p"] == 1
    for _, row in found[found.method != "dense"].iterrows():
        both = every[(every.method == row.method) & (every.ratio == row.ratio)]
        assert row["AVG"] == pytest.approx(both["AVG"].mean()) and row["seeds"] == len(both) == 2
        assert row["AVG-%"] == pytest.approx(both["AVG"].mean() / dense["AVG"] * 100)
        assert row["low"] <= row["AVG-%"] <= row["high"]
    partly = {
        x: y
        for x, y in results.items()
        if (x.variant.method, x.variant.ratio, x.variant.seed) != ("widthwise", 0.15, 1)
    }
    alike = table(experiment, partly)
    assert set(alike["seeds"]) == {1}, "points are compared on the seeds that all of them have"


def test_records_come_back_with_their_questions(here, tmp_path):
    """A result's records are the suite's questions with the model's answers, and score what the result says."""
    cell = SMALL.cell("layerwise", 0.15, probabilities=True)
    result = run([cell], Store(tmp_path / "store", ()), tmp_path)[cell]
    report = report_of(cell, result)
    assert report.scores == pytest.approx(result["scores"]) and report.average == pytest.approx(result["average"])
    assert all(0 <= x.probability <= 1 for x in report.records)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_grid_without_twins(name):
    """Dense first, no cell twice, every row told apart by the experiment's columns and seed."""
    cells = EXPERIMENTS[name].grid(Grid(seeds=(0, 1)))
    assert len(set(cells)) == len(cells) and cells[0].variant.method == "dense"
    assert any(x.variant.recipe for x in cells) == EXPERIMENTS[name].trains


def test_experiments_are_named():
    """ "all" is the paper's; an unknown name is refused with the known ones."""
    assert [x.name for x in named(["all"])] == [x for x in EXPERIMENTS if x not in BESIDES]
    with pytest.raises(BadSamples, match="zero-shot"):
        named(["one-shot"])


def test_a_published_variant_is_called_as_it_was_before_there_were_others():
    """Choice and repair are left out of a name at the paper's own, and each changes it otherwise; so do keys."""
    cell = Cell(Variant("pocket-llava", "widthwise", 0.30))
    assert {"choice", "repair"}.isdisjoint(cell.to_dict()["variant"])
    others = [replace(cell, variant=replace(cell.variant, **x)) for x in ({"choice": "global"}, {"repair": 64})]
    assert len({x.name for x in (cell, *others)}) == 3
