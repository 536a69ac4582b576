"""API calls that judge: scores on held-out questions, hunts for failures, and cases that are kept."""

import asyncio
from collections.abc import Callable

from ui import casefile, hunting, keeping, measuring, told
from ui.endpoints.common import at, ended, ready
from ui.workspace import Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def score(workspace: str, suite: str = "scenes", per_task: int = 10) -> list[dict]:
        """Ask every model at hand the held-out questions of a suite, and count the right answers.

        Args:
            workspace: the name that open_workspace gave
            suite: scenes, or another suite of docs/evaluation.md
            per_task: questions of each kind
        Returns:
            scores: average and by task, 0 to 1, of every model
        """
        desk = await at(desks, workspace)
        ready(desk)
        desk.measuring.wish.set(suite, per_task)
        if measuring.unheard(desk):
            await ended(measuring.score(desk))
        return told.scores(desk)

    async def hunt(workspace: str, over: str = "hand", suite: str = "scenes", per_task: int = 10) -> dict:
        """Look for questions that the original answers right and smaller models do not, worst first.

        Args:
            workspace: the name that open_workspace gave
            over: hand (the models at hand), widthwise or layerwise (from the smallest ratio to the largest)
            suite: scenes, or another suite of docs/evaluation.md
            per_task: questions of each kind
        Returns:
            caught: the models, how many failures there are, and the worst of them
        """
        desk = await at(desks, workspace)
        ready(desk)
        desk.keeping.hunting.set(over, "paper", suite, per_task)
        if (await asyncio.to_thread(hunting.caught, desk)).missing:
            await ended(hunting.start(desk))
        return await asyncio.to_thread(told.failures, desk)

    async def keep_case(workspace: str, verdict: str = "", tags: list[str] = [], note: str = "") -> dict:
        """Keep the last question with everybody's answers as a case.

        Args:
            workspace: the name that open_workspace gave
            verdict: what you think of it, as the Cases tab words it; empty: not judged
            tags: of miscount, wrong object, semantic shift, hallucination, gibberish, refusal
            note: anything
        Returns:
            case: the case, whose id a link may carry: ?case=id
        """
        desk = await at(desks, workspace)
        found = await asyncio.to_thread(keeping.keep_talk, desk)
        if verdict or tags or note:
            keeping.judge(desk, casefile.owner(desk), verdict, tags, note)
        return told.case(casefile.book().get(found.id))

    async def list_cases(workspace: str) -> list[dict]:
        """The cases that were kept in this workspace, newest first.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            cases: without their pictures
        """
        desk = await at(desks, workspace)
        return [told.case(x) for x in casefile.book().find(owner=casefile.owner(desk), pictures=False)]

    return [score, hunt, keep_case, list_cases]
