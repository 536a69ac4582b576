"""API calls about the paper's experiments: which there are, what is measured of them, and measuring what is not."""

import asyncio
from collections.abc import Callable

from evaluation.suites import PER_TASK
from ui import measuring, results
from ui.endpoints.common import ended, ready
from ui.workspace import Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def list_experiments(workspace: str) -> list[dict]:
        """The paper's experiments, and those beyond it.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            experiments: name, title, where the paper has it, and whether all of it is measured on the model at hand
        """
        desk = await ready(desks, workspace)
        return await asyncio.to_thread(results.experiments, desk)

    async def experiment_results(
        workspace: str, experiment: str, suite: str = "scenes", per_task: int = PER_TASK, seeds: int = 1
    ) -> dict:
        """What is measured of an experiment on the model at hand; no model runs.

        Args:
            workspace: the name that open_workspace gave
            experiment: its name, as list_experiments gives it
            suite: scenes, or another suite of docs/evaluation.md
            per_task: questions of each kind
            seeds: of calibration and training, up to 3, that a whole measurement has
        Returns:
            experiment: how much is measured, the rows of its table, its finding, and the paper's claims judged by it
        """
        desk = await ready(desks, workspace)
        measuring.choose(desk, experiment, suite, per_task, seeds)
        return await asyncio.to_thread(results.experiment, desk)

    async def run_experiment(
        workspace: str, experiment: str, suite: str = "scenes", per_task: int = PER_TASK, seeds: int = 1
    ) -> dict:
        """Measure what an experiment lacks on the model at hand, for minutes to hours. What is done always stays.

        Args:
            workspace: the name that open_workspace gave
            experiment: its name, as list_experiments gives it
            suite: scenes, or another suite of docs/evaluation.md
            per_task: questions of each kind
            seeds: of calibration and training, up to 3; each takes as long again
        Returns:
            experiment: as experiment_results gives it
        """
        desk = await ready(desks, workspace)
        measuring.choose(desk, experiment, suite, per_task, seeds)
        if (await asyncio.to_thread(measuring.found, desk)).missing:
            await ended(measuring.run_experiment(desk))
        return await asyncio.to_thread(results.experiment, desk)

    return [list_experiments, experiment_results, run_experiment]
