"""What the original says and thinks, for the student to learn: computed beside it, or once and kept on disk."""

import hashlib
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lvlm import LVLM
from lvlm.disk import settle, whole
from lvlm.events import Progress, Report
from lvlm.reshaped import shared_copy

from .errors import BadRecipe
from .lessons import Lesson, digest_of, lesson
from .parts import Once
from .recipe import Recipe
from .student import Run

SHARD = 64  # samples in a file of kept outputs


class Teacher:
    """The original with its own projector; nothing of it is trained, and no graph is kept.

    once: what shares the vision tower with the student; None where their towers differ.
    """

    def __init__(self, model: LVLM, layers: Sequence[int], once: Once | None, recipe: Recipe):
        network = shared_copy(model.network, trainable=())
        if once is not None:
            once.share(network)
        self.run, self.once, self.says = Run(network, layers), once, bool(recipe.kl or recipe.rkl)

    @torch.no_grad()
    def outputs(self, given: Lesson) -> dict:
        """As Run.forward; logits only if a term needs them."""
        return self.run(given.inputs, given.tokens, given.scored if self.says else None)


class Kept:
    """A teacher's outputs, computed for all samples in use before the first step, in files of 64 samples each.

    A folder of its own for each teacher, set of samples and choice of outputs, so that files never mix; a killed run
    leaves whole files only, and the next goes on from them.
    """

    def __init__(self, folder: str, teacher: LVLM, layers: Sequence[int], samples: Sequence, wanted: Sequence[int],
                 recipe: Recipe):  # fmt: skip
        if recipe.arithmetic == "paper":
            raise BadRecipe(
                "The paper's sums run over padding too, which differs by batch: please leave out the cache."
            )
        about = [teacher.digest(), list(layers), digest_of(samples), recipe.l2_tokens, bool(recipe.kl or recipe.rkl)]
        about += [recipe.precision, sorted(wanted)]
        self.folder = Path(folder) / hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
        self.place = {index: divmod(i, SHARD) for i, index in enumerate(sorted(wanted))}
        self.layers, self.says, self._open = len(layers), bool(recipe.kl or recipe.rkl), {}

    def fill(self, teacher: Teacher, model: LVLM, samples, recipe: Recipe, world, compute, report: Report) -> None:
        """Write what is not there yet; processes share the files among themselves. Raises NotWritten."""
        settle(self.folder)
        shards: dict[int, list[int]] = {}
        for index, (shard, _) in self.place.items():
            shards.setdefault(shard, []).append(index)
        mine = [x for x in shards if x % world.count == world.rank and not self._file(x).exists()]
        random.Random(os.getpid()).shuffle(mine)  # runs that want the same at the same time meet in few of them
        size = recipe.micro_batch or recipe.batch
        for done, shard in enumerate(mine):
            report(Progress("teach", done, len(mine), "asking the original"))
            if self._file(shard).exists():
                continue  # another run was quicker
            found = {}
            for start in range(0, len(shards[shard]), size):
                given = lesson(model, samples, shards[shard][start : start + size], recipe)
                if teacher.once is not None:
                    teacher.once.clear()
                with compute():
                    found |= self._split(given, teacher.outputs(given))
            with whole(self._file(shard), "The teacher's outputs") as part:
                save_file(found, part)
        report(Progress("teach", len(mine), len(mine), "the original is heard"))
        world.wait()

    def _file(self, shard: int) -> Path:
        return self.folder / f"{shard:05}.safetensors"

    def _split(self, given: Lesson, found: dict) -> dict:
        """One row of tensors a sample, by name."""
        named = {}
        parts = {f"hidden.{k}": (x, given.tokens) for k, x in enumerate(found["hidden"])}
        if found["logits"] is not None:
            parts["logits"] = (found["logits"], given.scored)
        for name, (tensor, where) in parts.items():
            for index, rows in zip(given.indices, tensor.split(where.sum(1).tolist())):
                named[f"{self.place[index][1]}.{name}"] = rows.cpu().clone()
        return named

    def outputs(self, given: Lesson) -> dict:
        """As Teacher.outputs, read from the files."""
        device = given.tokens.device

        def rows(name: str) -> torch.Tensor:
            return torch.cat([self._read(i).get_tensor(f"{self.place[i][1]}.{name}") for i in given.indices]).to(device)

        logits = rows("logits") if self.says else None
        return {"hidden": [rows(f"hidden.{k}") for k in range(self.layers)], "logits": logits}

    def _read(self, index: int):
        shard = self.place[index][0]
        if shard not in self._open:
            self._open[shard] = safe_open(self._file(shard), "pt")
        return self._open[shard]
