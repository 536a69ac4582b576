"""API calls about a workspace as a whole: models to choose from, opening, looking, cancelling, taking it along."""

import asyncio
import secrets
from collections.abc import Callable

from ui import links, replay, told
from ui.endpoints.common import as_file, at, ended, over
from ui.workspace import Desks


def endpoints(desks: Desks, usual: str) -> list[Callable]:
    async def list_models() -> list[dict]:
        """The models that can be opened: sizes, licences, and whether this machine has the memory to prune them.

        Returns:
            models: name, title, parameters, licence, bundled, download_bytes and fits_here of each
        """
        return told.models()

    async def open_workspace(model: str = usual) -> dict:
        """Open a new workspace: load a model, judge how important its parts are, and plan to remove 30% of it.

        Args:
            model: a name from list_models, a Hugging Face hub id, or a folder on the server
        Returns:
            workspace: its name, which every other call takes, and what lies there
        """
        desk = await asyncio.to_thread(desks.at, secrets.token_hex(16))
        await ended(desk.open(model))
        return told.desk(desk)

    async def look(workspace: str) -> dict:
        """What lies in a workspace: model, plan, variants, and how far the job under way is.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            workspace: what lies there
        """
        return told.desk(await at(desks, workspace))

    async def cancel(workspace: str) -> dict:
        """Stop the job and the answer that are under way; what was there before stays.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            workspace: what lies there
        """
        desk = await at(desks, workspace)
        desk.stop()
        if desk.busy:
            desk.job.cancel()
            await over(desk.job)
        return told.desk(desk)

    async def make_link(workspace: str, question: str = "") -> dict:
        """The part of an address, after the "?", that opens the page with this model, plan, picture and question.

        Args:
            workspace: the name that open_workspace gave
            question: the question to lay out; empty: the last one asked
        Returns:
            link: query and left_out, a sentence on what cannot be in a link
        """
        query, left_out = links.write(await at(desks, workspace), question)
        return {"query": query, "left_out": left_out}

    async def write_script(workspace: str) -> dict:
        """The session as a Python script that replays it through the library.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            script: its text, and file: the script, or a zip file of it and of a picture of one's own
        """
        desk = await at(desks, workspace)
        script = await asyncio.to_thread(replay.write, desk)
        return {"text": script.text, "file": as_file(script.save())}

    return [list_models, open_workspace, look, cancel, make_link, write_script]
