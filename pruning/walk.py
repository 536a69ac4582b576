"""A decoder taken through its layers one at a time with all samples at once: their hidden states are held, one layer
computes, and its outputs become what the next one is given. Knows residual streams; knows nothing of pruning.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lvlm import Layer, UnsupportedDecoder

CLOSE = {torch.float32: 1e-3, torch.float64: 1e-6}  # of a tensor's norm; other types round to about three digits
ROUNDED = 3e-2
FLAT = 1e-3  # of a norm's mean gain: below, nothing of an output comes through


class _Reached(Exception):
    """Not an error: the module was reached, and its input is in hand."""


@dataclass(frozen=True)
class Stage:
    """A projection whose output joins the residual stream: state + scale · (norm of) its output.

    gain: of an RMS norm in between (Gemma 2 and 3), (D,); None where there is none.
    """

    path: str
    scale: float
    gain: torch.Tensor | None

    def joins(self, output: torch.Tensor) -> torch.Tensor:
        """What the projection's output adds to the state, fp64."""
        output = output.double()
        return self.scale * (output if self.gain is None else output / rms(output) * self.gain)

    def missing(
        self, state: torch.Tensor, output: torch.Tensor, wanted: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What must be added to the output so that `state` is added to the stream besides; and how much each token's
        squared error of the one is in the other.

        After a norm the output's length is free: it becomes that of the original's output, `wanted`.
        """
        if self.gain is None:
            return state / self.scale, torch.ones_like(state[..., :1])
        own, length = rms(output), rms(wanted)
        gain = self.gain.where(self.gain.abs() > FLAT * self.gain.abs().mean(), torch.inf)  # what it drops stays
        return output.double() * (length / own - 1) + length * state / (self.scale * gain), length**-2


class Walk:
    """A network's decoder on its way. hidden: per batch (B, T, D), what layer `at` is given.

    network: a copy that nobody else runs meanwhile. inputs: per batch, the decoder's keyword arguments.
    like: the walk of a decoder of the same kind, so that this one need not be tried first.
    Raises UnsupportedDecoder if going layer by layer is not what the decoder does.
    """

    def __init__(self, network: nn.Module, inputs: Sequence[dict], like: "Walk | None" = None):
        self.decoder = network.get_decoder()
        self.layers, self.at = list(self.decoder.layers), 0
        self.hidden, self._calls, self._added = [], [], []
        self._tuples = self._check(inputs[0]) if like is None else like._tuples
        for given in inputs:
            self._begin(given)

    @torch.no_grad()
    def run(self, batch: int, watched: Sequence[str] = (), stop: bool = False) -> tuple[torch.Tensor | None, dict]:
        """What the next layer is given after this one, and (input, output) of the layer's linears at these paths.

        stop: compute nothing after the last of them is reached; there is no state then, and no output of that one.
        """
        seen, module = {}, self.layers[self.at]

        def see(path, _, args, output) -> None:
            seen[path] = (args[0], output)

        def reach(_, args) -> None:
            seen[watched[-1]] = (args[0], None)
            raise _Reached

        hooks = [module.get_submodule(x).register_forward_hook(partial(see, x)) for x in watched]
        if stop:
            hooks.append(module.get_submodule(watched[-1]).register_forward_pre_hook(reach))
        try:
            found = self._output(self.at, self.hidden[batch], self._calls[batch])
        except _Reached:
            return None, seen
        finally:
            for hook in hooks:
                hook.remove()
        added = self._added[batch][self.at]
        return found if added is None else found + added, seen

    def go_to(self, layer: int) -> None:
        """Through the layers until this one is next."""
        while self.at < layer:
            self.step([self.run(x)[0] for x in range(len(self.hidden))])

    def step(self, hidden: Sequence[torch.Tensor]) -> None:
        """On to the next layer, which is given these states."""
        self.hidden, self.at = list(hidden), self.at + 1

    @torch.no_grad()
    def stages(self, layer: Layer) -> tuple[Stage, Stage]:
        """How attention and MLP of the layer join the stream. Raises UnsupportedDecoder where that is not known."""
        module, seen = self.layers[self.at], {}

        def see(path, _, args, output):
            if args and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor):
                seen[path] = (args[0], output)

        hooks = [x.register_forward_hook(partial(see, path)) for path, x in module.named_modules() if path]
        try:
            after = self._output(self.at, self.hidden[0], self._calls[0])
        finally:
            for hook in hooks:
                hook.remove()
        found = []
        for path in layer.projections:
            norm = next((x for x, (given, _) in seen.items() if _follows(module, x, given, seen[path][1])), None)
            found.append((path, norm, seen[norm or path][1]))
        change = (after - self.hidden[0]).double()
        joined = sum(x.double() for _, _, x in found)
        scale = float((change * joined).sum() / joined.square().sum())
        name = f"Layer {self.at} ({type(module).__name__})"
        if not _near(scale * joined, change, after.dtype):
            raise UnsupportedDecoder(
                f"{name} adds something else to its input than the outputs of its attention and its MLP: "
                "it cannot be repaired, please recover it by training."
            )
        return tuple(
            Stage(path, scale, None if norm is None else _gain(module.get_submodule(norm), *seen[norm], name))
            for path, norm, _ in found
        )

    # --- how the decoder itself goes through its layers ---

    def _output(self, index: int, hidden: torch.Tensor, calls: list) -> torch.Tensor:
        args, options = calls[index]
        found = self.layers[index](hidden, *args, **options)
        return found[0] if isinstance(found, tuple) else found

    @torch.no_grad()
    def _begin(self, given: dict) -> None:
        """Note how each layer is called, from a pass in which layers compute nothing."""
        calls, starts = [None] * len(self.layers), [None] * len(self.layers)

        def note(index, *args, **options):
            hidden, rest = (args[0], args[1:]) if args else (options.pop("hidden_states"), ())
            calls[index], starts[index] = (rest, options), hidden
            nothing = torch.zeros_like(hidden)  # so that what is added between two layers stands alone
            return (nothing,) if self._tuples else nothing

        real = [x.__dict__.get("forward") for x in self.layers]
        for index, module in enumerate(self.layers):
            module.forward = partial(note, index)
        try:
            self.decoder(**{**given, "use_cache": False})
        finally:
            for module, forward in zip(self.layers, real):
                del module.forward
                if forward is not None:
                    module.forward = forward
        self.hidden.append(starts[0])
        self._calls.append(calls)
        self._added.append([x if x.any() else None for x in starts[1:]] + [None])

    @torch.no_grad()
    def _check(self, given: dict) -> bool:
        """Whether layers return tuples."""
        seen = []
        hook = self.layers[-1].register_forward_hook(lambda module, args, output: seen.append(output))
        try:
            self.decoder(**{**given, "use_cache": False})
        finally:
            hook.remove()
        self._tuples = isinstance(seen[0], tuple)
        wanted = seen[0][0] if self._tuples else seen[0]
        self._begin(given)
        self.go_to(len(self.layers))
        found = self.hidden[0]
        self.hidden, self._calls, self._added, self.at = [], [], [], 0
        if found.shape != wanted.shape or not _near(found, wanted, wanted.dtype):
            raise UnsupportedDecoder(
                f"{type(self.decoder).__name__} does something between its layers that is not known here: "
                "it cannot be repaired, please recover it by training."
            )
        return self._tuples


def _follows(module: nn.Module, path: str, given: torch.Tensor, output: torch.Tensor) -> bool:
    """Whether a module with weights of its own, such as a norm, is given a projection's output as it is."""
    weights = list(module.get_submodule(path).parameters(recurse=False))
    return bool(weights) and given.data_ptr() == output.data_ptr() and given.shape == output.shape


def _near(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> bool:
    share = CLOSE.get(dtype, ROUNDED)
    return float((found.double() - wanted.double()).norm()) <= share * float(wanted.double().norm())


def _gain(norm: nn.Module, given: torch.Tensor, came: torch.Tensor, name: str) -> torch.Tensor:
    gain = norm(torch.ones_like(given[:1, :1]))[0, 0].double()
    again = given.double() / rms(given) * gain
    if not _near(again, came, came.dtype):
        raise UnsupportedDecoder(
            f"{name} has a {type(norm).__name__} after its attention or MLP that is no RMS norm: "
            "it cannot be repaired, please recover it by training."
        )
    return gain


def rms(tensor: torch.Tensor) -> torch.Tensor:
    """Root mean square over the last dimension, (..., 1) fp64."""
    return tensor.double().square().mean(-1, keepdim=True).sqrt().clamp_min(1e-12)
