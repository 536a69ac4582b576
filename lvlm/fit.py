"""Whether a model will fit, asked before its weights are read or downloaded, and what would fit instead."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from . import memory
from .catalogue import catalogue
from .memory import Shapes, gib
from .model import LVLM

WORDS = {
    "load": "Loading",
    "chat": "Chatting with",
    "calibrate": "Calibrating",
    "calibrate-checkpointing": "Calibrating",
    "prune": "Pruning",
    "quantize": "Storing in 8 bits",
    "recover": "Recovering",
}


@dataclass(frozen=True)
class Purpose:
    """What a model is loaded for, and how. quantization: None or "int8"; step: one of memory.STEPS."""

    name: str
    step: str
    dtype: torch.dtype | None  # None: the file's own
    quantization: str | None
    device: object

    def check(self, shapes: Shapes, itemsize: int, weights: int, streamed: bool = True) -> None:
        """Raise NotEnoughMemory unless there is room.

        itemsize: bytes of an activation. weights: bytes of all weights as they will be held, before any int8.
        streamed: int8 weights are made as each tensor is read, so that the others are never held together.
        """
        less = weights - shapes.decoder_weights * (itemsize - 1)
        held = less if self.quantization and streamed else weights
        wanted = memory.need(shapes, self.step, itemsize, weights=held).total
        if self.quantization and not streamed:
            wanted = max(wanted, memory.need(shapes, "quantize", itemsize, weights=weights).total)
        memory.check(
            f"{WORDS[self.step]} {self.name}",
            wanted,
            self.device,
            self._ways(shapes, itemsize, weights, less, streamed),
        )

    def _ways(
        self, shapes: Shapes, itemsize: int, weights: int, less: int, streamed: bool
    ) -> Iterator[tuple[str, int]]:
        if itemsize == 4:
            half = memory.need(shapes, self.step, 2, weights=weights // 2).total
            yield f'load it in 16 bits (dtype="bfloat16", {gib(half)})', half
        if self.step in ("load", "chat") and streamed and not self.quantization:
            small = memory.need(shapes, self.step, itemsize, weights=less).total
            yield f'load it in 8 bits (quantization="int8", {gib(small)})', small
        if self.step == "calibrate":
            frugal = memory.need(shapes, "calibrate-checkpointing", itemsize, weights=weights).total
            yield f"calibrate with checkpointing ({gib(frugal)})", frugal
        for entry in sorted(catalogue(), key=lambda x: -x.parameters.total):
            cost = entry.need(self.step).total
            if entry.parameters.total < shapes.parameters:
                yield f"take a smaller model, such as {entry.name} ({gib(cost)})", cost


def room_to_calibrate(
    model: LVLM, samples: int, tokens: int, checkpointing: bool | None = None, gradients: bool = True
) -> bool:
    """Whether to checkpoint a loaded model's activations when it runs forth and back over so many tokens at once.

    samples: that the tokens belong to. checkpointing: as asked; None checkpoints where memory is too short to do
    without. gradients: of weights, which the activations form does without. Raises NotEnoughMemory.
    """
    shapes, itemsize = Shapes.of(model.network), model.dtype.itemsize
    plain, lean = (
        memory.need(shapes, step, itemsize, weights=0, tokens=tokens, gradients=gradients).extra
        for step in ("calibrate", "calibrate-checkpointing")
    )
    lean_it = plain > memory.free(model.device) if checkpointing is None else checkpointing
    ways = [] if lean_it else [(f"calibrate with checkpointing ({gib(lean)})", lean)]
    few = "fewer samples" if samples > 1 else "shorter samples with smaller pictures"
    ways.append((f"calibrate on {few}", 0))
    what = f"Calibrating {model.name} on {tokens:,} tokens at once"
    memory.check(what, lean if lean_it else plain, model.device, ways)
    return lean_it


def check_pruning(model: LVLM, layers: Sequence[int], heads: Sequence, neurons: Sequence) -> None:
    """Raise NotEnoughMemory unless there is room for the new weights: of kept layers that lose heads or neurons.

    layers: indices to keep; heads, neurons: what each original layer keeps.
    """
    before = model.anatomy.layers
    after = {i: before[i].resized(len(heads[i]), len(neurons[i])) for i in layers}
    new = model.dtype.itemsize * sum(x.parameters for i, x in after.items() if x is not before[i])
    memory.check(f"Pruning {model.name}", new, model.device, [("prune whole layers, which copies no weight", 0)])


def check_repair(model: LVLM, tokens: int, at_once: int) -> None:
    """Raise NotEnoughMemory unless there is room to refit a loaded model's projections to so many tokens.

    at_once: tokens of the largest batch that computes.
    """
    shapes, itemsize = Shapes.of(model.network), model.dtype.itemsize
    hidden, widest = shapes.hidden, max(columns for x in shapes.layers for _, columns in x)
    weights = itemsize * sum(
        x.columns * x.rows for layer in model.anatomy.layers for x in layer.linears if x.path in layer.projections
    )
    states = 6 * tokens * hidden * itemsize  # both models' at a layer's ends, and what the original's two outputs are
    sums = 8 * widest * (4 * widest + 3 * hidden)
    working = shapes.forward(at_once, itemsize) + 8 * at_once * (2 * widest + 6 * hidden)
    memory.check(
        f"Repairing {model.name} on {tokens:,} tokens",
        weights + states + sums + working,
        model.device,
        [("repair it on fewer samples", weights + sums + working // 8)],
    )


def check_recovery(model: LVLM, train: str, rank: int, samples: int, tokens: int, checkpointing: bool) -> None:
    """Raise NotEnoughMemory unless there is room to train a loaded model, whose teacher is loaded too if it has one.

    samples: that go through at once, of so many tokens each, padding included.
    """
    shapes, itemsize = Shapes.of(model.network), model.dtype.itemsize

    def cost(**changes) -> int:
        given = {"train": train, "rank": rank, "samples": samples, "checkpointing": checkpointing} | changes
        return memory.need(shapes, "recover", itemsize, weights=0, tokens=tokens, teacher=False, **given).extra

    ways = [
        ("recompute activations (checkpointing)", cost(checkpointing=True)),
        ("put fewer samples through at once (micro_batch=1), with checkpointing", cost(checkpointing=True, samples=1)),
        ("train LoRA (micro_batch=1, checkpointing)", cost(checkpointing=True, samples=1, train="lora")),
        ("train the projector alone (micro_batch=1)", cost(checkpointing=True, samples=1, train="projector")),
    ]
    now = cost()
    memory.check(f"Healing {model.name}", now, model.device, [x for x in ways if x[1] < now])
