"""Samples through the model, once: block influence (Eq. 2) and Taylor importance (Eq. 4) of heads and neurons.

The model is never touched: the pass runs on a copy of its module tree whose parameters alias the same storage.
Each weight's |w·g| is reduced to its units, and its gradient freed, the moment backward has produced it.
"""

import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from weakref import WeakMethod

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import nn
from torch.utils.checkpoint import checkpoint

from lvlm import LVLM, BadSamples, NotFinite
from lvlm.encoding import IGNORED
from lvlm.events import LayerScored, Progress, Report, SampleScored, silent
from lvlm.finite import blame, way_out
from lvlm.fit import room_to_calibrate
from lvlm.head import head_of
from lvlm.memory import CHUNK
from lvlm.reshaped import shared_copy
from lvlm.shortage import enough_memory

from .controls import controls
from .cost import decoder_inputs, workload_of
from .scores import Importance, Scores


@dataclass(frozen=True)
class CalibrationSettings:
    """How scores are computed. The defaults repair what the published computation gets wrong.

    style: "repaired": block influence is the mean over all real tokens, of raw layer outputs; Taylor takes |w·g| of
        each sample's own gradient, averaged over samples. "paper": as the authors' code computes it: block influence
        is a sum over all tokens, padding included, its last layer seen through the final norm; Taylor is one backward
        over all samples as one batch.
    taylor: "weights": Σ|w·g| over a unit's weights, as published; |Σ w·g| comes along as "taylor-sum". "activations":
        |Σ w·g| alone, which equals a sum of activation × gradient, so that no weight gradient is computed: cheaper, and
        blind to cancelling weights.
    checkpointing: recompute each layer in backward instead of keeping its activations: less memory, more time. None
        does so where memory is short. The scores are the same.
    balanced: also score what units do to image tokens and to text tokens apart, as |Σ activation·gradient| over either,
        and the two weighed alike as "balanced", since image tokens are many and their alignment with words is hurt
        first (the paper's section 4.2).
    """

    style: str = "repaired"
    taylor: str = "weights"
    checkpointing: bool | None = None
    balanced: bool = False

    def __post_init__(self):
        if self.style not in ("repaired", "paper") or self.taylor not in ("weights", "activations"):
            raise BadSamples(f"Unknown calibration settings {self.style!r}, {self.taylor!r}: see CalibrationSettings.")


@dataclass
class DecoderBatch:
    """What the decoder is given. inputs: its keyword arguments, with inputs_embeds (B, T, D); the rest (B, T)."""

    inputs: dict
    labels: torch.Tensor
    mask: torch.Tensor
    image_mask: torch.Tensor


@dataclass
class Totals:
    """Sums over the tokens and samples seen so far."""

    block: torch.Tensor  # (3, L) fp64: all, image and text tokens
    tokens: np.ndarray  # (3,)
    heads: list[torch.Tensor]
    neurons: list[torch.Tensor]
    signed_heads: list[torch.Tensor]
    signed_neurons: list[torch.Tensor]
    activation_heads: list[torch.Tensor]
    activation_neurons: list[torch.Tensor]
    image_heads: list[torch.Tensor]
    image_neurons: list[torch.Tensor]
    text_heads: list[torch.Tensor]
    text_neurons: list[torch.Tensor]
    samples: int = 0
    losses: list[float] = field(default_factory=list)

    def block_influence(self, row: int, mean: bool) -> np.ndarray:
        found = self.block[row].cpu().numpy().copy()
        if not mean:
            return found
        return found / self.tokens[row] if self.tokens[row] else np.full_like(found, np.nan)


@enough_memory("Calibration")
def calibrate(
    model: LVLM,
    samples: Sequence,
    settings: CalibrationSettings = CalibrationSettings(),
    seed: int = 0,
    report: Report = silent,
) -> Scores:
    """Importance of every layer, head and neuron of the decoder, from samples with answers.

    seed: of the "random" control, and written into the scores. Raises BadSamples if there is nothing to learn from.
    """
    if not samples:
        raise BadSamples("Calibration needs at least one sample: please choose one to fifty.")
    report(Progress("calibrate", 0, len(samples), "preparing"))
    scorer = Scorer(model.network, model.anatomy, settings)
    batches = [list(samples)] if settings.style == "paper" else [[x] for x in samples]
    done = 0
    for chunk in batches:
        batch = model.encode(chunk)
        if batch.mask.shape[1] > model.context:
            raise BadSamples(f"Sample {chunk[0].id} is longer than the model's context of {model.context} tokens.")
        scorer.checkpointing = room_to_calibrate(
            model, len(chunk), batch.mask.numel(), settings.checkpointing, settings.taylor == "weights"
        )
        with torch.no_grad():
            inputs = decoder_inputs(scorer.network, batch.inputs)
        loss = scorer.add(DecoderBatch(inputs, batch.labels, batch.mask, batch.image_mask))
        if not math.isfinite(loss):
            blame([model], chunk, "Calibration")
        done += len(chunk)
        report(SampleScored(done - 1, len(samples), loss))
        report(Progress("calibrate", done, len(samples), f"sample {done} of {len(samples)}"))
        for layer, value in enumerate(scorer.totals.block_influence(0, mean=True)):
            report(LayerScored(layer, float(value)))
    _check_finite(model, scorer)
    return scorer.scores(model, [str(x.id) for x in samples], seed)


def _check_finite(model: LVLM, scorer: "Scorer") -> None:
    """Raises NotFinite for scores that are none: backward goes from the last layer down, so the last one is named."""
    totals = scorer.totals
    by_layer = zip(totals.heads, totals.neurons, totals.signed_heads, totals.signed_neurons, totals.block[0])
    broken = [i for i, found in enumerate(by_layer) if not all(torch.isfinite(x).all() for x in found)]
    if broken or not np.isfinite(totals.losses).all():
        blame([model], (), "Calibration")
        raise NotFinite(
            f"Calibration stopped: the scores of layer {broken[-1]} of {model.name} are NaN or infinite, though its "
            f"weights and its loss are finite; {way_out(model)}."
            if broken
            else f"Calibration stopped: the loss of {model.name} is NaN or infinite; {way_out(model)}."
        )


class Watched(torch.autograd.Function):
    """The identity, which hands `seen` its value and its gradient in backward.

    The value is a saved tensor like any other, so that activation checkpointing drops and recomputes it.
    """

    @staticmethod
    def forward(ctx, value: torch.Tensor, seen):
        ctx.save_for_backward(value)
        ctx.seen = seen
        return value.view_as(value)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        ctx.seen(*ctx.saved_tensors, gradient)
        return gradient, None


def _if_there(method: WeakMethod, *given) -> None:
    if (call := method()) is not None:
        call(*given)


class Scorer:
    """Accumulates scores of a network's decoder, batch by batch."""

    def __init__(self, network: nn.Module, anatomy, settings: CalibrationSettings):
        self.anatomy, self.settings = anatomy, settings
        weights = [
            layer.get_submodule(x.path).weight
            for layer, shape in zip(network.get_decoder().layers, anatomy.layers)
            for x in shape.linears
        ]
        if not all(x.is_floating_point() for x in weights):
            raise BadSamples("An int8 model has no gradients: calibrate the model it was made from.")
        by_weight = settings.taylor == "weights"
        self.network = shared_copy(network, trainable=weights if by_weight else ())
        self.decoder, self.head = self.network.get_decoder(), head_of(self.network)
        self.scale = 1024.0 if weights[0].dtype == torch.float16 else 1.0  # keeps fp16 gradients off zero
        self.checkpointing = bool(settings.checkpointing)  # of the next batch
        self.batch: DecoderBatch | None = None
        device = weights[0].device
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        self.totals = Totals(
            zeros(3, len(anatomy.layers)),
            np.zeros(3),
            *([zeros(getattr(x, n)) for x in anatomy.layers] for n in 5 * ("groups", "neurons")),
        )
        # Held weakly: Python's garbage collection does not see what a parameter's gradient hook holds, and a scorer in
        # a circle with its own copy's parameters would stay for ever.
        weigh = WeakMethod(self._weight)
        self.signed = {}  # (layer, kind) -> Σ w·g of the batch in hand
        for index, (module, layer) in enumerate(zip(self.decoder.layers, anatomy.layers)):
            module.forward = partial(self._run, module.forward)
            module.register_forward_hook(partial(self._block, index), with_kwargs=True)
            for shape in layer.linears:
                linear = module.get_submodule(shape.path)
                cuts = [x for x in layer.cuts if x.path == shape.path]
                if by_weight:
                    linear.weight.register_post_accumulate_grad_hook(partial(_if_there, weigh, index, cuts))
                inner = cuts[0].dim == 1
                if inner:
                    linear.register_forward_pre_hook(partial(self._activity, index, cuts))
                if inner and settings.balanced:
                    linear.register_forward_pre_hook(partial(self._watch_tokens, index, cuts))
                if not by_weight and inner:
                    linear.register_forward_pre_hook(partial(self._watch_input, index, cuts))
                elif not by_weight:
                    linear.register_forward_hook(partial(self._watch_output, index, cuts))

    def _run(self, layer, *args, **kwargs):
        if self.checkpointing:
            return checkpoint(layer, *args, use_reentrant=False, **kwargs)
        return layer(*args, **kwargs)

    # --- hooks ---

    @torch.no_grad()
    def _block(self, index: int, module, args, kwargs, output) -> None:
        last = index == len(self.anatomy.layers) - 1
        if last and self.settings.style == "paper":  # seen through the final norm, added when the decoder is done
            self._last_input = args[0] if args else kwargs["hidden_states"]
            return
        self._add_block(index, args[0] if args else kwargs["hidden_states"], output)

    @torch.no_grad()
    def _add_block(self, index: int, before, after) -> None:
        after = after[0] if isinstance(after, tuple) else after
        change = 1 - F.cosine_similarity(before.float(), after.float(), dim=-1)  # (B, T)
        for row, mask in enumerate(self.masks):
            self.totals.block[row, index] += change[mask].sum(dtype=torch.float64)

    @torch.no_grad()
    def _weight(self, index: int, cuts, weight: nn.Parameter) -> None:
        dim = cuts[0].dim
        sums = products(weight, weight.grad, dim)  # (2, rows or columns): Σ|w·g| and Σ w·g
        weight.grad = None
        for cut in cuts:
            part = sums[:, cut.start : cut.start + cut.width * cut.units].unflatten(1, (cut.units, cut.width)).sum(2)
            part = part.double() / self.scale
            getattr(self.totals, cut.kind)[index] += part[0]
            self._sign(index, cut.kind, part[1])

    def _sign(self, index: int, kind: str, part: torch.Tensor) -> None:
        """Add one linear's Σ w·g to its units': the absolute value is taken once all their linears are in."""
        self.signed[index, kind] = self.signed.get((index, kind), 0) + part

    @torch.no_grad()
    def _activity(self, index: int, cuts, module, args) -> None:
        """Mean |activation| that enters o and down; not again while a checkpoint recomputes."""
        if torch._C._current_graph_task_id() >= 0:
            return
        mean = args[0].abs()[self.batch.mask].sum(0, dtype=torch.float32)
        for cut in cuts:
            part = mean[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)
            getattr(self.totals, f"activation_{cut.kind}")[index] += part.double()

    def _watch_input(self, index: int, cuts, module, args):
        return Watched.apply(args[0], partial(self._product, index, cuts, None)), *args[1:]

    def _watch_tokens(self, index: int, cuts, module, args):
        return Watched.apply(args[0], partial(self._tokens, index, cuts)), *args[1:]

    @torch.no_grad()
    def _tokens(self, index: int, cuts, value, gradient) -> None:
        """What the loss would do, to first order, if a unit said nothing at one kind of token, for each sample."""
        product = value.float() * gradient.float()  # (B, T, columns)
        for name, mask in zip(("image", "text"), self.masks[1:]):
            sums = (product * mask[..., None]).sum(1, dtype=torch.float64) / self.scale
            for cut in cuts:
                part = sums[:, cut.start : cut.start + cut.width * cut.units].unflatten(1, (cut.units, cut.width))
                getattr(self.totals, f"{name}_{cut.kind}")[index] += part.sum(2).abs().sum(0)

    def _watch_output(self, index: int, cuts, module, args, output):
        return Watched.apply(output, partial(self._product, index, cuts, module.bias))

    @torch.no_grad()
    def _product(self, index: int, cuts, bias, value, gradient) -> None:
        value = value if bias is None else value - bias  # w·x alone: biases are not scored
        sums = (value.float() * gradient.float()).flatten(0, -2).sum(0)
        for cut in cuts:
            part = sums[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)
            self._sign(index, cut.kind, part.double() / self.scale)

    # --- the pass ---

    def add(self, batch: DecoderBatch) -> float:
        """Forward and backward over one batch; returns its mean cross-entropy on labelled tokens."""
        paper = self.settings.style == "paper"
        self.batch = batch
        everything = torch.ones_like(batch.mask) if paper else batch.mask
        self.masks = (everything, everything & batch.image_mask, everything & ~batch.image_mask)
        self.totals.tokens += [int(x.sum()) for x in self.masks]
        wanted = batch.labels[:, 1:] != IGNORED
        if not wanted.any():
            raise BadSamples("A sample has no answer tokens: calibration needs questions with answers.")
        inputs = dict(batch.inputs)
        embeds = inputs["inputs_embeds"].detach()
        # Without weight gradients something else must ask for a graph: the embeddings do.
        inputs["inputs_embeds"] = embeds.requires_grad_(self.settings.taylor == "activations")
        with torch.enable_grad():
            hidden = self.decoder(**{**inputs, "use_cache": False}).last_hidden_state  # (B, T, D), after the norm
            if paper:
                self._add_block(len(self.anatomy.layers) - 1, self._last_input, hidden)
            logits = self.head(hidden[:, :-1][wanted]).float()  # only where a label is
            loss = F.cross_entropy(logits, batch.labels[:, 1:][wanted])
            (loss * self.scale).backward()
        for (index, kind), value in self.signed.items():
            getattr(self.totals, f"signed_{kind}")[index] += value.abs()
        self.signed.clear()
        self.batch = None
        self.totals.samples += len(batch.labels) if not paper else 1
        self.totals.losses.append(float(loss.detach()))
        return self.totals.losses[-1]

    def scores(self, model: LVLM, sample_ids, seed: int) -> Scores:
        """The scores so far; Taylor as a mean over samples, or of the one batch (paper)."""
        totals, mean = self.totals, self.settings.style != "paper"

        def arrays(found, divisor):
            return tuple((x / divisor).cpu().numpy() for x in found)

        forms = {
            "taylor": Importance(arrays(totals.heads, totals.samples), arrays(totals.neurons, totals.samples)),
            "taylor-sum": Importance(
                arrays(totals.signed_heads, totals.samples), arrays(totals.signed_neurons, totals.samples)
            ),
        }
        if self.settings.taylor == "activations":
            forms["taylor"] = forms.pop("taylor-sum")
        if self.settings.balanced:
            image, text = (
                Importance(*(arrays(getattr(totals, f"{x}_{y}"), totals.samples) for y in ("heads", "neurons")))
                for x in ("image", "text")
            )
            forms |= {"image": image, "text": text, "balanced": image.balanced(text)}
        importance = {
            **forms,
            "activation": Importance(
                arrays(totals.activation_heads, max(1, totals.tokens[0])),
                arrays(totals.activation_neurons, max(1, totals.tokens[0])),
            ),
            **controls(self.network, self.anatomy, seed),
        }
        return Scores(
            model=model.name,
            digest=model.digest(),
            anatomy=self.anatomy,
            workload=workload_of(model),
            **{
                name: totals.block_influence(row, mean)
                for row, name in enumerate(("block_influence", "block_influence_image", "block_influence_text"))
            },
            importance=importance,
            sample_ids=tuple(sample_ids),
            seed=seed,
            loss=float(np.mean(totals.losses)),
            settings={**asdict(self.settings), "dtype": str(model.dtype).removeprefix("torch.")},
            versions={
                "python": platform.python_version(),
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        )


def products(weight: torch.Tensor, gradient: torch.Tensor, dim: int) -> torch.Tensor:
    """Σ|w·g| and Σ w·g along the other dimension, in fp32: (2, rows) for dim 0, (2, columns) for dim 1.

    A chunk of rows at a time, so that nothing as large as the weight is made.
    """
    rows, columns = weight.shape
    step = max(1, CHUNK // columns)
    found = []
    for i in range(0, rows, step):
        product = weight[i : i + step] * gradient[i : i + step].float()
        signed = product.sum(1 - dim)
        found.append(torch.stack([product.abs_().sum(1 - dim), signed]))
    return torch.cat(found, 1) if dim == 0 else torch.stack(found).sum(0)
