"""How far the answers of a kept case part from what the original would have said: read by a job, once the case is kept.
Knows the library and jobs, and nothing of Gradio.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evaluation.cases import Case
from evaluation.rereading import reread
from lvlm.events import Progress, Report
from ui import casefile, jobs

CANCELLED = "It was cancelled."


@dataclass(frozen=True)
class Unread:
    """An answer of a case that the original has not read."""

    place: int  # among the case's
    model: Callable[[], object]  # the LVLM that gave it, which may have to be made again
    tokens: tuple[int, ...] = ()  # as it said them; (): as its text has them


@dataclass(eq=False)
class Reading:
    """The job that reads a case's answers; why: not all of them were read, once it ended."""

    job: jobs.Job
    why: str = ""


def read(desk, case: Case, unread: Sequence[Unread]) -> jobs.Job | None:
    """Let the original and whoever gave each answer read it; None where nothing is left to read. Whatever ends the job,
    the case stays whole, with what was read until then."""
    keeping, original, image = desk.keeping, desk.model, case.image
    if not unread:
        return None

    def work(report: Report) -> None:
        for done, one in enumerate(unread):
            side = case.sides[one.place]
            report(Progress("diverge", done, len(unread), side.title))
            told = reread(
                original, one.model(), image, case.question, side.answer, case.max_new_tokens, one.tokens
            )  # fmt: skip
            casefile.book().reread(case.id, one.place, told)

    def then(end: str) -> None:
        if end == "done":
            del keeping.readings[case.id]
        else:
            reading.why = job.error or CANCELLED
        keeping.read += 1

    job = jobs.Job("Read the answers of a case", work, then, pauses=True)
    keeping.readings[case.id] = reading = Reading(job)
    return job.start()


def cancel(desk, id: str | None) -> None:
    """Stop to read a case's answers."""
    if id in desk.keeping.readings:
        desk.keeping.readings[id].job.cancel()
