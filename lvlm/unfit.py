"""Broken checkpoints that no file tells before they are used, and what libraries raise then, as one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BrokenCheckpoint
from .files import line, read_json

PANIC = "pyo3_runtime"  # where Python says that what a library in Rust panics with comes from: no Exception, no module


@contextmanager
def fitting(name: str) -> Iterator[None]:
    """Around a network that computes, and nothing else: what transformers raises where processor and config do not fit
    together (as many image tokens as features, ids as embeddings) becomes BrokenCheckpoint."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        raise BrokenCheckpoint(
            f"{name or 'This model'} cannot be run: its processor and its config.json do not fit together "
            f"({line(error)}). Please download both again."
        ) from error


@contextmanager
def unbroken(name: str) -> Iterator[None]:
    """Around what reads or uses a checkpoint's tokenizer or weights: a panic of the libraries in Rust that do so
    becomes BrokenCheckpoint."""
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if type(error).__module__ != PANIC:
            raise
        raise BrokenCheckpoint(
            f"{name or 'This model'} has a tokenizer or weights that nothing can be done with ({line(error)}): "
            "please download its files again."
        ) from error


def check_tokenizer(folder: Path) -> None:
    """Raise BrokenCheckpoint for a tokenizer.json that would end this process: of the second half of each merge,
    tokenizers (0.22) cuts off a prefix without looking whether it is there, and aborts amid a letter of several bytes.
    """
    file = folder / "tokenizer.json"
    model = read_json(file).get("model") if file.exists() else None
    if not isinstance(model, dict):
        return
    prefix, merges = model.get("continuing_subword_prefix"), model.get("merges")
    if not prefix or not isinstance(prefix, str) or not isinstance(merges, list):
        return
    for merge in merges:
        halves = merge.split(" ") if isinstance(merge, str) else merge
        if isinstance(halves, list) and len(halves) == 2 and not str(halves[1]).startswith(prefix):
            raise BrokenCheckpoint(
                f"{folder.name}/tokenizer.json joins {halves[0]!r} and {halves[1]!r}, though what goes on a word "
                f"begins with {prefix!r}: please download it again."
            )
