"""Scoring: exact match, by task, on questions that are the same for every model."""

import math

import pytest

from evaluation import NINE, SUITES, Record, Report, evaluate, normalised, questions
from evaluation.scoring import truth_probabilities
from lvlm import BadSamples, load


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
    wrong = Report("scenes", "m", 0, report.records[-1:])
    assert report.share_of(report) == 1 and wrong.share_of(report) == 0 and report.share_of(wrong) is None


def test_a_perfect_model_scores_one_and_a_silent_one_zero():
    """evaluate pairs every answer with its own question."""
    truths = [sample.answer for _, sample in questions("scenes", 2, 0, True)]
    assert evaluate(Parrot(truths), "scenes", per_task=2).average == 1
    assert evaluate(Parrot([""] * len(truths)), "scenes", per_task=2).average == 0
    assert evaluate(Parrot(truths[1:] + truths[:1]), "scenes", per_task=2).average < 0.5


def test_the_suite_asks_the_papers_nine_kinds_evenly():
    """Every task has as many questions as asked for, of each of its kinds within one, and no question twice."""
    for suite in ("scenes", "scenes-unseen-style", "skills"):
        found = questions(suite, 20, 1, True)
        tasks = SUITES[suite].tasks
        assert [task for task, _ in found] == [tasks[i % len(tasks)].name for i in range(20 * len(tasks))]
        assert len({x.id for _, x in found}) == len(found)
        for task in tasks:
            kinds = [x.task for name, x in found if name == task.name]
            assert set(kinds) == set(task.askers)
            assert max(map(kinds.count, task.askers)) - min(map(kinds.count, task.askers)) <= 1
    assert [x.benchmark for x in NINE] == "MMMU SQA MathVista AI2D MME-C MME-P POPE DocVQA GQA".split()


def test_the_same_questions_in_every_process():
    """Suite, number and seed fix the questions; another seed asks others."""
    asked = lambda seed: [(x.question, x.answer) for _, x in SUITES["scenes"].samples(3, seed)]  # noqa: E731
    assert asked(1) == asked(1) != asked(2)


def test_unseen_style_is_a_suite_without_knowledge():
    """The hard suite asks about pictures only."""
    assert all(sample.image is not None for _, sample in questions("scenes-unseen-style", 1, 0, True))
    with pytest.raises(BadSamples, match="no suite"):
        questions("imagenet", 1, 0, True)


def test_words_alone_keep_the_questions_and_drop_the_images():
    """Without images the suite is the same but for them."""
    seen, blind = questions("scenes", 2, 0, True), questions("scenes", 2, 0, False)
    assert [(task, x.turns) for task, x in seen] == [(task, x.turns) for task, x in blind]
    assert not any(x.image for _, x in blind)


@pytest.mark.parametrize(
    "question, truth, format",
    [
        ("what is it? a. owl b. cat c. dog d. bee", "b", "multiple choice"),
        ("is there a bee?", "no", "yes/no"),
        ("how many owls?", "3", "free"),
    ],
)
def test_formats_follow_question_and_truth(question, truth, format):
    """Letters of listed options, yes or no, or words of one's own."""
    assert Record("", "", question, truth, "").format == format


def test_retention_by_format_and_demand():
    """By format every record counts once; by demand tasks weigh the same."""
    rows = [("arithmetic", "3", "3"), ("arithmetic", "2", "1"), ("position", "yes", "yes"), ("presence", "no", "yes")]
    report = Report("scenes", "m", 0, tuple(Record("", task, "", truth, said) for task, truth, said in rows))
    assert report.by_format() == {"yes/no": 0.5, "free": 0.5}
    assert report.by_demand() == {"reasoning": 0.75, "other": 0.0}


def test_probability_of_the_truth_is_the_models_own():
    """As computed for one question by hand, whatever stands beside it in a batch; certain where the model is right."""
    model = load("pocket-llava")
    samples = [x for _, x in questions("scenes", 2, 1, True)]
    found = truth_probabilities(model, samples, batch_size=7)
    for i in (0, 7, 17):
        batch = model.encode([samples[i]])
        logits = model.network(**batch.inputs).logits[0].double().log_softmax(-1)
        places = [t for t in range(1, batch.labels.shape[1]) if batch.labels[0, t] >= 0]
        by_hand = sum(logits[t - 1, batch.labels[0, t]].item() for t in places)
        assert abs(found[i] - math.exp(by_hand)) < 1e-4
    answers = model.generate([(x.image, x.question) for x in samples], 8)
    right = [p for p, x, said in zip(found, samples, answers) if said == x.answer]
    assert len(right) > 10 and min(right) > 0.2
