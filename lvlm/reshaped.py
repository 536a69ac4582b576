"""Decoders whose layers differ in width: cut, build and describe them, for any family that anatomy.py knows.

A reshaped network is an instance of a subclass of its stock class which, after the stock `__init__`, resizes the
decoder's linears to what `text_config.pruning` says. Stock `from_pretrained` and `save_pretrained` do the rest,
bit for bit, and the stock class itself refuses such a checkpoint because its shapes do not fit.
"""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from huggingface_hub.errors import StrictDataclassError
from torch import nn
from transformers import PreTrainedModel

from . import deepstack
from .anatomy import Layer, anatomy_of, describe_layer

KEY = "pruning"  # in text_config: {"groups": [...], "neurons": [...]}, one number a layer; {"deepstack": …} if it moved
PER_LAYER_LISTS = ("layer_types", "no_rope_layers", "mlp_layer_types")  # text_config entries with one item a layer
HEAD_COUNTS = ("num_heads", "num_attention_heads")  # what attention modules call their own counts, where they keep any
KV_COUNTS = ("num_key_value_heads", "num_kv_heads")


class LayerConfig:
    """The shared text config as one attention layer must see it: its own head counts, all else passed through.

    Phi-3 reads head counts from its config in forward. A copy of the config would miss later changes of the
    attention implementation; this view does not. Global counts stay dense: rotary sizes derive from them.
    """

    def __init__(self, shared, n_heads: int, n_kv_heads: int):
        self.__dict__.update(_shared=shared, num_attention_heads=n_heads, num_key_value_heads=n_kv_heads)

    def __getattr__(self, name):
        if name.startswith("__") or "_shared" not in self.__dict__:  # copy and pickle probe an empty instance
            raise AttributeError(name)
        return getattr(self._shared, name)


def shared_copy(network: nn.Module, trainable: Sequence[nn.Parameter] | None = None) -> nn.Module:
    """A deep copy of everything except tensors, which are shared; hooks, configs and modules are the copy's own.

    trainable: if given, the copy holds *new* Parameter objects on the same storage, of which just these require a
    gradient, so that gradients and flags on the copy leave the original alone.
    """
    memo = {id(x): x for x in (*network.parameters(), *network.buffers())}
    if trainable is not None:
        wanted = {id(x) for x in trainable}
        memo.update((id(x), nn.Parameter(x.detach(), requires_grad=id(x) in wanted)) for x in network.parameters())
    return copy.deepcopy(network, memo)


def keep(network: PreTrainedModel, layers, heads, neurons) -> PreTrainedModel:
    """A network with only these units, sharing every tensor that loses nothing with the given one.

    layers: indices to keep; heads, neurons: per original layer the sorted indices of kept groups and neurons.
    """
    dense = anatomy_of(network).layers
    recorded = getattr(network.config.get_text_config(), KEY, None) or {}
    places = deepstack.places_of(network, recorded.get("deepstack"))
    network = shared_copy(network)
    decoder = network.get_decoder()
    modules = list(decoder.layers)
    kept, widths_change = [], False
    for i in layers:
        smaller = dense[i].resized(len(heads[i]), len(neurons[i]))
        if smaller is not dense[i]:
            widths_change = True
            _shrink(modules[i], dense[i], smaller, {"heads": heads[i], "neurons": neurons[i]})
        kept.append(smaller)
    decoder.layers = nn.ModuleList(modules[i] for i in layers)
    _renumber(network, layers, len(modules))
    places = deepstack.moved(places, list(layers))
    in_place = places == list(range(len(places)))
    if widths_change or is_reshaped(network) or not in_place:
        stock = stock_class(type(network))
        if in_place and _describe_as_stock(network, stock, kept):
            network.__class__ = stock
        else:
            _record(network, kept, [] if in_place else places)
            network.__class__ = reshaped_class(stock)
    return network


def kept_rows(layer: Layer, path: str, dim: int, kept: dict) -> np.ndarray | None:
    """Rows (or columns) of a linear that the kept units own; None if that side of it is not cut at all."""
    blocks = [
        (cut.start + np.asarray(kept[cut.kind])[:, None] * cut.width + np.arange(cut.width)).ravel()
        for cut in layer.cuts
        if cut.path == path and cut.dim == dim
    ]
    return np.concatenate(blocks) if blocks else None


@torch.no_grad()
def _shrink(module: nn.Module, before: Layer, after: Layer, kept: dict) -> None:
    for old, new in zip(before.linears, after.linears):
        if old == new:
            continue
        linear = module.get_submodule(old.path)
        weight, bias = linear.weight, linear.bias
        for dim in (0, 1):
            index = kept_rows(before, old.path, dim, kept)
            if index is not None and len(index) < weight.shape[dim]:
                index = torch.from_numpy(index).to(weight.device)
                weight = _columns(weight, index) if dim else weight.index_select(0, index)
                if dim == 0 and bias is not None:
                    bias = bias.index_select(0, index)
        small = _empty_linear(new, weight.device, weight.dtype)
        small.weight = nn.Parameter(weight, requires_grad=linear.weight.requires_grad)
        if bias is not None:  # an untouched bias (that of o_proj, of down_proj) stays the shared one
            small.bias = bias if bias is linear.bias else nn.Parameter(bias, requires_grad=linear.bias.requires_grad)
        small.train(linear.training)
        module.set_submodule(old.path, small)
    _tell_attention(module, after)


def _columns(weight: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """weight[:, index]. On the CPU, numpy gathers two-byte numbers nearly three times as fast as torch does."""
    if weight.device.type != "cpu" or weight.element_size() != 2 or not weight.is_contiguous():
        return weight.index_select(1, index)
    found = torch.empty(len(weight), len(index), dtype=weight.dtype)  # torch's alignment: products depend on it
    kind, taken = torch.int16, index.numpy()
    if weight.shape[1] % 4 == len(taken) % 4 == 0:
        fours = taken.reshape(-1, 4)
        if not (fours[:, 0] % 4).any() and (np.diff(fours) == 1).all():  # heads: four neighbours are one long number
            kind, taken = torch.int64, fours[:, 0] // 4
    parts = zip(*(x.detach().view(kind).chunk(torch.get_num_threads()) for x in (weight, found)))
    with ThreadPoolExecutor() as pool:  # take lets go of the interpreter's lock
        list(pool.map(lambda x: np.take(x[0].numpy(), taken, axis=1, out=x[1].numpy(), mode="clip"), parts))
    return found


def _empty_linear(shape, device, dtype) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(shape.columns, shape.rows, bias=shape.bias, dtype=dtype)
    return linear if str(device) == "meta" else linear.to_empty(device=device)


def _tell_attention(module: nn.Module, layer: Layer) -> None:
    attention = module.self_attn
    for names, count in ((HEAD_COUNTS, layer.n_heads), (KV_COUNTS, layer.n_kv_heads)):
        for name in names:
            if hasattr(attention, name):
                setattr(attention, name, count)
    shared = attention.config
    shared = shared._shared if isinstance(shared, LayerConfig) else shared
    attention.config = LayerConfig(shared, layer.n_heads, layer.n_kv_heads)


def text_configs(network: nn.Module) -> list:
    """Every distinct object in the network that describes its decoder (wrappers keep copies of it)."""
    main = network.config.get_text_config()
    found = {id(main): main}
    for module in network.get_decoder().modules():
        config = getattr(module, "config", None)
        if type(config) is type(main):
            found[id(config)] = config
    return list(found.values())


def _renumber(network: nn.Module, layers, before: int) -> None:
    if list(layers) == list(range(before)):
        return
    for new, module in enumerate(network.get_decoder().layers):
        for part in module.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = new
    for config in text_configs(network):
        for name in PER_LAYER_LISTS:
            values = getattr(config, name, None)
            if isinstance(values, list | tuple) and len(values) == before:
                setattr(config, name, [values[i] for i in layers])
        config.num_hidden_layers = len(layers)


def _record(network: nn.Module, layers: Sequence[Layer], places: Sequence[int]) -> None:
    widths = {"groups": [x.groups for x in layers], "neurons": [x.neurons for x in layers]}
    if places:
        widths["deepstack"] = list(places)
        deepstack.move(network, places)
    for config in text_configs(network):
        setattr(config, KEY, copy.deepcopy(widths))


def _describe_as_stock(network: nn.Module, stock: type, layers: Sequence[Layer]) -> bool:
    """Write the new widths into the stock config, if all layers have the same and the stock class then builds them.

    Tried on the meta device, not guessed: Llama, say, refuses head counts that do not divide its hidden size.
    """
    if len({(x.groups, x.neurons) for x in layers}) > 1:
        return False
    layer = layers[0]
    widths = {
        "intermediate_size": layer.neurons,
        "num_attention_heads": layer.n_heads,
        "num_key_value_heads": layer.n_kv_heads,
        "head_dim": layer.head_dim,
    }
    config = copy.deepcopy(network.config)
    try:
        _write(config.get_text_config(), widths)
        config = type(config).from_dict(config.to_dict())  # what reading it back from disk will check and derive
        with torch.device("meta"):
            trial = stock(config)
    except (ValueError, TypeError, AttributeError, RuntimeError, StrictDataclassError):
        return False
    if _build(trial) != _build(network):
        return False
    for config in text_configs(network):
        _write(config, widths)
    return True


def _write(config, widths: dict) -> None:
    for name, value in widths.items():
        if hasattr(config, name) and getattr(config, name) is None and name == "num_key_value_heads":
            continue  # None: as many as there are heads
        if hasattr(config, name) or name == "head_dim":
            setattr(config, name, value)
    if hasattr(config, KEY):
        delattr(config, KEY)


def _build(network: nn.Module) -> list:
    """All that must agree for two networks to compute alike with the same weights."""
    shapes = [(name, tuple(x.shape)) for name, x in network.state_dict().items()]
    rotary = [(name, tuple(x.shape)) for name, x in network.named_buffers()]
    scales = [
        (x.self_attn.head_dim, getattr(x.self_attn, "scaling", None), getattr(x.self_attn, "num_key_value_groups", 1))
        for x in network.get_decoder().layers
    ]
    return [shapes, rotary, scales]


# --- building one from its config ---


@cache
def reshaped_class(stock: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """The stock class, resizing its decoder to text_config.pruning.

    It keeps the stock name and module: transformers looks up checkpoint renamings by them.
    """

    def __init__(self, config, *args, **kwargs):
        stock.__init__(self, config, *args, **kwargs)
        resize(self, getattr(config.get_text_config(), KEY))

    fields = {"__init__": __init__, "__module__": stock.__module__, "__doc__": stock.__doc__, "_stock": stock}
    return type(stock.__name__, (stock,), fields)


def is_reshaped(network: nn.Module) -> bool:
    return "_stock" in type(network).__dict__


def stock_class(cls: type) -> type:
    return cls.__dict__.get("_stock", cls)


def resize(network: nn.Module, widths: dict) -> None:
    """Give each layer's linears the widths written in text_config.pruning; weights are left uninitialised.

    Image features that are added between layers go to their written places too.
    """
    modules = network.get_decoder().layers
    groups, neurons = widths["groups"], widths["neurons"]
    if not len(groups) == len(neurons) == len(modules):
        raise ValueError(f"text_config.{KEY} lists {len(groups)} layers; the decoder has {len(modules)}")
    for index, module in enumerate(modules):
        layer = describe_layer(module, index)
        smaller = layer.resized(int(groups[index]), int(neurons[index]))
        for old, new in zip(layer.linears, smaller.linears):
            if old != new:
                weight = module.get_submodule(old.path).weight
                module.set_submodule(old.path, _empty_linear(new, weight.device, weight.dtype))
        if smaller is not layer:
            _tell_attention(module, smaller)
    if "deepstack" in widths:
        deepstack.move(network, [int(x) for x in widths["deepstack"]])
