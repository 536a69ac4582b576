"""The kept cases that a desk's filter lets through, as one file. Knows the library and desks, and nothing of Gradio's
components.
"""

from evaluation.cases import BadCase
from evaluation.reports import as_csv, as_html, as_jsonl
from ui import casefile
from ui.files import written

WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "html": as_html}


def exported(desk, owner: str | None, kind: str, link: str = "") -> str:
    """The path of the file. owner None: everybody's cases; link: the page's address, where each can be opened again
    (HTML). Raises BadCase for a kind of file that there is not."""
    if kind not in WRITERS:
        raise BadCase(f"There is no kind of file {kind!r}: choose {', '.join(WRITERS)}.")
    found = casefile.book().find(desk.keeping.which, owner)
    return written(as_html(found, link) if kind == "html" else WRITERS[kind](found), f"cases.{kind}")
