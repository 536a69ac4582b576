"""What a step of recovery costs beside the plain way: two full passes, each with its vision tower and all logits.

    python -m benchmarks.recovery        # about five minutes; writes the README's table

The bundled model, 30% pruned, batches of 16 training scenes, fp32, SFT + KL + L2. CPU seconds on one thread, which others'
programs hardly change; the ways take turns. "Beside": the teacher computes in every step, as in a first epoch.
"Kept": its outputs come from disk, as in all epochs of a recipe with a cache.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from lvlm import LVLM, load
from lvlm.encoding import IGNORED
from lvlm.events import silent
from lvlm.reshaped import shared_copy
from pruning import calibrate, make_plan, prune
from recovery import Recipe
from recovery.student import add_lora
from recovery.trainer import CLIP, Training
from samples import load_samples

from .machine import machine
from .pages import README, write_into

BAR = 0.7


class Plain:
    """Recovery as it is usually written, with the same losses, optimiser and weights."""

    def __init__(self, pruned: LVLM, teacher: LVLM, samples, recipe: Recipe):
        self.model, self.teacher, self.samples, self.recipe = pruned, teacher, samples, recipe
        wanted = [p for n, p in pruned.network.named_parameters() if "vision" not in n]
        self.student = shared_copy(pruned.network, trainable=wanted if recipe.train == "full" else ())
        if recipe.train == "lora":
            add_lora(self.student, pruned, recipe)
            self.student.base_model.multi_modal_projector.requires_grad_(True)
        self.weights = [p for p in self.student.parameters() if p.requires_grad]
        for weight in self.weights:
            weight.data = weight.data.clone()
        self.optimizer = torch.optim.AdamW(self.weights, lr=recipe.learning_rate, weight_decay=0.0, fused=True)

    def step(self, indices) -> None:
        batch, recipe = self.model.encode([self.samples[i] for i in indices]), self.recipe
        said = self.student(**batch.inputs, use_cache=False, output_hidden_states=True)
        with torch.no_grad():
            taught = self.teacher.network(**batch.inputs, use_cache=False, output_hidden_states=True)
        at = batch.labels[:, 1:] != IGNORED
        loss = F.cross_entropy(said.logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=IGNORED)
        s, t = (F.log_softmax(x.logits[:, :-1] / recipe.temperature, -1) for x in (said, taught))
        loss = loss + recipe.temperature**2 * ((t.exp() * (t - s)).sum(-1) * at).sum() / at.sum()
        text = batch.mask & ~batch.image_mask
        loss = loss + F.mse_loss(said.hidden_states[-1][text], taught.hidden_states[-1][text])
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad()


def compare(pruned: LVLM, teacher: LVLM, samples, recipe: Recipe, steps: int) -> tuple[list[float], int]:
    """Medians of (plain, ours beside the teacher, ours with its outputs kept) seconds, and the towers' runs a step."""
    with tempfile.TemporaryDirectory() as folder:
        ours = [Training(pruned, teacher, samples, x, silent, False) for x in (recipe, replace(recipe, cache=folder))]
        plain = Plain(pruned, teacher, samples, recipe)
        ways = [plain.step, *(lambda indices, x=x: x._step(1) for x in ours)]
        seconds: list[list[float]] = [[] for _ in ways]
        for step in range(steps + 1):
            for way, found in zip(ways, seconds):
                for training in ours:  # the same samples for all
                    training.chosen.batch = lambda number, size, step=step: list(range(step * size, (step + 1) * size))
                start = time.process_time()
                way(range(step * recipe.batch, (step + 1) * recipe.batch))
                found.append(time.process_time() - start)
        runs = ours[0].once.runs
    return [statistics.median(x[1:]) for x in seconds], runs // (steps + 1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--steps", type=int, default=9)
    options.add_argument("--dry", action="store_true", help="print the table, write nothing")
    given = options.parse_args()
    torch.set_num_threads(1)
    model = load("pocket-llava")
    scores = calibrate(model, load_samples("scenes", n=10))
    samples = load_samples("scenes", n=16 * (given.steps + 1))
    lines = [f"| 30% pruned | trained | plain, s a step | teacher beside | ÷ plain | kept | ÷ plain (bar: ≤ {BAR}) |"]
    lines.append("|---" * 7 + "|")
    for method in ("layerwise", "widthwise"):
        pruned = prune(model, make_plan(scores, method, 0.30))
        for train in ("lora", "full"):
            recipe = Recipe(train=train, kl=1.0, batch=16, rank=32, alpha=64, held_out=1, learning_rate=1e-5, steps=1)
            (plain, beside, kept), runs = compare(pruned, model, samples, recipe, given.steps)
            assert runs == 1, "the vision tower ran more than once a step"
            cells = [method, train, f"{plain:.2f}", f"{beside:.2f}", f"{beside / plain:.2f}", f"{kept:.2f}"]
            lines.append("| " + " | ".join([*cells, f"{kept / plain:.2f}"]) + " |")
            print(lines[-1], flush=True)
    table = "\n".join([*lines, "", f"{machine()}."])
    print(table)
    if not given.dry:
        write_into(README, "recovery cost", table)


if __name__ == "__main__":
    main()
