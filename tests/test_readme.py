"""The README: its tree is the tree, its links lead somewhere, its tables are filled, its commands exist."""

import re
from pathlib import Path

from benchmarks.soak import ROW
from scripts.document_tree import first_sentence, with_tree

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_is_current():
    """`python -m scripts.document_tree` would change nothing."""
    assert with_tree(README) == README


def test_the_tree_quotes_whole_sentences():
    """The number of an equation ends none."""
    said = (
        "Which weights must go together (Eq. 3): one head or neuron as stripes of rows and columns through its layer's"
    )
    assert first_sentence(ROOT / "pruning/dependencies.py") == f"{said} matrices"


def test_links_lead_somewhere():
    """Every local link and picture exists."""
    found = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert len(found) >= 4
    assert [target for target in found if not (ROOT / target).exists()] == []


def test_the_score_table_is_filled():
    """Dense and eight pruned variants stand in the table."""
    body = re.search(r"<!-- pruned scores -->(.*)<!-- /pruned scores -->", README, re.DOTALL)[1]
    rows = [line for line in body.splitlines() if re.match(r"\| (dense|layerwise|widthwise)", line)]
    assert len(rows) == 9


def test_the_soak_has_its_row():
    """`make soak` finds the one row of the table that it writes."""
    assert len(ROW.findall(README)) == 1


def test_named_commands_exist():
    """The modules and make targets that the README names are there."""
    for module in re.findall(r"python -m ([\w.]+)", README):
        assert (ROOT / (module.replace(".", "/") + ".py")).exists(), module
    targets = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", targets, re.MULTILINE), target
