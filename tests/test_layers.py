"""The layers of the project: a folder imports only from folders above it, and only ui/ knows gradio and plotly."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ABOVE = {
    "lvlm": set(),
    "samples": {"lvlm"},
    "pruning": {"lvlm", "samples"},
    "recovery": {"lvlm", "samples", "pruning"},
    "evaluation": {"lvlm", "samples", "pruning", "recovery"},
    "ui": {"lvlm", "samples", "pruning", "recovery", "evaluation"},
}
OURS = {*ABOVE, "app", "cli", "scripts", "benchmarks", "tests"}
FILES = sorted(x for folder in ABOVE for x in (ROOT / folder).rglob("*.py"))


def imports(path):
    """Top-level names of everything a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (x.name.split(".")[0] for x in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("path", FILES, ids=lambda x: str(x.relative_to(ROOT)))
def test_imports_go_one_way(path):
    """lvlm → samples → pruning → recovery → evaluation → ui; gradio and plotly stay in ui."""
    folder = path.relative_to(ROOT).parts[0]
    found = set(imports(path))
    assert found & OURS <= ABOVE[folder] | {folder}
    if folder != "ui":
        assert not found & {"gradio", "plotly"}


@pytest.mark.parametrize("path", FILES, ids=lambda x: str(x.relative_to(ROOT)))
def test_modules_stay_readable(path):
    """Every module says what it is, in under 400 lines of at most 120 characters."""
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), "no module docstring"
    lines = text.splitlines()
    assert len(lines) < 400
    assert max(map(len, lines), default=0) <= 120
