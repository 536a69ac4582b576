"""Asks a model a suite's questions, greedily and in batches, and scores the answers by exact match."""

import re
from dataclasses import dataclass
from functools import cached_property

from evaluation.suites import PER_TASK, suite_samples
from lvlm import LVLM, silent
from lvlm import Report as Listener


@dataclass(frozen=True)
class Record:
    """One question of a suite and what a model made of it."""

    id: str
    task: str
    question: str
    truth: str
    answer: str

    @property
    def right(self) -> bool:
        return normalised(self.answer) == normalised(self.truth)


@dataclass(frozen=True)
class Report:
    """Every record of one run."""

    suite: str
    model: str
    seed: int
    records: tuple[Record, ...]

    @cached_property
    def scores(self) -> dict[str, float]:
        """Accuracy of each task, 0…1, in the suite's order."""
        by_task: dict[str, list[bool]] = {}
        for record in self.records:
            by_task.setdefault(record.task, []).append(record.right)
        return {task: sum(right) / len(right) for task, right in by_task.items()}

    @property
    def average(self) -> float:
        """Mean over tasks, 0…1."""
        return sum(self.scores.values()) / len(self.scores)


def normalised(text: str) -> str:
    """Lower case, single spaces, no closing full stop: what exact match ignores."""
    return re.sub(r"\s+", " ", text).strip().lower().rstrip(".")


def evaluate(
    model: LVLM, suite: str = "scenes", per_task: int = PER_TASK, seed: int = 0, batch_size: int = 50,
    report: Listener = silent,
) -> Report:  # fmt: skip
    """Scores of a model on a suite. `report` is told after each batch; raising from it ends the call.

    Raises BadSamples for an unknown suite.
    """
    samples = suite_samples(suite, per_task, seed)
    prompts = [(sample.image, sample.question) for sample in samples]
    answers = model.generate(prompts, max_new_tokens=40, batch_size=batch_size, report=report)
    records = [Record(s.id, s.task, s.question, s.answer, answer) for s, answer in zip(samples, answers)]
    return Report(suite, model.name, seed, tuple(records))
