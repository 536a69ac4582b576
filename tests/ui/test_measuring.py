"""The Measure tab's work on a desk: asking the models at hand, experiments that are resumed, and what is drawn."""

from functools import partial

import pytest

from evaluation import evaluate, runner
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.runner import compute
from evaluation.store import Store
from lvlm import BadSamples, LVLMError, load
from tests.ui import made_up
from tests.ui.conftest import wait
from ui import desk as desk_module
from ui import measuring, workspace
from ui.browser import Browser, draw_one
from ui.heard import EVERY_TASK
from ui.part import Part
from ui.replication import Replication
from ui.scoreboard import Scoreboard
from ui.shelf import Shelf

RATIOS = (0.15,)


@pytest.fixture(scope="module")
def pocket():
    """A desk with the bundled model, pruned by 30%."""
    desk = workspace.Desks(Shelf(partial(load, step="chat"))).at("a")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk_module, "DEFAULT_SAMPLES", 1)
        assert wait(desk.open("pocket-llava")).state == "done"
    assert wait(desk.prune()).state == "done"
    return desk


@pytest.fixture
def desk(pocket, monkeypatch, tmp_path):
    """The same with nothing asked, its own empty store, and nothing shipped."""
    pocket.measuring = measuring.Measuring(opened=True)
    pocket.measuring.asked.per_task = pocket.measuring.wish.per_task = 2
    for variant in pocket.variants:
        variant.measured.clear()
    monkeypatch.setattr(measuring, "store", lambda: Store(tmp_path, ()))
    monkeypatch.setattr(measuring, "RESULTS", tmp_path)
    measuring._tabled.cache_clear()
    return pocket


@pytest.fixture
def small(desk, monkeypatch):
    """Experiments of one ratio, measured in this process; how many rows the page had before each measurement."""
    seen = []
    monkeypatch.setattr(measuring, "Grid", partial(Grid, ratios=RATIOS))

    def serially(todo, scratch, workers, tick):
        for work in todo:
            tick()
            seen.append(len(measuring.found(desk).table))
            yield from compute(work, scratch)

    monkeypatch.setattr(runner, "_in_processes", serially)
    return seen


def drawn(part, desk) -> dict:
    """What a part draws, by the name of the component."""
    import gradio as gr

    with gr.Blocks():
        made = part()
    values = made.draw(desk)
    assert len(values) == len(made.outputs)
    return {x.elem_id: value for x, value in zip(made.outputs, values, strict=True) if x.elem_id}


def test_every_model_at_hand_is_asked_the_same(desk):
    """The job leaves a report with probabilities on each variant; asking again asks only newcomers."""
    heard = []
    job = measuring.score(desk)
    assert job.shares
    wait(job)
    assert job.state == "done" and (job.stage, job.fraction) == ("score", 1.0)
    heard = measuring.heard(desk)
    assert [x.kind for x in heard] == ["original", "pruned"]
    asked = [[(r.id, r.truth) for r in x.report.records] for x in heard]
    assert asked[0] == asked[1] and len(asked[0]) == 18
    assert all(0 <= r.probability <= 1 for x in heard for r in x.report.records)
    with pytest.raises(LVLMError, match="were asked"):
        measuring.score(desk)
    kept = heard[0].report
    del desk.pruned.measured[("scenes", 2)]
    wait(measuring.score(desk))
    assert measuring.heard(desk)[0].report is kept

    board = drawn(Scoreboard, desk)
    assert "kept (AVG-%)" in board["score-cards"] and len(board["plot-scores"].data) > 2
    browser = drawn(Browser, desk)
    assert len(browser["records"].value["data"]) == 18
    picture, detail = draw_one(desk, 1)
    assert picture.visible and heard[0].report.records[1].question in detail


def test_cancelling_keeps_what_was_heard(desk, monkeypatch):
    """Cancelled after the first model, its answers stay and only the other is asked next time."""

    def evaluate_once(*given, **options):
        found = evaluate(*given, **options)
        desk.job.cancel()
        return found

    monkeypatch.setattr(measuring, "evaluate", evaluate_once)
    assert wait(measuring.score(desk)).state == "cancelled"
    assert [x.kind for x in measuring.unheard(desk)] == ["pruned"] and len(measuring.heard(desk)) == 1


def test_only_sensible_numbers_are_asked(desk):
    """No suite and no number that there is not; the old wish stays."""
    for suite, n in (("imagenet", 5), ("scenes", 0), ("scenes", 201), ("scenes", 2.5), ("scenes", None)):
        with pytest.raises(BadSamples, match="choose"):
            desk.measuring.wish.set(suite, n)
    assert (desk.measuring.wish.suite, desk.measuring.wish.per_task) == ("scenes", 2)


def test_an_experiment_runs_once_and_is_drawn(desk, small):
    """Nothing is there at first; the job measures the grid; then it is shown at once, and nothing is left to do."""
    before = drawn(Replication, desk)
    assert "Not run yet" in before["experiment-head"] and before["run-experiment"].value == "Run"
    version = desk.measuring.version
    job = wait(measuring.run_experiment(desk))
    assert job.state == "done" and desk.measuring.version == version + 3
    assert small == [0, 1, 2]  # each result is there as soon as it is measured
    found = measuring.found(desk)
    assert (found.missing, found.total, len(found.table)) == (0, 3, 3)
    after = drawn(Replication, desk)
    assert after["run-experiment"].value == "All measured" and not after["run-experiment"].interactive
    assert len(after["plot-experiment"].data) == 4  # two of the paper's, two of ours
    assert measuring.complete(desk) == {"zero-shot"}  # though others share some of its measurements


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_kept_results_are_shown_without_a_model(desk, name, monkeypatch):
    """Every experiment's figure, table and records come from the store alone."""
    made_up.fill(measuring.store(), name, Grid(per_task=2))
    monkeypatch.setattr(runner, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    desk.measuring.experiment = name
    found = measuring.found(desk)
    assert found.missing == 0
    paper = drawn(Replication, desk)
    assert paper["plot-experiment"].data and "Not run yet" not in paper["experiment-head"]
    assert len(paper["experiment-table"]) and paper["experiment-csv"].value
    browser = drawn(Browser, desk)
    if name == "efficiency":
        assert "asks no questions" in browser["records-said"]
    else:
        assert browser["records"].visible and browser["other"].choices


def test_records_of_an_experiment_are_compared_with_its_original(desk):
    """Picking a cell compares it with the original asked alike, filtered as wished; pictures fit their questions."""
    made_up.fill(measuring.store(), "zero-shot", Grid(per_task=2))
    names = [x for x, _ in measuring.compared(desk)]
    assert names[0] == "Original" and "widthwise 60%" in names
    measuring.look_at(desk, "experiment", "widthwise 60%", EVERY_TASK, "lost")
    first, second = measuring.records(desk)
    assert second.title == "widthwise 60%" and first.report.average > second.report.average
    browser = drawn(Browser, desk)
    lost = sum(a.right and not b.right for a, b in zip(first.report.records, second.report.records))
    assert f"<b>{lost}</b> of 18" in browser["records-said"]
    assert measuring.picture(desk, 0) is None and measuring.picture(desk, 1).size == (192, 192)
    with pytest.raises(BadSamples, match="filter"):
        measuring.look_at(desk, "desk", None, EVERY_TASK, "best")


def test_nothing_is_worked_out_before_somebody_looks(desks, monkeypatch):
    """Until the tab is opened the store is not read: the first page comes as fast as before."""
    import gradio as gr

    from ui import measure

    with gr.Blocks():
        key = gr.Textbox()
        with gr.Tabs(), gr.Tab("Measure") as tab:
            part = measure.build(desks, key, tab)
    desk = desks.at("a")
    wait(desk.open("one"))
    monkeypatch.setattr(measuring, "store", lambda: pytest.fail("read"))
    assert isinstance(part, Part) and len(part.draw(desk)) == len(part.outputs)
