"""The models a person can pick by name, with their sizes. Sizes are counted from each config, on the meta device."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import torch

from .anatomy import Parts
from .errors import UnknownModel
from .memory import STEPS, Need, Shapes, default_itemsize, free, need

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = Path(__file__).resolve().parent / "configs"


@dataclass(frozen=True)
class Entry:
    """One model of the catalogue. `source` is a folder for bundled models, else a Hugging Face hub id."""

    name: str
    title: str
    family: str  # of the language decoder
    source: str
    licence: str
    config: str  # file which the sizes are counted from
    bundled: bool = False
    notes: str = ""
    aliases: tuple[str, ...] = ()  # other hub ids of the same weights

    @property
    def available(self) -> bool:
        """Nothing to download: the folder is here. A hub model may still be in the local cache."""
        return self.bundled and (Path(self.source) / "config.json").exists()

    @property
    def shapes(self) -> Shapes:
        return _shapes(self.config)

    @property
    def parameters(self) -> Parts:
        return self.shapes.parts

    @property
    def download_bytes(self) -> int:
        """Two bytes a parameter, which is how all of these are published; 0 for bundled models."""
        return 0 if self.bundled else 2 * self.parameters.total

    def need(self, step: str) -> Need:
        """Estimated memory of a step, with the weights in the type that `load` gives them here."""
        return need(self.shapes, step, default_itemsize(self.shapes.parameters))

    def fits(self, step: str, room: int | None = None) -> bool:
        """Whether this machine has the memory for a step now. room: bytes free, where they were just looked up."""
        return self.need(step).total <= (free() if room is None else room)

    def to_dict(self) -> dict:
        """All of the above, JSON-ready; sizes are None and empty for a bundled model whose files are not here."""
        names = ("name", "title", "family", "source", "licence", "bundled", "available", "notes")
        about = {x: getattr(self, x) for x in names}
        if self.bundled and not self.available:
            return about | {"parameters": None, "download_bytes": 0, "memory_bytes": {}, "fits": {}}
        room = free()
        return about | {
            "parameters": asdict(self.parameters),
            "download_bytes": self.download_bytes,
            "memory_bytes": {x: self.need(x).total for x in STEPS},
            "fits": {x: self.fits(x, room) for x in STEPS},
        }


def _pocket(name: str, title: str, family: str, notes: str) -> Entry:
    folder = ROOT / "assets" / "models" / name
    return Entry(name, title, family, str(folder), "MIT", str(folder / "config.json"), bundled=True, notes=notes)


_ENTRIES = (
    _pocket(
        "pocket-llava",
        "Pocket LLaVA",
        "llama",
        "Small enough for any laptop; trained on drawn scenes of everyday objects.",
    ),
    _pocket(
        "pocket-bunny", "Pocket Bunny", "phi", "Pocket LLaVA's sibling with Bunny's parts: SigLIP tower, Phi decoder."
    ),
    _pocket(
        "pocket-internvl",
        "Pocket InternVL",
        "phi3",
        "Pocket LLaVA's sibling with InternVL's parts: InternViT tower, pixel shuffle, Phi-3 decoder.",
    ),
    Entry(
        "llava-1.5-7b",
        "LLaVA-1.5 7B",
        "llama",
        "llava-hf/llava-1.5-7b-hf",
        "Llama 2 Community Licence",
        str(CONFIGS / "llava-1.5-7b.json"),
        notes="Vicuna-7B with CLIP ViT-L/336; needs about 14 GB of memory in 16 bits.",
        aliases=("liuhaotian/llava-v1.5-7b",),  # published as pickles, which are never opened; a safe copy loads
    ),
    Entry(
        "bunny-v1.0-3b",
        "Bunny v1.0 3B",
        "phi",
        "BAAI/Bunny-v1_0-3B",
        "Apache-2.0",
        str(CONFIGS / "bunny-v1.0-3b.json"),
        notes="Phi-2 with SigLIP-SO400M; the authors' checkpoint loads as it is.",
    ),
    Entry(
        "mini-internvl-4b",
        "Mini-InternVL-Chat 4B V1.5",
        "phi3",
        "OpenGVLab/Mini-InternVL-Chat-4B-V1-5",
        "MIT",
        str(CONFIGS / "mini-internvl-4b.json"),
        notes="Phi-3-mini with InternViT-300M; the authors' checkpoint loads as it is.",
    ),
)


def catalogue() -> tuple[Entry, ...]:
    """Every model that has a name here, the default first; its siblings where this checkout has their files."""
    return tuple(x for x in _ENTRIES if x is _ENTRIES[0] or x.available or not x.bundled)


def find(name: str) -> Entry | None:
    """The entry called so, by name or by one of its hub ids."""
    return next((x for x in _ENTRIES if name in (x.name, x.source, *x.aliases)), None)


@cache
def _shapes(config_file: str) -> Shapes:
    path = Path(config_file)
    if not path.exists():
        raise UnknownModel(f"{path.parent.name} has no {path.name} yet: its sizes are unknown.")
    return Shapes.of(network_on_meta(json.loads(path.read_text())))


def network_on_meta(config: dict):
    """The stock network of a config, without memory for its weights."""
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig

    config = dict(config)
    described = AutoConfig.for_model(config.pop("model_type"), **config)
    with torch.device("meta"):
        return MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(described)](described)
