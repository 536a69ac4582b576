"""The hand tools of the Prune tab, folded away until they are wanted: pick a layer or head, pin it or force it out, try
a cut by masking, and lay two plans over each other. Draws what picking.py holds; decides nothing.
"""

from collections.abc import Callable, Iterable

import gradio as gr

from lvlm.errors import LVLMError
from pruning import Unit
from pruning import facts as facts_of
from pruning import forecast, overlap
from ui import picked, picking, predicted, words
from ui.part import Part, Start
from ui.picking import FORCE, FREE, PIN, PLAN, UNIT
from ui.texts import retell, say
from ui.workspace import Desk, Desks

NONE = "none"  # no layer is picked
WHOLE = "whole layer"
HOW_TO_COMPARE = "Keep the plan at hand, then move the controls: both are drawn in the same figures."
# Gradio's plots tell nothing of clicks, but Plotly's own element does: whichever figure is drawn next gets a listener
# that hands layer and head on. A figure's rows are its layers, and only a map of heads has heads for columns.
LISTEN = """
const figures = ["network", "influence", "heads", "neurons"];
const listen = () => figures.forEach(name => {
  const plot = document.querySelector(`#plot-${name} .js-plotly-plot`);
  if (!plot || !plot.on || plot.listened) return;
  plot.listened = true;
  plot.on("plotly_click", event => {
    const point = event.points[0], layer = Number(point.y);
    if (!Number.isInteger(layer) || layer < 0) return;
    trigger("select", { unit: name === "heads" ? `${layer}.${point.x}` : `${layer}` });
  });
});
new MutationObserver(listen).observe(document.body, { childList: true, subtree: true });
listen();
"""


class Studio:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        self.clicks = gr.HTML("", js_on_load=LISTEN, elem_id="clicks")
        self.said = gr.HTML(elem_id="studio-said")
        with gr.Row(visible=False, elem_id="chips") as self.row:
            self.pinned = gr.Dropdown(
                [], multiselect=True, label="Pinned: never pruned", elem_id="pinned", min_width=240, filterable=False
            )
            self.forced = gr.Dropdown(
                [], multiselect=True, label="Forced out: always goes", elem_id="forced", min_width=240, filterable=False
            )
        with gr.Accordion("Pick a layer or head: its numbers, pin it, force it out", open=False) as self.fold:
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=220):
                    with gr.Row():
                        self.layer = gr.Dropdown([NONE], value=NONE, label="Layer", min_width=90, elem_id="pick-layer")
                        self.head = gr.Dropdown([WHOLE], value=WHOLE, label="Head", min_width=110, elem_id="pick-head")
                    self.pin = gr.Button(picked.BUTTONS[PIN][FREE], size="sm", interactive=False, elem_id="pin")
                    self.force = gr.Button(picked.BUTTONS[FORCE][FREE], size="sm", interactive=False, elem_id="force")
                with gr.Column(scale=5, min_width=300):
                    self.facts = gr.HTML(elem_id="facts")
        with gr.Accordion("Try it before you cut", open=False, elem_id="try-fold"):
            with gr.Row(equal_height=False):
                with gr.Column(scale=2, min_width=220):
                    self.image = gr.Image(
                        show_label=False, interactive=False, height=170, buttons=[], elem_id="try-image"
                    )
                with gr.Column(scale=5, min_width=300):
                    self.what = gr.Radio(_choices(None), value=PLAN, label="Answer without", elem_id="try-what")
                    self.question = gr.Dropdown(
                        [], allow_custom_value=True, label="Question about this picture (Chat has others)",
                        elem_id="try-question",
                    )  # fmt: skip
                    self.go = gr.Button("Ask with and without it", interactive=False, elem_id="try")
            self.answers = gr.HTML(elem_id="tried")
        with gr.Accordion("Compare two plans", open=False, elem_id="compare-fold"):
            self.keep = gr.Button("Keep this plan to compare", size="sm", interactive=False, elem_id="keep")
            self.beside = gr.HTML(elem_id="beside")
        self.outputs = [
            self.said, self.row, self.pinned, self.forced, self.fold, self.layer, self.head, self.pin, self.force,
            self.facts, self.what, self.go, self.keep, self.beside,
        ]  # fmt: skip

    def draw(self, desk: Desk, note: str = "") -> list:
        """All but what is asked of the picture, and answered."""
        return [
            words.notice(note, "error"),
            *_chips(desk),
            *_pick(desk),
            gr.Radio(_choices(desk.picking.unit), value=UNIT if desk.picking.unit else PLAN),
            gr.Button(interactive=desk.plan is not None and not desk.busy),
            *_compare(desk),
        ]

    def wire(self, desks: Desks, desk_key: gr.Textbox, outputs: list, draw: Callable[[Desk, str], list]) -> None:
        """Connect what changes the plan or the figures: `draw(desk, note)` fills `outputs`."""

        def changed(key: str, change: Callable[[Desk], None]) -> list:
            desk, note = desks.at(key), ""
            try:
                if desk.scores is None:
                    raise LVLMError("The model is still loading: please try again in a moment.")
                change(desk)
            except LVLMError as error:
                note = str(error)
            return draw(desk, note)

        def click(key: str, event: gr.EventData):
            unit = Unit.parse(event.unit)
            return changed(key, lambda desk: picking.select(desk, None if unit == desk.picking.unit else unit))

        def pick_layer(key: str, layer: str):
            return pick(key, layer, WHOLE)  # of the layer before, another head was chosen

        def pick(key: str, layer: str, head: str):
            """Look at a layer ("3") or one of its heads ("2", or "whole layer"); "none" looks at nothing."""
            text = layer if head == WHOLE else f"{layer}.{head}"
            return changed(key, lambda desk: picking.look_at(desk, None if layer == NONE else text))

        def pin(key: str):
            """Pin the picked layer or head, or take its pin out."""
            return changed(key, lambda desk: picking.toggle(desk, PIN))

        def force(key: str):
            """Force the picked layer or head out, or let the scores decide again."""
            return changed(key, lambda desk: picking.toggle(desk, FORCE))

        def wishes(key: str, pinned: list[str], forced: list[str]):
            """All pins and all that is forced out, as texts: "3" is layer 3, "3.2" its head 2."""
            return changed(
                key, lambda desk: picking.wishes(desk, *([Unit.parse(y) for y in x] for x in (pinned, forced)))
            )

        def keep_plan(key: str):
            """Keep the plan at hand to compare others with, or drop the kept one."""
            return changed(key, picking.keep)

        how = dict(outputs=outputs, queue=False, show_progress="hidden")
        self.clicks.select(click, desk_key, api_visibility="private", **how)
        self.layer.input(pick_layer, [desk_key, self.layer], api_visibility="private", **how)
        self.head.input(pick, [desk_key, self.layer, self.head], api_name="pick", **how)
        self.pin.click(pin, desk_key, **how)
        self.force.click(force, desk_key, **how)
        gr.on(
            [self.pinned.input, self.forced.input],
            wishes,
            [desk_key, self.pinned, self.forced],
            api_name="wishes",
            **how,
        )
        self.keep.click(keep_plan, desk_key, **how)

    def asking(self, desks: Desks) -> tuple[Part, Part]:
        """What follows the picture of the desk, and the trial while it is answered."""

        def try_out(key: str, what: str, question: str):
            """Ask the original, and it with the picked unit ("unit") or the whole plan ("plan") masked."""
            picking.try_out(desks.at(key), what, question)

        def questions(desk: Desk) -> list:
            return [gr.Dropdown(desk.questions, value=desk.questions[0] if desk.questions else None), desk.image]

        asked = Part(
            [self.question, self.image], questions, state=lambda desk: (desk.questions, id(desk.image)),
        )  # fmt: skip
        growing = Part(
            [self.answers],
            lambda desk: [picked.trial(desk.picking.trial, desk.busy)],
            [Start(self.go.click, try_out, [self.what, self.question])],
            state=lambda desk: (desk.picking.trial and desk.picking.trial.said, desk.busy),
        )
        return asked, growing


def _choices(unit: Unit | None) -> list[tuple[str, str]]:
    every = [(say("All that this plan removes"), PLAN)]
    return [(say("{unit} alone", unit=words.capital(retell(unit.name))), UNIT), *every] if unit else every


def _chips(desk: Desk) -> list:
    here = desk.picking
    updates = [
        gr.Dropdown([(retell(x.name), str(x)) for x in units], value=[str(x) for x in units], visible=bool(units))
        for units in (here.pinned, here.forced)
    ]
    return [gr.Row(visible=bool(here.pinned or here.forced)), *updates]


def _pick(desk: Desk) -> list:
    here, unit = desk.picking, desk.picking.unit
    if desk.scores is None:
        return [gr.skip()] * 3 + [gr.Button(interactive=False)] * 2 + [f'<p class="asked">{say(picked.HINT)}</p>']
    layers = desk.scores.anatomy.layers
    heads = range(layers[unit.layer].groups) if unit else ()
    chosen = WHOLE if unit is None or unit.head is None else str(unit.head)
    wished = here.wished(unit)
    return [
        gr.Accordion(open=True) if unit else gr.skip(),
        gr.Dropdown([(say(NONE), NONE), *_numbers(range(len(layers)))], value=str(unit.layer) if unit else NONE),
        gr.Dropdown([(say(WHOLE), WHOLE), *_numbers(heads)], value=chosen, interactive=unit is not None),
        gr.Button(say(picked.BUTTONS[PIN][wished]), interactive=unit is not None),
        gr.Button(say(picked.BUTTONS[FORCE][wished]), interactive=unit is not None),
        picked.facts(facts_of(desk.scores, unit, desk.importance), picked.fate(unit, desk.plan, here))
        if unit and desk.plan
        else f'<p class="asked">{say(picked.HINT)}</p>',
    ]


def _numbers(range_: Iterable[int]) -> list[tuple[str, str]]:
    return [(str(x), str(x)) for x in range_]


def _compare(desk: Desk) -> list:
    kept = desk.picking.under(desk.plan)
    if kept is None:
        return [
            gr.Button(say("Keep this plan to compare"), interactive=desk.plan is not None),
            f'<p class="asked">{say(HOW_TO_COMPARE)}</p>',
        ]
    pace = desk.shared and desk.shared.pace
    costs = tuple(forecast(desk.scores, x, pace) for x in (kept, desk.plan))
    return [
        gr.Button(say("Drop the kept plan"), interactive=True),
        predicted.beside(kept, desk.plan, costs, overlap(kept, desk.plan)),
    ]
