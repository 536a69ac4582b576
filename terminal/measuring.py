"""Verbs that ask what a model costs and knows: measure, chat, evaluate, experiment."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from terminal.console import columns, progress, show, verb
from terminal.options import Json, Model, Seed, Suite


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
