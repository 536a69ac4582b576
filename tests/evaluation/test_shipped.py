"""The results that ship: of today's bundled models, whole, and what RESULTS.md and the README say."""

import json

import pytest

from benchmarks.pages import README, ROOT
from evaluation.cells import Desk
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.store import INDEX, SHIPPED, Store
from scripts.results import SEEDS, page

STORE = Store(SHIPPED, ())


@pytest.fixture(scope="module")
def written():
    return page(STORE, Grid(seeds=SEEDS))


def test_results_say_what_ships(written):
    """`python -m scripts.results` writes the page that is there, and the README's table."""
    text, healed = written
    assert text == (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert healed in README.read_text(encoding="utf-8")


def test_every_result_ships_whole():
    """Each key of the index has a readable result, and each result a key."""
    keys = set(json.loads((SHIPPED / INDEX).read_text(encoding="utf-8")).values())
    there = {x.name.removesuffix(".json.gz") for x in SHIPPED.glob("??/*.json.gz")}
    assert there == keys and all(STORE.get(x) for x in there)


def test_they_are_of_todays_model_plans_and_questions(tmp_path):
    """Scored and planned today, the zero-shot cells that ship have the keys under which they do."""
    desk, known = Desk(tmp_path), STORE.known()
    shipped = [cell for cell in EXPERIMENTS["zero-shot"].grid(Grid()) if cell.name in known]
    assert len(shipped) > 3
    for cell in shipped:
        assert known[cell.name] == desk.key(cell, desk.plan(cell.variant))
