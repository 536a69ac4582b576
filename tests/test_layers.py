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
    "terminal": {"lvlm", "samples", "pruning", "recovery", "evaluation"},
    "ui": {"lvlm", "samples", "pruning", "recovery", "evaluation"},
}
OURS = {*ABOVE, "app", "cli", "scripts", "benchmarks", "tests"}
FILES = sorted(x for folder in ABOVE for x in (ROOT / folder).rglob("*.py"))
STATISTICS = set(  # functions and methods of numpy, pandas and Python that find something out of numbers or words
    """mean nanmean fmean average median nanmedian mode std nanstd stdev var nanvar quantile nanquantile percentile
    nanpercentile corr corrcoef spearmanr pearsonr cov sum nansum prod cumsum cumprod diff norm dot matmul einsum
    argmin argmax nanargmin nanargmax idxmin idxmax argsort argpartition searchsorted nlargest nsmallest rankdata topk
    histogram bincount digitize cut qcut value_counts Counter nunique groupby pivot pivot_table crosstab agg aggregate
    reduceat convolve ewm rolling interp softmax log_softmax cosine_similarity SequenceMatcher""".split()
)
COMPUTING = {"difflib", "scipy", "sklearn", "statistics"}
DRAWN = {  # (file of ui/, function, call) → why it is none
    ("divergence.py", "level", "sum"): "which of the steps of a colour scale",
    ("jobs.py", "_first", "min"): "who is next in line",
    ("jobs.py", "before", "sum"): "how many are before somebody in line",
    ("kept.py", "_same", "sum"): "how many of the answers listed below are marked as the same",
    ("measuring.py", "found", "sum"): "how many cells are still to be measured",
    ("teaching.py", "lesson", "max"): "the longest of the texts that could be shown",
    ("tour/inside.py", "show", "sum"): "how many of the tokens are the image's",
    ("tour/pictures.py", "activity", "sum"): "how many patches, whose root is the side of the square",
    ("tour/pictures.py", "takeover", "argsort"): "bars from the longest to the shortest",
}


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


def computed(path: Path):
    """(function, call) of every call of STATISTICS in a file, and of min and max by a key; not of a module of ours."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = [x for x in ast.walk(tree) if isinstance(x, ast.ImportFrom) and x.module.split(".")[0] in ABOVE]
    ours = {x.asname or x.name for one in known for x in one.names}

    def calls(node: ast.AST, inside: str):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                name = getattr(child.func, "attr", getattr(child.func, "id", ""))
                owner = getattr(getattr(child.func, "value", child.func), "id", "")
                picks = name in ("min", "max") and any(x.arg == "key" for x in child.keywords)
                if owner not in ours and (name in STATISTICS or picks):
                    yield inside, name
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from calls(child, child.name if function else inside)

    return calls(tree, "")


def test_the_app_computes_nothing():
    """Statistics and findings come from the folders above ui/, where they can be tested and called without a page. What
    figures need to be drawn stays: scales, positions and the ends of axes. No exception outlives its reason."""
    folder, found = ROOT / "ui", set()
    for path in sorted(folder.rglob("*.py")):
        assert not set(imports(path)) & COMPUTING, path
        found |= {(path.relative_to(folder).as_posix(), *x) for x in computed(path)}
    assert found - DRAWN.keys() == set(), "move these to a module above ui/"
    assert DRAWN.keys() - found == set(), "these are exceptions no more"
