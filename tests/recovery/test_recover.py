"""Recovery as a whole: what it moves, what it leaves alone, what it gives back, and how it ends."""

import json
import threading
from dataclasses import replace

import pytest
import torch

from lvlm import BadSamples, Cancelled, load
from lvlm.events import LossPoint, Progress
from lvlm.model import weights_digest
from pruning import make_plan, prune, quantize, save
from recovery import BadRecipe, Recipe, RecoveryDiverged, recover
from recovery.parts import Once, decoder_of, projector_of, towers_of
from recovery.student import applied, dropout, student_of, trained
from recovery.trainer import Training, rate
from samples import Sample, Turn
from tests import checkpoints, tiny
from tests.lvlm.originals import FIXTURES
from tests.lvlm.originals import NAMES as ORIGINALS

SHORT = {"steps": 4, "batch": 4, "learning_rate": 1e-2, "rank": 4, "alpha": 8}


@pytest.fixture(scope="module")
def samples():
    return tiny.samples(9)


def curve(*args, **options):
    """The healed model and every LossPoint on the way."""
    points = []
    healed = recover(*args, report=lambda x: points.append(x) if isinstance(x, LossPoint) else None, **options)
    return healed, points


def losses(points):
    return [(x.losses, x.held_out) for x in points]


@pytest.mark.parametrize("train", ["projector", "lora", "full"])
@pytest.mark.parametrize("family", ["llama-gqa", "phi3", "gemma2", "internvl"])
def test_what_trains_moves_and_nothing_else(family, train):
    """The result's other tensors are the given model's own storage; the given models keep every bit and flag."""
    dense = tiny.model(family)
    if family == "internvl":  # its processor needs torchvision: the llava one makes as many tokens of an image
        dense.network.config.image_token_id = 3
    pruned = prune(dense, make_plan(tiny.scores(dense), "both", 0.4))
    before = [(weights_digest(x.network), [p.requires_grad for p in x.network.parameters()]) for x in (dense, pruned)]
    state = torch.get_rng_state()
    recipe = Recipe(train=train, **SHORT)
    training = Training(pruned, dense, tiny.samples(9), recipe, lambda event: None, False)
    training._step(1)
    healed = applied(pruned, training._copied(), recipe)
    assert torch.equal(torch.get_rng_state(), state)
    assert before == [
        (weights_digest(x.network), [p.requires_grad for p in x.network.parameters()]) for x in (dense, pruned)
    ]
    projector, decoder = projector_of(pruned.network), decoder_of(pruned.network)
    linears = {name for name, p in decoder.items() if ".layers." in name and p.dim() == 2}
    wanted = set(projector) | {"projector": set(), "lora": linears, "full": set(decoder)}[train]
    old = dict(pruned.network.named_parameters())
    moved = {name for name, p in healed.named_parameters() if p.data_ptr() != old[name].data_ptr()}
    assert moved == wanted
    same = {name for name in moved if torch.equal(old[name], healed.get_parameter(name))}
    assert len(same) <= len(moved) / 10  # a few biases may see no gradient
    assert [p.requires_grad for p in healed.parameters()] == before[1][1]


@pytest.mark.parametrize("name", [*ORIGINALS, *checkpoints.FAMILIES])
def test_every_family_heals_and_equals_its_own_teacher(name, tmp_path):
    """An unpruned student learns nothing from itself (KL and L2 are 0), its tower runs once for both, LoRA merges."""
    model = load(FIXTURES / name if name in ORIGINALS else checkpoints.make(name, tmp_path))
    samples = [
        Sample(str(i), tiny.picture(i, (44, 20)), (Turn(f"{'is it ' * i} ?", "yes"),), "test") for i in range(1, 7)
    ]
    recipe = Recipe(kl=1.0, rkl=1.0, l2_layers="all", **{**SHORT, "steps": 1, "held_out": 1})
    training = Training(model, model, samples, recipe, lambda event: None, False)
    training._held_out()
    assert training.once.runs == 1
    found = training._gradients(1)
    assert training.once.runs == 2
    assert found["sft"] > 0.1 and max(abs(found[x]) for x in ("kl", "rkl", "l2")) < 1e-5
    training._step(1)
    healed = applied(model, training._copied(), recipe)
    moved = {n for n, p in model.network.named_parameters() if not torch.equal(p, healed.get_parameter(n))}
    assert set(projector_of(model.network)) & moved and any(".layers." in n for n in moved)
    assert not {n for n in moved if "norm" in n and ".layers." in n}
    dropout(training.student, on=False)
    batch = model.encode(samples[:2])
    with torch.no_grad():
        training.once.clear()
        wanted = training.student(batch.inputs, batch.mask, batch.mask)["logits"]
        found = healed(**batch.inputs).logits[batch.mask]
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


def test_the_teacher_uses_its_own_projector(pruned, dense, samples):
    """What the student is taught is what the original says, however the student's projector has moved."""
    healed = recover(pruned, dense, samples, Recipe(train="projector", **{**SHORT, "learning_rate": 0.5}))
    assert healed.history[-1]["step"] == "recover"
    training = Training(healed, dense, samples, Recipe(kl=1.0, **SHORT), lambda event: None, False)
    training.once.clear()
    (given,) = training._parts([0, 1, 2])
    with torch.no_grad():
        training.student(given.inputs, given.tokens, given.scored)
        wanted = dense.network(**given.inputs).logits[given.scored]
        found = training.teacher.outputs(given)["logits"]
    assert training.once.runs == 1 and (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_a_teacher_with_another_tower_runs_it(pruned, samples):
    """Only towers alike to the bit are shared: a copy read from disk is, one that differs is not."""
    copy, other = tiny.model("llama-gqa"), tiny.model("llama-gqa")
    next(towers_of(other.network)[0].parameters()).data.mul_(1.1)
    recipe = Recipe(**SHORT)
    shared = Training(pruned, copy, samples, recipe, lambda event: None, False)
    apart = Training(pruned, other, samples, recipe, lambda event: None, False)
    same, differs = (x.teacher.run.network.base_model.vision_tower.forward for x in (shared, apart))
    assert hasattr(same, "func") and not hasattr(differs, "func")


@pytest.mark.parametrize("variant", [{"micro_batch": 1}, {"micro_batch": 3}, {"checkpointing": True}])
def test_ways_to_save_memory_change_no_loss(pruned, dense, samples, variant):
    """Parts of a batch, and recomputed layers, give the losses of the whole batch at once, step for step."""
    recipe = Recipe(kl=1.0, l2_layers="all", **SHORT, dropout=0.0, train="full")
    _, wanted = curve(pruned, dense, samples, recipe)
    _, found = curve(pruned, dense, samples, replace(recipe, **variant))
    for a, b in zip(found, wanted, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-4) and a.held_out == pytest.approx(b.held_out, rel=1e-4)


def test_kept_outputs_teach_the_same(pruned, dense, samples, tmp_path, monkeypatch):
    """From disk the losses are those of a teacher beside the student; a second run asks it nothing."""
    recipe = Recipe(kl=1.0, l2_layers="all", **SHORT)
    _, wanted = curve(pruned, dense, samples, recipe)
    kept = replace(recipe, cache=str(tmp_path))
    _, found = curve(pruned, dense, samples, kept)
    for a, b in zip(found, wanted, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-4)
    assert {x.suffix for x in tmp_path.rglob("*") if x.is_file()} == {".safetensors"}
    monkeypatch.setattr("recovery.teacher.Teacher.outputs", lambda *_: pytest.fail("asked again"))
    assert losses(curve(pruned, dense, samples, kept)[1]) == losses(found)
    with pytest.raises(pytest.fail.Exception):  # other outputs are other files
        recover(pruned, dense, samples, replace(kept, l2_layers="last"))
    with pytest.raises(BadRecipe, match="differs by batch"):
        recover(pruned, dense, samples, replace(kept, arithmetic="paper"))


def test_a_healed_model_is_like_any_other(pruned, dense, samples, tmp_path):
    """It saves, reloads bit for bit with its history, quantises, chats, and can be healed again."""
    healed = recover(pruned, dense, samples, Recipe(**SHORT))
    again = load(save(healed, tmp_path / "healed"))
    assert again.digest() == healed.digest() and again.history == healed.history
    step = again.history[-1]
    assert [x["step"] for x in again.history] == ["prune", "recover"]
    assert (step["samples"], step["of"], step["steps"], step["recipe"]["rank"]) == (9, 9, 4, 4)
    assert step["held_out"] < step["held_out_before"]
    assert "recover" in (tmp_path / "healed" / "README.md").read_text().lower()
    small = quantize(again)
    for made in (again, small):
        assert "".join(made.chat(tiny.picture(), "what?", max_new_tokens=3))
    assert recover(again, dense, samples, Recipe(**SHORT)).history[-1]["best_step"]
    with pytest.raises(BadRecipe, match="int8"):
        recover(small, dense, samples, Recipe(**SHORT))


def test_training_lowers_the_loss_on_samples_never_trained_on(pruned, dense):
    """The held-out loss falls, the best weights are kept, and they measure as reported."""
    same = [replace(tiny.samples(1)[0], id=f"s{i}") for i in range(20)]
    recipe = Recipe(train="full", **{**SHORT, "steps": 8})
    healed, points = curve(pruned, dense, same, recipe)
    looks = {x.step: x.held_out for x in points if x.held_out is not None}
    assert looks[8] < 0.5 * looks[0] and [x.step for x in points] == list(range(9))
    best = min(looks, key=looks.get)
    assert healed.history[-1]["best_step"] == best and healed.history[-1]["held_out"] == looks[best]
    again = Training(healed, dense, same, recipe, lambda event: None, False)
    assert again._held_out() == pytest.approx(looks[best], rel=1e-5)


def test_the_best_weights_are_given_back_not_the_last(pruned, dense, samples, monkeypatch):
    """Where the held-out loss rises again, those of the step where it was lowest, to the bit."""
    said, weights = iter([3.0, 2.0, 1.0, 1.5, 2.5]), {}

    def held_out(self):
        weights[self.state.step] = self._copied()
        return next(said)

    monkeypatch.setattr("recovery.trainer.Training._held_out", held_out)
    recipe = Recipe(**SHORT)
    healed = recover(pruned, dense, samples, recipe)
    wanted = applied(pruned, weights[2], recipe)
    assert healed.history[-1]["best_step"] == 2 and healed.history[-1]["held_out"] == 1.0
    assert all(torch.equal(p, wanted.get_parameter(n)) for n, p in healed.network.named_parameters())
    last = applied(pruned, weights[4], recipe)
    assert not all(torch.equal(p, last.get_parameter(n)) for n, p in healed.network.named_parameters())


def test_a_16_bit_model_trains_in_fp32_and_stays_16_bit(samples):
    """Steps too small for bf16 still add up, in the trained copy; the result has the model's type."""
    dense = tiny.model("llama", dtype=torch.bfloat16)
    pruned = prune(dense, make_plan(tiny.scores(dense), "widthwise", 0.3))
    for train in ("full", "lora"):
        student = student_of(pruned, Recipe(train=train, rank=4), (), Once())
        assert {x.dtype for x in trained(student).values()} == {torch.float32}
        healed = recover(pruned, dense, samples, Recipe(train=train, **SHORT))
        assert {x.dtype for x in healed.network.parameters()} == {torch.bfloat16}


# --- how it ends ---


def test_stop_keeps_the_best_so_far(pruned, dense, samples):
    """After the step in hand, with the weights that were best; cancelling instead gives no model."""
    stop, seen = threading.Event(), []

    def listen(event):
        seen.append(event)
        if isinstance(event, LossPoint) and event.step == 2:
            stop.set()

    healed = recover(pruned, dense, samples, Recipe(**{**SHORT, "steps": 50}), listen, stop=stop)
    step = healed.history[-1]
    assert step["steps"] == 3 and step["planned"] == 50 and step["best_step"] > 0
    assert [x.done for x in seen if isinstance(x, Progress) and x.stage == "recover"] == [0, 1, 2, 3]

    def cancel(event):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        recover(pruned, dense, samples, Recipe(**SHORT), cancel)


def test_a_loss_that_is_no_number_stops_with_the_last_good_weights(pruned, dense, samples, monkeypatch):
    """A sentence that says what to do, and a model that is finite and at least as good as the given one."""
    from recovery import lessons

    once, real = [], lessons.terms

    def broken(*args):
        once.append(None)
        return {k: v * float("nan") if len(once) > 6 else v for k, v in real(*args).items()}

    monkeypatch.setattr("recovery.lessons.terms", broken)
    with pytest.raises(RecoveryDiverged, match="learning rate below") as error:
        recover(pruned, dense, samples, Recipe(**{**SHORT, "steps": 20}))
    best = error.value.best
    assert all(x.isfinite().all() for x in best.network.parameters())
    assert best.history[-1]["held_out"] <= best.history[-1]["held_out_before"]
    assert json.loads(json.dumps(best.history[-1])) == best.history[-1]


def test_a_loss_that_runs_away_stops(pruned, dense, samples):
    """Far above where it started, nothing is to be waited for."""
    with pytest.raises(RecoveryDiverged, match="ran from") as error:
        recover(pruned, dense, samples, Recipe(train="full", **{**SHORT, "steps": 30, "learning_rate": 30.0}))
    assert error.value.best.digest()


# --- how long, how fast ---


def test_the_learning_rate_rises_and_falls():
    """3% of the steps up in a line, then half a cosine down."""
    recipe = Recipe(learning_rate=2.0)
    found = [rate(i, 200, recipe) for i in range(1, 201)]
    assert found[:6] == pytest.approx([2 * i / 6 for i in range(1, 7)]) and max(found) == found[5]
    assert found[5:] == sorted(found[5:], reverse=True) and 0 < found[-1] < 1e-3
    assert rate(6 + 195 // 2, 200, recipe) == pytest.approx(1.0, abs=0.02)
    assert rate(1, 1, recipe) == 2.0


def test_minutes_become_steps(pruned, dense, samples, monkeypatch):
    """By the pace of trial steps that move nothing, looks included; epochs by the samples; steps as they are."""
    monkeypatch.setattr("recovery.trainer.Training._pace", lambda self: (2.0, 0.1))
    for given, steps in (
        ({"minutes": 0.2}, 4),
        ({"minutes": 0.01}, 1),
        ({"epochs": 2}, 4),
        ({"steps": 3, "epochs": 9}, 3),
    ):
        training = Training(pruned, dense, samples, Recipe(batch=4, **given), lambda event: None, False)
        assert training.state.total == steps
    monkeypatch.undo()
    training = Training(pruned, dense, samples, Recipe(batch=4, minutes=0.1), lambda event: None, False)
    before = {k: v.clone() for k, v in training.weights.items()}
    assert min(training._pace()) > 0
    assert all(torch.equal(v, before[k]) and v.grad is None for k, v in training.weights.items())


# --- refusals ---


def test_what_cannot_be_healed_is_a_sentence(pruned, dense, samples):
    """Missing teachers, samples and answers, and teachers of other models."""
    other = tiny.model("llama", layers=6)
    for model, teacher, given, kind, words in (
        (pruned, None, samples, BadRecipe, "teacher"),
        (pruned, dense, [], BadSamples, "choose some"),
        (pruned, other, samples, BadRecipe, "pruned from"),
        (pruned, dense, samples[:1], BadSamples, "two or more"),
        (
            pruned,
            dense,
            [Sample(str(i), None, (Turn("what? " * 40, "yes"),), "") for i in range(4)],
            BadSamples,
            "longer",
        ),
    ):
        with pytest.raises(kind, match=words):
            recover(model, teacher, given, Recipe(**SHORT))
    healed = recover(pruned, None, samples, Recipe(**SHORT, l2=0.0))
    assert healed.history[-1]["teacher"] is None
