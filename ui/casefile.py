"""Where kept cases are, whose they are, and what is kept of a variant. Knows the library, and nothing of Gradio."""

import hashlib
import os
from pathlib import Path

from evaluation.casebook import Casebook
from evaluation.cases import Said
from ui.variants import Variant


def home() -> Path:
    """The user's data, as XDG_DATA_HOME says: unlike runs, which lie in the cache, cases are there to stay."""
    return Path(os.environ.get("XDG_DATA_HOME") or "~/.local/share").expanduser() / "prunoscope"


def book() -> Casebook:
    return Casebook(home() / "cases.sqlite")


def owner(desk) -> str:
    """Whose cases a desk's are: a hash, as its key opens the desk itself."""
    return hashlib.sha256(f"cases of {desk.id}".encode()).hexdigest()[:32]


def said(variant: Variant, answer: str, **more) -> Said:
    """What a variant answered, with all that makes it again. Hashes the weights of one that was healed, once."""
    healed = variant
    while healed is not None and healed.kind != "recovered":
        healed = healed.parent
    return Said(
        variant.id,
        variant.kind,
        variant.title,
        answer,
        ratio=variant.plan.achieved if variant.plan else 0.0,
        plan=variant.plan.to_json() if variant.plan else None,
        recipe=variant.recipe.recorded() if variant.recipe else None,
        int8=variant.kind == "int8",
        repair=variant.repair,
        weights=healed.model.digest() if healed else None,
        **more,
    )
