import gc
import threading
import time
import weakref
import zipfile
from functools import partial

import pytest

from lvlm import BadPlan, BadSamples, LVLMError, load, memory
from lvlm.events import Progress
from tests import tiny
from tests.ui.conftest import wait
from ui import jobs, making, workspace
from ui.talk import interleave


@pytest.fixture
def desk(desks):
    desk = desks.at("a")
    assert wait(desk.open("one")).state == "done"
    return desk


def test_opening_leads_to_a_plan(desk):
    """A model that was opened is calibrated and planned at 30% widthwise, with no further click."""
    assert (desk.plan.method, desk.plan.ratio, desk.model.name) == ("widthwise", 0.30, "tiny-llama")


def test_switching_models_frees_the_old_one(desk):
    """Nothing keeps a model alive once its last desk has left it, nor what was pruned from it."""
    wait(desk.prune())
    old = [weakref.ref(desk.model.network), weakref.ref(desk.pruned.model.network)]
    wait(desk.open("another"))
    gc.collect()
    assert [ref() for ref in old] == [None, None]
    assert desk.shelf.names == ["another"]


def test_a_model_that_another_desk_uses_stays(desk, desks):
    """Models are shared: one desk's switch takes nothing from another."""
    other = desks.at("b")
    wait(other.open("one"))
    assert other.model is desk.model
    wait(desk.open("another"))
    assert other.shelf.names == ["one", "another"] and other.model is not desk.model


def test_a_model_that_cannot_be_loaded_loses_nothing(desk):
    """A failed switch keeps model, plan and pruned variant, and says why in one sentence."""
    wait(desk.prune())
    before = (desk.model, desk.plan, desk.pruned)
    assert wait(desk.open("broken")).state == "failed"
    assert (desk.model, desk.plan, desk.pruned) == before
    assert desk.notice == "There is no model broken: choose another." and desk.shelf.names == ["one"]


def test_a_model_too_large_for_this_machine_is_refused_before_any_download(monkeypatch):
    """What does not fit the free memory is not even begun; what would is named."""
    monkeypatch.setenv(memory.OVERRIDE, "1")
    monkeypatch.setattr("lvlm.loading.download", lambda *_: pytest.fail("downloaded"))
    desk = workspace.Desks(workspace.Shelf(partial(load, step="calibrate"))).at("a")
    assert wait(desk.open("llava-1.5-7b")).state == "failed"
    assert "GiB" in desk.notice and "pocket-" in desk.notice


def test_a_ratio_nobody_can_mean_keeps_the_plan(desk):
    """Out-of-range ratios and sample numbers are refused in words, and change nothing."""
    plan = desk.plan
    with pytest.raises(BadPlan, match="out of range"):
        desk.wish("widthwise", 0.9, 0, 0)
    with pytest.raises(BadSamples, match="choose 1 to 50"):
        desk.calibrate(0)
    assert desk.plan is plan and not desk.busy


def test_an_unreachable_plan_says_what_can_be_reached(desk):
    """With every layer protected nothing can go: the old plan stays and the reason is worded."""
    plan = desk.plan
    desk.wish("layerwise", 0.3, 4, 4)
    assert desk.plan is plan and "at most" in desk.refusal
    desk.wish("layerwise", 0.3, 0, 0)
    assert desk.plan.method == "layerwise" and not desk.refusal


def test_both_models_answer_one_question_at_once(desk):
    """Both panes' answers grow from one question, interleaved, and both are measured."""
    wait(desk.prune())
    job = desk.ask(tiny.picture(), "how many?", max_new_tokens=12, temperature=0)
    assert wait(job).state == "done"
    answers = desk.talk[0].answers
    assert list(answers) == ["original", "pruned-1"] == [x.variant for x in answers.values()]
    assert all(answer.text and answer.stats.new_tokens == 12 for answer in answers.values())


def test_stop_ends_generation_itself(desk):
    """Stop ends the threads that generate, within a moment, and keeps what was said."""
    wait(desk.prune())
    job = desk.ask(tiny.picture(), "how many?", max_new_tokens=3000, temperature=0)
    deadline = time.monotonic() + 20
    while not all(answer.text for answer in desk.talk[0].answers.values()) and time.monotonic() < deadline:
        time.sleep(0.01)
    desk.stop()
    wait(job)
    assert not [x for x in threading.enumerate() if "_speak" in x.name]
    for answer in desk.talk[0].answers.values():
        assert answer.text and answer.stats.stopped and answer.stats.new_tokens < 3000


def test_an_answer_stopped_while_others_compute_lets_them(desk):
    """Stop reaches an answer that waits for the machine: it ends with what it said, and who computes meanwhile keeps
    the machine, whoever else waits for it."""
    inside, go, held = threading.Event(), threading.Event(), []

    def other(report):
        held.append(jobs.TURNS._holder)
        inside.set()
        go.wait(20)
        held.append(jobs.TURNS._holder)

    job = desk.ask(tiny.picture(), "how many?", max_new_tokens=3000, temperature=0)
    answer = desk.talk[0].answers["original"]
    while not answer.text:
        pass
    computes = jobs.Job("Other", other).start()
    assert inside.wait(20)
    waits = jobs.Job("Another", lambda report: None).start()
    while len(jobs.TURNS._line) < 2:
        pass
    desk.stop()
    wait(job)
    assert job.state == "done" and answer.text and answer.stats.stopped and computes.busy
    go.set()
    wait(computes), wait(waits)
    assert held[0] is held[1] and held[0].thread == computes.thread.ident and not jobs.TURNS._line


def test_who_finds_the_line_full_is_told_about_the_own_question(desk, monkeypatch):
    """What was asked last is known even where it came to nothing at once."""
    monkeypatch.setattr(jobs, "MOST_IN_LINE", 0)
    job = wait(desk.ask(None, "and pears?", max_new_tokens=4, temperature=0))
    assert job.state == "failed" and "in line" in job.error
    assert desk.asked.question == "and pears?" and not desk.talk


def test_two_who_load_a_model_at_once_both_hold_it():
    """It stays until the second has put it back as well."""

    def load(name, report):
        if not shelf.names:  # the other one is quicker
            shelf._load = lambda name, report: "quick"
            shelf.take(name, "b", report)
        return "slow"

    shelf = workspace.Shelf(load)
    shelf._choose_cores = lambda: None
    assert shelf.take("one", "a", None).model == "quick"
    shelf.leave("b")
    assert shelf.names == ["one"]
    shelf.leave("a")
    assert shelf.names == []


def test_variants_can_be_gone_through_while_one_is_added(desk):
    """Whoever lists what is at hand sees what was there when it began."""
    seen = []
    for variant in desk.variants._known.values():
        seen.append(variant.id)
        wait(desk.prune())
    assert seen == ["original"] and len(desk.variants) == 2


def test_a_refused_question_leaves_the_talk_as_it_was(desk):
    """A question longer than the context is refused in one sentence; earlier answers stay."""
    wait(desk.ask(None, "how many?", max_new_tokens=4, temperature=0))
    job = wait(desk.ask(None, "how many apples? " * 3000, max_new_tokens=4, temperature=0))
    assert job.state == "failed" and "too long" in job.error
    assert [exchange.question for exchange in desk.talk] == ["how many?"]


def test_int8_is_a_variant_in_its_parents_pane(desk):
    """Any variant has one 8-bit child, made once, which takes its parent's place; 8 bits of 8 bits are refused."""
    wait(desk.prune())
    wait(desk.small("pruned-1"))
    small = desk.variants.get("int8-1")
    assert [x.id for x in desk.panes] == ["original", "int8-1"] and small.parent is desk.pruned
    assert small.model.bytes() < desk.pruned.model.bytes() and small.plan is desk.pruned.plan
    desk.variants.show(["original", "pruned-1"])
    assert desk.small("pruned-1") is None and desk.panes[1] is small
    wait(desk.small("original"))
    assert [x.id for x in desk.variants] == ["original", "pruned-1", "int8-1", "int8-2"]
    with pytest.raises(LVLMError, match="already"):
        desk.small("int8-1")


def test_the_same_plan_is_cut_once_and_another_makes_another_variant(desk):
    """Pruning again by the same plan brings its variant back; by another plan both stand beside each other."""
    wait(desk.prune())
    first = desk.pruned
    desk.wish("layerwise", 0.3, 0, 0)
    wait(desk.prune())
    assert [x.id for x in desk.variants] == ["original", "pruned-1", "pruned-2"] and desk.pruned.id == "pruned-2"
    desk.wish("widthwise", 0.3, 0, 0)
    assert desk.prune() is None and desk.pruned is first and desk.panes[1] is first


def test_a_cancelled_calibration_keeps_the_old_scores(desk):
    """Cancel leaves scores and plan as they were."""
    scores = desk.scores
    job = desk.calibrate(20)
    job.cancel()
    assert wait(job).state == "cancelled" and desk.scores is scores and not desk.notice


def test_a_newer_job_wins(desk):
    """A second click cancels the first job, whose late result is dropped."""
    first = desk.calibrate(20)
    second = desk.calibrate(5)
    wait(first), wait(second)
    assert desk.samples == 5 and len(desk.scores.sample_ids) == 5


def test_the_first_visitor_finds_the_model_there(desks, monkeypatch):
    """Prepared, a model is loaded and calibrated before anybody comes, once; the desk that it lies on meanwhile is
    nobody's, and left as any other. What cannot be prepared is told to who asks for it."""
    loaded, load = [], desks.shelf._load
    monkeypatch.setattr(desks.shelf, "_load", lambda name, **how: (loaded.append(name), load(name, **how))[1])
    desks.prepare("one")
    first = desks.at("a")
    assert wait(first.open("one")).state == "done" and loaded == ["one"]
    (own,) = [x for x in desks._all() if x is not first]
    assert wait(own.job).state == "done"  # which it may say after it let the other begin
    assert first.scores is own.scores and len(own.id) > 20
    own.seen = first.seen = -100_000
    desks.sweep()
    assert desks.shelf.names == [] and desks._all() == []
    desks.prepare("broken")
    assert wait(desks.at("b").open("broken")).state == "failed" and desks.at("b").notice


def test_left_desks_are_cleared(desk, desks):
    """A desk nobody came back to gives its model back."""
    desk.seen -= 100_000
    desks.sweep()
    assert desk.shelf.names == [] and desks.at("a") is not desk


class Told:
    """An answer of letters, which notes when it was asked to go on."""

    def __init__(self, name: str, letters: str, heard: list):
        self.name, self.letters, self.heard = name, iter(letters), heard

    def advance(self) -> None:
        self.heard.append(f"{self.name} on")

    def __next__(self) -> str:
        return next(self.letters)


def test_pieces_come_in_turn():
    """No pane waits for another to finish, all compute beside each other, and others may come between two pieces."""
    heard = []
    streams = {"original": Told("original", "abc", heard), "pruned-1": Told("pruned-1", "x", heard)}
    pieces = list(interleave(streams, lambda: heard.append("others")))
    assert pieces == [("original", "a"), ("pruned-1", "x"), ("original", "b"), ("original", "c")]
    both, one = ["original on", "pruned-1 on", "others"], ["original on", "others"]
    assert heard == [*both, *both, *one, "original on"]


def test_a_saved_variant_opens_again_as_it_was(desk, tmp_path):
    """Saving packs a folder that loads with the same weights; the file goes with its variant."""
    wait(desk.prune())
    assert wait(desk.save("pruned-1")).state == "done"
    file = desk.pruned.file
    assert file.name.startswith("Pruned-30") and file.suffix == ".zip" and desk.save("pruned-1") is None
    with zipfile.ZipFile(file) as packed:
        packed.extractall(tmp_path)
    assert load(tmp_path / file.stem).digest() == desk.pruned.model.digest()
    desk.drop("pruned-1")
    gc.collect()
    assert not file.exists() and not file.parent.exists()


def test_dropping_frees_and_spares_the_original(desk):
    """A dropped variant's weights are freed with its children's; the original is refused in a sentence."""
    wait(desk.prune())
    wait(desk.small("pruned-1"))
    gone = [weakref.ref(x.model.network) for x in desk.panes[1:]] + [weakref.ref(desk.pruned.model.network)]
    desk.drop("pruned-1")
    gc.collect()
    assert [ref() for ref in gone] == [None, None] and [x.id for x in desk.panes] == ["original"]
    assert desk.variants.selected.id == "original"
    with pytest.raises(LVLMError, match="open another model"):
        desk.drop("original")


def test_cancelling_frees_what_was_allocated(desk, monkeypatch):
    """A cut that is cancelled while it is measured leaves no network behind, and the desk as it was."""
    made = []

    def measure(model, report):
        made.append(weakref.ref(model.network))
        if len(made) == 2:
            desk.job.cancel()
        report(Progress("measure", 1, 2))

    monkeypatch.setattr(making, "measure", measure)
    assert wait(desk.prune()).state == "cancelled"
    assert made[0]() is desk.model.network and made[1]() is None
    assert [x.id for x in desk.variants] == ["original"] and not desk.notice
