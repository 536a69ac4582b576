"""What decides what goes: the options of every verb that makes a plan by scores."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from terminal.options import Share, Unit

OF_BALANCED = ("image", "text", "balanced")  # importance that only scores made so hold
Method = Annotated[Literal["layerwise", "widthwise", "both"], typer.Option(help="Layers, heads and neurons, or both.")]
Metric = Annotated[Literal["parameters", "bytes", "flops", "memory"], typer.Option(help="What the target counts.")]
Ranking = Annotated[Literal["layer", "global"], typer.Option(help="Same share of every layer, or all units compete.")]
Target = Annotated[float | None, typer.Option(help="Instead: what the whole model may come to.")]
Protect = Annotated[list[int] | None, typer.Option(metavar="LAYER", help="Keep it whole; may be repeated.")]
ProtectFirst = Annotated[int, typer.Option(min=0, help="Keep so many first layers whole.")]
ProtectLast = Annotated[int, typer.Option(min=0, help="Keep so many last layers whole.")]
Pin = Annotated[list[str] | None, typer.Option(metavar="UNIT", help="Keep layer 3, or its head: 3.2.")]
Drop = Annotated[list[str] | None, typer.Option(metavar="UNIT", help="Force it out, whatever the scores.")]
Contiguous = Annotated[bool, typer.Option("--contiguous", help="Layers go as one block.")]
RoundTo = Annotated[int, typer.Option(min=1, help="Keep neurons in multiples of this.")]
DepthShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Of `both`: the layers' part; else half, or as it comes out where all compete."),
]


def choices(
    method: Method = "widthwise",
    ratio: Share = 0.3,
    budget: Target = None,
    metric: Metric = "parameters",
    importance: Unit = "taylor",
    ranking: Ranking = "layer",
    protect: Protect = None,
    protect_first: ProtectFirst = 0,
    protect_last: ProtectLast = 0,
    pin: Pin = None,
    drop: Drop = None,
    contiguous: Contiguous = False,
    round_to: RoundTo = 1,
    depth_share: DepthShare = None,
) -> dict:
    """`make_plan`'s arguments. Raises BadPlan for a unit that is none."""
    return dict(
        method=method, ratio=ratio, budget=budget, metric=metric, importance=importance, ranking=ranking,
        protect=protect or (), protect_first=protect_first, protect_last=protect_last, contiguous=contiguous,
        round_to=round_to, depth_share=depth_share, pinned=_units(pin), forced=_units(drop),
    )  # fmt: skip


def choosing(function: Callable) -> Callable:
    """A verb with the options of `choices` in the place of its parameter `chosen`, which is what they come to."""
    signature, offered = inspect.signature(function), inspect.signature(choices).parameters
    parameters = []
    for name, x in signature.parameters.items():
        parameters += offered.values() if name == "chosen" else [x]
    named = [x.replace(kind=inspect.Parameter.KEYWORD_ONLY) for x in parameters]

    @functools.wraps(function)
    def verb(**given):
        chosen = choices(**{x: given.pop(x) for x in offered})
        return function(**given, chosen=chosen)

    verb.__signature__ = signature.replace(parameters=named)
    return verb


def _units(texts: list[str] | None) -> list:
    """Layers and heads by their texts."""
    from pruning import Unit

    return [Unit.parse(x) for x in texts or ()]
