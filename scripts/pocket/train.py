"""Trains a pocket model in stages, each resumable from its last checkpoint; pocket-llava's three are

    python -m scripts.pocket.train decoder  --minutes 35   # look-ups and questions on symbolic images
    python -m scripts.pocket.train tower    --minutes 35   # patches → word embeddings; runs beside the first
    torchrun --nproc-per-node 2 -m scripts.pocket.train together --minutes 90 --threads 1
                                                           # the whole model on drawn scenes and easy-VQA
    python -m scripts.pocket.export                        # fp16 weights and model card → assets/models/pocket-llava

and of the others, with --model pocket-bunny or pocket-internvl, those that scripts/pocket/recipes.py names. Weights are
computed with in bf16 and kept in fp32; matrices are optimised by Muon, the rest by AdamW; the learning rate falls
linearly to a tenth over the minutes given. Curves go to checkpoints/<model>/<stage>.jsonl. Under torchrun each process
learns from lessons of its own and gradients are averaged: on a busy machine that beats threads, which wait for one
another at every product.
"""

import argparse
import copy
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from scripts.pocket.network import build_network
from scripts.pocket.recipes import RECIPES
from scripts.pocket.stages import STAGES
from scripts.pocket.tokenizer import build_tokenizer

CHECKPOINTS = Path("checkpoints")


class Trainer:
    """fp32 weights, their bf16 working copy and both optimisers."""

    def __init__(self, network, rates: Callable[[str], float | None]):
        self.master, self.work = network, copy.deepcopy(network).bfloat16()
        named = {n: p for n, p in self.master.named_parameters() if rates(n) is not None}
        working = dict(self.work.named_parameters())
        self.pairs = [(p, working[n]) for n, p in named.items()]
        for n, p in working.items():
            p.requires_grad_(n in named)
        matrix = lambda n, p: p.dim() == 2 and "embed" not in n  # noqa: E731
        groups = lambda keep: [
            {"params": [p], "lr": rates(n), "peak": rates(n)} for n, p in named.items() if keep(n, p)
        ]  # noqa: E731
        muon = groups(matrix)
        rest = groups(lambda n, p: not matrix(n, p))
        self.optimisers = [torch.optim.Muon(muon, momentum=0.95, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")]
        self.optimisers.append(torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0))

    def step(self, loss: torch.Tensor, scale: float, frozen: Callable | None = None) -> None:
        loss.backward()
        for master, work in self.pairs:
            master.grad = torch.zeros_like(master) if work.grad is None else work.grad.float()
            work.grad = None
        if dist.is_initialized():
            flat = torch.cat([master.grad.flatten() for master, _ in self.pairs])
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
            for (master, _), part in zip(self.pairs, flat.split([m.numel() for m, _ in self.pairs]), strict=True):
                master.grad = part.view_as(master)
        if frozen:
            frozen(self.master)
        torch.nn.utils.clip_grad_norm_([p for p, _ in self.pairs], 1.0)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * scale
            optimiser.step()
        with torch.no_grad():
            for master, work in self.pairs:
                work.copy_(master)

    def state(self) -> dict:
        return {"optimisers": [o.state_dict() for o in self.optimisers], "weights": self.master.state_dict()}

    def restore(self, state: dict) -> None:
        self.master.load_state_dict(state["weights"])
        self.work.load_state_dict(state["weights"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"]):
            optimiser.load_state_dict(saved)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("stage", choices=STAGES)
    options.add_argument("--model", choices=RECIPES, default="pocket-llava")
    options.add_argument("--minutes", type=float, required=True, help="training time; the learning rate decays over it")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--batch", type=int, default=None)
    options.add_argument("--rate", type=float, default=1.0, help="factor on every learning rate")
    options.add_argument("--fresh", action="store_true", help="start a new schedule from the last weights")
    options.add_argument("--seed", type=int, default=0)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    rank = 0
    if "WORLD_SIZE" in os.environ:
        dist.init_process_group("gloo")
        rank = dist.get_rank()
    recipe, folder = RECIPES[given.model], CHECKPOINTS / given.model
    if given.stage not in recipe.stages:
        options.error(f"{recipe.name} has no stage {given.stage}: it has {', '.join(recipe.stages)}.")
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(recipe.extra_tokens)
    stage = STAGES[given.stage](recipe, tokenizer, folder)
    network = build_network(recipe, tokenizer)
    stage.load_start(network)
    trainer = Trainer(network, stage.rates)
    path, spent, step = folder / f"{given.stage}.pt", 0.0, 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        trainer.restore(saved)
        step = saved["step"]
        spent = 0.0 if given.fresh else saved["spent"]
    rng = random.Random(f"{given.stage} {given.seed} {step} {rank}")
    torch.manual_seed(given.seed + 1000 * step + rank)
    log = open(folder / f"{given.stage}.jsonl", "a")
    clock, saved_at, recent = time.monotonic(), time.monotonic(), []
    while spent < 60 * given.minutes:
        done = spent / (60 * given.minutes)
        warm = min(1.0, (step + 1) / 40)
        loss, figures = stage.loss(trainer.work, rng, step, done, given.batch)
        trainer.step(loss, given.rate * warm * (1 - 0.9 * done), stage.freeze)
        step += 1
        now = time.monotonic()
        spent, clock = agreed(spent + now - clock), now
        recent.append({"loss": loss.item(), **figures})
        if step % 20 == 0 and rank == 0:
            means = {k: round(sum(r[k] for r in recent if k in r) / max(1, sum(k in r for r in recent)), 4)
                     for k in sorted({k for r in recent for k in r})}  # fmt: skip
            line = {"step": step, "seconds": round(spent), **means}
            print(json.dumps(line), file=log, flush=True)
            recent = []
        if rank == 0 and (now - saved_at > 120 or spent >= 60 * given.minutes):
            part = path.with_suffix(".part")
            torch.save({**trainer.state(), "step": step, "spent": spent}, part)
            part.replace(path)
            saved_at = now
    print(f"{given.stage}: {step} steps, {spent:.0f} s")


def agreed(seconds: float) -> float:
    """The first process's clock, so that all stop after the same step."""
    if not dist.is_initialized():
        return seconds
    value = torch.tensor(seconds, dtype=torch.float64)
    dist.broadcast(value, 0)
    return value.item()


if __name__ == "__main__":
    main()
