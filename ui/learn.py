"""The Learn tab: a guided tour of ten steps, each a live control on the real model, and what goes beyond the paper.
Draws what they say.
"""

from functools import partial

import gradio as gr

from lvlm.errors import LVLMError
from ui import words
from ui.language import text
from ui.part import Part, whole
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
    # What each stop was last drawn for. No State: those tell of changes in queued events alone.
    news = [gr.Textbox(visible="hidden", show_label=False, elem_classes="tour-news") for _ in range(BEYOND)]
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
            _connect(desks, desk_key, stop, [opened.select, news[number - 1].change])
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
    _connect(desks, desk_key, stop, [news[-1].change])
    quiet = dict(queue=False, show_progress="hidden", api_visibility="private")
    led = [
        on.click(partial(_unfold, desks), desk_key, [beyond, news[-1]], **quiet),  # the last step's
        jump.input(partial(_go, desks), [desk_key, jump], [walk, beyond, news[-1]], **quiet),
    ]
    for way in led:
        way.then(None, None, None, js=SCROLL, api_visibility="private")
    beyond.expand(partial(_fold, desks, True), desk_key, news[-1], **quiet)
    beyond.collapse(partial(_fold, desks, False), desk_key, news[-1], **quiet)

    def draw(desk: Desk) -> list:
        return [*(_news(desk, n) for n in range(1, BEYOND + 1)), *(y for x in stops for y in x.ranges(desk))]

    def state(desk: Desk) -> tuple:
        return whole(desk), desk.teaching.version, desk.teaching.step > 0

    return Part([*news, *(y for x in stops for y in x.fitted)], draw, [y for x in stops for y in x.starts], state)


def _news(desk: Desk, number: int):
    """What a stop is drawn for: model, language, and what was found so far. Of those that are seen alone: the others
    are drawn when they are opened."""
    seen = desk.teaching.beyond if number == BEYOND else desk.teaching.step == number
    if not seen or desk.scores is None:
        return gr.skip()
    return f"{desk.scores.digest} {desk.language} {desk.teaching.version}"


def _arrive(desks: Desks, number: int, key: str, begun: bool) -> list:
    """Note which step somebody is at. The first that a page shows by itself leads on to where the tour was left."""
    teaching = desks.at(key).teaching
    by_itself = number == 1 and not begun
    if not by_itself or not teaching.step:
        teaching.step = number
    # Nobody is led to where they are: they may have gone on since.
    leads = by_itself and teaching.step != number
    return [teaching.step, gr.Walkthrough(selected=teaching.step) if leads else gr.skip(), True]


def _go(desks: Desks, key: str, to: int) -> list:
    """To a step of the list, or to what comes after them."""
    return [gr.skip(), *_unfold(desks, key)] if to == BEYOND else [gr.Walkthrough(selected=to), gr.skip(), gr.skip()]


def _unfold(desks: Desks, key: str) -> list:
    """Open what comes after the tour."""
    return [gr.Accordion(open=True), _fold(desks, True, key)]


def _fold(desks: Desks, opened: bool, key: str):
    """Note whether what comes after the tour is open."""
    desk = desks.at(key)
    desk.teaching.beyond = opened
    return _news(desk, BEYOND)


def stop_of(number: int, desks: Desks) -> Stop:
    """The step of this number, or what is BEYOND, built where it stands."""
    alone = {1: inside.units, 2: inside.dependencies, 3: inside.influence, 5: inside.shock, 7: outside.cliff,
             8: outside.paradigms, BEYOND: repair}  # fmt: skip
    working = {4: inside.taylor, 6: outside.projector, 9: outside.eight_bits, 10: outside.advisor}
    return alone[number]() if number in alone else working[number](desks)


def _connect(desks: Desks, desk_key: gr.Textbox, stop: Stop, drawing: list) -> None:
    """Compute the step when one of its controls moves or what is `drawing` happens: it is opened, or there is news. All
    by one event, whose calls the page makes one after the other: an answer never comes after that to a later call."""

    def event(key: str, *values) -> list:
        desk = desks.at(key)
        try:
            return stop.show(desk, *values)
        except LVLMError as error:
            return [words.notice(str(error), "error"), *[gr.skip()] * (len(stop.outputs) - 1)]

    event.__name__, event.__doc__ = stop.name, stop.about
    moved = [x.submit if isinstance(x, gr.Textbox) else x.input for x in stop.controls]
    gr.on(
        [*drawing, *moved],
        event,
        [desk_key, *stop.controls],
        stop.outputs,
        api_name=stop.name,
        trigger_mode="always_last",
        show_progress="minimal",
        concurrency_limit=None,
    )
