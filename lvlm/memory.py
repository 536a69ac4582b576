"""How much memory a step will take, estimated from shapes alone, and how much is free: asked before weights are read.

An estimate is weights + activations + gradients + what an optimiser keeps, at the moment that needs most. It works on
a network of the meta device as well as on a loaded one, and leans to the high side.
"""

import os
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn

from .anatomy import Parts, parts_of
from .errors import LVLMError, NotEnoughMemory

SMALL = 1_000_000_000  # parameters; below, fp32 on the CPU is both exact and fast enough
STEPS = ("load", "chat", "calibrate", "calibrate-checkpointing", "prune", "quantize", "recover")
TRAINED = ("projector", "lora", "full")  # what `recover` may train; LoRA trains the projector too, as published
OVERRIDE = "PRUNOSCOPE_MEMORY_GIB"  # environment variable: take so much as free, whatever the machine says
TEXT_TOKENS = 64  # beside an image, where nobody said how many
ANSWER_TOKENS = 64  # of which the loss, and so logits, are computed
IMAGE_TOKENS = 576  # where no config tells
CHUNK = 1 << 20  # products weight · gradient that calibration makes at once: 4 MB in fp32, which caches hold
NORMS = 24  # bytes a token and hidden entry that a layer's norms and residuals keep for backward, in fp32
EAGER = 8  # bytes a head, query and key that attention without a fused kernel keeps


@dataclass(frozen=True)
class Need:
    """Bytes in memory when a step needs most, by what they hold. `weights` are there once the model is loaded."""

    weights: int
    activations: int = 0
    gradients: int = 0
    optimiser: int = 0  # states and fp32 copies of what is trained
    copies: int = 0  # weights beside the model's own: pruned, int8, a teacher's, the best so far

    @property
    def total(self) -> int:
        return self.weights + self.extra

    @property
    def extra(self) -> int:
        """What a step takes on top of a loaded model."""
        return self.activations + self.gradients + self.optimiser + self.copies


def need(
    shapes: "Shapes",
    step: str,
    itemsize: int,
    *,
    weights: int | None = None,
    tokens: int | None = None,
    gradients: bool = True,
    train: str = "lora",
    rank: int = 128,
    teacher: bool = True,
    samples: int = 1,
    checkpointing: bool = True,
) -> Need:
    """What a step takes at its peak, for one image and a short text, or for sequences of `tokens` in all.

    shapes: of a network on the meta device, or loaded. itemsize: bytes of an activation, and of a weight unless
    `weights` says what all of them take. gradients: of calibration, whose activations form has none.
    train, rank, teacher (the original, loaded beside the model), samples (at once, of `tokens` each), checkpointing: of
    recovery, by Adam on fp32 copies of what is trained, with the best of them kept beside.
    """
    if step not in STEPS or train not in TRAINED:
        raise ValueError(f"{step}, {train}: steps are {STEPS}, and what is trained {TRAINED}.")
    held = itemsize * shapes.parameters if weights is None else weights
    tokens = shapes.prompt_tokens if tokens is None else tokens
    if step == "load":
        return Need(held)
    if step == "chat":
        return Need(
            held, max(shapes.vision(itemsize), shapes.forward(tokens, itemsize) + shapes.cache(tokens, itemsize))
        )
    if step == "prune":  # at worst every layer of the decoder is made anew; scores are small
        return Need(held, copies=itemsize * shapes.decoder_weights)
    if step == "quantize":
        return Need(held, copies=shapes.decoder_weights + (itemsize + 12) * shapes.largest)
    if step.startswith("calibrate"):
        found = shapes.backward(tokens, itemsize, step.endswith("checkpointing"))
        largest = shapes.largest * itemsize + 12 * min(CHUNK, shapes.largest) if gradients else 0
        return Need(held, max(shapes.vision(itemsize), found), gradients=largest)
    trained = shapes.trained(train, rank)
    found = samples * max(shapes.vision(itemsize), shapes.backward(tokens, itemsize, checkpointing))
    copies = 4 * trained + (held if teacher else 0)
    return Need(held, found, gradients=4 * trained, optimiser=12 * trained, copies=copies)


def default_itemsize(parameters: int) -> int:
    """Bytes a parameter of the type that `load` chooses for a model of this size, where nobody says."""
    return 4 if parameters < SMALL and not torch.cuda.is_available() else 2


Linears = tuple[tuple[int, int], ...]  # (rows, columns) of each weight matrix


@dataclass(frozen=True)
class Shapes:
    """All that an estimate asks of a network. Per layer of the decoder: its linears."""

    layers: tuple[Linears, ...]
    hidden: int
    vocabulary: int
    heads: int
    cached: int  # key and value entries a token, all layers
    eager: bool  # attention without a fused kernel
    image_tokens: int
    vision_tokens: int  # patches of one image
    vision_width: int  # of the tower's widest activation
    vision_hidden: int
    parts: Parts

    @classmethod
    def of(cls, network: nn.Module) -> "Shapes":
        text, vision = network.config.get_text_config(), getattr(network.config, "vision_config", None)
        decoder = network.get_decoder()
        layers = getattr(decoder, "layers", None) or [decoder]
        heads = _number(text, "num_attention_heads", 1)
        head_dim = _number(text, "head_dim", _number(text, "hidden_size", heads) // heads)
        image_tokens = _image_tokens(network.config)
        narrow = _number(vision, "hidden_size", _number(vision, "embed_dim", 1024))
        return cls(
            layers=tuple(_linears(x) for x in layers),
            hidden=_number(text, "hidden_size", 1),
            vocabulary=_number(text, "vocab_size", 1),
            heads=heads,
            cached=2 * len(layers) * head_dim * _number(text, "num_key_value_heads", heads),
            eager=(text._attn_implementation or "sdpa") == "eager" or not decoder._supports_sdpa,
            image_tokens=image_tokens,
            vision_tokens=max(_patches(vision), image_tokens),
            vision_width=_number(vision, "intermediate_size", 4 * narrow),
            vision_hidden=narrow,
            parts=parts_of(network),
        )

    @property
    def parameters(self) -> int:
        return self.parts.total

    @property
    def prompt_tokens(self) -> int:
        return self.image_tokens + TEXT_TOKENS

    @property
    def decoder_weights(self) -> int:
        """Entries of the decoder layers' linears: what pruning replaces, and int8 stores in a byte each."""
        return sum(rows * columns for x in self.layers for rows, columns in x)

    @property
    def largest(self) -> int:
        """Entries of the decoder's largest linear."""
        return max((rows * columns for x in self.layers for rows, columns in x), default=0)

    @property
    def widest(self) -> int:
        return max((max(pair) for x in self.layers for pair in x), default=self.hidden)

    def vision(self, itemsize: int) -> int:
        """The tower's pass over one image, nothing kept for backward."""
        return self.vision_tokens * itemsize * (3 * self.vision_width + 6 * self.vision_hidden)

    def forward(self, tokens: int, itemsize: int) -> int:
        """The decoder's pass over a prompt, nothing kept; the last token's logits in fp32."""
        layer = tokens * (itemsize * (3 * self.widest + 2 * self.hidden) + NORMS // 2 * self.hidden)
        return layer + self._attention(tokens) + 8 * self.vocabulary

    def cache(self, tokens: int, itemsize: int) -> int:
        return itemsize * self.cached * (tokens + ANSWER_TOKENS)

    def backward(self, tokens: int, itemsize: int, checkpointing: bool) -> int:
        """What the decoder's layers keep for backward, and what backward holds on top of it."""
        kept = [self._kept(x, tokens, itemsize) for x in self.layers]
        inputs = len(self.layers) * tokens * itemsize * self.hidden
        passing = tokens * itemsize * 3 * self.widest + 12 * ANSWER_TOKENS * self.vocabulary
        return passing + (inputs + max(kept, default=0) if checkpointing else sum(kept))

    def _kept(self, linears: Linears, tokens: int, itemsize: int) -> int:
        """A layer keeps about what goes into and comes out of its linears, and its norms' fp32 (tested by family)."""
        around = sum(rows + columns for rows, columns in linears)
        return tokens * (itemsize * around + NORMS * self.hidden) + self._attention(tokens)

    def _attention(self, tokens: int) -> int:
        return EAGER * self.heads * tokens**2 if self.eager else 0

    def trained(self, train: str, rank: int) -> int:
        """Parameters that recovery trains."""
        if train == "full":
            return self.parts.projector + self.parts.decoder
        lora = rank * sum(rows + columns for x in self.layers for rows, columns in x)
        return self.parts.projector + (lora if train == "lora" else 0)


def _linears(module: nn.Module) -> Linears:
    return tuple((x.out_features, x.in_features) for x in module.modules() if isinstance(x, nn.Linear))


def _number(config, name: str, otherwise: int) -> int:
    value = getattr(config, name, None)
    value = value[0] if isinstance(value, list | tuple) and value else value
    return value if isinstance(value, int) and value > 0 else otherwise


def _patches(vision) -> int:
    size, patch = _number(vision, "image_size", 0), _number(vision, "patch_size", 0)
    return (size // patch) ** 2 if size and patch else 0


def _image_tokens(config) -> int:
    names = ("image_seq_length", "mm_tokens_per_image")
    return next((x for name in names if (x := _number(config, name, 0))), IMAGE_TOKENS)


# --- what there is ---


def default_device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def free(device: torch.device | str | dict | None = None) -> int:
    """Bytes that this process may still take: of a GPU, or of the machine and its container; all of them for a map.

    device: None means where `load` puts a model by itself.
    PRUNOSCOPE_MEMORY_GIB, for people who know better (swap, say, or a job about to end), replaces the figure.
    """
    said = os.environ.get(OVERRIDE)
    if said:
        try:
            return int(float(said) * 2**30)
        except (ValueError, OverflowError) as error:
            raise LVLMError(
                f"{OVERRIDE}={said} is not a number of GiB: please write one, or leave it unset."
            ) from error
    device = device or default_device()
    split = isinstance(device, dict) or str(device) in ("auto", "balanced", "balanced_low_0", "sequential")
    if split:
        return _ram() + sum(_vram(x) for x in range(torch.cuda.device_count()))
    return _vram(device) if str(device).startswith("cuda") else _ram()


def _vram(device) -> int:
    """Free on the GPU, and what torch holds there without using it."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def _ram() -> int:
    groups = _cgroup_room(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))
    return min([psutil.virtual_memory().available, *groups, *_addresses()])


def _addresses() -> Iterable[int]:
    """What a limit on this process's address space (ulimit -v) leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        yield max(0, limit - psutil.Process().memory_info().vms)


def _cgroup_room(membership: Path, root: Path) -> Iterable[int]:
    """What each memory limit over this process leaves, of control groups v2 and v1; nothing where there is none.

    A container often sees its own group at the root, not at the path that the kernel names. Cache that the kernel
    gives up when asked does not count as used.
    """
    lines = membership.read_text().splitlines() if membership.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        base, names = (root, V2) if not controllers else (root / "memory", V1)
        inner = base / path.lstrip("/")
        for folder in (inner, *inner.parents):
            limit, used = (_integer(folder / x) for x in names[:2])
            if limit is not None and used is not None:
                cache = 0
                if (folder / "memory.stat").exists():
                    stat = dict(x.split() for x in (folder / "memory.stat").read_text().splitlines())
                    cache = int(stat.get(names[2], 0))
                yield max(0, limit - used + cache)
            if folder == base:
                break


V2 = ("memory.max", "memory.current", "inactive_file")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _integer(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such limit here, or "max"
        return None


def held(networks: Iterable[nn.Module]) -> int:
    """Bytes that their weights and buffers take together: what several of them share is counted once."""
    found = {}
    for network in networks:
        for tensor in network.state_dict(keep_vars=True).values():
            storage = tensor.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
    return sum(found.values())


# --- whether it fits ---

_budget: Callable[[int], int] | None = None


def keep_within(room: Callable[[int], int] | None) -> None:
    """From now on, in this process, no step is begun for which a budget of weights has no room; None ends that.

    room: (bytes wanted) → bytes left; may free others' memory first.
    """
    global _budget
    _budget = room


def check(what: str, bytes_: int, device, ways: Iterable[tuple[str, int]] = ()) -> None:
    """Raise NotEnoughMemory, in one sentence with what would fit, unless so many bytes are free.

    what: the subject of the sentence, such as "Calibrating llava". ways: (what to do instead, bytes it takes).
    """
    left = None if _budget is None else _budget(bytes_)
    room = free(device)
    spent = left is not None and left < room
    room = left if spent else room
    if bytes_ <= room:
        return
    fitting = next((way for way, cost in ways if cost <= room), None)
    where = "of GPU memory" if str(device).startswith("cuda") else "of memory"
    raise NotEnoughMemory(
        f"{what} takes about {gib(bytes_)} {where} and {gib(room)} are {'left of the budget' if spent else 'free'}: "
        f"please {fitting or 'free some, or take a machine with more'}."
    )


def gib(bytes_: int) -> str:
    """In GiB, small figures in MiB."""
    return f"{bytes_ / 2**30:.1f} GiB" if bytes_ >= 2**30 else f"{max(1, round(bytes_ / 2**20))} MiB"
