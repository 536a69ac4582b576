"""API calls of blind votes: two answers without names, the vote, and what all votes add up to."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from evaluation.cases import png
from ui import blind, results
from ui.desk import Desk
from ui.endpoints.common import as_file, at, ended, ready
from ui.files import written
from ui.workspace import Desks


def endpoints(desks: Desks, whose: Callable[[Desk], str | None]) -> list[Callable]:
    """whose(desk): the owner of the votes that count there; None: everybody's."""

    async def next_pair(workspace: str, source: str = "drawn", question: str = "", variants: list[str] = []) -> dict:
        """Let two models at hand, drawn by chance, answer a question without their names.

        Args:
            workspace: the name that open_workspace gave
            source: drawn (a drawn scene of 15 kinds of question), or own (the picture on the table)
            question: what to ask about the picture on the table
            variants: ids of the models that may meet; none: all of them
        Returns:
            pair: question, answers as left and right, how many were skipped as both said the same, and picture: a file
        """
        desk = await ready(desks, workspace)
        meeting = [desk.variants.find(x).id for x in variants] or [x.id for x in desk.variants]
        blind.choose(desk, source, question, meeting)
        await ended(blind.start(desk))
        now = desk.keeping.blind
        return results.match(now.match, now.alike) | {"picture": await asyncio.to_thread(_picture, now.match.image)}

    async def vote(workspace: str, outcome: str) -> dict:
        """Judge the two answers that next_pair gave; then their names are told.

        Args:
            workspace: the name that open_workspace gave
            outcome: left or right (that one is better), tie, or both-bad
        Returns:
            pair: as next_pair gave it, with the models' names and the true answer where it is known
        """
        desk = await at(desks, workspace)
        blind.vote(desk, outcome)
        return results.match(desk.keeping.blind.match, desk.keeping.blind.alike)

    async def vote_score(workspace: str) -> list[dict]:
        """What the votes on variants of the model at hand add up to.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            standings: chance of being preferred (to the other of two, else to the first) and its 95% interval of each
        """
        desk = await at(desks, workspace)
        return results.standings(blind.standings(desk, whose(desk)))

    return [next_pair, vote, vote_score]


def _picture(image) -> dict | None:
    return None if image is None else as_file(Path(written(png(image), "picture.png")))
