"""Results on disk: one compressed JSON file a key, and an index from what was asked for to the key it had.

Files are written beside and renamed, so that a killed run leaves whole ones only.
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evaluation.cells import Cell
from evaluation.scoring import Record, Report, questions
from lvlm import LVLMError
from lvlm.disk import settle, whole

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "assets/results"  # what the bundled models came to, made by `python cli.py experiment`
INDEX = "index.json"


@dataclass(frozen=True)
class Store:
    """A folder that is written, over read-only ones that are asked too."""

    folder: Path
    below: tuple[Path, ...] = (SHIPPED,)

    def get(self, key: str) -> dict | None:
        """What was kept under a key. Raises LVLMError for a file that is not a result."""
        for folder in (self.folder, *self.below):
            file = _file(folder, key)
            if file.exists():
                return _read(file, file.stat().st_mtime_ns)
        return None

    def has(self, key: str, cell: Cell) -> bool:
        """Whether everything that the cell asks for is there."""
        found = self.get(key)
        return found is not None and (not cell.probabilities or found["probabilities"] is not None)

    def put(self, key: str, cell: Cell, result: dict) -> None:
        """Keep a result, and that this cell has this key. Raises NotWritten."""
        data = {"cell": cell.to_dict(), **result}
        text = json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
        _write(_file(self.folder, key), gzip.compress(text, mtime=0), "A result")

    def known(self) -> dict[str, str]:
        """Cell.name → key, of everything asked for so far."""
        found: dict[str, str] = {}
        for folder in (*reversed(self.below), self.folder):
            file = folder / INDEX
            if file.exists():
                found |= json.loads(file.read_text(encoding="utf-8"))
        return found

    def note(self, keys: Iterable[tuple[Cell, str]]) -> None:
        """Remember which key each cell has, so that its result is found without a model; clear away what killed runs
        left among the results. Raises NotWritten."""
        for place in self.folder.glob("[!.]*"):
            settle(place)
        file = self.folder / INDEX
        found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        found |= {cell.name: key for cell, key in keys}
        _write(file, (json.dumps(found, indent=0, sort_keys=True) + "\n").encode(), "The list of results")

    def results(self, cells: Iterable[Cell]) -> dict[Cell, dict]:
        """Of those cells that have been measured; no model is loaded."""
        known = self.known()
        found = {cell: self.get(known[cell.name]) for cell in cells if cell.name in known}
        return {cell: x for cell, x in found.items() if x is not None}


def report_of(cell: Cell, result: dict) -> Report:
    """A result's records with their questions, which are put together anew."""
    asked = questions(cell.suite, cell.per_task, cell.questions_seed, False)
    likely = result["probabilities"] or [None] * len(asked)
    records = [
        Record(x.id, task, x.question, x.answer, said, p)
        for (task, x), said, p in zip(asked, result["answers"], likely, strict=True)
    ]
    return Report(cell.suite, cell.variant.model, cell.questions_seed, tuple(records))


def _file(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.json.gz"


@lru_cache(maxsize=1024)
def _read(file: Path, changed: int) -> dict:
    try:
        return json.loads(gzip.decompress(file.read_bytes()))
    except (OSError, EOFError, ValueError) as error:
        raise LVLMError(f"{file} is not a result ({error}): please delete it and run again.") from error


def _write(file: Path, data: bytes, what: str) -> None:
    with whole(file, what) as part:
        part.write_bytes(data)
