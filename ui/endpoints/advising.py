"""API calls of the advisor: from a goal to ways with the evidence for each, and planning as the best one says."""

import asyncio
from collections.abc import Callable

from lvlm.errors import LVLMError
from ui import results, teaching, told
from ui.endpoints.common import at, ready
from ui.workspace import Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def advise(
        workspace: str, memory: float = 0.7, kept: float = 0.98, int8: bool = True, training: str = "few"
    ) -> dict:
        """Ways to a goal, the best first, with what was measured of each here or in the paper; no model runs.

        Args:
            workspace: the name that open_workspace gave
            memory: share of the weights' bytes that may be left, 0 to 1
            kept: share of the original's score that must be, 0 to 1
            int8: whether 8 bits are welcome
            training: none, few (5% of the samples) or all of them
        Returns:
            advice: least_memory, the least share there is, and ways: what each keeps (%), its memory, recipe, evidence
        """
        desk = await at(desks, workspace)
        ways, least = await asyncio.to_thread(teaching.advised, desk, memory, kept, int8, training)
        return {"ways": [results.way(x) for x in ways], "least_memory": least}

    async def take_advice(workspace: str) -> dict:
        """Plan, repair and heal as the best way to the last goal says; nothing is pruned yet.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            plan: what goes, what stays by layer, and cost as [before, after]
        """
        desk = await ready(desks, workspace)
        if await asyncio.to_thread(teaching.apply, desk) is None:
            raise LVLMError("No way to this goal removes anything: please call advise with another goal.")
        return told.plan(desk.plan)

    return [advise, take_advice]
