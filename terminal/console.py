"""What the verbs share: results on stdout, progress and refusals on stderr, files that are not lost.

The library is imported inside: torch takes seconds, and --help should not.
"""

import functools
import json
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import typer

app = typer.Typer(
    name="python cli.py",
    help="Prune a vision-language model and measure what is left: calibrate, plan, prune, recover, measure, chat.",
    epilog="Results go to stdout, progress and errors to stderr. Exit codes: 0 done, 1 refused with one sentence, "
    "2 wrong usage, 130 stopped with Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def verb(function: Callable) -> Callable:
    """Make a function a command. What a person can cause ends it with one sentence and exit code 1."""

    @app.command()
    @functools.wraps(function)
    def command(*args, **kwargs):
        from lvlm import LVLMError

        try:
            return function(*args, **kwargs)
        except LVLMError as error:
            typer.echo(str(error), err=True)
            raise typer.Exit(1) from error

    return command


def show(as_json: bool, data: dict | list, text: str) -> None:
    """A result on stdout: for a person, or for a program (null for NaN, which JSON has no word for)."""
    strict = json.loads(json.dumps(data), parse_constant=lambda word: None) if as_json else None
    typer.echo(json.dumps(strict, indent=1) if as_json else text)


def columns(rows: Iterable[Iterable[str]]) -> str:
    """Rows of text as aligned columns. Never wrapped, so that a pipe gets one line a row."""
    rows = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(x.ljust(width) for x, width in zip(row, widths)).rstrip() for row in rows)


@contextmanager
def progress(as_json: bool) -> Iterator[Callable]:
    """A listener of the library's events: one bar a stage on stderr, gone at the end; silent unless a person looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    from lvlm import Event, Progress, silent

    console = Console(stderr=True)
    if as_json or not console.is_terminal:
        yield silent
        return
    said = TextColumn("{task.fields[text]}", markup=False)  # may hold a path
    look = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), said
    with Bars(*look, console=console, transient=True) as bars:
        stages = {}

        def report(event: Event) -> None:
            if isinstance(event, Progress):
                if event.stage not in stages:
                    stages[event.stage] = bars.add_task(event.stage, text="")
                bars.update(stages[event.stage], completed=event.done, total=event.total, text=event.text)

        yield report


def check_free(out: Path, force: bool, folder: bool = False) -> None:
    """Refuse an --out that would replace something, before anything is computed."""
    from lvlm import LVLMError

    if out.exists() and out.is_dir() != folder:
        here, wanted = ("a folder", "the name of a file") if out.is_dir() else ("a file", "a folder")
        raise LVLMError(f"{out} is {here}: please choose {wanted} for --out.")
    if not force and out.exists() and not (folder and not any(out.iterdir())):
        raise LVLMError(f"{out} is already there: please choose another --out, or add --force to replace it.")


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, for work that then ends well; a second one interrupts as ever."""
    stop = threading.Event()
    before = signal.getsignal(signal.SIGINT)

    def wish(number, frame) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, wish)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def save_model(model, out: Path, as_json: bool, report: Callable, did: str, more: dict | None = None) -> None:
    """Write a model that a verb made, and say what it is now; more: what JSON tells besides."""
    from pruning import loads_in_transformers, save
    from pruning.explain import size

    save(model, out, report)
    stock, why = loads_in_transformers(model)
    data = {"folder": str(out), "name": model.name, "parameters": asdict(model.parameters()), "bytes": model.bytes()}
    data |= {"digest": model.digest(), "loads_in_transformers": stock, "because": why} | (more or {})
    sizes = f"{size(model.parameters().total)} parameters, {size(model.bytes(), 'B')}"
    show(as_json, data, f"{did}\nWritten to {out}: {sizes}.")


def read_plan(path: Path):
    """The Plan in a file. Raises BadPlan if there is none."""
    from lvlm import BadPlan
    from pruning import Plan

    try:
        return Plan.from_json(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise BadPlan(f"There is no readable plan file {path}: please make one with `plan`.") from error


def write_plan(made, out: Path, as_json: bool) -> None:
    """A Plan as a file, and in words on stdout."""
    from lvlm.disk import whole

    with whole(out, "The plan") as part:
        part.write_text(made.to_json() + "\n", encoding="utf-8")
    about = {"file": str(out), "model": made.model, "method": made.method, "ratio": made.ratio}
    about |= {"achieved": made.achieved, "layers": made.layers, "explanation": made.explain()}
    about["cost"] = {"before": made.cost.before.to_dict(), "after": made.cost.after.to_dict()}
    show(as_json, about, f"{made.explain()}\nWritten to {out}.")
