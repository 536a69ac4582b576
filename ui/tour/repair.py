"""Beyond the paper, after the tour: why a repair without training works."""

import gradio as gr

from ui import teaching, words
from ui.tour import pictures
from ui.tour.inside import layer_of, layers
from ui.tour.stop import Stop, explained, figure, heading, layer, ratio, speaking, tried
from ui.workspace import Desk


def repair() -> Stop:
    """What a removed neuron's work looks like to those that stay."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained("beyond", titled=False)  # the fold has the title
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried("beyond")
            with gr.Row():
                index, share = layer("takeover"), ratio("takeover", 45)
            found, shown = gr.HTML(elem_id="tour-takeover-found"), figure("takeover")

    def show(desk: Desk, index, share) -> list:
        seen = teaching.takeover_of(desk, layer_of(desk, index), share)
        tell = speaking(desk)
        said = tell(
            "beyond.found", stay=seen.stay, gone=len(seen.neurons), layer=seen.layer, share=words.percent(seen.together)
        )
        return [heading(said, tell("beyond.read"), desk), pictures.takeover(seen, tell)]

    return Stop(
        "tour_repair",
        "How much of the work of a layer's neurons that go those that stay can take over.",
        [index, share],
        [found, shown],
        show,
        fitted=[index],
        ranges=layers,
    )
