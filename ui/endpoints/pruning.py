"""API calls that make variants: importance, plans, two plans compared, pruning, 8 bits, saving and dropping."""

from collections.abc import Callable

from lvlm.errors import LVLMError
from pruning import Unit
from pruning.wishes import check
from ui import picking, told
from ui.desk import Desk
from ui.endpoints.common import as_file, at, ended, ready
from ui.workspace import DEFAULT_RATIO, DEFAULT_SAMPLES, Desks


def endpoints(desks: Desks) -> list[Callable]:
    async def calibrate(workspace: str, samples: int = DEFAULT_SAMPLES, balanced: bool = False) -> dict:
        """Judge anew how important every layer, head and neuron is, on bundled samples, and plan anew.

        Args:
            workspace: the name that open_workspace gave
            samples: pictures with questions and answers to judge on, 1 to 50
            balanced: weigh image tokens and text tokens alike, of which there are many fewer
        Returns:
            importance: block influence of every layer (also of image and text tokens alone), and of heads and neurons
        """
        desk = await at(desks, workspace)
        await ended(desk.calibrate(samples, balanced))
        return told.importance(desk.scores, desk.importance)

    async def plan(
        workspace: str,
        method: str = "widthwise",
        ratio: float = DEFAULT_RATIO,
        protect_first: int = 0,
        protect_last: int = 0,
        pin: list[str] = [],
        force: list[str] = [],
        ranking: str = "layer",
    ) -> dict:
        """Plan what to remove; nothing is removed yet, and what it would cost is predicted exactly.

        Args:
            workspace: the name that open_workspace gave
            method: layerwise (whole layers), widthwise (heads and neurons), or both
            ratio: share of the language model to remove, 0 to 0.6
            protect_first: how many of the first layers stay whole
            protect_last: how many of the last layers stay whole
            pin: layers ("3") and heads ("3.2") that never go
            force: layers and heads that always go
            ranking: layer (every layer gives the same share) or global (what matters least goes, of whichever layer)
        Returns:
            plan: what goes, what stays by layer, and cost as [before, after]
        """
        desk = await ready(desks, workspace)
        pinned, forced = ([Unit.parse(x) for x in units] for units in (pin, force))
        desk.picking.budget = None
        picking.wishes(desk, pinned, forced)
        desk.wish(method, ratio, protect_first, protect_last, ranking)
        return _planned(desk)

    async def keep_plan(workspace: str, keep: bool = True) -> dict:
        """Keep the plan at hand to compare others with; the one kept before gives way.

        Args:
            workspace: the name that open_workspace gave
            keep: no: the kept plan is dropped
        Returns:
            plan: the plan at hand
        """
        desk = await ready(desks, workspace)
        if desk.picking.under(desk.plan) is not None:
            picking.keep(desk)  # drops it
        if keep:
            picking.keep(desk)
        return told.plan(desk.plan)

    async def compare_plans(workspace: str) -> dict:
        """The kept plan and the one at hand: what each costs, and how much of what they remove is the same.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            plans: both with what they cost, the share of what either removes on which they agree, and its parameters
        """
        desk = await ready(desks, workspace)
        kept = desk.picking.under(desk.plan)
        if kept is None:
            raise LVLMError("No plan of this model is kept: please call keep_plan, then plan otherwise and compare.")
        return told.plans(kept, desk.plan, desk.scores, desk.shared.pace)

    async def search_shares(workspace: str) -> dict:
        """Find out, by trying on samples, how much should go of each layer at the ratio at hand, and plan so.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            plan: what goes, and how far answers move (divergence, nats a token): [the same share of each layer, now]
        """
        desk = await ready(desks, workspace)
        await ended(picking.search(desk))
        return _planned(desk)

    async def plan_in_rounds(workspace: str) -> dict:
        """Plan for the ratio at hand a quarter at a time: what is left is scored anew before more of it goes.

        Args:
            workspace: the name that open_workspace gave
        Returns:
            plan: what goes, what stays by layer, and cost as [before, after]
        """
        desk = await ready(desks, workspace)
        await ended(picking.in_rounds(desk))
        return _planned(desk)

    async def plan_within(workspace: str, unit: str, most: float) -> dict:
        """Plan for a budget instead of a ratio: the least that has to go for the model to fit it.

        Args:
            workspace: the name that open_workspace gave
            unit: parameters, memory or int8 (bytes), flops, first_token or token (seconds)
            most: what the model may cost at most, in that unit
        Returns:
            plan: what goes, what stays by layer, and cost as [before, after]
        """
        desk = await ready(desks, workspace)
        await ended(picking.limit(desk, unit, most))
        return _planned(desk)

    async def try_plan(workspace: str, question: str, unit: str = "") -> dict:
        """Ask the original, and it with what the plan removes, or one unit, masked to nothing; nothing is cut.

        Args:
            workspace: the name that open_workspace gave
            question: what to ask about the picture on the table
            unit: a layer ("3") or head ("3.2") to mask instead; empty: all that the plan removes
        Returns:
            exchange: both answers
        """
        desk = await ready(desks, workspace)
        if unit:
            [found] = check(desk.scores.anatomy, [Unit.parse(unit)])
            picking.select(desk, found)
        await ended(picking.try_out(desk, picking.UNIT if unit else picking.PLAN, question))
        return told.exchange(desk.picking.trial.exchange)

    async def prune(workspace: str, repair: bool = False) -> dict:
        """Carry out the plan: a smaller model beside the original, which stays as it is.

        Args:
            workspace: the name that open_workspace gave
            repair: also refit what stays to what the original computes, in seconds and without training
        Returns:
            variant: the pruned model; repaired, with its gain: how often it says the original's word, before and after
        """
        desk = await at(desks, workspace)
        desk.repair = bool(repair)
        await ended(desk.prune())
        return told.variant(desk.pruned)

    async def quantize(workspace: str, variant: str) -> dict:
        """Store a model's weights in 8 bits, as a variant of its own.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model, such as original or pruned-1
        Returns:
            variant: the 8-bit model
        """
        desk = await at(desks, workspace)
        await ended(desk.small(variant))
        return told.variant(desk.variants.latest("int8"))

    async def rename(workspace: str, variant: str, title: str) -> dict:
        """Give a model at hand another name.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model
            title: its new name, up to 60 characters
        Returns:
            variant: the model
        """
        desk = await at(desks, workspace)
        desk.variants.rename(variant, title)
        return told.variant(desk.variants.find(variant))

    async def save(workspace: str, variant: str) -> dict:
        """A model as a zip file to download; unpacked, it can be opened again.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model
        Returns:
            file: the zip file
        """
        desk = await at(desks, workspace)
        await ended(desk.save(variant))
        return as_file(desk.variants.find(variant).file)

    async def drop(workspace: str, variant: str) -> dict:
        """Free a model and all that was made from it; the original stays.

        Args:
            workspace: the name that open_workspace gave
            variant: id of the model
        Returns:
            workspace: what lies there
        """
        desk = await at(desks, workspace)
        desk.drop(variant)
        return told.desk(desk)

    made = [prune, quantize, rename, save, drop]
    return [calibrate, plan, plan_within, search_shares, plan_in_rounds, keep_plan, compare_plans, try_plan, *made]


def _planned(desk: Desk) -> dict:
    if desk.refusal:
        raise LVLMError(desk.refusal)
    return told.plan(desk.plan)
