"""Asks a model a suite's questions, greedily and in batches, and scores the answers by exact match."""

import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch

from evaluation.suites import PER_TASK, suite_of
from lvlm import LVLM, silent
from lvlm import Report as Listener
from lvlm.encoding import IGNORED
from lvlm.events import Progress
from lvlm.shortage import enough_memory
from lvlm.unfit import fitting
from samples import Sample

BATCH = 16  # questions answered at once: more are slower on a CPU, whose caches do not hold them
ANSWER_TOKENS = 40  # at most; the longest true answer of any suite has fewer
FORMATS = ("multiple choice", "yes/no", "free")


@dataclass(frozen=True)
class Record:
    """One question of a suite and what a model made of it."""

    id: str
    task: str
    question: str
    truth: str
    answer: str
    probability: float | None = None  # of the truth, token by token after the question; None: not asked for

    @property
    def right(self) -> bool:
        return normalised(self.answer) == normalised(self.truth)

    @property
    def format(self) -> str:
        """Which of FORMATS the true answer has."""
        if self.truth in ("yes", "no"):
            return "yes/no"
        return "multiple choice" if re.search(r"\ba\. .*\bb\. ", self.question) else "free"


@dataclass(frozen=True)
class Report:
    """Every record of one run."""

    suite: str
    model: str
    seed: int
    records: tuple[Record, ...]

    @cached_property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return np.array([x.right for x in self.records])

    @cached_property
    def tasks(self) -> np.ndarray:
        """(N,) names."""
        return np.array([x.task for x in self.records])

    @cached_property
    def formats(self) -> np.ndarray:
        """(N,) names."""
        return np.array([x.format for x in self.records])

    @cached_property
    def scores(self) -> dict[str, float]:
        """Accuracy of each task, 0…1, in the suite's order."""
        return _accuracy((x.task, x) for x in self.records)

    @property
    def average(self) -> float:
        """Mean over tasks, 0…1: the paper's AVG, whose nine scores are on one scale here."""
        return sum(self.scores.values()) / len(self.scores)

    def share_of(self, original: "Report") -> float | None:
        """Of the original's average on the same questions, 0…1: AVG-% over 100; None where that has nothing right."""
        return self.average / original.average if original.average else None

    def by_format(self) -> dict[str, float]:
        """Accuracy by the format of the answer, 0…1."""
        found = _accuracy((x.format, x) for x in self.records)
        return {x: found[x] for x in FORMATS if x in found}

    def by_demand(self) -> dict[str, float]:
        """Mean over tasks, 0…1, of the paper's reasoning-heavy kinds and of the others (Fig. 2)."""
        found = {}
        for name, reasoning in (("reasoning", True), ("other", False)):
            tasks = [x.name for x in suite_of(self.suite).tasks if x.reasoning == reasoning and x.name in self.scores]
            if tasks:
                found[name] = sum(self.scores[x] for x in tasks) / len(tasks)
        return found


def _accuracy(pairs) -> dict[str, float]:
    right: dict[str, list[bool]] = {}
    for name, record in pairs:
        right.setdefault(name, []).append(record.right)
    return {name: sum(x) / len(x) for name, x in right.items()}


def normalised(text: str) -> str:
    """Lower case, single spaces, no closing full stop: what exact match ignores."""
    return re.sub(r"\s+", " ", text).strip().lower().rstrip(".")


@lru_cache(maxsize=2)  # drawing a suite's scenes takes seconds, and a sweep asks the same of every model
def questions(suite: str, per_task: int, seed: int, images: bool) -> tuple[tuple[str, Sample], ...]:
    """(task, sample) pairs of a suite; without images where only the words shall be given."""
    return tuple(suite_of(suite).samples(per_task, seed, None if images else ()))


@enough_memory("Evaluation")
def evaluate(
    model: LVLM, suite: str = "scenes", per_task: int = PER_TASK, seed: int = 0, batch_size: int = BATCH,
    report: Listener = silent, images: bool = True, probabilities: bool = False,
) -> Report:  # fmt: skip
    """Scores of a model on a suite. `report` is told after each batch; raising from it ends the call.

    images: False gives the questions alone, for what the language backbone does by itself (Table 4).
    probabilities: also how likely the model holds each true answer.
    Raises BadSamples for an unknown suite.
    """
    asked = questions(suite, per_task, seed, images)
    samples = [x for _, x in asked]
    answers = model.generate([(x.image, x.question) for x in samples], ANSWER_TOKENS, batch_size, report)
    likely = truth_probabilities(model, samples, batch_size, report) if probabilities else [None] * len(samples)
    records = [
        Record(x.id, task, x.question, x.answer, answer, p)
        for (task, x), answer, p in zip(asked, answers, likely, strict=True)
    ]
    return Report(suite, model.name, seed, tuple(records))


@torch.no_grad()
def truth_probabilities(model: LVLM, samples, batch_size: int = BATCH, report: Listener = silent) -> list[float]:
    """Of each sample's last true answer, its end included: the product over its tokens, given the question."""
    order = sorted(range(len(samples)), key=lambda i: (samples[i].image is None, len(samples[i].question)))
    found = [0.0] * len(samples)
    with_image = sum(x.image is not None for x in samples)
    spans = [(0, with_image), (with_image, len(order))]  # never mixed in a batch, as in `generate`
    starts = [(i, min(i + batch_size, end)) for start, end in spans for i in range(start, end, batch_size)]
    for start, end in starts:
        rows = order[start:end]
        batch = model.encode([replace(samples[i], turns=samples[i].turns[-1:]) for i in rows])
        labels = batch.labels[:, 1:]
        with fitting(model.name):
            logits = model.network(**batch.inputs).logits[:, :-1].float()
        said = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        total = said.masked_fill(labels == IGNORED, 0.0).sum(1).exp()
        for i, p in zip(rows, total.tolist()):
            found[i] = p
        report(Progress("likelihood", end, len(order), f"{end} of {len(order)} true answers"))
    return found
