"""LLM.int8 for decoder linears (bitsandbytes, CPU or GPU); vision tower, projector and head stay as they are."""

import logging

import torch
from torch import nn

from .anatomy import anatomy_of, decoder_path
from .errors import BadPlan, LVLMError
from .memory import Shapes, check, need
from .model import LVLM
from .reshaped import shared_copy
from .shortage import enough_memory

THRESHOLD = 6.0  # LLM.int8's outlier threshold: activation columns beyond it are multiplied in 16 bits


@enough_memory("Storing in 8 bits")
def quantized(model: LVLM, kind: str = "int8") -> LVLM:
    """A copy whose decoder linears hold int8 rows with a scale each; everything else is shared with `model`."""
    if kind != "int8":
        raise BadPlan(f"There is no quantization {kind!r}: please choose int8 (4-bit is silently wrong on CPUs).")
    if any(x.get("step") == "quantize" for x in model.history):
        raise BadPlan("This model is already quantized: quantize the model it was made from instead.")
    extra = need(Shapes.of(model.network), "quantize", model.dtype.itemsize, weights=0).extra
    check(f"Storing {model.name} in 8 bits", extra, model.device)
    bnb = bitsandbytes_quietly()
    layers = anatomy_of(model.network).layers
    network = shared_copy(model.network)
    for module, layer in zip(network.get_decoder().layers, layers):
        for shape in (x for x in layer.linears if not single(x)):
            module.set_submodule(shape.path, _int8(bnb, module.get_submodule(shape.path)))
    return recorded(LVLM(network, model.processor, model.name, model.history))


def recorded(model: LVLM) -> LVLM:
    """A model whose decoder linears are int8, with that in its config and history."""
    # With this in config.json, from_pretrained gives the same int8 modules back. Full paths: bare names hit too much.
    model.network.config.quantization_config = {
        "quant_method": "bitsandbytes",
        "load_in_8bit": True,
        "llm_int8_threshold": THRESHOLD,
        "llm_int8_skip_modules": left_out(model.network),
    }
    version = bitsandbytes_quietly().__version__
    done = {"step": "quantize", "kind": "int8", "library": f"bitsandbytes {version}"}
    model.history = (*model.history, done)
    return model


def reading_options(network: nn.Module):
    """What makes `from_pretrained` store each decoder linear in int8 as it is read: the same bits as `quantized`.

    network: on the meta device. Raises UnsupportedDecoder where its layers hold linears that are not known.
    """
    from transformers import BitsAndBytesConfig

    anatomy_of(network)
    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_threshold=THRESHOLD, llm_int8_skip_modules=left_out(network))


def single(linear) -> bool:
    """Whether a linear has one input (a layer with one neuron left): torch 2.13's int8 product of such is garbage on
    CPUs, another with every call (torch._int_mm of inner size 1), so it stays as it is."""
    return linear.columns == 1


def left_out(network: nn.Module) -> list[str]:
    """Full paths of what stays as it is: whatever stands beside the way from the network to the decoder's layers, and
    linears of one input."""
    found, where, module = [], "", network
    for step in (*decoder_path(network).split("."), "layers"):
        found += [f"{where}{name}" for name, _ in module.named_children() if name != step]
        where, module = f"{where}{step}.", module.get_submodule(step)
    layers = enumerate(anatomy_of(network).layers)
    found += [f"{where}{i}.{x.path}" for i, layer in layers for x in layer.linears if single(x)]
    return sorted(found)


def bitsandbytes_quietly():
    """The library, imported late (a second) and quietly: it warns at import, and about a cast at every product."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import bitsandbytes
    except ImportError as error:
        raise LVLMError("int8 needs the bitsandbytes package: please run `pip install bitsandbytes`.") from error

    for name in list(logging.root.manager.loggerDict):
        if name.startswith("bitsandbytes"):
            logging.getLogger(name).setLevel(logging.ERROR)
    return bitsandbytes


def _int8(bnb, linear: nn.Linear) -> nn.Module:
    with torch.device("meta"):
        small = bnb.nn.Linear8bitLt(
            linear.in_features, linear.out_features, bias=False, has_fp16_weights=False, threshold=THRESHOLD
        )
    start = linear.weight.detach().to("cpu", copy=True)  # only a move away from the CPU, or onto it, quantizes
    weight = bnb.nn.Int8Params(start, requires_grad=False, has_fp16_weights=False)
    small.weight = weight.to(linear.weight.device)
    small.bias = linear.bias
    return small.eval()  # in training mode the CPU path silently computes something else
