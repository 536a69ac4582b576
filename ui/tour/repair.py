"""Step 11 of the tour, beyond the paper: why a repair without training works."""

import gradio as gr

from ui import teaching, words
from ui.tour import pictures
from ui.tour.inside import layer_of, layers
from ui.tour.stop import Stop, explained, figure, heading, layer, ratio, speaking, tried
from ui.workspace import Desk


def repair() -> Stop:
    """Step 11: what a removed neuron's work looks like to those that stay."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(11)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(11)
            with gr.Row():
                index, share = layer("takeover"), ratio("takeover", 45)
            found, shown = gr.HTML(elem_id="tour-takeover-found"), figure("takeover")

    def show(desk: Desk, index, share) -> list:
        seen = teaching.takeover_of(desk, layer_of(desk, index), share)
        tell = speaking(desk)
        said = tell(
            "11.found", stay=seen.stay, gone=len(seen.neurons), layer=seen.layer, share=words.percent(seen.together)
        )
        return [heading(said, tell("11.read"), desk), pictures.takeover(seen, tell)]

    return Stop(
        "tour_repair",
        "How much of the work of a layer's neurons that go those that stay can take over.",
        [index, share],
        [found, shown],
        show,
        fitted=[index],
        ranges=layers,
    )
