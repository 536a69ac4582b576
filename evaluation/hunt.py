"""Hunts for failures: questions that the original answers right and a smaller model does not, worst first, and the
ratio at which each first breaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.cells import Cell, Variant
from evaluation.runner import run
from evaluation.scoring import Record
from evaluation.store import Store, report_of
from lvlm.errors import BadSamples
from lvlm.events import Report, silent


@dataclass(frozen=True, eq=False)
class Hunted:
    """A smaller model, and its answers to a suite. ratio: of the language backbone, what is gone, 0…1; asked: what was
    asked to go, of one that was made for the hunt."""

    kind: str
    title: str
    ratio: float
    records: tuple[Record, ...]
    asked: float | None = None


@dataclass(frozen=True)
class Failure:
    """A question that the original answers right and at least one of the hunted models does not.

    place: the question's, in the suite. wrong: places of the models that are wrong, ascending; the first of them is
    where it breaks. drop: of the true answer's probability, from the original to that one; None: not measured.
    """

    place: int
    wrong: tuple[int, ...]
    drop: float | None
    mends: bool  # a model from which more is gone has it right again

    @property
    def first(self) -> int:
        return self.wrong[0]


def failures(original: Sequence[Record], hunted: Sequence[Hunted]) -> list[Failure]:
    """Worst first: by the drop of the truth's probability, where there are none by how early it breaks.

    hunted: the least pruned first. Raises ValueError where they were not asked the same.
    """
    if any([x.id for x in one.records] != [x.id for x in original] for one in hunted):
        raise ValueError("The original and the others were asked different questions.")
    found = []
    for place, record in enumerate(original):
        outcomes = [x.records[place].right for x in hunted]
        if record.right and not all(outcomes):
            wrong = tuple(i for i, right in enumerate(outcomes) if not right)
            before, after = record.probability, hunted[wrong[0]].records[place].probability
            drop = None if before is None or after is None else before - after
            found.append(Failure(place, wrong, drop, any(outcomes[wrong[0] :])))
    return sorted(found, key=lambda x: (-(x.drop or 0.0), x.first, x.place))


@dataclass(frozen=True)
class Breaks:
    """How many of the questions that the original answers right break: counts, (H,), at each hunted model first."""

    counts: tuple[int, ...]
    of: int

    @property
    def most(self) -> int:
        """Place of the model at which most break first, the least pruned of equals. Raises ValueError for no model."""
        return self.counts.index(max(self.counts))

    def share(self, place: int) -> float:
        """Of what the original answers right, 0…1, breaks first at this model."""
        return self.counts[place] / max(self.of, 1)


def breaks(original: Sequence[Record], hunted: Sequence[Hunted], found: Sequence[Failure]) -> Breaks:
    """found: the `failures` of these, or those of one task."""
    counts = tuple(sum(x.first == i for x in found) for i in range(len(hunted)))
    return Breaks(counts, sum(x.right for x in original))


def cells(model: str, method: str, ratios: Sequence[float], suite: str, per_task: int) -> list[Cell]:
    """What a hunt over ratios of one method measures: the original first, then the least pruned.

    Raises BadSamples for no ratio.
    """
    if not ratios:
        raise BadSamples("There is no ratio to hunt at: please choose one or more.")
    variants = [Variant(model), *(Variant(model, method, x) for x in sorted(set(ratios)))]
    return [Cell(x, suite, per_task, probabilities=True) for x in variants]


def measured(asked: Sequence[Cell], store: Store) -> dict[Cell, dict]:
    """What of these cells was measured before; no model is loaded. They are the same as `zero-shot`'s in
    evaluation.experiments, whose results ship for the bundled models."""
    return {x: y for x, y in store.results(asked).items() if y["probabilities"] is not None}


def measure(asked: Sequence[Cell], store: Store, scratch: Path, report: Report = silent) -> dict[Cell, dict]:
    """Every cell's result, computed where it is missing; what is finished stays kept whatever ends it."""
    return run(asked, store, scratch, report=report)


def caught(results: dict[Cell, dict]) -> tuple[list[Record], list[Hunted]]:
    """(the original's records, the others least pruned first) of the results of `cells`; the original among them."""
    dense = next(x for x in results if not x.variant.ratio)
    others = sorted((x for x in results if x.variant.ratio), key=lambda x: x.variant.ratio)
    hunted = [
        Hunted(
            "pruned",
            f"{x.variant.method} {x.variant.ratio:.0%}",
            results[x]["achieved"],
            report_of(x, results[x]).records,
            x.variant.ratio,
        )
        for x in others
    ]
    return list(report_of(dense, results[dense]).records), hunted
