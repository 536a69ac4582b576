"""What every part of the page (rail, tabs) hands to the page: its components, how to draw a desk into them, and
which of its buttons start long work."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Component

from lvlm.errors import LVLMError
from ui.workspace import Desk, Desks


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


@dataclass(frozen=True)
class Instant:
    """Changes of a tab's parts that need no job. `of(desk)` is the tab's own state on a desk: whether somebody has
    `opened` the tab, before which nothing is worked out, and the `refusal` that is shown."""

    desks: Desks
    desk_key: gr.Textbox
    of: Callable[[Desk], object]

    def drawing(self, *parts) -> tuple[list[Component], Callable[[Desk], list]]:
        """Outputs of all parts, and what draws a desk into them."""
        outputs = [x for part in parts for x in part.outputs]

        def draw(desk: Desk) -> list:
            if not self.of(desk).opened or desk.shared is None:
                return [gr.skip()] * len(outputs)
            return [x for part in parts for x in part.draw(desk)]

        return outputs, draw

    def on(self, triggers: list, function: Callable, inputs: list, *parts, named: bool = True) -> None:
        """`function(desk, *inputs)`, then these parts are drawn; named changes stand in the API."""
        outputs, draw = self.drawing(*parts)

        def change(key: str, *values) -> list:
            desk = self.desks.at(key)
            self.of(desk).refusal = ""
            try:
                function(desk, *values)
            except LVLMError as error:
                self.of(desk).refusal = str(error)
            return draw(desk)

        change.__doc__, change.__name__ = function.__doc__, function.__name__
        gr.on(
            triggers,
            change,
            [self.desk_key, *inputs],
            outputs,
            queue=False,
            show_progress="hidden",
            trigger_mode="always_last",
            api_visibility="public" if named else "private",
        )
