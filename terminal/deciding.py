"""Verbs that decide what goes: models, calibrate, plan, search, rounds."""

from pathlib import Path
from typing import Annotated

import typer

from terminal.choosing import OF_BALANCED, choosing
from terminal.console import check_free, columns, progress, show, verb, write_plan
from terminal.options import Data, Force, Images, Json, Model, OutFile, Seed, Share, Style, Taylor, Unit


@verb
def models(as_json: Json = False) -> None:
    """List the models that have a name. Parameters by part, what a download and each step take, and what fits now."""
    from lvlm import catalogue, memory
    from pruning.explain import size

    steps = {"chat": "chat", "calibrate-checkpointing": "calibrate", "recover": "recover"}  # at the least each takes
    parts = ("vision", "projector", "decoder")
    found = [x.to_dict() for x in catalogue()]
    rows = [tuple(x.upper() for x in ("name", "parameters", *parts, "download", *steps.values(), "fits", "licence"))]
    for about in found:
        counts, needs, download = about["parameters"], about["memory_bytes"], memory.gib(about["download_bytes"])
        sizes = [size(x) for x in (sum(counts.values()), *counts.values())] if counts else ["?"] * 4
        costs = [memory.gib(needs[x]) if needs else "?" for x in steps]
        fits = " ".join(word for x, word in steps.items() if about["fits"].get(x)) or ("nothing" if needs else "?")
        rows.append(
            (about["name"], *sizes, "bundled" if about["bundled"] else download, *costs, fits, about["licence"])
        )
    free = f"Free now: {memory.gib(memory.free())}. Steps are estimated for one image and a short question."
    show(as_json, found, f"{columns(rows)}\n{free}")


@verb
def calibrate(
    model: Model,
    out: OutFile,
    samples: Annotated[int, typer.Option(min=1, help="How many samples to score on.")] = 10,
    data: Data = "scenes",
    images: Images = None,
    seed: Seed = 0,
    style: Style = "repaired",
    taylor: Taylor = "weights",
    checkpointing: Annotated[
        bool | None, typer.Option(help="Less memory, more time; by itself where memory is short.", show_default=False)
    ] = None,
    balanced: Annotated[bool, typer.Option("--balanced", help="Also score image and text tokens apart.")] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Score every layer, head and neuron of MODEL. Runs it on samples and writes the scores file."""
    from lvlm import load
    from pruning import CalibrationSettings
    from pruning import calibrate as score
    from samples import load_samples

    check_free(out, force)
    found = load_samples(data, n=samples, seed=seed, images=images)
    with progress(as_json) as report:
        scores = score(
            load(model, report=report, step="calibrate" if checkpointing is False else "calibrate-checkpointing"),
            found,
            CalibrationSettings(style, taylor, checkpointing, balanced),
            seed,
            report,
        )
    scores.save(out)
    influence = scores.block_influence
    about = {"file": str(out), "model": scores.model, "digest": scores.digest, "samples": len(found)}
    about |= {"loss": scores.loss, "block_influence": influence.tolist()}
    least = ", ".join(str(i) for i in influence.argsort()[:3])
    text = f"Scored {len(influence)} layers of {scores.model} on {len(found)} samples (loss {scores.loss:.3g})."
    text += f" Layers that change their input least: {least}."
    if "taylor-sum" in scores.importance:
        alike = scores.rank_correlation("taylor", "taylor-sum")
        about["rank_correlation"] = {"heads": alike.heads.tolist(), "neurons": alike.neurons.tolist()}
        text += (
            f"\nThe two forms of Taylor importance, Σ|w·g| and |Σ w·g|, order units alike to a rank correlation of "
            f"{alike.heads.mean():.2f} (heads) and {alike.neurons.mean():.2f} (neurons), averaged over layers."
        )
    show(as_json, about, f"{text}\nWritten to {out}.")


@verb
@choosing
def plan(
    ctx: typer.Context,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="Scores file that `calibrate` wrote.")],
    out: OutFile,
    chosen: dict,
    published: Annotated[float | None, typer.Option(help="Instead: the paper's share of each layer.")] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Decide from SCORES what goes. Writes the plan; no model runs."""
    from pruning import Scores, make_plan, published_plan

    given = said_once(ctx)
    if published is not None and given - {"scores", "out", "published", "force", "as_json"}:
        raise typer.BadParameter("--published sets every other choice itself: give it alone.")
    check_free(out, force)
    known = Scores.load(scores)
    made = make_plan(known, **chosen) if published is None else published_plan(known, published)
    write_plan(made, out, as_json)


@verb
def search(
    model: Model,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="Scores file that `calibrate` wrote for it.")],
    out: OutFile,
    ratio: Share = 0.3,
    moves: Annotated[int, typer.Option(min=0, help="Tries to move a share from one layer to another.")] = 60,
    layers: Annotated[bool, typer.Option("--layers/--widths", help="Whether whole layers may go.")] = True,
    importance: Unit = "taylor",
    samples: Annotated[int, typer.Option(min=1, help="How many samples to try on.")] = 32,
    data: Data = "scenes",
    images: Images = None,
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Find out by trying how much of each layer of MODEL can go. Writes the plan."""
    from lvlm import load
    from pruning import Scores, Search, search_plan
    from samples import load_samples

    check_free(out, force)
    known, how = Scores.load(scores), Search(moves, layers, importance, seed)
    found = load_samples(data, n=samples, seed=seed, images=images)
    with progress(as_json) as report:
        made = search_plan(load(model, report=report), known, found, ratio, how, report)
    write_plan(made, out, as_json)


@verb
@choosing
def rounds(
    ctx: typer.Context,
    model: Model,
    out: OutFile,
    count: Annotated[
        int, typer.Option("--rounds", min=1, help="How often a part goes and what is left is scored.")
    ] = 4,
    repair: Annotated[bool, typer.Option("--repair", help="Refit what is left before it is scored.")] = False,
    samples: Annotated[int, typer.Option(min=1, help="How many samples to score, and refit, on.")] = 10,
    data: Data = "scenes",
    images: Images = None,
    seed: Seed = 0,
    style: Style = "repaired",
    taylor: Taylor = "weights",
    *,
    chosen: dict,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Decide a part at a time what goes from MODEL. What is left is scored anew after each. Writes the plan."""
    from lvlm import load
    from pruning import CalibrationSettings, Repair, plan_in_rounds
    from samples import load_samples

    said_once(ctx)
    check_free(out, force)
    settings = CalibrationSettings(style, taylor, balanced=chosen["importance"] in OF_BALANCED)
    found = load_samples(data, n=samples, seed=seed, images=images)
    with progress(as_json) as report:
        made = plan_in_rounds(
            load(model, report=report, step="calibrate-checkpointing"), found, rounds=count, settings=settings,
            repair=Repair() if repair else None, seed=seed, report=report, **chosen,
        )  # fmt: skip
    write_plan(made, out, as_json)


def said_once(ctx: typer.Context) -> set[str]:
    """The options that were given. Refuses a target that is said twice."""
    given = {x for x in ctx.params if ctx.get_parameter_source(x).name == "COMMANDLINE"}
    if {"ratio", "budget"} <= given:
        raise typer.BadParameter("--ratio and --budget say the same thing twice: give one of them.")
    return given
