"""Steps 1 to 5 of the tour, inside the model: heads and neurons, what hangs together, block influence, Taylor, gaps."""

import gradio as gr

from lvlm.errors import BadPlan
from pruning.effects import Place
from ui import teaching, words
from ui.inputs import Dial
from ui.part import Start
from ui.texts import minus, tell
from ui.tour import pictures
from ui.tour.stop import Stop, explained, figure, heading, layer, picture, speaking, tried, whole
from ui.workspace import Desk, Desks

KINDS = [("Attention head", "heads"), ("Neuron", "neurons")]
QUESTION = "how many turtles are there?"
ENOUGH = 10  # heads that a correlation is told of


def _unit(name: str) -> tuple[gr.Radio, Dial, Dial]:
    """Head or neuron, in which layer, and its number."""
    kind = gr.Radio(KINDS, value="heads", label="Head or neuron", elem_id=f"tour-{name}-kind", min_width=150)
    index = layer(name)
    number = Dial(0, 5, 2, step=1, buttons=[], label="Number", elem_id=f"tour-{name}-number", min_width=150)
    return kind, index, number


def _place(desk: Desk, kind: str, index, number) -> tuple[int, int, Dial]:
    """Layer and unit as far as the model has them, and the number's slider with its range. Raises BadPlan."""
    layers = desk.model.anatomy.layers
    index, number = whole(index), whole(number)
    if index is None or number is None or not 0 <= index < len(layers):
        raise BadPlan(f"Layer and number are whole numbers: choose a layer from 0 to {len(layers) - 1}.")
    most = (layers[index].groups if kind == "heads" else layers[index].neurons) - 1
    fitting = max(0, min(number, most))
    # What holds is not written back: something else may have been typed since.
    return index, fitting, Dial(maximum=most) if fitting == number else Dial(maximum=most, value=fitting)


def _named(desk: Desk, kind: str, number: int) -> str:
    return tell("head" if kind == "heads" else "neuron", number=number)


def layer_of(desk: Desk, index) -> int:
    """The layer that a box names. Raises BadPlan for none."""
    teaching.of(desk)
    number, most = whole(index), len(desk.model.anatomy.layers) - 1
    if number is None or not 0 <= number <= most:
        raise BadPlan(f"A layer is a whole number: choose one from 0 to {most}.")
    return number


def layers(desk: Desk) -> list:
    """The range of a slider of layers."""
    return [gr.skip() if desk.model is None else Dial(maximum=len(desk.model.anatomy.layers) - 1)]


def units() -> Stop:
    """Step 1: what a head and a neuron are."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(1)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(1)
            with gr.Row():
                kind, index, number = _unit("units")
            with gr.Row():
                chosen = picture("units")
                question = gr.Textbox(QUESTION, label="Question", elem_id="tour-units-question", min_width=150)
            found, shown = gr.HTML(elem_id="tour-units-found"), figure("units")

    def show(desk: Desk, kind, index, number, chosen, question) -> list:
        teaching.of(desk)
        index, number, range_ = _place(desk, kind, index, number)
        seen = teaching.activity_of(desk, kind, index, number, chosen, question)
        tell, top = speaking(desk), seen.loudest
        where = tell("1.patch") if seen.image[top] else tell("1.word", word=seen.tokens[top].strip())
        said = tell("1.found", unit=_named(desk, kind, number), layer=index, where=where)
        image = teaching.asked(chosen, question).image
        return [heading(said, tell("1.read"), desk), pictures.activity(seen, image, tell), range_]

    return Stop(
        "tour_unit",
        "How strongly a head or neuron writes at each token of a question about a bundled picture.",
        [kind, index, number, chosen, question],
        [found, shown, number],
        show,
        fitted=[index],
        ranges=layers,
    )


def dependencies() -> Stop:
    """Step 2: which weights must go together."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(2)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(2)
            with gr.Row():
                kind, index, number = _unit("group")
            found, shown = gr.HTML(elem_id="tour-group-found"), figure("group")

    def show(desk: Desk, kind, index, number) -> list:
        teaching.of(desk)
        index, number, range_ = _place(desk, kind, index, number)
        seen, tell = teaching.group_of(desk, kind, index, number), speaking(desk)
        said = tell(
            "2.found",
            unit=_named(desk, kind, number),
            layer=index,
            stripes=len(seen.stripes),
            weights=f"{seen.parameters:,}",
            share=words.percent(seen.share),
        )
        return [heading(said, tell("2.read"), desk), pictures.group(seen, tell), range_]

    return Stop(
        "tour_group",
        "Which rows and columns of a layer's matrices must go with a head or neuron (Eq. 3).",
        [kind, index, number],
        [found, shown, number],
        show,
        fitted=[index],
        ranges=layers,
    )


def influence() -> Stop:
    """Step 3: what block influence measures."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(3)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(3)
            with gr.Row():
                chosen = picture("influence")
                question = gr.Textbox(QUESTION, label="Question", elem_id="tour-influence-question", min_width=150)
                index = layer("influence")
            found, shown, summed = gr.HTML(elem_id="tour-influence-found"), figure("influence"), gr.Markdown()

    def show(desk: Desk, chosen, question, index) -> list:
        teaching.of(desk)
        index, _, _ = _place(desk, "heads", index, 0)
        seen, tell = teaching.trace_of(desk, chosen, question), speaking(desk)
        found = seen.block_influence
        mean = words.significant(float(found[index]))
        said = tell("3.found", layer=index, mean=mean, rank=seen.rank(index), layers=len(found))
        total = tell(
            "3.sum",
            first=" + ".join(words.significant(float(x), 2) for x in seen.words[index][:4]),
            tokens=len(seen.tokens),
            image=int(seen.image.sum()),
            mean=mean,
        )
        return [heading(said, tell("3.read"), desk), pictures.influence(seen, index, tell), total]

    return Stop(
        "tour_influence",
        "Block influence (Eq. 2) of every layer, token by token, for a question about a bundled picture.",
        [chosen, question, index],
        [found, shown, summed],
        show,
        fitted=[index],
        ranges=layers,
    )


def taylor(desks: Desks) -> Stop:
    """Step 4: Taylor importance against the real change of the loss."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(4)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(4)
            with gr.Row():
                sample = Dial(
                    0, teaching.LESSONS - 1, 0, step=1, buttons=[], label="Sample", elem_id="tour-taylor-sample",
                    min_width=120,
                )  # fmt: skip
                index = layer("taylor", 8)
                head = Dial(0, 5, 2, step=1, buttons=[], label="Head", elem_id="tour-taylor-head", min_width=120)
            signed = gr.Radio(
                [("Size, as published", False), ("With its sign", True)],
                value=False,
                label="What Taylor says",
                elem_id="tour-taylor-signed",
            )
            every = gr.Button("Switch off every head, layer by layer", size="sm", elem_id="tour-taylor-all")
            about = gr.HTML(elem_classes="quiet")
            found, shown = gr.HTML(elem_id="tour-taylor-found"), figure("taylor")

    def show(desk: Desk, sample, index, number, signed) -> list:
        teaching.of(desk)
        index, number, range_ = _place(desk, "heads", index, number)
        teaching.heads_of(desk, whole(sample), index)
        seen, tell = desk.teaching.switched[whole(sample)], speaking(desk)
        count, one = len(seen.effects), teaching.lesson(whole(sample))
        place = seen.place(index, number, bool(signed))
        said = tell(
            "4.agree" if place.by_estimate == place.by_change else "4.differ",
            number=number, layer=index, estimated=place.by_estimate, real=place.by_change, of=place.of,
        )  # fmt: skip
        together = tell("4.found", count=count, rho=f"{seen.rank_correlation:.2f}")
        read = tell("4.signed") if signed else tell("4.read", loss=words.significant(seen.loss))
        read = f"{together if count >= ENOUGH else tell('4.few', count=count)} {read}"
        asked = f"{words.escape(one.question)} → <b>{words.escape(one.answer)}</b>"
        drawn = pictures.effects(seen, place.effect, bool(signed), tell)
        return [heading(said, read, desk, _both_ways(tell, place, bool(signed))), drawn, f"<p>{asked}</p>", range_]

    def switch_off_every_head(key: str, sample):
        """Hold Taylor's estimate against the real change of the loss for every head of the model."""
        teaching.switch_all(desks.at(key), whole(sample))

    return Stop(
        "tour_taylor",
        "Taylor importance (Eq. 4) of a layer's heads against the real change of the loss without each.",
        [sample, index, head, signed],
        [found, shown, about, head],
        show,
        [Start(every.click, switch_off_every_head, [sample])],
        fitted=[index],
        ranges=layers,
    )


def _both_ways(tell, place: Place, signed: bool) -> str:
    """A head's estimate and its real change as a small table, each with its rank in the layer."""
    one = place.effect
    said = (("4.predicted", one.predicted), ("4.real", one.real)) if signed else (
        ("4.estimate", one.published), ("4.real", one.real))  # fmt: skip
    rows = ""
    for (key, value), rank in zip(said, (place.by_estimate, place.by_change), strict=True):
        number = words.significant(value) if key == "4.estimate" else _signed(value)
        rows += f"<tr><th>{tell(key)}</th><td>{number}</td><td>{tell('4.rank', rank=rank, of=place.of)}</td></tr>"
    heads = "".join(f"<th>{tell(x)}</th>" for x in ("4.what", "4.place"))
    return f'<table class="tour-table numbers"><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def _signed(value: float) -> str:
    """A change with its sign."""
    return f"+{words.significant(value)}" if value > 0 else minus(words.significant(value))


def shock() -> Stop:
    """Step 5: what a removed layer does to the next one."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(5)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(5)
            gone = gr.CheckboxGroup(
                [(str(i), i) for i in range(12)], value=[1, 6], label="Layers to take out", elem_id="tour-gap-layers"
            )
            chosen = picture("gap")
            found, shown = gr.HTML(elem_id="tour-gap-found"), figure("gap")

    def show(desk: Desk, gone, chosen) -> list:
        teaching.of(desk)
        tell = speaking(desk)
        if not gone:
            return [heading(tell("5.none"), "", desk), None]
        seen = teaching.gap_of(desk, chosen, [int(x) for x in gone])
        cosine, norm = seen.cosine[seen.behind], seen.norm[seen.behind]
        said = tell("5.found", cosine=f"{cosine:.2f}", norm=words.percent(round(norm, 2)))
        return [heading(said, tell("5.read"), desk), pictures.gap(seen, tell)]

    def ranges(desk: Desk) -> list:
        if desk.model is None:
            return [gr.skip()]
        return [gr.CheckboxGroup([(str(i), i) for i in range(len(desk.model.anatomy.layers))])]

    return Stop(
        "tour_gap",
        "What removing layers does to the hidden states that the layers after them are given.",
        [gone, chosen],
        [found, shown],
        show,
        fitted=[gone],
        ranges=ranges,
    )
