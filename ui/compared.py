"""Under the panes of the Chat tab: one answer word by word beside the reference model, and where both look."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from lvlm.errors import LVLMError
from pruning.lineage import descent
from ui import divergence, gaze, looking, panes, rail, words
from ui.figure import figure
from ui.jobs import Job
from ui.language import static
from ui.texts import retell, say
from ui.variants import Variant
from ui.workspace import Desk, Desks

GLANCE = 0.2  # seconds between two looks at a job
MEAN = "mean"
MEASURES = [("how likely to the reference", "probability"), ("how far the two part", "kl")]
ABOUT_GAZE = (
    "Attention from the place where the word is chosen to each patch of the picture. Clear: most of it, dark: hardly "
    "any; both pictures on one scale. Layers and heads keep the numbers that they had before anything was cut."
)


@dataclass(frozen=True)
class Eye:
    """One model's picture."""

    head: gr.HTML
    plot: gr.Plot


class Compared:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        with gr.Column(visible=False, elem_classes="slab", elem_id="compared") as self.box:
            self.head = gr.HTML()
            with gr.Row(equal_height=True):
                self.whose = gr.Radio([], label="Whose answer", elem_id="whose", min_width=260, scale=3)
                self.by = gr.Radio(MEASURES, value="probability", label="Coloured by", min_width=260, scale=2)
            self.read = gr.Button("Read word by word", size="sm", visible=False, elem_id="read")
            self.running = gr.HTML(elem_id="running", js_on_load=divergence.CHOOSE)
            self.table = gr.HTML(elem_id="running-table")
            self.status = gr.HTML(elem_id="looking")
            self.cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel-looking")
            with gr.Accordion("Where does each model look?", open=False, elem_id="gaze") as self.gaze:
                gr.HTML(f'<p class="asked">{static(ABOUT_GAZE)}</p>')
                with gr.Row():
                    self.token = gr.Dropdown(
                        [], label="While it chooses", elem_id="gaze-token", min_width=140, filterable=False
                    )
                    self.layer = gr.Dropdown([], label="Layer", elem_id="gaze-layer", min_width=120, filterable=False)
                    self.eye = gr.Dropdown([], label="Head", elem_id="gaze-head", min_width=120, filterable=False)
                with gr.Row(equal_height=False):
                    self.eyes = [_eye(side) for side in ("reference", "other")]
            self.refusal = gr.HTML(elem_id="compared-refusal")
        pictures = [x for eye in self.eyes for x in (eye.head, eye.plot)]
        self.pointed = [self.token, self.layer, self.eye, *pictures, self.refusal, self.status, self.cancel]
        self.outputs = [self.box, self.head, self.whose, self.by, self.read, self.running, self.table, *self.pointed]

    def draw(self, desk: Desk) -> list:
        pair = looking.chosen(desk)
        if pair is None:
            return [gr.Column(visible=False), *[gr.skip()] * (len(self.outputs) - 1)]
        found, by = pair.divergence, desk.looking.by
        one, other = retell(pair.reference.title), retell(pair.other.title)
        choices = [(retell(x.title), x.variant) for x in pair.choices]
        title, apart = say("What would {one} have said?", one=one), ""
        if found is not None:
            title, apart = divergence.told(found, one, other)
        running = table = ""
        if found is not None:
            at = looking.token_of(desk, pair)
            running = divergence.legend(by, one)
            running += divergence.running(found, by, one, other, pair.other.kind, at)
            table = divergence.table(found, one, other)
        note = say(
            "“{question}”, answered by {other}; {one} reads the same answer and says what it expected.",
            question=pair.exchange.question, other=other, one=one,
        )  # fmt: skip
        return [
            gr.Column(visible=True),
            words.heading(title, f"{note} {apart}"),
            gr.Radio(choices, value=pair.answer.variant, visible=len(choices) > 1),
            gr.Radio(value=by, visible=found is not None),
            gr.Button(visible=found is None, interactive=not desk.looking.busy),
            running,
            table,
            *self.draw_eyes(desk),
        ]

    def draw_eyes(self, desk: Desk) -> list:
        """What is pointed at, and the pictures as far as they are there."""
        pair, state = looking.chosen(desk), desk.looking
        if pair is None:
            return [gr.skip()] * len(self.pointed)
        at, layers = looking.token_of(desk, pair), {x.layer: x.heads for x in descent(pair.reference.model)}
        names = divergence.names_of(pair.divergence) if pair.divergence else map(str, range(len(pair.answer.tokens)))
        heads = [
            (say("Mean of its heads"), MEAN),
            *((say("Head {head}", head=x), str(x)) for x in layers.get(state.layer, ())),
        ]
        drawn = [
            gr.Dropdown([(name, i) for i, name in enumerate(names)], value=at),
            gr.Dropdown(
                [(say("Mean of all layers"), MEAN), *((say("Layer {layer}", layer=x), str(x)) for x in layers)],
                value=MEAN if state.layer is None else str(state.layer),
            ),
            gr.Dropdown(
                heads,
                value=MEAN if state.head is None else str(state.head),
                interactive=state.layer is not None,
                label=say("Head" if state.layer is not None else "Head (choose a layer first)"),
            ),
        ]
        seen = state.gaze
        if seen is None or seen.answer is not pair.answer or seen.token != at:
            drawn += [x for _ in self.eyes for x in ("", gr.Plot(visible=False))]
        else:
            weights = [looking.seen(desk, x) for x in (pair.reference, pair.other)]
            most = max((float(seen.grid.of(x).max()) for x in weights if x is not None), default=0) if seen.grid else 0
            for variant, found in zip((pair.reference, pair.other), weights, strict=True):
                drawn += _seen(desk, variant, found, most)
        return [*drawn, words.notice(state.refusal, "error"), *_status(desk)]

    def follow(self, desk: Desk, outputs: list) -> Iterator[list]:
        """Where the job under way is, until it ends: values for `outputs`, of which the last tell that. One that takes
        no longer than a glance says nothing."""
        job, before = desk.looking.job, None
        job.thread.join(GLANCE)
        while job.busy:
            if (now := rail.underway(job)) != before:
                yield [*[gr.skip()] * (len(outputs) - 2), now, gr.Button(visible=True)]
                before = now
            job.thread.join(GLANCE)

    def wire(self, desks: Desks, desk_key: gr.Textbox, shown: list[panes.Pane]) -> None:
        def ended(desk: Desk, begin: Callable[[Desk], Job | None], outputs: list) -> Iterator[list]:
            """Let a job run to its end, telling where it is; what a person got wrong is kept to be shown."""
            try:
                if begin(desk) is not None:
                    yield from self.follow(desk, outputs)
            except LVLMError as error:
                desk.looking.refusal = str(error)

        def read_answer(key: str, variant: str | None = None):
            """Let the first model read a variant's last answer, word by word."""
            desk = desks.at(key)
            if variant:
                looking.choose(desk, desk.looking.exchange, variant)
            yield from ended(desk, looking.read, self.outputs)
            yield self.draw(desk)

        def colour(key: str, by: str):
            """Colour the words by the reference's probability, or by how far the two models part."""
            desk = desks.at(key)
            desk.looking.by = by if by in looking.MEASURES else looking.MEASURES[0]
            return self.draw(desk)

        def look(key: str, token: int | None, layer: str = MEAN, head: str = MEAN):
            """See where both models look in the picture while they choose a token (its place, from 0), through one
            layer and head or the "mean"."""
            desk = desks.at(key)

            def begin(desk: Desk) -> Job | None:
                through = _number(layer)
                eye = _number(head) if through == desk.looking.layer else None  # another layer has other heads
                looking.point(desk, token, through, eye)
                return looking.look(desk)

            yield from ended(desk, begin, self.pointed)
            yield self.draw_eyes(desk)

        def press(key: str, layer: str, head: str, word: gr.SelectData):
            """Point at a word of the answer."""
            yield from look(key, word.index, layer, head)

        def open_gaze(key: str):
            desk = desks.at(key)
            yield from ended(desk, looking.look, self.pointed)
            yield self.draw_eyes(desk)

        def cancel_looking(key: str) -> None:
            looking.cancel(desks.at(key))

        self.cancel.click(cancel_looking, desk_key, None, queue=False, api_visibility="private")
        quiet = {"show_progress": "hidden", "concurrency_limit": None}
        self.read.click(read_answer, [desk_key, self.whose], self.outputs, api_name="read_answer", **quiet)
        self.whose.input(read_answer, [desk_key, self.whose], self.outputs, api_visibility="private", **quiet)
        self.by.input(colour, [desk_key, self.by], self.outputs, api_visibility="private", **quiet)
        pointing = [desk_key, self.token, self.layer, self.eye]
        self.token.input(look, pointing, self.pointed, api_name="look", **quiet)
        for part in (self.layer, self.eye):
            part.input(look, pointing, self.pointed, api_visibility="private", **quiet)
        self.running.select(
            press, [desk_key, self.layer, self.eye], self.pointed, api_visibility="private", **quiet
        ).then(lambda: gr.Accordion(open=True), None, self.gaze, api_visibility="private", **quiet)
        self.gaze.expand(open_gaze, desk_key, self.pointed, api_visibility="private", **quiet)

        def chosen_in(place: int):
            def choose(key: str, message: gr.SelectData):
                """Look at the answer that was pressed in a pane."""
                desk = desks.at(key)
                variant = panes.standing(desk)[place]
                index = message.index[0] if isinstance(message.index, list | tuple) else message.index
                exchange = panes.exchange_at(desk, variant, index)
                if exchange is None:
                    yield [gr.skip()] * len(self.outputs)
                    return
                looking.choose(desk, exchange, variant.id)
                yield from ended(desk, looking.read, self.outputs)
                yield self.draw(desk)

            return choose

        for place, pane in enumerate(shown):
            pane.chat.select(chosen_in(place), desk_key, self.outputs, api_visibility="private", **quiet)


def _status(desk: Desk) -> list:
    """Where the job under way is, and whether it can be cancelled."""
    job = desk.looking.job
    busy = job is not None and job.busy
    return [rail.underway(job) if busy else "", gr.Button(visible=busy)]


def _eye(side: str) -> Eye:
    with gr.Column(min_width=280):
        head = gr.HTML(elem_id=f"gaze-{side}")
        plot = figure(f"gaze-{side}", f"Where the {side} model looks")
    return Eye(head, plot)


def _seen(desk: Desk, variant: Variant, weights, most: float) -> list:
    """[heading, plot] of one model, or why there is none."""
    state = desk.looking
    chip = words.chip(variant.kind, variant.title)
    if weights is None:
        lost = looking.lost(desk, variant)
        return [chip + words.notice(lost), gr.Plot(visible=False)]
    grid = state.gaze.grid
    said = gaze.finding(retell(variant.title), weights, grid)
    if grid is None:
        note = say("This model cuts pictures into parts whose order is not known here: only the sum can be told.")
        return [words.heading(said, note), gr.Plot(visible=False)]
    note = say("{n} patches of closer views of its parts are not drawn.", n=grid.others) if grid.others else ""
    drawn = gaze.overlay(state.gaze.image, weights, grid, most)
    return [chip + words.heading(said, note), gr.Plot(drawn, visible=True)]


def _number(choice: str | None) -> int | None:
    """A layer's or head's number; None for the mean. Raises LVLMError for words."""
    if choice in (None, "", MEAN):
        return None
    if not str(choice).isdigit():
        raise LVLMError(f'"{choice}" is neither a number nor "{MEAN}": please choose one of those.')
    return int(choice)
