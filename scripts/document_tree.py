"""Writes the README's tree of files, one line each: the first sentence of every module's own docstring.

python -m scripts.document_tree
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "lvlm": "what a vision-language model is",
    "samples": "visual-instruction data",
    "pruning": "what to remove, and removing it",
    "recovery": "healing",
    "evaluation": "what pruning costs, on held-out questions",
    "terminal": "the command line's verbs",
    "ui": "the app's page, one file a tab",
    "scripts": "one-off builders: the bundled models, their sprites and examples, locks, and pages like this tree",
    "benchmarks": "speed, memory and scores, with their results",
}
START, END = "<!-- tree -->\n", "<!-- /tree -->"


def first_sentence(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<=[.;])(?<!Eq\.)\s|\n\n", text, maxsplit=1)[0]
    return " ".join(sentence.split()).rstrip(".:;")


def tree() -> str:
    """The tree as a fenced block."""
    lines = [
        f"{name:<28}{first_sentence(ROOT / name)}"
        for name in ("app.py", "cli.py")
        if (ROOT / name).exists()
    ]
    for folder, about in FOLDERS.items():
        files = sorted((ROOT / folder).rglob("*.py"))
        if not files:
            continue
        lines.append(f"{folder + '/':<28}{about}")
        for path in files:
            name = path.relative_to(ROOT / folder).as_posix()
            if not name.endswith("__init__.py"):
                lines.append(f"    {name:<24}{first_sentence(path)}")
    lines.append(f"{'assets/':<28}the bundled model, sprites, example scenes, style sheet, screenshots")
    lines.append(f"{'tests/':<28}mirrors the folders above")
    return "```\n" + "\n".join(line.rstrip() for line in lines) + "\n```\n"


def with_tree(readme: str) -> str:
    """The README's text with the tree as it stands today."""
    before, rest = readme.split(START)
    return before + START + tree() + END + rest.split(END, 1)[1]


if __name__ == "__main__":
    page = ROOT / "README.md"
    page.write_text(with_tree(page.read_text(encoding="utf-8")), encoding="utf-8")
