"""A language decoder as layers of heads and neurons; the one file that knows q_proj from qkv_proj.

A decoder family is data: which linears a layer has, and what their rows and columns are. Everything else
(scoring, cutting, masking, counting) works on `Cut`s and never sees a layer's module names.
An Anatomy is plain data too: no tensor, no module, JSON in and out.
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property

from torch import nn

from .errors import UnsupportedDecoder
from .plain import typed

MOST_SIZE = 1 << 31  # of a dimension; no model comes near


@dataclass(frozen=True)
class Linear:
    """One weight matrix of a layer; `path` is relative to the layer."""

    path: str
    rows: int  # out_features
    columns: int  # in_features
    bias: bool


@dataclass(frozen=True)
class Cut:
    """Where one kind of unit lies in one linear: unit u owns rows (or columns) start + u·width … + width."""

    path: str
    kind: str  # "heads": units are key/value groups; "neurons"
    dim: int  # 0: rows of the weight (and of its bias), 1: columns
    start: int
    width: int
    units: int


# --- families, as data. A part names its linear (first name found wins) and the blocks its rows or columns hold. ---


@dataclass(frozen=True)
class Part:
    names: tuple[str, ...]
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


ATTENTIONS = {
    "separate q, k, v": (
        Part(("q_proj",), rows=("q",)),
        Part(("k_proj",), rows=("kv",)),
        Part(("v_proj",), rows=("kv",)),
        Part(("o_proj", "dense", "out_proj"), columns=("q",)),
    ),
    "fused qkv": (  # Phi-3: all q heads, then all k, then all v
        Part(("qkv_proj",), rows=("q", "kv", "kv")),
        Part(("o_proj",), columns=("q",)),
    ),
}
MLPS = {
    "gated": (
        Part(("gate_proj",), rows=("neuron",)),
        Part(("up_proj",), rows=("neuron",)),
        Part(("down_proj",), columns=("neuron",)),
    ),
    "fused gate and up": (  # Phi-3: all gates, then all ups
        Part(("gate_up_proj",), rows=("neuron", "neuron")),
        Part(("down_proj",), columns=("neuron",)),
    ),
    "plain": (  # Phi-2
        Part(("fc1",), rows=("neuron",)),
        Part(("fc2",), columns=("neuron",)),
    ),
}


VISION = ("vision", "visual", "tower")  # in the names of what looks at images


@dataclass(frozen=True)
class Layer:
    """One decoder layer. `groups` key/value groups of `heads_per_group` query heads each, and `neurons`."""

    groups: int
    heads_per_group: int
    head_dim: int
    neurons: int
    linears: tuple[Linear, ...]
    cuts: tuple[Cut, ...]
    other: int  # parameters outside the linears: norms and the like
    window: int | None = None  # sliding attention sees this many tokens back

    @property
    def n_heads(self) -> int:
        return self.groups * self.heads_per_group

    @property
    def n_kv_heads(self) -> int:
        return self.groups

    @property
    def intermediate(self) -> int:
        return self.neurons

    @cached_property
    def parameters(self) -> int:
        return self.other + sum(x.rows * x.columns + x.rows * x.bias for x in self.linears)

    @cached_property
    def weights(self) -> int:
        """Entries of the weight matrices alone: each costs one multiply-add a token."""
        return sum(x.rows * x.columns for x in self.linears)

    @property
    def projections(self) -> tuple[str, str]:
        """Paths of the linears through which attention and MLP reach the residual stream."""
        paths = {x.kind: x.path for x in self.cuts if x.dim == 1}
        return paths["heads"], paths["neurons"]

    @property
    def is_whole(self) -> bool:
        """Whether every unit lies inside a linear that is there, and both kinds reach the residual stream."""
        sizes = {(x.path, dim): n for x in self.linears for dim, n in ((0, x.rows), (1, x.columns))}
        units = {"heads": self.groups, "neurons": self.neurons}
        return {x.kind for x in self.cuts if x.dim == 1} == units.keys() and all(
            x.units == units.get(x.kind)
            and x.start >= 0
            and x.width >= 1
            and x.start + x.width * x.units <= sizes.get((x.path, x.dim), 0)
            for x in self.cuts
        )

    def unit(self, kind: str) -> tuple[int, int]:
        """(parameters, weight entries) that one group ("heads") or one neuron ("neurons") holds."""
        shapes = {x.path: x for x in self.linears}
        weights = biases = 0
        for cut in self.cuts:
            if cut.kind == kind:
                linear = shapes[cut.path]
                weights += cut.width * (linear.columns if cut.dim == 0 else linear.rows)
                biases += cut.width * linear.bias * (cut.dim == 0)
        return weights + biases, weights

    def resized(self, groups: int, neurons: int) -> "Layer":
        """The same layer with fewer groups and neurons."""
        if (groups, neurons) == (self.groups, self.neurons):
            return self
        kept = {"heads": groups, "neurons": neurons}
        cuts, starts, sizes = [], {}, {}
        for cut in self.cuts:
            start = starts.get((cut.path, cut.dim), 0)
            cuts.append(replace(cut, start=start, units=kept[cut.kind]))
            starts[cut.path, cut.dim] = sizes[cut.path, cut.dim] = start + cut.width * kept[cut.kind]
        linears = tuple(
            replace(x, rows=sizes.get((x.path, 0), x.rows), columns=sizes.get((x.path, 1), x.columns))
            for x in self.linears
        )
        return replace(self, groups=groups, neurons=neurons, linears=linears, cuts=tuple(cuts))


@dataclass(frozen=True)
class Parts:
    """Parameter counts of a vision-language model; the decoder includes embeddings and output head."""

    vision: int
    projector: int
    decoder: int

    @property
    def total(self) -> int:
        return self.vision + self.projector + self.decoder


@dataclass(frozen=True)
class Anatomy:
    """The decoder's layers, and what stands around them, as far as counting needs it."""

    layers: tuple[Layer, ...]
    hidden: int
    vocabulary: int
    parts: Parts
    itemsize: int = 4  # bytes a parameter

    def to_dict(self) -> dict:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "Anatomy":
        """Raises ValueError for what describes no decoder."""
        found = typed(cls, data)
        sizes = [found.hidden, found.vocabulary, found.itemsize]
        sizes += [n for x in found.layers for n in (x.groups, x.heads_per_group, x.head_dim, x.neurons, x.window or 1)]
        sizes += [n for x in found.layers for y in x.linears for n in (y.rows, y.columns)]
        rest = found.parts.decoder - sum(x.parameters for x in found.layers)
        counts = [rest, found.parts.vision, found.parts.projector, *(x.other for x in found.layers)]
        if not found.layers or min(sizes) < 1 or max(sizes) > MOST_SIZE or min(counts) < 0:
            raise ValueError("its sizes are those of no decoder")
        if not all(x.is_whole for x in found.layers):
            raise ValueError("its heads and neurons are not where its matrices are")
        return found

    def kept(self, layers, groups, neurons) -> "Anatomy":
        """What stays: indices of kept layers, and per *original* layer the number of groups and neurons."""
        new = tuple(self.layers[i].resized(int(groups[i]), int(neurons[i])) for i in layers)
        lost = sum(x.parameters for x in self.layers) - sum(x.parameters for x in new)
        return replace(self, layers=new, parts=replace(self.parts, decoder=self.parts.decoder - lost))


# --- reading it off a network ---


def anatomy_of(network: nn.Module) -> Anatomy:
    """Describe any network whose `get_decoder()` has `.layers`. Raises UnsupportedDecoder naming what is missing."""
    decoder = network.get_decoder()
    if not isinstance(getattr(decoder, "layers", None), nn.ModuleList) or not len(decoder.layers):
        raise UnsupportedDecoder(f"{type(decoder).__name__} has no list of layers: choose a transformer decoder.")
    _check_only_layers(network, decoder)
    config = network.config.get_text_config()
    windows = _windows(config, len(decoder.layers))
    layers = tuple(describe_layer(x, i, window) for i, (x, window) in enumerate(zip(decoder.layers, windows)))
    embedding = network.get_input_embeddings().weight
    return Anatomy(
        layers=layers,
        hidden=embedding.shape[1],
        vocabulary=network.get_output_embeddings().weight.shape[0],
        parts=parts_of(network),
        itemsize=embedding.element_size(),
    )


def _check_only_layers(network: nn.Module, decoder: nn.Module) -> None:
    """A decoder is its layers, between an embedding and a norm: nothing that looks at an encoder at certain depths."""
    embedding = network.get_input_embeddings().weight
    others = [x for x, p in decoder.named_parameters() if p.dim() > 1 and p is not embedding]
    unknown = [x for x in others if not x.startswith("layers.")]
    if unknown or getattr(network.config, "is_encoder_decoder", False):
        what = unknown[0] if unknown else "it has an encoder"
        raise UnsupportedDecoder(
            f"{type(decoder).__name__} is more than a stack of layers ({what}): "
            "only decoders that read images as tokens can be pruned."
        )


def _windows(config, n: int) -> list[int | None]:
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds:
        return [window if kind == "sliding_attention" else None for kind in kinds]
    return [window] * n


def describe_layer(layer: nn.Module, index: int, window: int | None = None) -> Layer:
    attention, mlp = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    if attention is None or mlp is None:
        missing = "self-attention" if attention is None else "MLP"
        raise UnsupportedDecoder(
            f"Layer {index} ({type(layer).__name__}) has no plain {missing} block: "
            "only decoders of attention + MLP layers can be pruned."
        )
    if not hasattr(attention, "head_dim"):
        raise UnsupportedDecoder(f"Layer {index}'s {type(attention).__name__} does not tell its head size.")
    head_dim = attention.head_dim
    per_group = int(getattr(attention, "num_key_value_groups", 1))
    found = _match(attention, ATTENTIONS, "self_attn", index) + _match(mlp, MLPS, "mlp", index)
    widths = {"q": per_group * head_dim, "kv": head_dim, "neuron": 1}
    linears, cuts = [], []
    for path, module, part in found:
        linears.append(Linear(path, module.out_features, module.in_features, module.bias is not None))
        for dim, blocks in ((0, part.rows), (1, part.columns)):
            length = module.out_features if dim == 0 else module.in_features
            units, rest = divmod(length, sum(widths[x] for x in blocks) or length)
            if rest:
                raise UnsupportedDecoder(f"Layer {index}'s {path} ({length}) does not divide into whole heads.")
            start = 0
            for block in blocks:
                cuts.append(Cut(path, "neurons" if block == "neuron" else "heads", dim, start, widths[block], units))
                start += widths[block] * units
    groups, neurons = (_one_count(cuts, kind, index) for kind in ("heads", "neurons"))
    other = sum(x.numel() for x in layer.parameters()) - sum(x.rows * (x.columns + x.bias) for x in linears)
    _check_nothing_else_depends(attention, mlp, head_dim, index)
    _check_all_known(layer, linears, index)
    return Layer(groups, per_group, head_dim, neurons, tuple(linears), tuple(cuts), other, window)


def _match(block: nn.Module, families: dict, prefix: str, index: int):
    for parts in families.values():
        found = []
        for part in parts:
            name = next((x for x in part.names if isinstance(getattr(block, x, None), nn.Linear)), None)
            if name is None:
                break
            found.append((f"{prefix}.{name}", getattr(block, name), part))
        else:
            return found
    names = ", ".join(name for name, _ in block.named_children()) or "no linears"
    raise UnsupportedDecoder(
        f"Layer {index}'s {type(block).__name__} ({names}) is none of: {', '.join(families)}. "
        "Mixtures of experts and state-space layers cannot be pruned yet."
    )


def _one_count(cuts: list[Cut], kind: str, index: int) -> int:
    counts = {x.units for x in cuts if x.kind == kind}
    if len(counts) != 1:
        raise UnsupportedDecoder(f"Layer {index}'s linears disagree on the number of {kind}: {sorted(counts)}.")
    return counts.pop()


def _check_nothing_else_depends(attention: nn.Module, mlp: nn.Module, head_dim: int, index: int) -> None:
    """A parameter outside the described linears must not run over heads or neurons; a norm over all heads would."""
    for block in (attention, mlp):
        for name, parameter in block.named_parameters():
            owner = block.get_submodule(name.rpartition(".")[0]) if "." in name else block
            if not isinstance(owner, nn.Linear) and tuple(parameter.shape) != (head_dim,):
                raise UnsupportedDecoder(
                    f"Layer {index}'s {type(block).__name__}.{name} {tuple(parameter.shape)} spans several heads "
                    "or neurons, so they cannot be cut one by one."
                )


def _check_all_known(layer: nn.Module, linears: list[Linear], index: int) -> None:
    """No matrix beside the described ones: it may gate heads, or belong to this depth alone (Gemma 3n, Gemma 4)."""
    known = {x.path for x in linears}
    for name, parameter in layer.named_parameters():
        path = name.rpartition(".")[0]
        if parameter.dim() > 1 and path not in known:
            raise UnsupportedDecoder(
                f"Layer {index} ({type(layer).__name__}) has a matrix {name} beside its attention and MLP, "
                "and it is not known what depends on it: please choose a model of another family."
            )


def vision_towers(network: nn.Module) -> list[nn.Module]:
    """What looks at images, whatever its family calls it; empty where nothing does."""
    body = getattr(network, "model", network)
    return [x for name, x in body.named_children() if any(y in name for y in VISION) and "proj" not in name]


def decoder_path(network: nn.Module) -> str:
    """Where the decoder's module is in the network."""
    decoder = network.get_decoder()
    return next(name for name, module in network.named_modules() if module is decoder)


def parts_of(network: nn.Module) -> Parts:
    """Unique parameters by part; tied embeddings count once."""
    decoder = network.get_decoder()
    ids = {id(x): x.numel() for x in network.parameters()}
    text = {id(x) for x in decoder.parameters()} | {id(x) for x in network.get_output_embeddings().parameters()}
    seen = {id(x) for tower in vision_towers(network) for x in tower.parameters()} - text
    n_text, n_vision = (sum(ids[x] for x in part if x in ids) for part in (text, seen))
    return Parts(vision=n_vision, projector=sum(ids.values()) - n_text - n_vision, decoder=n_text)
