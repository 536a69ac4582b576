"""Healing on a desk and on its tab, with tiny models: how a run ends, what it leaves, and what is refused."""

import re
import time
from dataclasses import replace

import pytest

from evaluation import Record, Report
from lvlm import LVLMError, memory
from lvlm.events import LossPoint
from recovery import CHART, Recipe
from recovery.lessons import Selection
from tests.ui.conftest import wait
from ui import heal, healed, healing, measuring, page, runs

SHORT = Recipe(train="lora", rank=2, alpha=4, batch=2, steps=12, learning_rate=1e-3)


@pytest.fixture
def desk(desks):
    desk = desks.at("a")
    wait(desk.open("one"))
    desk.healing.own, desk.healing.asked = SHORT, 0
    return desk


def folders() -> list:
    return list(runs.home().iterdir()) if runs.home().exists() else []


def test_one_click_prunes_heals_and_shows_the_recovered_model(desk):
    """From a plan alone: a pruned and a recovered variant, the latter on the right, its curve, and no files left."""
    assert wait(desk.heal()).state == "done"
    original, pruned, recovered = desk.variants
    assert recovered.parent is pruned and pruned.parent is original and desk.panes[1] is recovered
    assert recovered.model.history[-1]["steps"] == 12 and [x.step for x in desk.healing.points] == [*range(13)]
    assert folders() == [] and not desk.notice
    assert pruned.cost is not None  # what the Prune tab shows


def test_a_recovered_model_is_asked_and_stored_in_8_bits(desk):
    """It chats beside any other model, and its int8 version stands in its place."""
    wait(desk.heal())
    wait(desk.small("recovered-1"))
    assert [x.id for x in desk.panes] == ["original", "int8-1"] and desk.panes[1].parent.kind == "recovered"
    desk.variants.show(["pruned-1", "recovered-1", "int8-1"])
    wait(desk.ask(None, "how many?", max_new_tokens=3, temperature=0))
    assert list(desk.talk[0].answers) == ["pruned-1", "recovered-1", "int8-1"]
    with pytest.raises(LVLMError, match="no model"):
        desk.variants.show(["recovered-7"])


def test_several_are_healed_side_by_side(desk):
    """Healing again makes another variant; a chosen pruned model is healed instead of the newest."""
    wait(desk.heal())
    desk.wish("layerwise", 0.3, 0, 0)
    wait(desk.prune())
    desk.healing.of = "pruned-1"
    wait(desk.heal())
    assert [x.id for x in desk.variants] == ["original", "pruned-1", "recovered-1", "recovered-2", "pruned-2"]
    desk.healing.of = None
    wait(desk.heal())
    assert desk.variants.latest("recovered").parent.id == "pruned-2"
    desk.drop("pruned-1")
    assert [x.id for x in desk.variants] == ["original", "pruned-2", "recovered-3"]


def under_way(desk, steps: int = 3):
    """A run that would take hours, with a few steps done."""
    desk.healing.own = replace(SHORT, steps=100_000)
    job = desk.heal()
    deadline = time.monotonic() + 300
    while len(desk.healing.points) <= steps and job.busy and time.monotonic() < deadline:
        time.sleep(0.01)
    assert job.busy
    return job


def test_stop_keeps_the_best_and_cancel_drops_it(desk):
    """Both end within a step; neither leaves files, and a cancelled run leaves the earlier recovered model."""
    job = under_way(desk)
    desk.stop_healing()
    assert wait(job).state == "done"
    first = desk.variants.latest("recovered")
    assert 3 <= first.model.history[-1]["steps"] < 1000 and "Stopped" in healed.result(desk)
    job = under_way(desk)
    job.cancel()
    assert wait(job).state == "cancelled" and not desk.notice
    assert desk.variants.latest("recovered") is first and folders() == []
    job = desk.heal()
    desk.stop_healing()  # before it has begun to train
    assert wait(job).state == "done" and desk.variants.latest("recovered").model.history[-1]["steps"] < 10


def test_while_it_heals_one_can_chat_and_no_click_ends_it(desk):
    """Answers come between two steps; another job is refused in words, on this desk, and runs on another's."""
    job = under_way(desk)
    wait(desk.ask(None, "how many?", max_new_tokens=3, temperature=0))
    assert desk.talk[0].answers["pruned-1"].stats.new_tokens == 3
    for click in (
        desk.prune,
        desk.heal,
        lambda: desk.calibrate(5),
        lambda: desk.open("x"),
        lambda: desk.small("original"),
    ):
        with pytest.raises(LVLMError, match="press Stop or Cancel"):
            click()
    assert job.busy
    job.cancel()
    wait(job)


class Killed(Exception):
    """In the place of a signal."""


def killed(monkeypatch, desk, at: int):
    """The run dies at a step, as if the process had."""
    real = healing.recover

    def dying(*given, **options):
        *most, report = given

        def listen(event):
            report(event)
            if isinstance(event, LossPoint) and event.step == at:
                raise Killed

        return real(*most, listen, **options)

    with monkeypatch.context() as patch:
        patch.setattr(healing, "recover", dying)
        assert wait(desk.heal()).state == "failed"


def test_a_killed_run_is_found_and_gone_on_with(desk, desks, monkeypatch):
    """Another desk with the same model finds it, whatever its own plan, and comes to the same weights and curve."""
    desk.wish("layerwise", 0.4, 0, 0)
    wait(desk.heal())
    wanted = desk.variants.latest("recovered").model
    killed(monkeypatch, desk, at=9)
    assert desk.healing.goes_on is not None and len(folders()) == 1

    other = desks.at("b")
    wait(other.open("one"))
    run = other.healing.goes_on
    assert "step 8 of 12" in healed.unfinished(run) and other.plan.method == "widthwise"
    assert wait(other.heal(run)).state == "done"
    found = other.variants.latest("recovered").model
    assert found.digest() == wanted.digest() and other.variants.latest("pruned").title.endswith("layerwise")
    assert [x.step for x in other.healing.points] == [*range(13)]
    assert folders() == [] and other.healing.goes_on is None


def test_a_run_is_worked_on_once(desk, desks, monkeypatch):
    """A run that somebody works on is not offered, nor gone on with; one that nobody wants goes with its files."""
    killed(monkeypatch, desk, at=9)
    run = desk.healing.goes_on
    with run.held():
        assert runs.unfinished(run.digest) is None
        assert "another window" in wait(desk.heal(run)).error
    assert runs.unfinished("other") is None
    about = (run.folder / "run.json").read_text()
    (run.folder / "run.json").write_text("{")
    assert runs.unfinished(run.digest) is None
    (run.folder / "run.json").write_text(about)
    desk.healing.goes_on = runs.unfinished(run.digest)
    with run.held(), pytest.raises(LVLMError, match="another window"):
        desk.discard_run()
    assert folders() and desk.healing.goes_on is not None
    desk.discard_run()
    assert folders() == [] and desk.healing.goes_on is None


def test_a_diverging_run_keeps_its_best_weights(desk):
    """Its sentence is shown, and the best before stands as recovered."""
    desk.healing.own = replace(SHORT, train="full", learning_rate=1e4)
    assert wait(desk.heal()).state == "failed"
    assert "learning rate" in desk.notice and desk.variants.latest("recovered") is not None
    assert folders() == [] and "<table>" in healed.result(desk)


def test_too_little_memory_is_said_before_anything_is_trained(desk, monkeypatch):
    """One sentence with what would fit; no variant, no curve, no files."""
    wait(desk.prune())
    monkeypatch.setenv(memory.OVERRIDE, "0.0000001")
    assert wait(desk.heal()).state == "failed"
    assert "Healing tiny-llama takes about" in desk.notice and "free" in desk.notice
    assert desk.variants.latest("recovered") is None and desk.healing.points == [] and folders() == []


def test_questions_are_asked_of_every_model_once(desk, monkeypatch):
    """The table compares all three by the same questions; nobody is asked twice."""
    asked = []

    def evaluate(model, suite, per_task, seed, **options):
        asked.append(model)
        return Report(suite, model.name, 0, (Record("q", "count", "?", "two", "two" if len(asked) != 2 else "one"),))

    monkeypatch.setattr(measuring, "evaluate", evaluate)
    desk.healing.asked = 1
    wait(desk.heal())
    table = healed.result(desk)
    assert "Right of 1 held-out questions" in table and "+100.0 pp" in table and "count" in table
    wait(desk.heal())
    assert len(asked) == 4


WRONG = {
    "temperature": (0, "temperature"),
    "rate": (None, "learning_rate"),
    "rank": (1.5, "whole number"),
    "batch": (0, "batch"),
    "fraction": (None, "share"),
    "minutes": (-1, "minutes"),
    "steps": (0.5, "whole number"),
    "layers": ("first", "l2_layers"),
    "l2": ("much", "l2"),
    "sft": (-1, "weight"),
    "data": ("nowhere", "no data"),
    "asked_each": (1e9, "questions"),
    "train": ("vision", "train"),
}


def test_numbers_nobody_can_mean_are_refused(desk):
    """One sentence that names what is wrong; the recipe stays as it was."""
    good = {"train": "lora", "sft": 1, "kl": 0, "rkl": 0, "l2": 1, "temperature": 2, "layers": "2", "rate": 1e-3,
            "rank": 4.0, "batch": 2, "fraction": 100, "arithmetic": "repaired", "minutes": 1, "steps": None,
            "data": "scenes", "asked_each": 0}  # fmt: skip
    for name, (value, said) in WRONG.items():
        with pytest.raises(LVLMError, match=f"{said}.*[.]$"):
            heal.take(desk, **(good | {name: value}))
        assert desk.healing.own == SHORT
    heal.take(desk, **good)
    made = desk.healing.own
    assert (made.rank, made.alpha, made.l2_layers, made.minutes, made.steps) == (4, 8, 2, 1, None)


def test_a_longer_run_is_still_the_chosen_recipe(desk):
    """Minutes and steps change no recipe; anything else makes it one by hand; a choice from the list undoes that."""
    desk.healing.own = None
    advised = desk.healing.recipe(desk.model, desk.to_heal)
    desk.healing.change(advised, replace(advised, minutes=5))
    assert desk.healing.own is None and desk.healing.recipe(desk.model, desk.to_heal) == replace(advised, minutes=5)
    longer = desk.healing.recipe(desk.model, desk.to_heal)
    desk.healing.change(longer, replace(longer, l2=0.5))
    assert desk.healing.own == replace(advised, minutes=5, l2=0.5)
    desk.healing.choose("advised")
    assert desk.healing.recipe(desk.model, desk.to_heal).l2 == advised.l2


def test_the_chart_marks_where_the_plan_sits(desk):
    """One zone of each row is lit, by the plan's ratio; the advised recipe is that zone's."""
    desk.healing.own = None
    for ratio, advice in zip((0.2, 0.3, 0.5), CHART, strict=True):
        desk.wish("layerwise", ratio, 0, 0)
        html = healed.chart(desk)
        lit = re.findall(r'zone here" style="flex:\d+"><b>(.*?)</b>', html)
        assert lit == ["projector only" if advice.train == "projector" else "projector + LoRA"]
        assert html.count("zone here") == 2 and f"planned {ratio:.0%}" in html
        recipe = desk.healing.recipe(desk.model, desk.to_heal)
        assert recipe.train == advice.train and set(recipe.terms) == set(advice.losses)
        assert (recipe.fraction == 1) == (ratio >= 0.5) and recipe.minutes == healing.MINUTES


def test_before_a_run_its_place_says_what_will_come(desk):
    """How long, what is asked, and what such a cut kept where it was measured; once there is a run, that is shown."""
    desk.healing.own, desk.healing.asked, desk.healing.length = None, 7, {"minutes": 2.0, "steps": None}
    said = healed.ahead(desk)
    assert "2 minutes" in said and "7 held-out questions" in said
    assert "not healed" in said and "pruned as planned" in said
    desk.healing.asked = 0
    assert "held-out questions" not in healed.ahead(desk)
    desk.healing.own = SHORT
    assert f"{SHORT.steps} steps" in healed.ahead(desk)
    wait(desk.heal())
    assert healed.ahead(desk) == ""


def test_only_pictures_that_are_learnt_from_are_drawn():
    """A recipe's share of the scenes has pictures, the rest of the pool has not; a file is read as it is."""
    recipe = replace(SHORT, fraction=0.01)
    samples = healing.read("scenes", recipe)
    chosen = Selection.of(healing.POOL, recipe)
    assert len(samples) == healing.POOL and len(chosen.train) + len(chosen.held_out) == 40
    drawn = {i for i, x in enumerate(samples) if x.image is not None}
    asking = {i for i, x in enumerate(samples) if x.task != "knowledge"}
    assert drawn == {*chosen.train, *chosen.held_out} & asking
    with pytest.raises(LVLMError, match="no file"):
        healing.read("nowhere.json", recipe)


def test_recipes_of_the_list(desk):
    """Each can be made for the plan; a length by the clock; a nonsense one is refused."""
    for choice in healing.CHOICES:
        desk.healing.choose(choice)
        recipe = desk.healing.recipe(desk.model, desk.to_heal)
        assert recipe.minutes and (recipe.arithmetic == "paper") == choice.startswith("published")
        assert healed.planned(desk).endswith(".")
    with pytest.raises(LVLMError, match="choose advised"):
        desk.healing.choose("magic")


@pytest.fixture
def endpoint(desks, monkeypatch):
    """The function behind an endpoint of the page, by its name."""
    monkeypatch.setattr(page, "Desks", lambda shelf: desks)
    app = page.build_app("one")
    return {x.api_name: x.fn for x in app.fns.values() if x.api_visibility != "private"}.__getitem__


def test_which_pruned_model_is_healed_can_be_chosen(desk, endpoint):
    """With two of them the tab offers both; the chosen one's plan is what is advised for; others are refused."""
    wait(desk.prune())
    desk.wish("layerwise", 0.3, 0, 0)
    wait(desk.prune())
    assert desk.to_heal.method == "layerwise"
    endpoint("choose_patient")("a", None, "pruned-1")
    assert desk.to_heal.method == "widthwise" and desk.patient.id == "pruned-1"
    endpoint("choose_patient")("a", None, "original")
    assert "was not pruned" in desk.notice and desk.patient.id == "pruned-1"


def test_a_refused_recipe_is_said_and_not_started(desk, endpoint):
    """The page says what is wrong, Heal cannot be pressed, and a start by its endpoint is refused too; a choice from
    the list mends it."""
    good = ["lora", 1, 0, 0, 1, 2, "last", 1e-3, 4, 2, 100, "repaired", 1, None, "scenes", 0]
    choice, said, button, *_ = endpoint("set_recipe")("a", *good[:7], -1, *good[8:])
    assert "learning_rate" in said and "notice-error" in said and button.interactive is False
    endpoint("start_healing")("a", None)
    assert "learning_rate" in desk.notice and not desk.busy
    choice, said, button, _, *settings = endpoint("choose_recipe")("a", "strongest")
    assert choice == "strongest" and "notice-error" not in said and button.interactive and settings[0] == "full"
    choice, said, button, *_ = endpoint("set_recipe")("a", *good)
    assert choice == "own" and "the projector and LoRA on SFT + L2 for about 1 minute" in said
    *_, minutes = endpoint("set_recipe")("a", *good[:13], 7, *good[14:])  # steps: the clock is out of use and says so
    assert not minutes.interactive and "steps are set" in minutes.label
    *_, minutes = endpoint("set_recipe")("a", *good)
    assert minutes.interactive and minutes.label == "Minutes of training"
    endpoint("resume_healing")("a", None)
    assert "no unfinished run" in desk.notice
    endpoint("start_healing")("a", None)
    endpoint("stop_healing")("a")
    assert desk.is_healing
    desk.job.cancel()
    wait(desk.job)
