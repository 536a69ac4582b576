"""Verbs that make a model of another: prune, recover, quantize."""

from pathlib import Path
from typing import Annotated

import typer

from terminal.console import check_free, progress, read_plan, save_model, stopping, verb
from terminal.options import Data, Force, Images, Json, Model, OutFolder, Seed


@verb
def prune(
    model: Model,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan that `plan`, `search` or `rounds` wrote for it.")],
    out: OutFolder,
    repair: Annotated[int, typer.Option(min=0, help="Refit what stays on so many samples; 0: not at all.")] = 0,
    data: Data = "scenes",
    images: Images = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Remove from MODEL what PLAN says. Writes the smaller model as a folder."""
    from lvlm import load
    from pruning import Repair
    from pruning import prune as cut
    from samples import load_samples

    check_free(out, force, folder=True)
    todo = read_plan(plan)
    found = load_samples(data, n=repair, seed=seed, images=images) if repair else ()
    with progress(as_json) as report:
        small = cut(load(model, report=report), todo, Repair() if repair else None, found, report)
        save_model(small, out, as_json, report, todo.explain())


@verb
def recover(
    model: Model,
    out: OutFolder,
    teacher: Annotated[str | None, typer.Option(metavar="MODEL", help="The model that MODEL was pruned from.")] = None,
    data: Data = "scenes",
    samples: Annotated[int | None, typer.Option(min=2, help="How many to read; all, where data has an end.")] = None,
    images: Images = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Recipe as JSON; else the paper's advice.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change the recipe: minutes=10, train=full; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the recipe's checkpoints.")] = False,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Heal the pruned MODEL. Trains it as a recipe says; Ctrl-C keeps the best so far. `accelerate launch` works."""
    from lvlm import LVLMError, load
    from pruning import save
    from recovery import RecoveryDiverged, recipe_for
    from recovery import recover as heal
    from recovery.world import world
    from samples import load_samples

    check_free(out, force, folder=True)
    here = world()
    with progress(as_json or here.rank > 0) as report, stopping() as stop:
        pruned = load(model, report=report, device=here.device, step="recover" if teacher else "load")
        chosen = recipe_for(pruned, recipe, changes or (), seed)
        original = load(teacher, report=report, device=here.device) if teacher else None
        if not teacher and chosen.needs_teacher:
            raise LVLMError(
                "This recipe learns from the model that MODEL was pruned from: please give it as --teacher."
            )
        found = load_samples(data, n=samples, seed=seed, images=images)
        try:
            healed = heal(pruned, original, found, chosen, report, resume, stop)
        except RecoveryDiverged as error:
            if here.rank == 0:
                save(error.best, out)
            raise LVLMError(f"{error} They are in {out}.") from error
        step = healed.history[-1]
        said = f"Healed {healed.name}: held-out loss {step['held_out_before']:.3g} → {step['held_out']:.3g}, best at "
        said += f"step {step['best_step']} of {step['steps']} ({step['seconds']:.0f} s, {step['samples']} samples)."
        if here.rank == 0:
            save_model(healed, out, as_json, report, said, {"recovery": step})
        here.wait()
    if stop.is_set():
        raise typer.Exit(130)


@verb
def quantize(model: Model, out: OutFolder, force: Force = False, as_json: Json = False) -> None:
    """Store the decoder of MODEL in 8 bits. Writes the int8 model (LLM.int8) as a folder."""
    from lvlm import load
    from pruning import quantize as shrink
    from pruning.explain import size

    check_free(out, force, folder=True)
    with progress(as_json) as report:
        before = load(model, report=report, step="quantize")
        did = f"{before.name}: {size(before.bytes(), 'B')} before."
        save_model(shrink(before, "int8"), out, as_json, report, did)
