"""What is trained: a copy of the pruned model with fp32 weights of its own where they may move, and LoRA by PEFT.

And back: trained weights, LoRA merged, in an ordinary network.
"""

import re
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from lvlm import LVLM
from lvlm.anatomy import decoder_path
from lvlm.head import head_of
from lvlm.int8 import bitsandbytes_quietly
from lvlm.reshaped import shared_copy
from lvlm.unfit import fitting

from .errors import BadRecipe
from .parts import Once, decoder_of, projector_of
from .recipe import Recipe

A, B = ".lora_A.default.weight", ".lora_B.default.weight"  # what PEFT calls the two factors, after the linear's path


class Run(nn.Module):
    """A network, run up to hidden states of some layers and logits, each only at the positions that are asked for.

    layers: of the decoder; the last one's output is taken after the final norm, which is what the head reads.
    anchors: parameters that are part of every graph, also where a batch makes no use of them (a projector without
        images): processes that exchange gradients or shards must all do so alike.
    """

    def __init__(self, network: nn.Module, layers: Sequence[int], anchors: Sequence[str] = ()):
        super().__init__()
        self.network, self.layers, self.anchors = network, tuple(layers), tuple(anchors)
        self._no_split_modules = network._no_split_modules  # what FSDP wraps
        self._last = len(network.get_decoder().layers) - 1
        self._where, self._seen = None, {}
        if self.anchors:
            network.get_decoder().register_forward_pre_hook(self._anchor, with_kwargs=True)
        for index in set(self.layers) - {self._last}:
            network.get_decoder().layers[index].register_forward_hook(partial(self._see, index))

    def _anchor(self, module, args, kwargs):
        """Adds nothing to what the decoder is given, and the anchors to its graph."""
        nothing = sum(0 * self.network.get_parameter(x).sum() for x in self.anchors)
        return args, {**kwargs, "inputs_embeds": kwargs["inputs_embeds"] + nothing.to(kwargs["inputs_embeds"].dtype)}

    def _see(self, index: int, module, args, output) -> None:
        output = output[0] if isinstance(output, tuple) else output
        self._seen[index] = output[self._where]

    def forward(self, inputs: dict, tokens: torch.Tensor, scored: torch.Tensor | None) -> dict:
        """{"hidden": [(tokens, D) of each layer], "logits": (scored, V) or None}; tokens, scored (B, T) bool."""
        self._where = tokens
        with fitting(self.network.name_or_path):
            hidden = self.network.base_model(**inputs, use_cache=False).last_hidden_state
        found = [hidden[tokens] if i == self._last else self._seen[i] for i in self.layers]
        self._seen.clear()
        return {"hidden": found, "logits": None if scored is None else head_of(self.network)(hidden[scored])}


def student_of(model: LVLM, recipe: Recipe, layers: Sequence[int], once: Once) -> Run:
    """A copy of a model that can be trained as the recipe says; the model itself stays as it is.

    Raises BadRecipe for a model that cannot be trained so.
    """
    if any(x.get("step") == "quantize" for x in model.history):
        raise BadRecipe("An int8 model cannot be healed: please heal the model it was made from, then quantize.")
    projector = list(projector_of(model.network))
    if not projector:
        raise BadRecipe(f"{model.name} has no projector between vision tower and decoder: it cannot be healed yet.")
    full = decoder_of(model.network) if recipe.train == "full" else {}
    names = [*projector, *full]
    network = shared_copy(model.network, trainable=())
    if recipe.train == "lora":
        add_lora(network, model, recipe)
    for name in names:
        network.get_parameter(name).requires_grad_(True)
    for weight in network.parameters():
        if weight.requires_grad:
            weight.data = weight.data.to(torch.float32, copy=True)
    once.share(network)
    if recipe.checkpointing:
        for module in network.get_decoder().layers:
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)
    head = {id(x) for x in model.network.get_output_embeddings().parameters()}  # L2 alone makes no logits
    return Run(network.eval(), layers, [*projector, *(name for name, x in full.items() if id(x) in head)])


def add_lora(network: nn.Module, model: LVLM, recipe: Recipe) -> None:
    """LoRA, in place, on every linear of every layer of a network's decoder, whatever its family calls them."""
    bitsandbytes_quietly()  # PEFT imports it, and it warns at import
    from peft import LoraConfig, inject_adapter_in_model

    paths = sorted({re.escape(x.path) for layer in model.anatomy.layers for x in layer.linears})
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=rf"{re.escape(decoder_path(network))}\.layers\.\d+\.({'|'.join(paths)})",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        inject_adapter_in_model(config, network)


def dropout(student: Run, on: bool) -> None:
    """LoRA's dropout alone: the decoder's own stays off, so that a student can equal its teacher."""
    for name, module in student.named_modules():
        if name.endswith(".lora_dropout"):
            module.train(on)


def trained(student: nn.Module) -> dict[str, nn.Parameter]:
    """What moves, by its name in the network."""
    return {k.removeprefix("network."): p for k, p in student.named_parameters() if p.requires_grad}


def applied(model: LVLM, weights: dict[str, torch.Tensor], recipe: Recipe) -> nn.Module:
    """A network like the model's with trained weights in their places, LoRA merged, in the model's own types.

    It shares every other tensor with the model.
    """
    wanted = [p for p in model.network.parameters() if p.requires_grad]
    network = shared_copy(model.network, trainable=wanted)
    for name, value in weights.items():
        if name.endswith(B):
            continue
        path = name.removesuffix(A)
        parameter = network.get_parameter(path + ".weight" if name.endswith(A) else name)
        if name.endswith(A):
            change = weights[path + B].float() @ value.float() * (recipe.alpha / recipe.rank)
            value = parameter.data.float() + change.to(parameter.device)
        parameter.data = value.to(parameter.device, parameter.dtype, copy=True)
    return network.eval()
