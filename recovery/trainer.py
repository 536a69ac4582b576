"""Recovery: a pruned model, its original as teacher, samples and a recipe → a healed model. Nothing given is touched.

A step depends on its number alone (its samples, its dropout), so that a resumed run follows the same curve to the bit.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lvlm import LVLM, BadSamples
from lvlm.events import LossPoint, Progress, Report, silent
from lvlm.finite import blame
from lvlm.fit import check_recovery
from lvlm.shortage import enough_memory

from . import checkpoints, lessons
from .checkpoints import Saved, State
from .errors import BadRecipe, RecoveryDiverged
from .losses import weighted
from .mapping import compared, layer_map
from .parts import Once, same_tower
from .recipe import Recipe
from .student import applied, dropout, student_of, trained
from .teacher import Kept, Teacher
from .world import fill, whole, world

CLIP = 1.0  # norm of a step's gradient, at most
LOOKS = 20  # how often the held-out loss is measured over a run, and a checkpoint written
TRIALS = 4  # steps that are timed for a recipe in minutes
RUNAWAY = 3.0  # times the held-out loss at the start (at least 1): further on there is nothing to wait for
STATES = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight


@enough_memory("Recovery")
def recover(
    pruned: LVLM,
    teacher: LVLM | None = None,
    samples: Sequence = (),
    recipe: Recipe = Recipe(),
    report: Report = silent,
    resume: bool = False,
    stop: threading.Event | None = None,
) -> LVLM:
    """A healed copy of `pruned`: the weights that were best on held-out samples, in plain tensors.

    teacher: the model that it was pruned from; None where the recipe has SFT alone.
    samples: with answers; the recipe takes its fraction of them.
    report: hears a LossPoint each step. Raising from it ends the call without a model.
    resume: go on from the recipe's checkpoints, if there are any.
    stop: once set, the best so far is returned after the step in hand.
    Raises BadRecipe, BadSamples, or RecoveryDiverged, which holds the best model so far.
    """
    return Training(pruned, teacher, samples, recipe, report, resume).run(stop or threading.Event())


def rate(step: int, total: int, recipe: Recipe) -> float:
    """The learning rate of a step (1 is the first): up in a line over the warm-up, then down as half a cosine."""
    rising = max(1, math.ceil(recipe.warmup * total))
    if step <= rising:
        return recipe.learning_rate * step / rising
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - rising) / (total - rising + 1)))


def _plain_attention():
    return sdpa_kernel(SDPBackend.MATH)


class Training:
    """One run, from its first or a resumed step to its last."""

    def __init__(
        self, pruned: LVLM, teacher: LVLM | None, samples: Sequence, recipe: Recipe, report: Report, resume: bool
    ):
        if recipe.needs_teacher and teacher is None:
            raise BadRecipe(
                "This recipe learns from a teacher: please give the model that was pruned, or use SFT alone."
            )
        if not samples:
            raise BadSamples("Recovery needs samples with answers: please choose some.")
        self.model, self.samples, self.recipe, self.world = pruned, samples, recipe, world()
        self.given = [pruned] if teacher is None else [pruned, teacher]
        if recipe.batch % self.world.count:
            raise BadRecipe(
                f"A batch of {recipe.batch} cannot be shared by {self.world.count} processes: choose a multiple."
            )
        if self.world.engine and (recipe.checkpoints or recipe.micro_batch):
            raise BadRecipe(
                "Under DeepSpeed a recipe has no checkpoints and no micro_batch: leave them out, or take FSDP."
            )
        self.report = report if self.world.rank == 0 else silent
        self.chosen = lessons.Selection.of(len(samples), recipe)
        at_once = min(recipe.micro_batch or recipe.batch, recipe.batch // self.world.count)
        first = lessons.lesson(pruned, samples, self.chosen.batch(0, at_once), recipe).tokens
        check_recovery(pruned, recipe.train, recipe.rank, *first.shape, recipe.checkpointing)
        layers = compared(len(pruned.anatomy.layers), recipe.l2_layers) if recipe.l2 else ()
        self.once = Once()
        student = student_of(pruned, recipe, layers, self.once)
        self.teacher = self._teacher(teacher, layers) if recipe.needs_teacher else None
        optimizer = torch.optim.AdamW(trained(student).values(), lr=recipe.learning_rate, weight_decay=0.0, fused=True)
        self.student, self.optimizer = self.world.prepare(student, optimizer)
        self.weights = trained(getattr(self.student, "module", self.student))
        self.key = {"recipe": recipe.recorded(), "samples": lessons.digest_of(samples), "student": pruned.digest()}
        self.key |= {"teacher": None if self.teacher is None else teacher.digest(), "processes": self.world.count}
        self._begin(resume)

    def _teacher(self, teacher: LVLM, layers: Sequence[int]) -> Teacher | Kept:
        theirs, ours = ((x.anatomy.vocabulary, x.anatomy.hidden) for x in (teacher, self.model))
        if theirs != ours:
            raise BadRecipe(
                f"The teacher's vocabulary and hidden size {theirs} are not the student's {ours}: "
                "please take the model that was pruned."
            )
        origin, last = layer_map(self.model, teacher), len(self.model.anatomy.layers) - 1
        # Both last layers' outputs go through the final norm to the same head, whichever layer the student's came from.
        places = [len(teacher.anatomy.layers) - 1 if i == last else origin[i] for i in layers]
        asked = Teacher(teacher, places, self.once if same_tower(self.model, teacher) else None, self.recipe)
        if self.recipe.cache is None:
            return asked
        wanted = (*self.chosen.train, *self.chosen.held_out)
        kept = Kept(self.recipe.cache, teacher, places, self.samples, wanted, self.recipe)
        kept.fill(asked, self.model, self.samples, self.recipe, self.world, self._compute, self.report)
        return kept

    # --- where it starts ---

    def _begin(self, resume: bool) -> None:
        """At step 0, or where a checkpoint left it."""
        self.folder = None if self.recipe.checkpoints is None else Path(self.recipe.checkpoints).expanduser()
        if resume and self.folder is None:
            raise BadRecipe("There is nothing to resume from: please name the folder of the run's checkpoints.")
        saved = checkpoints.read(self.folder, self.key) if resume else None
        if self.folder and not saved:
            checkpoints.check_free(self.folder)
        if saved:
            self.state, self.best = saved.state, saved.best
            for name, weight in self.weights.items():
                fill(weight, saved.weights[name])
                entry = self.optimizer.state[weight]
                for part in STATES:
                    value = saved.optimizer[f"{name}/{part}"]
                    entry[part] = torch.zeros_like(weight) if part != "step" else value.clone().to(weight.device)
                    if part != "step":
                        fill(entry[part], value)
        else:
            self.state, self.best = State(self.key, self._steps()), {}
        self.every = max(1, self.state.total // LOOKS)

    def _steps(self) -> int:
        recipe = self.recipe
        if recipe.minutes is not None:
            step, look = self._pace()
            return max(1, int((60 * recipe.minutes - (LOOKS + 1) * look) / step))
        return recipe.steps or max(1, math.ceil(recipe.epochs * len(self.chosen.train) / recipe.batch))

    def _pace(self) -> tuple[float, float]:
        """Seconds of a step, by a few trial steps whose gradients are dropped, and of a look at the held-out loss."""
        seconds = []
        for trial in range(TRIALS):
            self.report(Progress("recover", trial, TRIALS, "timing a step"))
            start = time.perf_counter()
            self._gradients(trial)
            self.optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
        start = time.perf_counter()
        self._held_out()
        found = [sum(seconds[1:]) / (TRIALS - 1), time.perf_counter() - start]  # the first one warms up
        step, look = (self.world.total(torch.tensor(found, dtype=torch.float64)) / self.world.count).tolist()
        return step, look

    # --- the run ---

    def run(self, stop: threading.Event) -> LVLM:
        """The whole run. See `recover`."""
        state, first, before = self.state, self.state.step, self.state.seconds
        if not state.step:
            self._look({}, 0.0, 0.0)
        began = time.perf_counter()
        while state.step < state.total:
            losses = self._step(state.step + 1)
            state.step += 1
            state.seconds = before + time.perf_counter() - began
            pace = (state.seconds - before) / (state.step - first)
            speed, left = self.recipe.batch / pace, pace * (state.total - state.step)
            stopped = bool(self.world.total(torch.tensor([float(stop.is_set())])))
            if state.step % self.every == 0 or state.step == state.total or stopped:
                self._look(losses, speed, left)
            else:
                self._tell(losses, None, speed, left)
            if stopped:
                break
        return self._result()

    def _step(self, step: int) -> dict[str, float]:
        """One update. Raises RecoveryDiverged, before any weight has moved, if its loss or gradient is no number."""
        losses = self._gradients(step)
        norm = self.world.clip(self.weights.values(), CLIP)
        if not math.isfinite(losses["total"] + norm):
            self._diverged(f"The loss was no number at step {step} of {self.state.total}")
        for group in self.optimizer.param_groups:
            group["lr"] = rate(step, self.state.total, self.recipe)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses

    def _gradients(self, step: int) -> dict[str, float]:
        """Forward and backward of a step's batch, this process's share of it in parts; the whole batch's losses."""
        batch = self.chosen.batch(max(0, step - 1), self.recipe.batch)[self.world.rank :: self.world.count]
        parts = self._parts(batch)
        counts = self._counts(parts)
        sums = torch.zeros(len(self.recipe.terms), dtype=torch.float64)
        # The step's own random numbers, which only dropout draws; everybody else's stay as they were.
        with torch.random.fork_rng(devices=[self.model.device] if self.model.device.type == "cuda" else []):
            torch.manual_seed((self.recipe.seed << 32) + step * self.world.count + self.world.rank)
            dropout(self.student, on=True)
            for part in parts:
                with nullcontext() if part is parts[-1] else self.world.quiet(self.student):
                    sums += self._backward(self._terms(self.student, part, counts))
        return self._named(self.world.total(sums))

    def _backward(self, terms: dict) -> torch.Tensor:
        self.world.backward(weighted(terms, self.recipe.weights))
        return torch.stack([x.detach().double().cpu() for x in terms.values()])

    def _parts(self, indices: Sequence[int]) -> list[lessons.Lesson]:
        size = self.recipe.micro_batch or len(indices)
        return [
            lessons.lesson(self.model, self.samples, indices[i : i + size], self.recipe)
            for i in range(0, len(indices), size)
        ]

    def _counts(self, parts: Sequence[lessons.Lesson]) -> torch.Tensor:
        return self.world.total(sum(x.counts(self.recipe) for x in parts)).clamp(min=1)

    def _terms(self, student: Callable, given: lessons.Lesson, counts: torch.Tensor) -> dict:
        self.once.clear()
        with self._compute():
            taught = None if self.teacher is None else self.teacher.outputs(given)
            said = student(given.inputs, given.tokens, given.scored)
        self.once.clear()
        return lessons.terms(said, taught, given, self.recipe, counts)

    @contextmanager
    def _compute(self):
        """The type of matrix products: fp32, or bf16 by autocast."""
        half = self.recipe.precision == "bfloat16" or self.model.dtype != torch.float32
        device = self.model.device.type
        # torch's fused CPU attention takes three times as long backward in bf16 as the plain one (137 tokens). What
        # backward recomputes would be fused all the same, so a checkpointed step stays fused throughout.
        plain = half and device == "cpu" and not self.recipe.checkpointing
        with torch.autocast(device, dtype=torch.bfloat16, enabled=half), _plain_attention() if plain else nullcontext():
            yield

    def _named(self, sums: torch.Tensor) -> dict[str, float]:
        terms = dict(zip(self.recipe.terms, sums.tolist()))
        return {"total": weighted(terms, self.recipe.weights), **terms}

    # --- what comes of it ---

    def _look(self, losses: dict[str, float], speed: float, left: float) -> None:
        """Measure the held-out loss, keep the weights if they are the best, write a checkpoint, and tell."""
        held_out = self._held_out()
        state = self.state
        start = next((x[2] for x in state.curve if x[2] is not None), held_out)
        if not math.isfinite(held_out) or held_out > RUNAWAY * max(1.0, start):
            self._diverged(
                f"The held-out loss ran from {start:.3g} to {held_out:.3g} by step {state.step} of {state.total}"
            )
        if held_out < state.best_loss:
            state.best_step, state.best_loss, self.best = state.step, held_out, self._copied()
        self._tell(losses, held_out, speed, left)
        if self.folder is not None and state.step:
            self._save()

    @torch.no_grad()
    def _held_out(self) -> float:
        """The loss on all held-out samples, shared among the processes, which all make as many passes."""
        dropout(self.student, on=False)
        held, size = self.chosen.held_out, self.recipe.micro_batch or self.recipe.batch
        passes = math.ceil(len(held) / (size * self.world.count))
        mine = [held[(i * self.world.count + self.world.rank) * size :][:size] for i in range(passes)]
        parts = [lessons.lesson(self.model, self.samples, x or held[:1], self.recipe) for x in mine]
        real = [x for x, indices in zip(parts, mine) if indices]
        zero = torch.zeros(len(self.recipe.terms), dtype=torch.float64)
        counts = self.world.total(sum((x.counts(self.recipe) for x in real), zero)).clamp(min=1)
        sums = zero.clone()
        for part, indices in zip(parts, mine):
            found = self._terms(self.student, part, counts)
            if indices:  # else a pass for nothing: sharded weights are gathered by all
                sums += torch.stack([found[x].double().cpu() for x in self.recipe.terms])
        return self._named(self.world.total(sums))["total"]

    def _tell(self, losses: dict[str, float], held_out: float | None, speed: float, left: float) -> None:
        state = self.state
        state.curve.append([state.step, losses, held_out])
        self.report(LossPoint(state.step, state.total, losses, held_out, speed, left))
        said = f"loss {losses['total']:.3g}" if losses else "before"
        self.report(Progress("recover", state.step, state.total, said))

    def _copied(self) -> dict[str, torch.Tensor]:
        return {name: whole(x.detach()).to("cpu", copy=True) for name, x in self.weights.items()}

    def _save(self) -> None:
        found = self.optimizer.state
        states = {f"{n}/{part}": whole(found[w][part]).cpu() for n, w in self.weights.items() for part in STATES}
        weights = self._copied()
        if self.world.rank == 0:
            checkpoints.write(self.folder, Saved(self.state, weights, self.best, states))
        self.world.wait()

    def _diverged(self, what: str) -> None:
        """Raises RecoveryDiverged, or NotFinite where the models were broken as they were given."""
        blame(self.given, () if self.state.step else [self.samples[i] for i in self.chosen.held_out], "Recovery")
        raise RecoveryDiverged(
            f"{what}: please try a learning rate below {self.recipe.learning_rate:g}; the best weights before "
            f"(step {self.state.best_step}) are kept.",
            self._result(),
        )

    def _result(self) -> LVLM:
        state, recipe = self.state, self.recipe
        looks = [x[2] for x in state.curve if x[2] is not None]
        used = len(self.chosen.train) + len(self.chosen.held_out)
        step = {"step": "recover", "train": recipe.train, "recipe": recipe.recorded(), "seed": recipe.seed}
        step |= {
            "samples": used,
            "of": len(self.samples),
            "sample_ids": self.key["samples"],
            "teacher": self.key["teacher"],
        }
        step |= {"steps": state.step, "planned": state.total, "best_step": state.best_step, "seconds": state.seconds}
        step |= {"processes": self.world.count, "torch": torch.__version__}
        step |= {"held_out_before": looks[0] if looks else None, "held_out": state.best_loss if looks else None}
        step["curve"] = [x for x in state.curve if x[2] is not None]
        return self.model.then(applied(self.model, self.best, recipe), step)
