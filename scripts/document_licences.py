"""Writes docs/licences.md: the licence of every file that ships here, and of every package that is locked.

python -m scripts.document_licences

What a package says of itself is read from its installed metadata, so run it in the environment of `make test`.
"""

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from scripts.lock import APART, FILES, locked, pins

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
OURS = "MIT ([LICENSE](../LICENSE))"
SPRITES = "MIT, Apache-2.0 and CC-BY 4.0, by column ([LICENCES.md](../assets/sprites/LICENCES.md))"
SHIPPED = (  # (files, what and from where, licence); every file below assets/, tests/assets/, tests/fixtures/ is in one
    ("assets/sprites/*", "drawings: Fluent Emoji, Noto Emoji, Twemoji; names: emojibase-data", SPRITES),
    ("assets/examples/*", "scenes put together from those drawings, and their questions, which are ours", SPRITES),
    ("assets/screenshots/*", "the app, showing such scenes", SPRITES),
    ("assets/models/**/*", "weights trained here from random ones, on scenes of those drawings; tokenizers and settings made here", "MIT"),
    ("assets/results/**/*", "what this project's experiments gave", OURS),
    ("assets/paper-tables.csv", "numbers printed in Tables 2 and 5 of the study (Yiran Huang et al.); the last column is ours", "facts, quoted with their source"),
    ("assets/accelerate/*", "settings for Accelerate, written here", OURS),
    ("assets/i18n/*", "Chinese wording, written here", OURS),
    ("assets/*.json", "glossary and tour, written here", OURS),
    ("assets/*.css", "style sheets, written here; system fonts only", OURS),
    ("assets/*.js", "the page's script, written here", OURS),
    ("assets/reports/*", "the page of exported cases, written here", OURS),
    ("scripts/kinds.csv", "which drawings are used and what they are called, written here", OURS),
    ("scripts/pocket/**/*.md", "the model cards' text, written here", OURS),
    ("tests/assets/*", "axe-core by Deque Systems, which only the tests run", "MPL-2.0 ([text](../tests/assets/axe.LICENSE), [what it holds](../tests/assets/axe.LICENSE-3RD-PARTY.txt))"),
    ("tests/fixtures/**/*", "tiny random networks in the layouts of published checkpoints, made here", OURS),
)  # fmt: skip
FOLDERS = ("assets", "tests/assets", "tests/fixtures", "scripts")
ELSEWHERE = {  # locked, but not installed on Linux with PyTorch's CPU build: what their publishers are known to use
    "audioop-lts": "PSF-2.0",
    "colorama": "BSD-3-Clause",
    "httpx2-jsfetch": "not read",
    "pywin32": "PSF-2.0",
    "triton": "MIT",
    "cuda-bindings": "NVIDIA's own",
    "cuda-pathfinder": "Apache-2.0",
    "cuda-toolkit": "NVIDIA's own",
}
NVIDIA = "NVIDIA's own"
HEAD = """# Licences of what ships, and of what is installed beside it

Written by `python -m scripts.document_licences`; a test holds it current. The code is MIT ([LICENSE](../LICENSE)).

## Files

| files | what they are | licence |
|---|---|---|
"""
PACKAGES = """
No font, icon set or script of anybody else is shipped besides: the page uses the system's fonts, and what Gradio and Plotly
bring comes in their own packages. easy-VQA, the second data set, comes as a package, too.

## Packages

What each says of itself in its metadata, at the version that [locks/](../locks) names. Wheels may hold libraries of others:
their notices lie in each package's `.dist-info` folder.

| package | version | lock | licence |
|---|---|---|---|
"""
TAIL = """
Packages marked * were not installed where this was written (other systems, or PyTorch's CUDA build): what their publishers
are known to use, not read from the files. lmms-eval's environment (locks/lmms.txt) is not listed.
"""


def licence_of(name: str) -> str | None:
    """What an installed package says its licence is; None for one that is not installed, or wanted elsewhere only."""
    if name in ELSEWHERE or name.startswith("nvidia-"):
        return None
    try:
        about = metadata(name)
    except PackageNotFoundError:
        return None
    classified = [x.split(" :: ")[-1] for x in about.get_all("Classifier", ()) if x.startswith("License ::")]
    classified = [x for x in classified if x != "OSI Approved"]
    free = (about["License"] or "").strip().splitlines()
    short = free[0].strip() if free and len(free[0]) <= 60 else ""  # some put the whole text there
    return about["License-Expression"] or " or ".join(classified) or short or "see its files"


def page() -> str:
    """The whole page."""
    lines = [f"| `{files}` | {what} | {licence} |" for files, what, licence in SHIPPED]
    rows = []
    for lock in (x for x in FILES if x not in APART):
        for name, part in locked()[lock].items():
            found = licence_of(name) or f"{ELSEWHERE.get(name, NVIDIA)} *"
            rows.append((name, f"| {name} | {pins(part)[name]} | {lock} | {found} |"))
    return HEAD + "\n".join(lines) + "\n" + PACKAGES + "\n".join(x for _, x in sorted(rows)) + "\n" + TAIL


def unlisted() -> list[str]:
    """Shipped files that no line of SHIPPED covers; Python files are the project's own code."""
    covered = {x for files, _, _ in SHIPPED for x in ROOT.glob(files)}
    found = (
        x for folder in FOLDERS for x in (ROOT / folder).rglob("*") if x.is_file() and "__pycache__" not in x.parts
    )
    return sorted(str(x.relative_to(ROOT)) for x in found if x not in covered and x.suffix != ".py")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
