"""Cases as files for others: CSV for a spreadsheet, JSONL that reads back, and one HTML page with everything in it."""

import base64
import csv
import io
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.cases import TAGS, VERDICTS, BadCase, Case
from lvlm import LVLMError
from lvlm.files import line
from lvlm.plain import parsed

TEMPLATES = Path(__file__).resolve().parent.parent / "assets" / "reports"
COLUMNS = ("id", "kept", "model", "digest", "task", "question", "truth", "verdict", "tags", "note", "breaks_at", "seed",
           "temperature", "max_new_tokens")  # fmt: skip
SIDE = ("kind", "title", "ratio", "answer", "probability")
APART = ("parts_at", "mean_kl")  # of the divergence, tokens counted from 0


def as_csv(cases: Sequence[Case]) -> str:
    """A row a case; columns `first_…`, then `variant_1_…` on. Pictures, plans and recipes are in the other files.

    Cells that a spreadsheet would take for a formula begin with an apostrophe (OWASP, CSV Injection).
    """
    most = max((len(x.sides) for x in cases), default=0)
    heads = [f"{side}_{x}" for side in _sides(most) for x in (*SIDE, *APART)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *heads])
    for case in cases:
        row = [" ".join(case.tags) if x == "tags" else getattr(case, x) for x in COLUMNS]
        for side in case.sides:
            row += [*(getattr(side, x) for x in SIDE), *((side.divergence or {}).get(x) for x in APART)]
        writer.writerow([_harmless(x) for x in row])
    return file.getvalue()


def _sides(most: int) -> list[str]:
    return ["first", *(f"variant_{i}" for i in range(1, most))][:most]


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def as_jsonl(cases: Sequence[Case]) -> str:
    """A line a case, everything in it: `from_jsonl` gives the same cases back."""
    return "".join(json.dumps(x.to_dict(), ensure_ascii=False) + "\n" for x in cases)


def from_jsonl(text: str) -> list[Case]:
    """Raises BadCase for a line that is no case, or whose picture is none."""
    try:
        found = [Case.from_dict(parsed(x)) for x in text.split("\n") if x.strip()]  # splitlines would cut inside texts
        for case in found:
            case.image  # noqa: B018 - opened now, for it to be refused here
        return found
    except BadCase:
        raise
    except (ValueError, LVLMError) as error:
        raise BadCase(f"This is no file of cases ({line(error)}): please export it again.") from error


def as_html(cases: Sequence[Case], link: str = "") -> str:
    """One page that asks nobody for anything: pictures inlined, a content security policy that forbids the rest, every
    word escaped. link: address of the app, where each case is opened again; "": none."""
    pictures = [None if x.picture is None else base64.b64encode(x.picture).decode() for x in cases]
    return _template("cases.html").render(
        cases=list(zip(cases, pictures, strict=True)), tags=TAGS, verdicts=VERDICTS, link=link
    )


@lru_cache(maxsize=4)
def _template(name: str):
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = lambda x: f"{100 * x:.3g}%"
    return environment.get_template(name)
