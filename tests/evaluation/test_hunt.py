"""Hunting for failures among known answers."""

from pathlib import Path

import pytest

from evaluation import hunt
from evaluation.experiments import Grid
from evaluation.hunt import Failure, Hunted, failures
from evaluation.scoring import Record
from evaluation.store import Store
from lvlm.errors import BadSamples
from tests.ui.made_up import fill


def records(answers: str, likely=(0.9, 0.9, 0.9, 0.9)) -> list[Record]:
    """One question a letter: "y" is right."""
    return [Record(f"q{i}", "count", "?", "y", x, p) for i, (x, p) in enumerate(zip(answers, likely, strict=False))]


def pruned(ratio: float, answers: str, *likely) -> Hunted:
    return Hunted("pruned", f"{ratio:.0%}", ratio, tuple(records(answers, likely or (0.5,) * 4)))


def test_only_what_the_original_knows_can_break_and_the_first_ratio_is_named():
    """Right at 0, wrong at 30%: it breaks there; what the original gets wrong, or everybody right, is no failure."""
    found = failures(records("yyny"), [pruned(0.15, "yyyy"), pruned(0.3, "ynny"), pruned(0.45, "nyny")])
    assert [(x.place, x.first, x.wrong, x.mends) for x in found] == [(1, 1, (1,), True), (0, 2, (2,), False)]


def test_the_worst_comes_first():
    """By how much less likely the truth became where it first breaks; of equals the one that breaks earlier."""
    found = failures(records("yyy"), [pruned(0.15, "nyy", 0.8, 0.8, 0.8), pruned(0.3, "nnn", 0.0, 0.1, 0.8)])
    assert found == [
        Failure(1, (1,), pytest.approx(0.8), False),
        Failure(0, (0, 1), pytest.approx(0.1), False),
        Failure(2, (1,), pytest.approx(0.1), False),
    ]


def test_every_failure_breaks_first_at_one_model():
    """Counts add up to the failures, whatever mends later; of the rest of what the original knows nothing breaks."""
    original, others = records("yyyn"), [pruned(0.15, "nyyy"), pruned(0.3, "nnny")]
    found = hunt.breaks(original, others, failures(original, others))
    assert (found.counts, found.of, found.most, found.share(1)) == ((1, 2), 3, 1, pytest.approx(2 / 3))
    assert hunt.breaks(records("n"), [pruned(0.3, "n")], []).share(0) == 0


def test_answers_to_other_questions_are_not_compared():
    """A caller that mixes suites is told, instead of finding failures."""
    with pytest.raises(ValueError):
        failures(records("yy"), [pruned(0.3, "y")])
    assert failures(records("yy"), []) == []


def test_measured_ratios_are_found_without_a_model(tmp_path):
    """What `zero-shot` measured is what a hunt over its ratios asks for; a ratio that nobody measured is missing."""
    store = Store(tmp_path, below=())
    fill(store, "zero-shot", Grid("pocket-llava", per_task=2))
    asked = hunt.cells("pocket-llava", "widthwise", (0.45, 0.15, 0.45, 0.2), "scenes", 2)
    assert [x.variant.ratio for x in asked] == [0, 0.15, 0.2, 0.45]
    results = hunt.measured(asked, store)
    assert [x.variant.ratio for x in results] == [0, 0.15, 0.45]
    original, hunted = hunt.caught(results)
    assert len(original) == 18 and [x.title for x in hunted] == ["widthwise 15%", "widthwise 45%"]
    assert all(
        original[x.place].right and not hunted[x.first].records[x.place].right for x in failures(original, hunted)
    )
    with pytest.raises(BadSamples):
        hunt.cells("pocket-llava", "widthwise", (), "scenes", 2)


def test_a_hunt_is_a_run_of_the_runner(tmp_path, monkeypatch):
    """What is missing is computed by the runner of experiments, with its store: resumable, and never twice."""
    asked, got = hunt.cells("m", "layerwise", (0.3,), "scenes", 1), []
    monkeypatch.setattr(hunt, "run", lambda *given, **more: got.append((given, more)) or {})
    assert hunt.measure(asked, Store(tmp_path), Path("s"), print) == {}
    assert got == [((asked, Store(tmp_path), Path("s")), {"report": print})]
