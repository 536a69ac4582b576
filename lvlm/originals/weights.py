"""Tensors under the authors' names → the parameters of a stock network, one at a time.

Every name and shape is settled from the files' headers before a single number is read. Peak memory is the network's
own weights and what is mapped of one shard.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from ..errors import BrokenCheckpoint
from ..files import INDEX, header, read_json, weight_files
from .layouts import EMBEDDING, HEAD, TOWER, Rule

DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Stored:
    """One tensor in a file. `name` is what the layout's rules see; `key` what the file calls it."""

    name: str
    key: str
    file: Path
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Part:
    """Where a parameter comes from: part `index` of `parts` equal ones, by rows, of a stored tensor."""

    stored: Stored
    index: int
    parts: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.stored.shape if self.parts == 1 else (self.stored.shape[0] // self.parts, *self.stored.shape[1:])


def stored_tensors(folder: Path) -> list[Stored]:
    """All tensors of the model in a folder: of the files that its index names, of model.safetensors, or of all files.

    Raises BrokenCheckpoint for a damaged or missing file and for a name that stands twice.
    """
    files = weight_files(folder)
    if (folder / INDEX).exists():
        files = [folder / x for x in sorted({*read_json(folder / INDEX)["weight_map"].values()})]
    elif folder / "model.safetensors" in files:
        files = [folder / "model.safetensors"]
    found: dict[str, Stored] = {}
    for file in files:
        for key, about in header(file).items():
            if key in found:
                raise BrokenCheckpoint(f"{folder.name} holds {key} in {found[key].file.name} and in {file.name}.")
            found[key] = Stored(key, key, file, tuple(about["shape"]), about["dtype"])
    return list(found.values())


def tower_tensors(folder: Path) -> list[Stored]:
    """The vision tensors of a CLIP or SigLIP folder, named as they would be inside a LLaVA checkpoint."""
    prefix = "vision_model."
    return [
        Stored(TOWER + x.key[len(prefix) :], x.key, x.file, x.shape, x.dtype)
        for x in stored_tensors(folder)
        if x.key.startswith(prefix)
    ]


def renamed(stored: Sequence[Stored], rules: Sequence[Rule], folder: str) -> tuple[dict[str, Part], list[Stored]]:
    """Stock name → where it comes from; and the tensors that may only be left out if they are zero."""
    found: dict[str, Part] = {}
    must_be_zero = []
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    for tensor in stored:
        match, rule = next(((m, r) for p, r in compiled if (m := p.fullmatch(tensor.name))), (None, None))
        if rule is None:
            raise BrokenCheckpoint(
                f"The weights of {folder} hold unknown tensors such as {tensor.key}: "
                "they do not belong to this config.json."
            )
        if rule.must_be_zero:
            must_be_zero.append(tensor)
        if rule.targets and tensor.dtype not in DTYPES:
            raise BrokenCheckpoint(
                f"{folder} stores {tensor.key} as {tensor.dtype}, not as plain floating point numbers: "
                "please use the unquantized version."
            )
        n = len(rule.targets)
        if n > 1 and (not tensor.shape or tensor.shape[0] % n):
            raise BrokenCheckpoint(f"The weights of {folder} misshape {tensor.key}: it does not split into {n} parts.")
        for index, target in enumerate(rule.targets):
            name = match.expand(target)
            if name in found:
                raise BrokenCheckpoint(f"{folder} holds {name} twice: as {found[name].stored.key} and {tensor.key}.")
            found[name] = Part(tensor, index, n)
    return found, must_be_zero


def check_fit(network: nn.Module, parts: dict[str, Part], folder: str) -> None:
    """Raise BrokenCheckpoint unless every parameter has its tensor, in its shape, and every tensor its parameter.

    The embedding and the output head may have fewer rows, both equally many: added tokens have none yet.
    """
    rows = {x.shape[0] for name in (EMBEDDING, HEAD) if (x := parts.get(name)) and x.shape}
    wanted = {name: tuple(x.shape) for name, x in network.state_dict(keep_vars=True).items()}
    both = wanted.keys() & parts.keys()
    for kind, names in (
        ("lack what becomes", wanted.keys() - both),
        ("hold unknown tensors such as", {parts[x].stored.key for x in parts.keys() - both}),
        ("misshape", {parts[x].stored.key for x in both if not _fits(x, wanted[x], parts[x].shape)}),
        ("have different numbers of rows in", {EMBEDDING, HEAD} if len(rows) > 1 else ()),
    ):
        if names:
            raise BrokenCheckpoint(
                f"The weights of {folder} {kind} {min(names)} ({len(names)} in all): "
                "they do not belong to this config.json."
            )


def _fits(name: str, wanted: tuple, found: tuple) -> bool:
    rows_may_grow = name in (EMBEDDING, HEAD) and len(found) == len(wanted) == 2 and found[0] <= wanted[0]
    return found == wanted or rows_may_grow and found[1:] == wanted[1:]


@torch.no_grad()
def fill(network: nn.Module, parts: dict[str, Part], zeros: Sequence[Stored], dtype, device, folder: str) -> None:
    """Give the network its weights, copied out of the files one tensor at a time, in their type and place.

    New rows of the embedding are the mean of the others, new rows of the head zero (and suppressed in generation).
    """
    by_file: dict[Path, dict[Stored, list]] = defaultdict(lambda: defaultdict(list))
    for name, part in parts.items():
        by_file[part.stored.file][part.stored].append((name, part))
    for stored in zeros:
        by_file[stored.file][stored] = []
    rows = {name: network.get_parameter(name).shape[0] for name in (EMBEDDING, HEAD)}
    for file, tensors in by_file.items():
        with safe_open(file, framework="pt") as opened:
            for stored, uses in tensors.items():
                tensor = opened.get_tensor(stored.key)
                if not uses and tensor.any():
                    raise BrokenCheckpoint(
                        f"The weights of {folder} hold {stored.key}, which no stock transformers class has: "
                        "leaving it out would change what the model answers."
                    )
                for name, part in uses:
                    piece = tensor.chunk(part.parts)[part.index] if part.parts > 1 else tensor
                    piece = _grown(name, piece, rows.get(name, 0), dtype, device)
                    _assign(network, name, piece)


def _grown(name: str, tensor: torch.Tensor, rows: int, dtype, device) -> torch.Tensor:
    """A copy in memory of its own: what safe_open gives is a view of the mapped file."""
    if rows <= tensor.shape[0] if tensor.dim() else True:
        return tensor.to(device=device, dtype=dtype, copy=True)
    whole = torch.zeros(rows, *tensor.shape[1:], dtype=dtype, device=device)
    whole[: len(tensor)] = tensor.to(device=device, dtype=dtype)
    if name == EMBEDDING:
        whole[len(tensor) :] = tensor.mean(0, dtype=torch.float32).to(device=device, dtype=dtype)
    return whole


def _assign(network: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(path), leaf, nn.Parameter(tensor))
