"""The Prune tab: what goes, and what it saves. Draws scores and plans; decides nothing."""

import gradio as gr

from lvlm.errors import LVLMError
from pruning import forecast
from ui import picking, planned, predicted
from ui.figure import figure
from ui.inputs import Dial
from ui.language import static
from ui.part import Part, Start
from ui.studio import Studio
from ui.texts import say
from ui.workspace import DEFAULT_RATIO, DEFAULT_SAMPLES, Desk, Desks

METHODS = [
    ("Heads and neurons (widthwise)", "widthwise"),
    ("Whole layers (layerwise)", "layerwise"),
    ("Layers, heads and neurons (both ways)", "both"),
]
SHARES = [("Every layer gives the same share", "layer"), ("What matters least anywhere goes", "global")]
PUBLISHED = "The paper takes the same share of each."
WHY_NO_SHARES = "Whole layers go: none is shared out."
HOW_TO_SEARCH = (
    "The search tries other ways to share it out on 16 samples, and keeps what moves the answers least. Rounds take "
    "out a quarter at a time, and score what is left anew."
)
BALANCED = "A picture has many more tokens than a question has words: each kind counts for half."
REPAIR = "Refits what is left so that it does the work of what goes: seconds, no training"


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, gr.Button, Part, Part]:
    """The tab's content, its button that leads to the chat, and what follows the desk's picture and a trial."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            with gr.Column(elem_classes="slab"):
                method = gr.Radio(METHODS, value="widthwise", label="What may go", elem_id="method")
                ratio = Dial(
                    0,
                    60,
                    round(100 * DEFAULT_RATIO),
                    step=1,
                    buttons=[],
                    elem_id="ratio",
                    label="How much of the language model to remove (%)",
                )
                gr.HTML(
                    '<div class="zones" aria-hidden="true"><span class="safe">safe to 30</span>'
                    '<span class="tipping">tipping ≈ 45</span><span class="extreme">extreme</span></div>'
                )
                ranking = gr.Radio(
                    SHARES, value="layer", label="How the layers share it", info=PUBLISHED, elem_id="ranking"
                )
                with gr.Row(elem_classes="tight"):
                    search = gr.Button(picking.SEARCH, size="sm", interactive=False, min_width=150, elem_id="search")
                    rounds = gr.Button(picking.IN_ROUNDS, size="sm", interactive=False, min_width=110, elem_id="rounds")
                gr.HTML(f'<p class="asked">{static(HOW_TO_SEARCH)}</p>')
                with gr.Accordion("Fit a budget instead", open=False, elem_id="budget-fold"):
                    with gr.Row(equal_height=False):
                        unit = gr.Dropdown(
                            [(text, name) for name, text in predicted.BUDGETS.items()],
                            value="memory",
                            label="What has to fit",
                            min_width=160,
                            scale=3,
                            elem_id="budget-unit",
                        )
                        most = gr.Number(None, label="At most", min_width=90, scale=2, elem_id="budget")
                    fit = gr.Button("Find the share that fits", size="sm", elem_id="fit")
                with gr.Accordion("More: protected layers, calibration", open=False):
                    with gr.Row():
                        first = Dial(0, 4, 0, step=1, buttons=[], label="Protect the first layers", min_width=140)
                        last = Dial(0, 4, 0, step=1, buttons=[], label="Protect the last layers", min_width=140)
                    samples = Dial(
                        1,
                        50,
                        DEFAULT_SAMPLES,
                        step=1,
                        buttons=[],
                        label="Calibration samples",
                        elem_id="samples",
                        info="Pictures with questions and answers that importance is judged on",
                    )
                    balanced = gr.Checkbox(False, label="Weigh image and text tokens alike", info=BALANCED,
                                           elem_id="balanced")  # fmt: skip
                    calibrate = gr.Button("Calibrate again", size="sm", elem_id="calibrate")
                repair = gr.Checkbox(False, label="Repair what stays", info=REPAIR, elem_id="repair")
                prune = gr.Button(planned.WAITING, variant="primary", size="lg", interactive=False, elem_id="prune")
            said = gr.HTML(elem_id="said")
        with gr.Column(scale=7, min_width=320):
            cards = gr.HTML(predicted.skeleton(), elem_id="cards")
            with gr.Column(elem_classes="slab"):
                network_head, network = gr.HTML(), figure("network", "The network to scale")
    result = gr.HTML(elem_id="result")
    to_chat = gr.Button("Ask both →", visible=False, elem_id="to-chat", variant="primary")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            influence_head, influence = gr.HTML(), figure("influence", "Block influence, layer by layer")
        with gr.Column(min_width=320, elem_classes=["slab", "pair"]):
            heads_head, heads = gr.HTML(), figure("heads", "Importance of every head")
    with gr.Column(elem_classes="slab", elem_id="studio"):
        studio = Studio()
    with gr.Row(equal_height=False):
        with gr.Column(scale=2, min_width=320, elem_classes=["slab", "pair"]):
            neurons_head, neurons = gr.HTML(), figure("neurons", "Importance of the neurons")
        with gr.Column(scale=1, min_width=280, elem_classes=["slab", "pair"]):
            spread_head, histogram = gr.HTML(), figure("spread", "How unequal the neurons are")

    live = [
        cards,
        said,
        prune,
        network_head,
        network,
        influence_head,
        influence,
        heads_head,
        heads,
        neurons_head,
        neurons,
        spread_head,
        histogram,
    ]
    drawn = [ratio, method, ranking, *live, *studio.outputs]
    controls = [method, ratio, first, last, ranking]

    def draw_drawn(desk: Desk, note: str = "") -> list:
        return [_percents(desk), *_choices(desk), *planned.draw(desk), *studio.draw(desk, note)]

    def redraw(key: str, method: str, ratio: float, first: int, last: int, ranking: str):
        """Plan anew from the scores at hand, by the budget if there is one: no model runs."""
        desk = desks.at(key)
        share = None if ratio is None else ratio / 100
        try:  # beside a searched plan neither method nor ranking is chosen: those before it hold
            desk.wish(method or desk.method, share, int(first or 0), int(last or 0), ranking or desk.ranking)
        except LVLMError as error:
            desk.refusal = str(error)
        return draw_drawn(desk)

    def by_ratio(key: str, method: str, ratio: float, first: int, last: int, ranking: str):
        """Plan by a share of the language model in percent, and no longer by a budget."""
        desks.at(key).picking.budget = None
        return [gr.skip(), *redraw(key, method, ratio, first, last, ranking)[1:]]  # the slider is in the person's hand

    moving = dict(queue=False, trigger_mode="always_last", show_progress="hidden")
    ratio.input(by_ratio, [desk_key, *controls], drawn, **moving)
    gr.on([method.input, first.input, last.input, ranking.input], redraw, [desk_key, *controls], drawn, **moving)
    studio.wire(desks, desk_key, drawn, draw_drawn)

    def budget_unit(key: str, unit: str):
        desk = desks.at(key)
        desk.picking.typed = unit
        return gr.Number(None, label=_at_most(desk))

    unit.input(
        budget_unit, [desk_key, unit], most, queue=False, show_progress="hidden", api_visibility="private"
    )  # fmt: skip

    def wish_repair(key: str, repair: bool):
        """Whether pruning goes on to refit what stays."""
        desk = desks.at(key)
        desk.repair = bool(repair)
        return planned.draw(desk)[2]

    repair.input(wish_repair, [desk_key, repair], prune, api_visibility="private", **moving)

    def start_fitting(key: str, unit: str, most: float):
        """Find the least share whose model fits a budget, in the unit that the label names (MiB, M, GFLOPs, ms)."""
        desk = desks.at(key)
        desk.picking.typed = unit
        factor = predicted.scale(unit, _whole(desk, unit))[0]
        picking.limit(desk, unit, most * factor if isinstance(most, int | float) else most)

    def start_search(key: str):
        """Find out, by trying, how much should go of each layer at the share at hand."""
        picking.search(desks.at(key))

    def start_rounds(key: str):
        """Plan for the share at hand in rounds: a quarter goes, what is left is scored anew, and so on."""
        picking.in_rounds(desks.at(key))

    def start_calibration(key: str, samples: int, balanced: bool):
        """Score the model's layers, heads and neurons on bundled samples; balanced: image and text tokens alike."""
        desks.at(key).calibrate(samples, bool(balanced))

    def start_pruning(key: str):
        """Carry out the plan and measure the model before and after."""
        desks.at(key).prune()

    def draw(desk: Desk) -> list:
        here, typed = desk.picking, {}
        if here.budget and here.budget[0] == here.typed and isinstance(here.budget[1], int | float):
            typed = dict(value=round(here.budget[1] / predicted.scale(here.typed, _whole(desk, here.typed))[0], 3))
        return [
            desk.protect_first,
            desk.protect_last,
            desk.samples,
            desk.balanced,
            desk.repair,
            *(gr.Button(interactive=desk.scores is not None and not desk.busy) for _ in (search, rounds)),
            gr.Button(interactive=desk.scores is not None),
            here.typed,
            gr.Number(label=_at_most(desk), **typed),
            gr.Button(interactive=desk.scores is not None and not desk.busy),
            predicted.result(desk.pruned, _foretold(desk)),
            gr.Button(visible=desk.pruned is not None),
            *draw_drawn(desk),
        ]

    starts = [
        Start(search.click, start_search),
        Start(rounds.click, start_rounds),
        Start(calibrate.click, start_calibration, [samples, balanced]),
        Start(prune.click, start_pruning),
        Start(fit.click, start_fitting, [unit, most]),
    ]
    shown = [first, last, samples, balanced, repair, search, rounds, calibrate, unit, most, fit, result, to_chat]
    shown += drawn
    return Part(shown, draw, starts), to_chat, *studio.asking(desks)


def _percents(desk: Desk) -> float:
    return round(100 * desk.ratio, 1)


def _choices(desk: Desk) -> list:
    """Method and ranking; a searched plan follows neither."""
    shared = desk.method != "layerwise" or desk.searched
    return [
        None if desk.searched else desk.method,
        gr.Radio(
            value=None if desk.searched else desk.ranking,
            interactive=shared,
            info=say(PUBLISHED if shared else WHY_NO_SHARES),
        ),
    ]


def _at_most(desk: Desk) -> str:
    """The label of the number: a budget's unit as it is typed."""
    return say("At most ({unit})", unit=predicted.scale(desk.picking.typed, _whole(desk, desk.picking.typed))[1])


def _whole(desk: Desk, unit: str) -> float | None:
    """What the original costs in a unit, as far as it is known."""
    return getattr(forecast(desk.scores, None, desk.shared and desk.shared.pace), unit) if desk.scores else None


def _foretold(desk: Desk):
    """The forecast of the model that was pruned last; None where nothing was, or its layers are not timed."""
    pruned, pace = desk.pruned, desk.shared and desk.shared.pace
    return forecast(desk.scores, pruned.plan, pace) if pruned and pace else None
