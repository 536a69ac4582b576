"""What every part of the page (rail, tabs) hands to the page: its components, how to draw a desk into them, and
which of its buttons start long work."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from gradio.components import Component

from ui.workspace import Desk


@dataclass(frozen=True)
class Start:
    """An event that starts a job or changes what several parts show; the page then follows the job, and draws this
    start's part anew and all others that moved. `function(desk_key, *inputs)` may raise LVLMError, which is shown."""

    trigger: Callable
    function: Callable
    inputs: list[Component] = field(default_factory=list)


def whole(desk: Desk) -> Hashable:
    """What moves with every change of the desk but answers, measurements and training steps."""
    return desk.version, desk.busy, desk.variants.version


@dataclass(frozen=True)
class Part:
    """`draw(desk)` gives one value or update for each of `outputs`, in order; the page calls it when `state(desk)`
    is another than when it drew last."""

    outputs: list[Component]
    draw: Callable[[Desk], list]
    starts: list[Start] = field(default_factory=list)
    state: Callable[[Desk], Hashable] = whole
