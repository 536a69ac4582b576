"""What every step of the tour hands to the Learn tab, and the frame that all of them share."""

from collections.abc import Callable
from dataclasses import dataclass, field

import gradio as gr
from gradio.components import Component

from ui import texts, words
from ui.figure import figure as plot
from ui.glossary import mark
from ui.inputs import Dial
from ui.language import text
from ui.part import Start
from ui.teaching import pictures
from ui.workspace import Desk

LATEX = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "$", "right": "$", "display": False},
]


@dataclass(frozen=True)
class Stop:
    """`show(desk, *controls)` computes the step and gives a value for each of `outputs`, of which the first says what
    was found; it may raise LVLMError. `name` and `about` are the step's in the API; `starts` begin its long work, after
    which it is shown again, and `ranges(desk)` fits `fitted` controls to the model."""

    name: str
    about: str
    controls: list[Component]
    outputs: list[Component]
    show: Callable[..., list]
    starts: list[Start] = field(default_factory=list)
    fitted: list[Component] = field(default_factory=list)
    ranges: Callable[[Desk], list] = lambda desk: []


def speaking(desk: Desk) -> Callable[..., str]:
    """`tell` in the desk's language."""
    texts.speak(desk.language)
    return texts.tell


def heading(found: str, read: str, desk: Desk, numbers: str = "") -> str:
    """A figure's title over a table of `numbers` and how to read the figure, in the desk's language."""
    read = f"<p>{mark(words.escape(read), desk.language)}</p>"
    return f'<div class="finding"><h3>{words.escape(found)}</h3>{numbers}{read}</div>'


def explained(number: int | str, titled: bool = True) -> None:
    """The title of a step, or of "beyond", and its text with its formulas, at the left."""
    if titled:
        gr.HTML(text(f"{number}.title"), elem_classes="lesson-title")
    gr.Markdown(
        text(f"{number}.text"), latex_delimiters=LATEX, sanitize_html=False, elem_classes="lesson", container=False
    )


def tried(number: int | str) -> None:
    """What to do."""
    gr.Markdown(text(f"{number}.try"), elem_classes="try")


FIGURES = {  # what a screen reader calls them
    "units": "Where a head or neuron writes",
    "group": "The rows and columns that go together",
    "influence": "Block influence, token by token",
    "taylor": "Taylor's estimate and the real change of the loss",
    "gap": "Hidden states behind a gap",
    "projector": "Right answers before and after training the projector",
    "parts": "Projector alone or with LoRA, as measured before",
    "cliff": "What is kept of the original's score",
    "layerwise": "What goes layerwise",
    "widthwise": "What goes widthwise",
    "int8": "Memory in full and in 8 bits",
    "advisor": "The evidence for the proposal",
    "takeover": "What the neurons that stay can take over",
}


def figure(name: str) -> gr.Plot:
    return plot(f"tour-{name}", FIGURES[name])


def picture(name: str) -> gr.Dropdown:
    """Which of the bundled pictures."""
    return gr.Dropdown(
        [(title, place) for place, (title, _, _) in enumerate(pictures())],
        value=0,
        label="Picture",
        elem_id=f"tour-{name}-picture",
        min_width=150,
    )


def layer(name: str, value: int = 3) -> Dial:
    return Dial(0, 11, value, step=1, buttons=[], label="Layer", elem_id=f"tour-{name}-layer", min_width=150)


def method(name: str, value: str = "layerwise") -> gr.Radio:
    """The two paradigms."""
    return gr.Radio(
        [("Layerwise", "layerwise"), ("Widthwise", "widthwise")],
        value=value,
        label="Method",
        elem_id=f"tour-{name}-method",
        min_width=150,
    )


def ratio(name: str, value: int, most: int = 60) -> Dial:
    return Dial(
        0,
        most,
        value,
        step=1,
        buttons=[],
        label="How much of the language model to remove (%)",
        elem_id=f"tour-{name}-ratio",
        min_width=200,
    )


def whole(number) -> int | None:
    """A box's 3.0 as 3; None for what is no whole number."""
    return int(number) if isinstance(number, int | float) and float(number).is_integer() else None
