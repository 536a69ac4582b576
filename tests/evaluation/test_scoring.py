"""Scoring: exact match, by task, on questions that are the same for every model."""

import pytest

from evaluation import Record, Report, evaluate, normalised, suite_samples
from lvlm import BadSamples


class Parrot:
    """Stands for an LVLM: gives the answers it was made with, in order."""

    name = "parrot"

    def __init__(self, answers):
        self.answers = answers

    def generate(self, prompts, max_new_tokens, batch_size, report):
        assert len(prompts) == len(self.answers)
        return list(self.answers)


@pytest.mark.parametrize(
    "answer, truth, right",
    [
        ("Yes.", "yes", True),
        (" top  left", "top left", True),
        ("top", "top left", False),
        ("13", "3", False),
        ("", "no", False),
    ],
)
def test_exact_match_forgives_case_space_and_full_stop_only(answer, truth, right):
    """An answer is right when nothing but case, white space or a closing full stop differs."""
    assert Record("", "", "", truth, answer).right is right
    assert normalised(truth) == truth


def test_scores_are_means_of_tasks():
    """Each task's score is its share of right answers; the average weighs tasks equally."""
    rows = [("count", "1", "1"), ("count", "2", "3"), ("count", "2", "2"), ("count", "4", "4"), ("choice", "a", "b")]
    report = Report("scenes", "m", 0, tuple(Record("", task, "", truth, said) for task, truth, said in rows))
    assert report.scores == {"count": 0.75, "choice": 0.0}
    assert report.average == 0.375


def test_a_perfect_model_scores_one_and_a_silent_one_zero():
    """evaluate pairs every answer with its own question."""
    truths = [sample.answer for sample in suite_samples("scenes", per_task=2)]
    assert evaluate(Parrot(truths), "scenes", per_task=2).average == 1
    assert evaluate(Parrot([""] * len(truths)), "scenes", per_task=2).average == 0
    assert evaluate(Parrot(truths[1:] + truths[:1]), "scenes", per_task=2).average < 0.5


def test_unseen_style_is_a_suite_without_knowledge():
    """The hard suite asks about pictures only."""
    assert all(sample.image is not None for sample in suite_samples("scenes-unseen-style", per_task=1))
    with pytest.raises(BadSamples, match="no suite"):
        suite_samples("imagenet")
