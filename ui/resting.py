"""A desk whose models were put away to make room for others', and their return: the same variants with the same
weights. What was pruned or stored in 8 bits is made again; what training made waits on disk. Nothing of Gradio.
"""

import shutil
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from lvlm import load
from lvlm.disk import workplace
from lvlm.events import Progress, Report, silent
from pruning import quantize, save
from ui import jobs
from ui.making import cut_from
from ui.variants import Variant, Variants


@dataclass(eq=False)
class Rest:
    """What waits for a visitor's return."""

    name: str  # of the model, on the shelf
    scores: int  # samples that it was calibrated on
    variants: Variants  # without their models
    folders: dict[str, Path] = field(default_factory=dict)  # ids of what training made → where it lies


def written(desk) -> dict[str, Path]:
    """What training made on this desk, and what is made of it cannot be without: on disk, to be read back."""
    trained = [x for x in desk.variants if x.kind == "recovered"]
    if not trained:
        return {}
    home = workplace("resting-")
    weakref.finalize(desk, shutil.rmtree, home, ignore_errors=True)
    return {x.id: save(x.model, home / x.id) for x in trained}


def put_away(desk, folders: dict[str, Path]) -> None:
    """Let go of every model of a desk that is not at work. folders: as `written` just gave them."""
    desk.resting = Rest(desk.shared.name, desk.samples, desk.variants, folders)
    desk.variants = Variants()
    desk.shared = None
    desk.version += 1
    for variant in desk.resting.variants:
        variant.model = None
    desk.shelf.leave(desk.id)


def bring_back(desk) -> jobs.Job:
    """Load and make again what was put away; no other job of this desk begins before it is there."""
    rest = desk.resting

    def work(report: Report) -> tuple:
        shared = desk.shelf.take(rest.name, desk.id, report)
        try:
            made = {}
            for place, variant in enumerate(rest.variants):
                report(Progress("return", place, len(rest.variants), variant.title))
                made[variant] = _again(variant, rest, made, shared.model)
            return shared, made
        except BaseException:
            desk.shelf.leave(desk.id)
            raise

    def done(result: tuple) -> None:
        desk.shared, made = result
        for variant, model in made.items():
            variant.model = model
        desk.variants, desk.resting = rest.variants, None
        for folder in rest.folders.values():
            shutil.rmtree(folder, ignore_errors=True)

    return desk.start(f"Bring back {rest.name}", work, done, shares=True)


def _again(variant: Variant, rest: Rest, made: dict, original):
    """The variant's model, from its parent's or from disk."""
    if variant.parent is None:
        return original
    if variant.id in rest.folders:
        return load(rest.folders[variant.id])
    if variant.kind == "int8":
        return quantize(made[variant.parent], "int8")
    return cut_from(original, variant.plan, variant.repair, silent)
