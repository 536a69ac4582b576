"""What all API calls share: finding a caller's workspace, waiting for its jobs, and files in and out."""

import asyncio
from contextlib import suppress
from pathlib import Path

from lvlm.errors import LVLMError
from ui.desk import Desk
from ui.jobs import Job
from ui.workspace import RETURN_SECONDS, Desks

LOOK_SECONDS = 0.05  # between two looks at a job


async def at(desks: Desks, workspace: str) -> Desk:
    """The desk of this name, its models brought back if they were put away. Raises LVLMError where nobody was given
    the name, or it was left too long."""
    if not workspace or not desks.knows(workspace):
        raise LVLMError(
            "There is no such workspace: please call open_workspace, and hand the name that it gives to every call. "
            "One that nobody used for an hour is cleared away."
        )
    desk = await asyncio.to_thread(desks.at, workspace, False)
    if desk.resting is not None and desk.busy:
        with suppress(TimeoutError):
            await asyncio.wait_for(over(desk.job), RETURN_SECONDS)
    return desk


async def ready(desks: Desks, workspace: str) -> Desk:
    """The same, once there is a model that can be planned for. Raises LVLMError before."""
    desk = await at(desks, workspace)
    if desk.model is None or desk.scores is None:
        raise LVLMError("No model is loaded in this workspace: please call open_workspace.")
    return desk


async def over(job: Job) -> None:
    """Wait for the end of a job, whichever it is."""
    while job.busy:
        await asyncio.sleep(LOOK_SECONDS)


async def ended(job: Job | None) -> None:
    """Wait for a job (None: there was nothing to do). Raises LVLMError with what it says if it failed."""
    if job is not None:
        await over(job)
    if job is not None and job.state != "done":
        raise LVLMError(job.error or f"“{job.title}” was cancelled.")


def as_file(path: Path) -> dict:
    """A file of ours, which Gradio then serves."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def uploaded(file: dict) -> str:
    """The path of a file that Gradio itself took in: it checks what is marked so, and nothing else is opened."""
    if (file.get("meta") or {}).get("_type") != "gradio.FileData" or not file.get("path"):
        raise LVLMError("A picture of your own is handed over as an uploaded file: see handle_file of gradio_client.")
    return file["path"]
