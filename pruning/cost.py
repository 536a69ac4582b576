"""What a model costs: counted exactly from its anatomy, and measured on this machine."""

import statistics
import time
from dataclasses import asdict, dataclass, replace
from functools import partial

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from lvlm import LVLM, Anatomy, Parts
from lvlm.encoding import encode_texts, prompt_text
from lvlm.events import Progress, Report, silent
from lvlm.plain import typed
from lvlm.reshaped import shared_copy
from lvlm.unfit import fitting

from .peak import added_by

QUESTION = "Describe this image in detail: what is to be seen, how many of each, where, and in which colours?"


@dataclass(frozen=True)
class Workload:
    """What FLOPs and cache bytes are counted for: one image and one question."""

    prompt_tokens: int  # image tokens included
    image_tokens: int
    vision_flops: int  # vision tower and projector, for that image


@dataclass(frozen=True)
class Cost:
    """Exact counts; the measured ones are None until `measure` has timed the model."""

    parameters: Parts
    bytes: int  # of weights
    flops_prefill: int  # image + prompt, up to the first token; 2 a multiply-add, as torch counts
    flops_per_token: int  # one more token after the prompt
    kv_bytes: int  # key/value cache after the prompt
    workload: Workload
    first_token_s: float | None = None  # median
    tokens_per_s: float | None = None  # median, after the first token
    peak_bytes: int | None = None  # weights, and what generating takes above them; None where it cannot be measured

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "Cost":
        """Raises ValueError for what is no cost."""
        return typed(cls, data)


def count(anatomy: Anatomy, workload: Workload, weight_bytes: int | None = None) -> Cost:
    """The cost of an anatomy under a workload, without any network. weight_bytes: where they are known better."""
    tokens = workload.prompt_tokens
    head = 2 * anatomy.hidden * anatomy.vocabulary  # logits of the last token only, as in generation
    prefill = sum(layer_flops(x, tokens, tokens) for x in anatomy.layers)
    step = sum(layer_flops(x, 1, min(tokens + 1, x.window or tokens + 1)) for x in anatomy.layers)
    cached = sum(min(tokens, (x.window or tokens + 1) - 1) * x.groups * x.head_dim for x in anatomy.layers)
    return Cost(
        parameters=anatomy.parts,
        bytes=anatomy.parts.total * anatomy.itemsize if weight_bytes is None else weight_bytes,
        flops_prefill=prefill + head + workload.vision_flops,
        flops_per_token=step + head,
        kv_bytes=2 * cached * anatomy.itemsize,
        workload=workload,
    )


def int8_bytes(anatomy: Anatomy) -> int:
    """Bytes of the weights once `quantize` stored the decoder's matrices in 8 bits, with a 4-byte scale a row."""
    linears = [x for layer in anatomy.layers for x in layer.linears]
    whole = sum(x.rows * x.columns for x in linears)
    return anatomy.itemsize * (anatomy.parts.total - whole) + whole + 4 * sum(x.rows for x in linears)


def layer_flops(layer, tokens: int, keys: int) -> int:
    """Matrix products with the weights, and queries × keys and weights × values over all keys (masked ones too)."""
    return 2 * tokens * layer.weights + 4 * tokens * keys * layer.n_heads * layer.head_dim


def workload_of(model: LVLM) -> Workload:
    """A blank image and a 20-word question through this model's own processor and vision tower (run once, counted)."""
    if model.processor is None:
        return Workload(64, 0, 0)
    inputs = inputs_of(model)
    with torch.no_grad(), flop_counter() as counter:
        decoder_inputs(shared_copy(model.network), inputs)
    ids = inputs["input_ids"]
    return Workload(ids.shape[1], int((ids == model.image_token).sum()), counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """torch's counter, taught the CPU's attention kernel, which it counts as nothing (torch 2.13)."""

    def attention(query, key, value, *args, out_shape=None, **kwargs) -> int:
        return sdpa_flop_count(query, key, value)

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: attention})


def inputs_of(model: LVLM) -> dict:
    image = Image.new("RGB", (336, 336), "white")
    text = prompt_text(model.processor, [(QUESTION, None)], image, ask=True)
    inputs = encode_texts(model.processor, [text], [image], side="left")
    return {k: v.to(model.device, model.dtype if v.is_floating_point() else v.dtype) for k, v in inputs.items()}


class _Reached(Exception):
    """Not an error: the decoder was reached, and its inputs are in hand."""


def decoder_inputs(network, inputs: dict) -> dict:
    """What the network hands its decoder for these inputs: vision tower and projector run, the decoder does not.

    network: a copy that nobody else runs meanwhile, since anybody's pass through it would end at its decoder.
    """
    caught = {}

    def catch(module, args, kwargs):
        caught.update(kwargs)
        raise _Reached

    hook = network.get_decoder().register_forward_pre_hook(catch, with_kwargs=True)
    try:
        with fitting(network.name_or_path):
            network(**inputs, use_cache=False)
    except _Reached:
        pass
    finally:
        hook.remove()
    return caught


def measure(model: LVLM, timed: bool = True, repeats: int = 5, new_tokens: int = 16, report: Report = silent) -> Cost:
    """Counts of any LVLM, and (timed) medians of warm runs: time to first token, tokens/s; and its peak memory."""
    workload = workload_of(model)
    cost = count(model.anatomy, workload, model.bytes())
    cost = replace(cost, parameters=model.parameters())
    if not timed or model.processor is None:
        return cost
    inputs = inputs_of(model)
    run = partial(token_times, model, inputs, new_tokens, model.device.type == "cuda")
    report(Progress("measure", 0, repeats + 2, "warming up"))
    run()
    report(Progress("measure", 1, repeats + 2, "measuring memory"))
    added = added_by(run, model.device)
    first, rate = [], []
    for done in range(repeats):
        report(Progress("measure", done + 2, repeats + 2, "timing"))
        times = run()
        first.append(times[0])
        rate.append((new_tokens - 1) / (times[-1] - times[0]))
    report(Progress("measure", repeats + 2, repeats + 2, "timed"))
    return replace(
        cost,
        first_token_s=statistics.median(first),
        tokens_per_s=statistics.median(rate),
        peak_bytes=None if added is None else cost.bytes + added,
    )


class _Clock:
    """A streamer that notes when each new token came, in seconds since it was made."""

    def __init__(self, cuda: bool):
        self.cuda, self.start, self.times = cuda, time.perf_counter(), []

    def put(self, value):
        if self.cuda:
            torch.cuda.synchronize()
        self.times.append(time.perf_counter() - self.start)

    def end(self):
        self.times.pop(0)  # the first call was the prompt itself


def token_times(model: LVLM, inputs: dict, tokens: int, cuda: bool) -> list[float]:
    """When each of `tokens` new tokens came, in seconds. One run gives both figures: two would differ by chance."""
    pad, clock = model.processor.tokenizer.pad_token_id, _Clock(cuda)
    options = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None, "pad_token_id": pad}
    with torch.no_grad():
        model.network.generate(**inputs, min_new_tokens=tokens, max_new_tokens=tokens, streamer=clock, **options)
    return clock.times
