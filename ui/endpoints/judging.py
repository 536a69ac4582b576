"""API calls that judge models: scores on held-out questions, single answers, and hunts for failures."""

import asyncio
from collections.abc import Callable

from ui import hunting, measuring, results
from ui.endpoints.common import ended, ready
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
        desk = await ready(desks, workspace)
        desk.measuring.wish.set(suite, per_task)
        if measuring.unheard(desk):
            await ended(measuring.score(desk))
        return results.scores(desk)

    async def list_answers(
        workspace: str, source: str = "desk", other: str = "", task: str = "", which: str = "all", most: int = 100
    ) -> list[dict]:
        """What each model answered to each question that was asked last, and whether it is right.

        Args:
            workspace: the name that open_workspace gave
            source: desk (the models at hand, as score asked them) or experiment (the one that was looked at last)
            other: title of the model that the original is compared with; empty: the first after it
            task: questions of this kind alone; empty: of every kind
            which: all, lost (the original right, the other wrong), won (the other way round), or differ
            most: how many questions to give
        Returns:
            answers: question, truth, and of every model its answer, whether that is right, and the truth's probability
        """
        desk = await ready(desks, workspace)
        await asyncio.to_thread(measuring.look_at, desk, source, other or None, task, which)
        return await asyncio.to_thread(results.answers, desk, most)

    async def hunt(
        workspace: str,
        over: str = "hand",
        suite: str = "scenes",
        per_task: int = 10,
        steps: str = "paper",
        task: str = "",
        most: int = 20,
    ) -> dict:
        """Look for questions that the original answers right and smaller models do not, worst first.

        Args:
            workspace: the name that open_workspace gave
            over: hand (the models at hand), widthwise or layerwise (from the smallest ratio to the largest)
            suite: scenes, or another suite of docs/evaluation.md
            per_task: questions of each kind
            steps: of ratios: paper (15, 30, 45 and 60%) or fine (every 5%)
            task: give the failures of this kind of question alone; empty: of every kind
            most: how many failures to give
        Returns:
            caught: the models, how many failures there are, and the worst of them
        """
        desk = await ready(desks, workspace)
        desk.keeping.hunting.set(over, steps, suite, per_task)
        if (await asyncio.to_thread(hunting.caught, desk)).missing:
            await ended(hunting.start(desk))
        return await asyncio.to_thread(results.failures, desk, task, most)

    return [score, list_answers, hunt]
