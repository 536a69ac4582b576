"""The Learn tab: a guided tour of ten steps, each a live control on the real model, and what goes beyond the paper.
Draws what they say.
"""

from collections.abc import Callable
from functools import partial

import gradio as gr

from lvlm.errors import LVLMError
from ui import words
from ui.language import text
from ui.part import Part, whole
from ui.teaching import Teaching
from ui.texts import ASSETS, STEPS, step, tour
from ui.tour import inside, outside
from ui.tour.repair import repair
from ui.tour.stop import Stop
from ui.workspace import Desk, Desks

CSS = ASSETS / "learn.css"
BEYOND = STEPS + 1  # in the list of steps: the part after them
SCROLL = "() => requestAnimationFrame(() => document.querySelector('#tour-beyond')?.scrollIntoView({block: 'start'}))"


def build(desks: Desks, desk_key: gr.Textbox) -> Part:
    """The tab's content."""
    with gr.Row(elem_classes="tour-head", equal_height=False):
        with gr.Column(scale=5, min_width=260):
            gr.Markdown(text("0.head"), elem_classes="tour-about")
        jump = gr.Dropdown(
            [*((step(n), n) for n in range(1, STEPS + 1)), (tour("en")["beyond.title"], BEYOND)],
            value=1,
            label="Go to step",
            elem_id="tour-jump",
            min_width=160,
            scale=2,
        )
    stops: list[Stop] = []
    begun = gr.State(False)  # whether this page has shown a step
    # What steps are computed for, model and language. No State: those tell of changes in queued events alone.
    about = gr.Textbox(visible="hidden", show_label=False, elem_id="tour-about")
    with gr.Walkthrough(selected=1, elem_id="tour") as walk:
        for number in range(1, STEPS + 1):
            with gr.Step(text(f"{number}.title"), id=number, elem_id=f"tour-{number}") as opened:
                stop = stop_of(number, desks)
                with gr.Row(elem_classes="tour-moves"):
                    back = gr.Button("← Back", size="sm", visible=number > 1, elem_id=f"tour-back-{number}")
                    on = gr.Button(
                        "Next →" if number < STEPS else tour("en")["beyond.open"], size="sm",
                        variant="primary" if number < STEPS else "secondary", elem_id=f"tour-next-{number}",
                    )  # fmt: skip
            _connect(desks, desk_key, stop, [opened.select], [about.change], lambda x, number=number: x.step == number)
            for button, to in ((back, number - 1), (on, number + 1)):
                if to <= STEPS:
                    button.click(lambda to=to: (gr.Walkthrough(selected=to), to), None, [walk, jump], queue=False,
                                 show_progress="hidden", api_visibility="private")  # fmt: skip
            opened.select(partial(_arrive, desks, number), [desk_key, begun], [jump, walk, begun], queue=False,
                          show_progress="hidden", api_visibility="private")  # fmt: skip
            stops.append(stop)
    with gr.Accordion(text("beyond.title"), open=False, elem_id="tour-beyond") as beyond:
        stop = repair()
    stops.append(stop)
    quiet = dict(queue=False, show_progress="hidden", api_visibility="private")
    led = [
        on.click(partial(_unfold, desks), desk_key, beyond, **quiet),  # the last step's
        jump.input(partial(_go, desks), [desk_key, jump], [walk, beyond], **quiet),
    ]
    for way in led:
        way.then(None, None, None, js=SCROLL, api_visibility="private")
    folded = beyond.expand(partial(_fold, desks, True), desk_key, None, **quiet)
    beyond.collapse(partial(_fold, desks, False), desk_key, None, **quiet)
    arrived = [about.change, *(x.then for x in (*led, folded))]
    _connect(desks, desk_key, stop, [], arrived, lambda x: x.beyond)

    late = [x for x in stops if x.again]
    outputs = [about, *(y for x in stops for y in x.fitted), *(y for x in late for y in x.outputs[: x.redrawn])]

    def draw(desk: Desk) -> list:
        drawn = [f"{desk.scores.digest} {desk.language}" if desk.scores is not None else ""]
        drawn += [y for x in stops for y in x.ranges(desk)]
        for x in late:
            drawn += x.again(desk)
        return drawn

    def state(desk: Desk) -> tuple:
        return whole(desk), desk.teaching.version, desk.language

    return Part(outputs, draw, [y for x in stops for y in x.starts], state)


def _arrive(desks: Desks, number: int, key: str, begun: bool) -> list:
    """Note which step somebody is at. The first that a page shows by itself leads on to where the tour was left."""
    teaching = desks.at(key).teaching
    if begun:
        teaching.step = number
    return [teaching.step, gr.skip() if begun else gr.Walkthrough(selected=teaching.step), True]


def _go(desks: Desks, key: str, to: int) -> list:
    """To a step of the list, or to what comes after them."""
    return [gr.skip(), _unfold(desks, key)] if to == BEYOND else [gr.Walkthrough(selected=to), gr.skip()]


def _unfold(desks: Desks, key: str) -> gr.Accordion:
    """Open what comes after the tour."""
    _fold(desks, True, key)
    return gr.Accordion(open=True)


def _fold(desks: Desks, opened: bool, key: str) -> None:
    """Note whether what comes after the tour is open."""
    desks.at(key).teaching.beyond = opened


def stop_of(number: int, desks: Desks) -> Stop:
    """The step of this number, or what is BEYOND, built where it stands."""
    alone = {1: inside.units, 2: inside.dependencies, 3: inside.influence, 5: inside.shock, 7: outside.cliff,
             8: outside.paradigms, BEYOND: repair}  # fmt: skip
    working = {4: inside.taylor, 6: outside.projector, 9: outside.eight_bits, 10: outside.advisor}
    return alone[number]() if number in alone else working[number](desks)


def _connect(
    desks: Desks, desk_key: gr.Textbox, stop: Stop, opened: list, arrived: list, shown: Callable[[Teaching], bool]
) -> None:
    """Compute the step when it is opened and whenever one of its controls moves; and, if it is what is `shown`, when
    something has arrived: a model, a language, or somebody."""

    def event(key: str, *values) -> list:
        desk = desks.at(key)
        try:
            return stop.show(desk, *values)
        except LVLMError as error:
            return [words.notice(str(error), "error"), *[gr.skip()] * (len(stop.outputs) - 1)]

    def again(key: str, *values) -> list:
        return event(key, *values) if shown(desks.at(key).teaching) else [gr.skip()] * len(stop.outputs)

    event.__name__, event.__doc__ = stop.name, stop.about
    for trigger in arrived:  # a `then` stands by itself
        trigger(again, [desk_key, *stop.controls], stop.outputs, show_progress="hidden", concurrency_limit=None,
                api_visibility="private")  # fmt: skip
    moved = [x.submit if isinstance(x, gr.Textbox) else x.input for x in stop.controls]
    gr.on(
        [*opened, *moved],
        event,
        [desk_key, *stop.controls],
        stop.outputs,
        api_name=stop.name,
        trigger_mode="always_last",
        show_progress="minimal",
        concurrency_limit=None,
    )
