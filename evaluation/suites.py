"""What a model is asked: fixed held-out questions, the same for every model and in every process."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

from lvlm.errors import BadSamples
from samples import TASKS as ASKERS
from samples import Sample, load_samples

PER_TASK = 200


@dataclass(frozen=True)
class Task:
    """A row of a suite's scores. askers: the kinds of question it takes in turn; benchmark: the paper's of its kind."""

    name: str
    askers: tuple[str, ...]
    benchmark: str
    reasoning: bool = False  # the paper's reasoning-heavy benchmarks (MathVista, AI2D; Fig. 2)


NINE = (
    Task("knowledge", ("knowledge",), "MMMU"),
    Task("choice", ("choice",), "SQA"),
    Task("arithmetic", ("count", "arithmetic"), "MathVista", reasoning=True),
    Task("position", ("where-is", "what-is-where", "choice-where"), "AI2D", reasoning=True),
    Task("cognition", ("cognition",), "MME-C"),
    Task("perception", ("perception",), "MME-P"),
    Task("presence", ("presence",), "POPE"),
    Task("reading", ("reading",), "DocVQA"),
    Task("general", ("general", "relation"), "GQA"),
)
GALLERY = tuple(Task(x, (x,), "") for x in ("describe", "count", "what-is-where", "reading"))  # Table 6
EASY = (Task("easy-vqa", ("easy-vqa",), ""),)
SKILLS = tuple(Task(asker, (asker,), "") for asker in ASKERS)


def _with_image(tasks: Sequence[Task]) -> tuple[Task, ...]:
    return tuple(x for x in tasks if x.name != "knowledge")  # which has no image, and so no art style


@dataclass(frozen=True)
class Suite:
    """Tasks, and the split of their data."""

    name: str
    tasks: tuple[Task, ...]
    split: str = "test"

    def samples(self, per_task: int, seed: int, pictures: Container[int] | None = None) -> list[tuple[str, Sample]]:
        """(task, sample) pairs, tasks taking turns. pictures: places of those whose image is wanted; None: all."""
        if self.tasks is EASY:
            found = load_samples("easy-vqa", split=self.split, n=4 * per_task, seed=seed, pictures=pictures)
            return [("easy-vqa", x) for x in found]
        rounds = 6 if any(len(x.askers) > 1 for x in self.tasks) else 1  # divisible by every number of askers
        askers = [x.askers[i % len(x.askers)] for i in range(rounds) for x in self.tasks]
        n = per_task * len(self.tasks)
        found = load_samples("scenes", split=self.split, n=n, seed=seed, tasks=askers, pictures=pictures)
        return [(self.tasks[i % len(self.tasks)].name, x) for i, x in enumerate(found)]


SUITES = {
    x.name: x
    for x in (
        Suite("scenes", NINE),
        Suite("scenes-unseen-style", _with_image(NINE), "unseen-style"),
        Suite("skills", SKILLS),
        Suite("skills-unseen-style", _with_image(SKILLS), "unseen-style"),
        Suite("gallery", GALLERY),
        Suite("easy-vqa", EASY),
    )
}


def suite_of(name: str) -> Suite:
    """Raises BadSamples for an unknown suite."""
    if name not in SUITES:
        raise BadSamples(f'There is no suite called "{name}": choose from {", ".join(SUITES)}.')
    return SUITES[name]
