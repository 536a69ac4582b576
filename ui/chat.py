"""The Chat tab: one picture and one question, the original and the pruned model answering side by side."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import combinations

import gradio as gr

from lvlm.errors import LVLMError
from lvlm.images import check_question, open_image
from samples import examples
from ui import words
from ui.inputs import Picture
from ui.part import Part, Start, whole
from ui.talk import Answer, Exchange
from ui.variants import Variant
from ui.workspace import Desk, Desks

FRAME_SECONDS = 0.08  # between two looks at the growing answers
SIDES = ("left", "right")
INT8 = "8-bit weights on the right-hand side (LLM.int8)"


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, Callable, list]:
    """The tab's content; and how a page that arrives while answers grow follows them."""
    scenes = _scenes()
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280, elem_classes="slab"):
            picture = Picture(
                show_label=False,
                type="filepath",
                sources=["upload", "clipboard"],
                height=280,
                buttons=["fullscreen"],
                elem_id="picture",
            )
            gallery = gr.Gallery(
                [(path, title) for path, title, _ in scenes],
                columns=4,
                height="auto",
                show_label=False,
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="gallery",
                object_fit="cover",
            )
            questions = gr.Dataset(
                components=["textbox"],
                samples=[],
                label="Ask about it",
                elem_id="questions",
                type="values",
                samples_per_page=12,
            )
        with gr.Column(scale=8, min_width=320):
            pair = gr.Radio([], show_label=False, container=False, visible=False, elem_id="pair")
            with gr.Row(equal_height=False):
                panes = {side: _pane(side) for side in SIDES}
            with gr.Row(equal_height=True, elem_classes="ask"):
                question = gr.Textbox(
                    placeholder="Ask both about the picture…",
                    show_label=False,
                    container=False,
                    scale=8,
                    lines=1,
                    max_lines=4,
                    elem_id="question",
                    min_width=80,
                )
                ask = gr.Button("Ask both", variant="primary", scale=1, min_width=84, elem_id="ask")
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=56, interactive=False, elem_id="stop")
            refusal = gr.HTML(elem_id="refusal")
            parting = gr.HTML(elem_id="parting")
            with gr.Row(equal_height=False, elem_classes="switches"):
                int8 = gr.Checkbox(label=INT8, elem_id="int8", interactive=False, container=False, min_width=240)
                clear = gr.Button("Clear", size="sm", min_width=80, scale=0, elem_id="clear")
            with gr.Accordion("More: how the answers are made", open=False):
                with gr.Row():
                    length = gr.Slider(
                        8, 512, 96, step=8, buttons=[], label="Longest answer (tokens)", elem_id="length"
                    )
                    temperature = gr.Slider(
                        0,
                        1.5,
                        0,
                        step=0.1,
                        buttons=[],
                        label="Temperature",
                        info="0 always takes the likeliest word (greedy): differences come from pruning",
                    )

    talking = [panes["left"].chat, panes["left"].stats, panes["right"].chat, panes["right"].stats, parting, ask, stop]

    def follow(key: str) -> Iterator[list]:
        """Show the answers growing until the last has ended; between its ends only text that grew is sent."""
        desk = desks.at(key)
        yield draw_talk(desk)
        before: list = [None, None]
        while (job := desk.answering) is not None and job.busy:
            now = [messages(desk, side) for side in SIDES]
            if now != before:
                left, right = (gr.skip() if new == old else new for new, old in zip(now, before, strict=True))
                yield [left, gr.skip(), right, *[gr.skip()] * (len(talking) - 3)]
                before = now
            time.sleep(FRAME_SECONDS)
        yield draw_talk(desk)

    def put_question(key: str, text: str, length: int, temperature: float) -> Iterator[list]:
        """Ask both models about the picture; their answers stream side by side."""
        desk = desks.at(key)
        try:
            text = check_question(text)
            if desk.model is None:
                raise LVLMError("The model is still loading: ask again in a moment.")
            if desk.answering is not None and desk.answering.busy:
                raise LVLMError("The last question is still being answered: press Stop first.")
            job = desk.ask(desk.image, text, max_new_tokens=int(length), temperature=temperature)
        except LVLMError as error:
            yield [*draw_talk(desk), gr.skip(), words.notice(str(error), "error")]
            return
        frames = follow(key)
        yield [*next(frames), "", ""]
        for drawn in frames:
            yield [*drawn, gr.skip(), gr.skip()]  # the next question may be being typed
        if job.error:  # refused after all: the question goes back into its box
            yield [*draw_talk(desk), text, words.notice(job.error, "error")]

    asking = dict(
        fn=put_question, outputs=[*talking, question, refusal], show_progress="hidden", concurrency_limit=None
    )
    ask.click(inputs=[desk_key, question, length, temperature], **asking)
    question.submit(inputs=[desk_key, question, length, temperature], **asking)
    questions.click(
        lambda sample: sample[0], questions, question, queue=False, show_progress="hidden", api_visibility="private"
    ).then(inputs=[desk_key, question, length, temperature], **asking)
    stop.click(lambda key: desks.at(key).stop(), desk_key, None, queue=False, api_visibility="private")

    def clear_talk(key: str):
        """Forget the conversation."""
        desk = desks.at(key)
        desk.stop()
        desk.talk = []
        return draw_talk(desk)

    clear.click(clear_talk, desk_key, talking, queue=False, show_progress="hidden")

    shown = [picture, questions, *talking, refusal]

    def show(desk: Desk, note: str = "") -> list:
        return [
            desk.image,
            gr.Dataset(samples=[[q] for q in desk.questions]),
            *draw_talk(desk),
            words.notice(note, "error"),
        ]

    def pick(key: str, choice: gr.SelectData):
        """Lay an example scene on the table."""
        desk = desks.at(key)
        path, _, asked = scenes[choice.index]
        desk.show(open_image(path), asked)
        return show(desk)

    def upload(key: str, path: str | None):
        """Take a person's own picture; one that cannot be read leaves the old one in place."""
        desk = desks.at(key)
        try:
            desk.show(open_image(path) if path else None, desk.questions)
        except LVLMError as error:
            return show(desk, str(error))
        return show(desk)

    gallery.select(pick, desk_key, shown, queue=False, show_progress="hidden", api_visibility="private")
    picture.input(upload, [desk_key, picture], shown, show_progress="hidden", concurrency_limit=None)

    def switch_int8(key: str, on: bool):
        """Store the right-hand model's weights in 8 bits, or go back."""
        desk = desks.at(key)
        right = _standing(desk, "right")
        if right is None:
            raise LVLMError("Nothing is pruned yet: please prune first.")
        if on:
            desk.small(right.id)
        elif right.kind == "int8":
            desk.variants.show([desk.panes[0].id, right.parent.id])

    def compare(key: str, pair: str):
        """Choose which two models answer, by their names at hand: "original pruned-1", "pruned-1 recovered-1" …"""
        desks.at(key).variants.show((pair or "").split())

    def draw(desk: Desk) -> list:
        if desk.image is None and not desk.greeted and scenes:
            desk.greeted = True
            desk.show(open_image(scenes[0][0]), scenes[0][2])
        can, right = desk.pruned is not None, _standing(desk, "right")
        pairs = list(combinations([x for x in desk.variants if x.kind != "int8"], 2))
        choices = [(f"{a.title} and {b.title}", f"{a.id} {b.id}") for a, b in pairs]
        whole = [x.parent if x.kind == "int8" else x for x in desk.panes[:2]]
        return [
            gr.Radio(choices, value=" ".join(x.id for x in whole) if pairs else None, visible=len(pairs) > 1),
            *[_pane_head(desk, side) for side in SIDES],
            gr.Checkbox(
                label=INT8 if can else f"{INT8}: prune first",
                value=right is not None and right.kind == "int8",
                interactive=can and not desk.busy,
            ),
            gr.Button(visible=desk.pruned is None and desk.plan is not None, interactive=not desk.busy),
            *show(desk),
        ]

    def prune_first(key: str):
        """Carry out the plan as it stands, without leaving the chat."""
        desks.at(key).prune()

    starts = [
        Start(int8.input, switch_int8, [int8]),
        Start(pair.input, compare, [pair]),
        Start(panes["right"].prune.click, prune_first),
    ]
    changing = [pair, panes["left"].head, panes["right"].head, int8, panes["right"].prune, *shown]
    return Part(changing, draw, starts, lambda desk: (*whole(desk), desk.answered)), follow, talking


@dataclass(frozen=True)
class Pane:
    head: gr.HTML
    chat: gr.Chatbot
    stats: gr.HTML
    prune: gr.Button


def _pane(side: str) -> Pane:
    with gr.Column(min_width=300, elem_classes=["slab", "pane", f"pane-{side}"]):
        head = gr.HTML()
        chat = gr.Chatbot(
            height=330,
            show_label=False,
            container=False,
            buttons=[],
            elem_id=f"chat-{side}",
            feedback_options=[],
            placeholder="Answers appear here.",
            group_consecutive_messages=False,
            render_markdown=False,
        )
        prune = gr.Button("Prune as planned and compare", visible=False, size="sm", elem_id=f"prune-{side}")
        stats = gr.HTML(elem_id=f"stats-{side}")
    return Pane(head, chat, stats, prune)


def _scenes() -> list[tuple[str, str, tuple[str, ...]]]:
    """(image path, title, questions) of every example picture, in the gallery's order."""
    found: dict[str, tuple[str, list[str]]] = {}
    for example in examples():
        found.setdefault(str(example.image_path), (example.title, []))[1].append(example.question)
    return [(path, title, tuple(asked)) for path, (title, asked) in found.items()]


def _standing(desk: Desk, side: str) -> Variant | None:
    """The variant on this side."""
    return dict(zip(SIDES, desk.panes, strict=False)).get(side)


def _pane_head(desk: Desk, side: str) -> str:
    variant = _standing(desk, side)
    if variant is None:
        return words.chip(*(("original", "Original") if side == "left" else ("pruned", "Pruned", "nothing pruned yet")))
    return words.chip(variant.kind, variant.title, words.size(variant.model))


def draw_talk(desk: Desk) -> list:
    """Both panes' messages and measurements, where the answers part, and which of Ask and Stop can be pressed."""
    busy = desk.answering is not None and desk.answering.busy
    drawn = []
    for side in SIDES:
        here = _standing(desk, side)
        last = desk.talk[-1].answers.get(here.id) if desk.talk and here else None
        drawn += [messages(desk, side), statistics(last, busy)]
    return [
        *drawn,
        parting(desk.talk[-1], busy) if desk.talk else "",
        gr.Button("Ask both" if len(desk.panes) > 1 else "Ask", interactive=not busy),
        gr.Button(interactive=busy),
    ]


def messages(desk: Desk, side: str) -> list[dict]:
    """What the variant on a side was asked and said, as chatbot messages; what others were asked is left out."""
    out, here = [], _standing(desk, side)
    for exchange in desk.talk:
        answer = exchange.answers.get(here.id) if here else None
        if answer is not None:
            out.append({"role": "user", "content": exchange.question})
            out.append({"role": "assistant", "content": answer.text or "…"})
    return out


def statistics(answer: Answer | None, busy: bool) -> str:
    """First token, speed and length of the last answer."""
    if answer is None:
        return '<p class="stats"></p>'
    stats = answer.stats
    if stats is None:
        return f'<p class="stats">{"answering …" if busy else ""}</p>'
    facts = [f"first token {words.duration(stats.first_token_s)}"] if stats.new_tokens else []
    if stats.tokens_per_s:
        facts.append(f"<b>{words.significant(stats.tokens_per_s)} tokens/s</b>")
    facts.append(f"{stats.new_tokens} token{'' if stats.new_tokens == 1 else 's'}")
    if stats.stopped:
        facts.append("stopped")
    return f'<p class="stats" title="Both models answer at the same time and share the machine">{" · ".join(facts)}</p>'


def parting(exchange: Exchange, busy: bool) -> str:
    """Where the two answers to one question part, with the words that differ marked."""
    if busy or len(exchange.answers) < 2:
        return ""
    first, second, *_ = exchange.answers.values()
    left, right = first.text.split(), second.text.split()
    if left == right:
        return '<p class="parting same">Both give the same answer.</p>'
    same = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    lines = []
    for here, there, variant in (
        (left, right, first.kind),
        (right, left, second.kind),
    ):
        marked = []
        for tag, a, b, _, _ in SequenceMatcher(a=here, b=there, autojunk=False).get_opcodes():
            text = words.escape(" ".join(here[a:b]))
            if text:
                marked.append(text if tag == "equal" else f"<mark>{text}</mark>")
        lines.append(f'<span class="line-{variant}">{" ".join(marked)}</span>')
    return f'<div class="parting"><p>They part at word {same + 1}.</p>{"".join(lines)}</div>'
