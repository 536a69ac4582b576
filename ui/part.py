"""What every part of the page (rail, tabs) hands to the page: its components, how to draw a desk into them, and
which of its buttons start long work."""

from collections.abc import Callable
from dataclasses import dataclass, field

from gradio.components import Component

from ui.workspace import Desk


@dataclass(frozen=True)
class Start:
    """An event that starts a job; the page follows it with its own progress. `function(desk_key, *inputs)`."""

    trigger: Callable
    function: Callable
    inputs: list[Component] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """`draw(desk)` gives one value or update for each of `outputs`, in order."""

    outputs: list[Component]
    draw: Callable[[Desk], list]
    starts: list[Start] = field(default_factory=list)
