"""Repair without training: what stays of a pruned decoder is refitted, layer by layer, to what the original computes.

After a cut, the projections into the residual stream (o_proj, down_proj and the like) are solved for by ridge
regression from the bottom up, each on the inputs that the repaired layers below it really deliver, so that the state
after it is the original's; before a gap of removed layers, the state after the gap. No parameter is added.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn

from lvlm import LVLM, BadPlan, BadSamples, Batch, Layer, UnsupportedDecoder
from lvlm.events import Progress, Report
from lvlm.finite import blame
from lvlm.fit import check_repair
from lvlm.reshaped import shared_copy

from .cost import decoder_inputs
from .walk import Walk, rms

BATCH = 8  # samples that compute at once
ROWS = 2048  # tokens whose numbers are held in fp64 at once
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
TINY = 1e-200


@dataclass(frozen=True)
class Repair:
    """How a pruned model is repaired.

    ridge: how strongly weights are held to what they were, as a share of the mean square of what they are given; None:
        for each projection what serves the held-out samples best, and no change where none does.
    held_out: share of the samples that nothing is fitted to.
    text: share of the fit's weight that text tokens have, the rest being image tokens'; None: all tokens alike.
    bias: also refit the projections' biases, where they have any.
    """

    ridge: float | None = None
    held_out: float = 0.2
    text: float | None = None
    bias: bool = True

    def __post_init__(self):
        if not (
            (self.ridge is None or self.ridge > 0)
            and 0 < self.held_out < 1
            and (self.text is None or 0 < self.text < 1)
        ):
            raise BadPlan("A repair's ridge must be above 0, and its held-out and text shares between 0 and 1.")


@torch.no_grad()
def repaired(
    pruned: LVLM, original: LVLM, kept: Sequence[int], samples: Sequence, settings: Repair, report: Report
) -> LVLM:
    """The pruned model with other weights in some projections; it shares all else with the one it is given.

    kept: for each of the pruned model's layers, which of the original's it came from. samples: with answers.
    The history's "repair" step tells, before and after, the held-out error of the state that each kept layer hands
    on: its squared distance from the original's over the original's square, averaged over tokens.
    Raises BadSamples for none, or one beyond the context; UnsupportedDecoder for a decoder whose layers do not just
    add up. Raising from report ends it, and leaves both models as they were.
    """
    began = time.perf_counter()
    report(Progress("repair", 0, len(kept), "preparing"))
    batches = _batches(original, samples, settings)
    network = shared_copy(pruned.network)
    inputs = [x.inputs for x in batches]
    before, after = [], []
    try:
        wanted = Walk(shared_copy(original.network), inputs)
        found = Walk(network, inputs, wanted)
        plain = Walk(shared_copy(pruned.network), [x.inputs for x in batches if not x.fitted], wanted)
        tests = [i for i, x in enumerate(batches) if not x.fitted]
        wanted.go_to(kept[0])
        for index, place in enumerate(kept):
            gap_ends = kept[index + 1] if index + 1 < len(kept) else len(wanted.layers)
            _refit(wanted, found, original.anatomy.layers[place], gap_ends, batches, settings)
            plain.go_to(index + 1)
            masks, aims = [batches[i].mask for i in tests], [wanted.hidden[i] for i in tests]
            before.append(_error(plain.hidden, aims, masks))
            after.append(_error([found.hidden[i] for i in tests], aims, masks))
            report(Progress("repair", index + 1, len(kept), f"layer {index + 1} of {len(kept)}"))
    except (UnsupportedDecoder, torch.linalg.LinAlgError):  # how numbers that are none show first
        blame([original], samples, "Repair")
        raise
    if not math.isfinite(before[-1] + after[-1]):
        blame([original], samples, "Repair")
    step = {
        "step": "repair",
        "samples": len(samples),
        "error_before": before[-1],
        "error_after": after[-1],
        "seconds": time.perf_counter() - began,
        "errors": {"before": before, "after": after},
        "settings": asdict(settings),
        "sample_ids": [str(x.id) for x in samples],
    }
    return pruned.then(network, step)


# --- the samples ---


@dataclass(frozen=True)
class Rows:
    """A batch on its way: the decoder's inputs, where tokens are and what each counts (B, T); fitted or held out."""

    inputs: dict
    mask: torch.Tensor
    weight: torch.Tensor
    fitted: bool


def _batches(model: LVLM, samples: Sequence, settings: Repair) -> list[Rows]:
    if len(samples) < 2:
        raise BadSamples(
            "A repair needs at least two samples, one to see whether it helps: please choose ten to fifty."
        )
    every = max(2, round(1 / settings.held_out))
    held = set(range(every - 1, len(samples), every)) or {len(samples) - 1}
    encoded = []
    for fitted in (True, False):
        for shown in (True, False):  # by length, for little padding; never mixed, as in `generate`
            some = [x for i, x in enumerate(samples) if (i in held) != fitted and (x.image is not None) == shown]
            some.sort(key=_words)
            encoded += [(model.encode(some[i : i + BATCH]), fitted) for i in range(0, len(some), BATCH)]
    longest = max(x.mask.shape[1] for x, _ in encoded)
    if longest > model.context:
        raise BadSamples(f"A sample is longer than the model's context of {model.context} tokens: leave it out.")
    tokens = [x.mask.numel() for x, _ in encoded]
    check_repair(model, sum(tokens), max(tokens))
    network = shared_copy(model.network)
    weights = _weights([x for x, _ in encoded], settings.text)
    return [
        Rows(decoder_inputs(network, x.inputs), x.mask, weight, fitted) for (x, fitted), weight in zip(encoded, weights)
    ]


def _words(sample) -> int:
    return sum(len(x.question) + len(x.answer) for x in sample.turns)


def _weights(batches: Sequence[Batch], text: float | None) -> list[torch.Tensor]:
    """(B, T) each: how much every token counts; text and image tokens together as much as is said."""
    image = sum(int((x.mask & x.image_mask).sum()) for x in batches)
    words = sum(int(x.mask.sum()) for x in batches) - image
    if text is None or not image or not words:
        return [torch.ones_like(x.mask, dtype=torch.float64) for x in batches]
    return [torch.where(x.image_mask, (1 - text) / image, text / words).double() for x in batches]


# --- one layer ---


def _refit(wanted: Walk, found: Walk, layer: Layer, gap_ends: int, batches: Sequence[Rows], settings: Repair) -> None:
    """Take both decoders through one kept layer (and the original through the gap after it), refitting what reaches
    the stream. gap_ends: the original's layer that the pruned model goes on with."""
    stages = wanted.stages(layer)
    entered, left, said = wanted.hidden, [], []
    for i in range(len(batches)):
        state, seen = wanted.run(i, [x.path for x in stages])
        left.append(state)
        said.append([seen[x.path][1] for x in stages])
    wanted.step(left)
    wanted.go_to(gap_ends)
    for place, stage in enumerate(stages):
        linear = found.layers[found.at].get_submodule(stage.path)
        bias = settings.bias and linear.bias is not None
        sums = {x: Sums(linear.in_features + bias, linear.out_features, linear.weight.device) for x in (True, False)}
        last = place == len(stages) - 1
        for i, rows in enumerate(batches):
            state, seen = found.run(i, [stage.path], stop=not last)
            given = seen[stage.path][0]
            says, taught = linear(given), said[i][place]
            if last:
                aim = wanted.hidden[i].double()
            else:
                aim = entered[i].double() + stage.joins(taught)
                state = found.hidden[i].double() + stage.joins(says)
            missing, scale = stage.missing(aim - state.double(), says, taught)
            weight = scale * rows.weight[..., None] / rms(aim) ** 2  # what counts is an error's share of its state
            sums[rows.fitted].add(given[rows.mask], missing[rows.mask], weight[rows.mask], bias)
        change = _best(sums[True], sums[False], settings.ridge, bias)
        if change is not None:
            _add(linear, "weight", change[: linear.in_features].T)
            if bias:
                _add(linear, "bias", change[-1])
    found.step([found.run(i)[0] for i in range(len(batches))])


def _add(linear: nn.Linear, name: str, change: torch.Tensor) -> None:
    """A new parameter in the place of one that others share."""
    old = getattr(linear, name)
    setattr(linear, name, nn.Parameter((old.double() + change).to(old.dtype), requires_grad=old.requires_grad))


def _best(fit: "Sums", test: "Sums", ridge: float | None, bias: bool) -> torch.Tensor | None:
    """The change by the given ridge, or by the one that helps held-out tokens most; None where none helps."""
    changes = (fit.solve(x, bias) for x in (RIDGES if ridge is None else (ridge,)))
    gained, change = max(((test.gained(x), x) for x in changes), key=lambda x: x[0])
    return change if gained > 0 else None


class Sums:
    """What a fit needs to know of many tokens: Gram matrices in fp64. With a bias, the last input is one."""

    def __init__(self, inputs: int, outputs: int, device):
        self.gram = torch.zeros(inputs, inputs, dtype=torch.float64, device=device)
        self.cross = torch.zeros(inputs, outputs, dtype=torch.float64, device=device)

    def add(self, inputs: torch.Tensor, missing: torch.Tensor, weight: torch.Tensor, bias: bool) -> None:
        """inputs (N, inputs), missing (N, outputs), weight (N, 1): of each token."""
        for x, y, w in zip(inputs.split(ROWS), missing.split(ROWS), weight.split(ROWS)):
            x = x.double()
            x = torch.cat([x, torch.ones_like(x[:, :1])], 1) if bias else x
            weighted = x * w
            self.gram += weighted.T @ x
            self.cross += weighted.T @ y.double()

    def solve(self, ridge: float, bias: bool) -> torch.Tensor:
        """C (inputs, outputs): argmin Σ w‖x C − y‖² + λ‖C‖², λ being the ridge's share of the mean of w·x²."""
        held = torch.full_like(self.gram.diagonal(), ridge * float(self.gram.diagonal().mean()) + TINY)
        if bias:
            held[-1] = TINY
        return torch.cholesky_solve(self.cross, torch.linalg.cholesky(self.gram + held.diag()))

    def gained(self, change: torch.Tensor) -> float:
        """By how much a change lowers Σ w‖x C − y‖²."""
        return float((change * (2 * self.cross - self.gram @ change)).sum())


def _error(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor], masks: Sequence[torch.Tensor]) -> float:
    each = [(rms(a.double() - b.double()) / rms(b)).square()[m] for a, b, m in zip(found, wanted, masks)]
    return float(torch.cat(each).mean())
