"""API calls that train a pruned model back: healing, ending it early, and going on with a run that was cut short."""

from collections.abc import Callable

from lvlm.errors import LVLMError
from recovery import Recipe
from ui import told
from ui.desk import Desk
from ui.endpoints.common import at, ended, ready
from ui.runs import Run
from ui.workspace import Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def heal(
        workspace: str,
        recipe: dict = {},
        data: str = "scenes",
        asked: int = 0,
        wait: bool = True,
        choice: str = "",
        variant: str = "",
    ) -> dict:
        """Train a pruned model back (pruned as planned first, where none is).

        Args:
            workspace: the name that open_workspace gave
            recipe: settings of recovery.Recipe other than the chosen ones, such as {"train": "lora", "minutes": 2}
            data: scenes, easy-vqa, or the path of a LLaVA instruction .json on the server
            asked: held-out questions of each kind, asked of every model afterwards
            wait: until it has ended; else look tells how far it is, and cancel ends it
            choice: advised, strongest, published-l2 or published-rkl; empty: as set last, advised at first
            variant: id of the pruned model; empty: as said last, the newest at first
        Returns:
            workspace: what lies there
        """
        desk = await ready(desks, workspace)
        desk.healing.use(data, asked)
        if choice:
            desk.healing.choose(choice)
        if variant:
            desk.treat(variant)
        chosen = desk.healing.recipe(desk.model, desk.to_heal)
        length = {"minutes": None, "steps": None} if {"minutes", "steps"} & set(recipe) else {}
        if recipe:
            desk.healing.own = Recipe.from_dict({**chosen.to_dict(), **length, **recipe})
        job = desk.heal()
        if wait:
            await ended(job)
        return told.desk(desk)

    async def finish_healing(workspace: str) -> dict:
        """End the training after the step in hand, and keep the best weights so far as a recovered model.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            workspace: what lies there
        """
        desk = await at(desks, workspace)
        if not desk.is_healing:
            raise LVLMError("Nothing is healed in this workspace now: please call heal, with wait=False, first.")
        desk.stop_healing()
        await ended(desk.healing.job)
        return told.desk(desk)

    async def unfinished_healing(workspace: str) -> list[dict]:
        """The newest healing run of this model that was cut short, as when the server was killed; none: an empty list.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            runs: what is healed and how, and at which step of how many it stands
        """
        desk = await ready(desks, workspace)
        return [told.run(x) for x in (desk.healing.goes_on,) if x is not None]

    async def resume_unfinished(workspace: str, wait: bool = True) -> dict:
        """Go on with the run that unfinished_healing gave, from its last checkpoint on: to what it would have come to.

        Args:
            workspace: the name that open_workspace gave
            wait: until it has ended; else look tells how far it is, and cancel or finish_healing end it
        Returns:
            workspace: what lies there
        """
        desk = await at(desks, workspace)
        job = desk.heal(_unfinished(desk))
        if wait:
            await ended(job)
        return told.desk(desk)

    async def discard_unfinished(workspace: str) -> list[dict]:
        """Delete the run that unfinished_healing gave.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            runs: the next one that was cut short, as unfinished_healing gives it
        """
        desk = await at(desks, workspace)
        _unfinished(desk)
        desk.discard_run()
        return [told.run(x) for x in (desk.healing.goes_on,) if x is not None]

    return [heal, finish_healing, unfinished_healing, resume_unfinished, discard_unfinished]


def _unfinished(desk: Desk) -> Run:
    if desk.healing.goes_on is None:
        raise LVLMError("There is no unfinished run of this model: please call heal.")
    return desk.healing.goes_on
