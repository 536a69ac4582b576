"""The whole way without a browser: each verb is one call of the library and reads and writes the library's own files.

The library is imported inside the verbs: torch takes seconds, and --help should not.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from terminal import (
    Data, Force, Images, Json, Method, Metric, Model, OutFile, OutFolder, Ranking, Seed, Share, Style, Suite, Taylor,
    Unit, app, check_free, columns, progress, read_plan, save_model, show, stopping, verb, write_plan,
)  # fmt: skip

# --- the verbs, in the order of the work ---


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
def plan(
    ctx: typer.Context,
    scores: Annotated[Path, typer.Argument(metavar="SCORES", help="Scores file that `calibrate` wrote.")],
    out: OutFile,
    method: Method = "widthwise",
    ratio: Share = 0.3,
    budget: Annotated[float | None, typer.Option(help="Instead: what the whole model may come to.")] = None,
    published: Annotated[float | None, typer.Option(help="Instead: the paper's share of each layer.")] = None,
    metric: Metric = "parameters",
    importance: Unit = "taylor",
    ranking: Ranking = "layer",
    protect: Annotated[list[int] | None, typer.Option(metavar="LAYER", help="Keep it whole; may be repeated.")] = None,
    protect_first: Annotated[int, typer.Option(min=0, help="Keep so many first layers whole.")] = 0,
    protect_last: Annotated[int, typer.Option(min=0, help="Keep so many last layers whole.")] = 0,
    pin: Annotated[list[str] | None, typer.Option(metavar="UNIT", help="Keep layer 3, or its head: 3.2.")] = None,
    drop: Annotated[list[str] | None, typer.Option(metavar="UNIT", help="Force it out, whatever the scores.")] = None,
    contiguous: Annotated[bool, typer.Option("--contiguous", help="Layers go as one block.")] = False,
    round_to: Annotated[int, typer.Option(min=1, help="Keep neurons in multiples of this.")] = 1,
    depth_share: Annotated[float, typer.Option(min=0, max=1, help="Of `both`: the layers' part.")] = 0.5,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Decide from SCORES what goes. Writes the plan; no model runs."""
    from pruning import Scores, make_plan, published_plan
    from pruning.wishes import Unit as Part

    given = {x for x in ctx.params if ctx.get_parameter_source(x).name == "COMMANDLINE"}
    if {"ratio", "budget"} <= given:
        raise typer.BadParameter("--ratio and --budget say the same thing twice: give one of them.")
    if published is not None and given - {"scores", "out", "published", "force", "as_json"}:
        raise typer.BadParameter("--published sets every other choice itself: give it alone.")
    check_free(out, force)
    known = Scores.load(scores)
    if published is not None:
        made = published_plan(known, published)
    else:
        made = make_plan(
            known, method, ratio, metric=metric, budget=budget, importance=importance, ranking=ranking,
            protect=protect or (), protect_first=protect_first, protect_last=protect_last, contiguous=contiguous,
            round_to=round_to, depth_share=depth_share,
            pinned=[Part.parse(x) for x in pin or ()], forced=[Part.parse(x) for x in drop or ()],
        )  # fmt: skip
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
def prune(
    model: Model,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="Plan that `plan` or `search` wrote for this model.")],
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


@verb
def measure(
    model: Model,
    timed: Annotated[bool, typer.Option("--timed/--counted", help="Time it, or only count.")] = True,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs after a warm one; medians are shown.")] = 3,
    new_tokens: Annotated[int, typer.Option(min=2, help="Tokens that a run generates.")] = 16,
    as_json: Json = False,
) -> None:
    """Count and time what MODEL costs. Parameters, bytes, FLOPs; and an image with a question on this machine."""
    from lvlm import load
    from pruning import measure as cost_of
    from pruning.explain import size

    with progress(as_json) as report:
        cost = cost_of(load(model, report=report, step="chat"), timed, repeats, new_tokens, report)
    parts, prompt = cost.parameters, cost.workload.prompt_tokens
    rows = [
        ("parameters", f"{size(parts.total)} ({size(parts.decoder)} of them in the language backbone)"),
        ("weights", size(cost.bytes, "B")),
        ("image and question", f"{size(cost.flops_prefill, 'FLOPs')} ({prompt} tokens)"),
        ("each further token", size(cost.flops_per_token, "FLOPs")),
        ("key/value cache", size(cost.kv_bytes, "B")),
    ]
    if cost.first_token_s is not None:
        rows += [("first token", f"{cost.first_token_s:.3g} s"), ("then", f"{cost.tokens_per_s:.3g} tokens/s")]
    if cost.peak_bytes is not None:
        rows.append(("peak memory", size(cost.peak_bytes, "B")))
    show(as_json, cost.to_dict(), columns(rows))


@verb
def chat(
    model: Model,
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="What to ask.")],
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture that the question is about.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="0 always takes the likeliest token.")] = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Ask MODEL a question. The answer appears as it is generated; Ctrl-C stops it."""
    from lvlm import check_question, load, open_image

    check_question(question)  # a slip is told before gigabytes are read
    picture = None if image is None else open_image(image)
    with progress(as_json) as report:
        loaded = load(model, report=report, step="chat")
    answer, stopped = "", False
    stream = loaded.chat(picture, question, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
    try:
        for piece in stream:
            answer += piece
            if not as_json:
                typer.echo(piece, nl=False)
    except KeyboardInterrupt:
        stopped = True
    finally:
        stream.close()  # the generation thread has ended before the process does
    show(as_json, {"answer": answer, **asdict(stream.stats)}, "")
    if stopped:
        raise typer.Exit(130)


@verb
def evaluate(
    model: Model,
    suite: Suite = "scenes",
    per_task: Annotated[int, typer.Option(min=1, help="Questions of each task.")] = 200,
    seed: Seed = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions answered at once.")] = 16,
    as_json: Json = False,
) -> None:
    """Score MODEL on held-out questions. By exact match, task by task."""
    from evaluation import evaluate as examine
    from lvlm import load

    with progress(as_json) as report:
        found = examine(load(model, report=report, step="chat"), suite, per_task, seed, batch_size, report)
    rows = [(task, f"{share:.1%}") for task, share in found.scores.items()]
    data = asdict(found) | {"scores": found.scores, "average": found.average}
    show(as_json, data, columns([*rows, ("average", f"{found.average:.1%}")]))


@verb
def experiment(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="zero-shot, losses, …, or all of the paper's.")],
    model: Annotated[str, typer.Option(help="Catalogue name, model folder or Hugging Face hub id.")] = "pocket-llava",
    suite: Suite = "scenes",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0, 1, … of calibration and training.")] = 1,
    per_task: Annotated[int, typer.Option(min=1, help="Questions of each task.")] = 200,
    ratio: Annotated[list[float] | None, typer.Option(help="Only this ratio; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Updates of the short trainings.")] = None,
    store: Annotated[Path, typer.Option(metavar="FOLDER", help="Where results are kept and looked up.")] = Path(
        "out/results"
    ),
    tables: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where to write tables as CSV.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default as the model's size asks.")] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help='Ray cluster instead: "auto" joins one, "local" starts one.')
    ] = None,
    as_json: Json = False,
) -> None:
    """Run the paper's experiments on a model. Goes on where it stopped; nothing is computed twice."""
    from evaluation import experiments as known
    from evaluation import tables as tabled
    from evaluation.runner import run
    from evaluation.store import Store
    from lvlm.disk import whole

    chosen = known.named(names)
    given = {"ratios": tuple(ratio) if ratio else None, "methods": tuple(method) if method else None, "steps": steps}
    grid = known.Grid(model, suite, tuple(range(seeds)), per_task=per_task, **{x: y for x, y in given.items() if y})
    kept, said, data = Store(store), [], {}
    with progress(as_json) as report:  # all in one run: a model that several of them ask is made, and healed, once
        cells = [cell for one in chosen for cell in one.grid(grid)]
        measured = run(list(dict.fromkeys(cells)), kept, store / "scratch", workers, report, ray)
    for one in chosen:
        results = {cell: measured[cell] for cell in one.grid(grid)}
        found = tabled.table(one, results)
        data[one.name] = found.to_dict("records")
        said.append(f"{one.title} ({one.paper})\n{found.round(3).to_string(index=False)}")
        if tables:
            with whole(tables / f"{one.name}.csv", "The table") as file:
                found.to_csv(file, index=False)
            with whole(tables / f"{one.name}-cells.csv", "The table") as file:
                tabled.rows(results).to_csv(file, index=False)
    show(as_json, data, "\n\n".join(said))


if __name__ == "__main__":
    app()
