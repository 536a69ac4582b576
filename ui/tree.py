"""The rail's tree of models: every variant with its size, and what can be done with the chosen one: name it, store it
in 8 bits, save it, drop it.
"""

import gradio as gr

from ui import reasons, words
from ui.files import age
from ui.inputs import Choice
from ui.language import static
from ui.part import Part, Start, whole
from ui.texts import retell, say
from ui.variants import ORIGINAL, Variant
from ui.workspace import Desk, Desks

NOTHING = "Nothing yet."
STEP = "\u200b"  # of depth; to be seen by the style sheet alone
KEPT = "Kept as a folder in a zip file: unpack it, and open it here or with load() by the folder's path."


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, Part]:
    """The tree and its buttons; and the chosen model's name, which is drawn only where it is another: it may be in the
    middle of being typed."""
    gr.HTML(f'<h2 class="rail-title" id="at-hand">{static("At hand")}</h2>')
    with gr.Column(elem_id="tree", min_width=200):
        nothing = gr.HTML()
        tree = Choice([], label="Models at hand", show_label=False, container=False, elem_id="variants")
        with gr.Column(visible=False, elem_id="variant", min_width=200) as about:
            name = gr.Textbox(label="Name (Enter renames)", max_lines=1, elem_id="variant-name", container=False)
            with gr.Row(elem_classes="tight"):
                rename = gr.Button("Rename", size="sm", min_width=70, elem_id="variant-rename")
                small = gr.Button("8-bit copy", size="sm", min_width=70, elem_id="variant-small")
                save = gr.Button("Save", size="sm", min_width=50, elem_id="variant-save")
                drop = gr.Button("Drop", size="sm", min_width=50, elem_id="variant-drop")
            file = gr.DownloadButton("Download", size="sm", visible=False, elem_id="variant-file")
            kept = gr.HTML()

    def draw(desk: Desk) -> list:
        chosen = desk.variants.selected
        if chosen is None:
            return [f'<p class="quiet">{_gone(desk)}</p>', gr.Radio(choices=[], value=None, visible=False),
                    gr.Column(visible=False), *[gr.skip()] * 3, gr.DownloadButton(visible=False), ""]  # fmt: skip
        first, eight = chosen.kind == ORIGINAL, chosen.kind == "int8"
        packed, waits = chosen.file, reasons.waits(desk)
        why = {
            "variant-small": say("This model is in 8 bits already.") if eight else waits,
            "variant-save": say("This model is saved already: download it below.") if packed else waits,
            "variant-drop": waits,
        }
        return [
            reasons.why(why),
            gr.Radio(choices=[(label(x), x.id) for x in desk.variants], value=chosen.id, visible=True),
            gr.Column(visible=True),
            gr.Button(say("Is in 8 bits" if eight else "8-bit copy"), interactive=not eight and not desk.busy),
            gr.Button(say("Saved" if packed else "Save"), interactive=not packed and not desk.busy),
            gr.Button(say("Drop"), visible=not first, interactive=not desk.busy),
            gr.DownloadButton(say("Download {file}", file=packed.name), value=str(packed), visible=True)
            if packed
            else gr.DownloadButton(visible=False),
            f'<p class="quiet">{say(KEPT)}</p>' if packed else "",
        ]

    def choose_variant(key: str, id: str):
        """Choose the model that the rail's buttons are about, by its id: "original", "pruned-1" …"""
        desks.at(key).variants.select(id)

    def rename_variant(key: str, id: str, title: str):
        """Give a model at hand another name."""
        desks.at(key).variants.rename(id, title)

    def store_in_8_bits(key: str, id: str):
        """Make a copy of a model at hand with 8-bit weights (LLM.int8)."""
        desks.at(key).small(id)

    def save_variant(key: str, id: str):
        """Save a model at hand as a zip file to download: a Hugging Face folder that can be opened again."""
        desks.at(key).save(id)

    def drop_variant(key: str, id: str):
        """Free a model at hand and what was made from it; the original stays."""
        desks.at(key).drop(id)

    starts = [
        Start(tree.input, choose_variant, [tree]),
        Start(name.submit, rename_variant, [tree, name]),
        Start(rename.click, rename_variant, [tree, name]),
        Start(small.click, store_in_8_bits, [tree]),
        Start(save.click, save_variant, [tree]),
        Start(drop.click, drop_variant, [tree]),
    ]
    outputs = [nothing, tree, about, small, save, drop, file, kept]
    named = Part([name], lambda desk: [_name(desk)], state=lambda desk: (desk.variants.selected, _name(desk)))
    return Part(outputs, draw, starts, lambda desk: (*whole(desk), age())), named


def _name(desk: Desk) -> str:
    chosen = desk.variants.selected
    return retell(chosen.title) if chosen is not None else ""


def _gone(desk: Desk) -> str:
    """Why there is nothing."""
    if desk.resting is None:
        return say(NOTHING)
    names = say(", ").join(f"“{words.escape(retell(x.title))}”" for x in desk.resting.variants)
    return say("Put away to make room for others: {names}. Your next click brings everything back.", names=names)


def label(variant: Variant) -> str:
    """As deep as it is, its name, and below it its kind and size."""
    size = words.size(variant.model)
    kind = "8-bit" if variant.kind == "int8" else variant.kind
    kind = "" if kind.lower() in variant.title.lower() else f"{say(kind)} · "
    return f"{STEP * variant.depth}{retell(variant.title)}\n{kind}{size}"
