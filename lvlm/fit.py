"""Whether a model will fit, asked before its weights are read or downloaded, and what would fit instead."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from . import memory
from .catalogue import catalogue
from .memory import Shapes, gib

WORDS = {"load": "Loading", "chat": "Chatting with", "calibrate": "Calibrating", "prune": "Pruning",
         "quantize": "Storing in 8 bits", "recover": "Recovering"}  # fmt: skip


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
            frugal = memory.need(shapes, self.step, itemsize, weights=weights, checkpointing=True).total
            yield f"calibrate with checkpointing ({gib(frugal)})", frugal
        for entry in sorted(catalogue(), key=lambda x: -x.parameters.total):
            cost = entry.need(self.step).total
            if entry.parameters.total < shapes.parameters:
                yield f"take a smaller model, such as {entry.name} ({gib(cost)})", cost
