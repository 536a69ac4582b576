"""Panes of the Chat tab: each shows one variant, what it was asked and said, how fast, and how large it is."""

from dataclasses import dataclass

import gradio as gr

from ui import words
from ui.talk import Answer
from ui.texts import say
from ui.variants import MOST_PANES, Variant
from ui.workspace import Desk


@dataclass(frozen=True)
class Pane:
    column: gr.Column
    head: gr.HTML
    chat: gr.Chatbot
    stats: gr.HTML


def build() -> list[Pane]:
    """As many as there can be; those that nobody stands in are hidden."""
    with gr.Row(equal_height=False, elem_classes="panes"):
        return [_pane(place) for place in range(1, MOST_PANES + 1)]


def _pane(place: int) -> Pane:
    with gr.Column(min_width=300, visible=place <= 2, elem_classes=["slab", "pane"], elem_id=f"pane-{place}") as column:
        head = gr.HTML()
        chat = gr.Chatbot(
            height=300,
            label=f"Answers of model {place}",
            show_label=False,
            container=False,
            buttons=["copy"],
            elem_id=f"chat-{place}",
            feedback_options=[],
            placeholder="Answers appear here.",
            group_consecutive_messages=False,
            render_markdown=False,
        )
        stats = gr.HTML(elem_id=f"stats-{place}")
    return Pane(column, head, chat, stats)


def standing(desk: Desk) -> list[Variant | None]:
    """Who stands in each place."""
    return [*desk.panes, *[None] * (MOST_PANES - len(desk.panes))]


def heads(desk: Desk) -> list:
    """For each pane whether it is shown, and its name: one waits empty beside a lone original."""
    drawn, lone = [], len(desk.panes) < 2
    for place, variant in enumerate(standing(desk)):
        waits = lone and place == 1 and desk.pruned is None
        drawn.append(gr.Column(visible=variant is not None or place == 0 or waits))
        drawn.append(_head(variant, place))
    return drawn


def _head(variant: Variant | None, place: int) -> str:
    if variant is not None:
        return words.chip(variant.kind, variant.title)
    return (
        words.chip("original", "Original") if place == 0 else words.chip("pruned", "Pruned", say("nothing pruned yet"))
    )


def messages(desk: Desk, variant: Variant | None) -> list[dict]:
    """What a variant was asked and said, as chatbot messages; what only others were asked is left out."""
    out = []
    for exchange in _asked(desk, variant):
        out.append({"role": "user", "content": exchange.question})
        out.append({"role": "assistant", "content": exchange.answers[variant.id].text or "…"})
    return out


def exchange_at(desk: Desk, variant: Variant | None, message: int):
    """The exchange that a message of a pane belongs to; None where there is none any more."""
    asked = _asked(desk, variant)
    return asked[message // 2] if message // 2 < len(asked) else None


def _asked(desk: Desk, variant: Variant | None) -> list:
    return [x for x in desk.talk if variant is not None and variant.id in x.answers]


def facts(desk: Desk, variant: Variant | None, busy: bool) -> str:
    """Under a pane: speed of the last answer, and the model's size."""
    if variant is None:
        return ""
    last = desk.talk[-1].answers.get(variant.id) if desk.talk else None
    size = say(
        "{count} parameters · {memory} of weights",
        count=words.count(variant.model.parameters().total), memory=words.memory(variant.model.bytes()),
    )  # fmt: skip
    return f'{statistics(last, busy, waiting(desk))}<p class="stats">{size}</p>'


def waiting(desk: Desk) -> str:
    """How many go before the question, while it waits; "" otherwise."""
    job = desk.answering
    return words.queued(job.before) if job is not None and job.state == "waiting" else ""


def statistics(answer: Answer | None, busy: bool, line: str = "") -> str:
    """First token, speed and length of an answer; before there is one its place in line."""
    if answer is None:
        return '<p class="stats"></p>'
    stats = answer.stats
    if stats is None:
        return f'<p class="stats">{(line or say("answering …")) if busy else ""}</p>'
    told = [say("first token {time}", time=words.duration(stats.first_token_s))] if stats.new_tokens else []
    if stats.tokens_per_s:
        told.append(say("<b>{speed} tokens/s</b>", speed=words.significant(stats.tokens_per_s)))
    told.append(say("{n} {n:token|tokens}", n=stats.new_tokens))
    if stats.stopped:
        told.append(say("stopped"))
    why = say("All answer at the same time and share the machine")
    return f'<p class="stats" title="{words.escape(why)}">{" · ".join(told)}</p>'
