"""Blind votes on the Cases tab: a question, two answers without names, four buttons, then the names and the score;
drawn from a desk.
"""

from collections.abc import Callable

import gradio as gr

from evaluation.votes import Standing
from ui import blind, words
from ui.blind import SOURCES, Match
from ui.workspace import Desk

VOTES = {"left": "A is better", "right": "B is better", "tie": "Equally good", "both-bad": "Both bad"}
HOW_TO = (
    "Two models answer without their names, on sides drawn by chance, and both answers are shown at once, as speed "
    "would tell the models apart. Questions that both answer alike are skipped."
)


class Voting:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self, whose: Callable[[Desk], str | None]):
        self.whose = whose
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="slab"):
                gr.HTML(words.heading("Which answer is better?", HOW_TO))
                self.who = gr.CheckboxGroup([], label="Who takes part", elem_id="voters")
                self.source = gr.Radio(
                    [(y, x) for x, y in SOURCES.items()], value="drawn", label="Questions about", elem_id="vote-source"
                )
                self.question = gr.Textbox(
                    label="Your question about it", visible=False, max_lines=3, elem_id="vote-question"
                )
                said = gr.HTML(elem_id="vote-said")
                self.next = gr.Button("Next pair", variant="primary", size="lg", interactive=False, elem_id="next-pair")
            with gr.Column(scale=9, min_width=320, elem_classes="slab"):
                with gr.Row(equal_height=False):
                    image = gr.Image(
                        show_label=False, interactive=False, visible=False, height=220, buttons=[], min_width=200,
                        elem_id="vote-image",
                    )  # fmt: skip
                    with gr.Column(min_width=260, scale=2):
                        told = gr.HTML(elem_id="match")
                with gr.Row(elem_classes="votes"):
                    self.votes = {
                        x: gr.Button(y, interactive=False, min_width=110, elem_id=f"vote-{x}") for x, y in VOTES.items()
                    }
                score = gr.HTML(elem_id="vote-score")
        self.settings = [self.source, self.question, self.who]
        self.outputs = [self.who, self.source, self.question, said, self.next, image, told, *self.votes.values(), score]

    def draw(self, desk: Desk) -> list:
        now, there = desk.keeping.blind, list(desk.variants)
        taking, match = blind.taking_part(desk), now.match
        can = len(taking) > 1
        open_vote = match is not None and match.vote is None
        return [
            gr.CheckboxGroup([(x.title, x.id) for x in there], value=[x.id for x in taking]),
            now.source,
            gr.Textbox(value=now.question, visible=now.source == "own"),
            words.notice("" if can else _too_few(len(there))),
            gr.Button(interactive=can and not desk.busy),
            gr.Image(value=match and match.image, visible=match is not None and match.image is not None),
            _match(match, now.alike),
            *[gr.Button(interactive=open_vote) for _ in self.votes],
            _score(blind.standings(desk, self.whose(desk))),
        ]


def _too_few(there: int) -> str:
    return "A vote needs two models: prune first." if there < 2 else "Two models must take part: please tick another."


def _match(match: Match | None, alike: int) -> str:
    """The question and both answers; names only after the vote."""
    if match is None:
        return '<p class="quiet">Press Next pair: a question and two answers appear here.</p>'
    voted, sides = match.vote is not None, []
    for letter, answer, who in zip("AB", match.answers, match.contenders, strict=True):
        name = words.chip(who.kind, f"{letter}: {who.title}") if voted else f"<b>{letter}</b>"
        colour = f" said-{who.kind}" if voted else " said-hidden"
        sides.append(f'<div class="said{colour}">{name}<p>{words.escape(answer) or "<em>nothing</em>"}</p></div>')
    truth = f"<p>True: <b>{words.escape(match.truth)}</b></p>" if voted and match.truth else ""
    skipped = f"<p class='quiet'>{alike} question{'s' * (alike > 1)} answered alike, skipped.</p>" if alike else ""
    return f'<div class="record"><h3>{words.escape(match.question)}</h3>{truth}{"".join(sides)}{skipped}</div>'


def finding(standings: list[Standing]) -> str:
    """What the votes say, in one sentence."""
    if not standings:
        return "No votes yet"
    first, *others = standings
    worst = min(others, key=lambda x: x.chance)
    if worst.high < 0.5:
        return f"{first.contender.title} is preferred to {worst.contender.title} beyond chance"
    if worst.low > 0.5:
        return f"{worst.contender.title} is preferred to {first.contender.title} beyond chance"
    return "No preference that could not be chance, so far"


def _score(standings: list[Standing]) -> str:
    if not standings:
        return ""
    of = "preferred to the other" if len(standings) == 2 else f"preferred to {standings[0].contender.title}"
    body = "".join(_row(x) for x in standings)
    total = sum(x.votes for x in standings) // 2
    method = "Wilson's" if len(standings) == 2 else "Bradley–Terry's"
    return (
        f'<div class="result"><p class="done">{words.escape(finding(standings))}</p><table><thead><tr><th></th>'
        f"<th>{words.escape(of)}</th><th>won</th><th>lost</th><th>equal</th><th>both bad</th></tr></thead>"
        f"<tbody>{body}</tbody></table><p class='quiet'>{total} vote{'s' * (total != 1)}; equal and both bad count "
        f"half. In brackets and as a bar: {method} 95% interval.</p></div>"
    )


def _row(x: Standing) -> str:
    chance = "the reference"
    if x.low is not None:
        chance = (
            f"{100 * x.chance:.0f}% ({100 * x.low:.0f} to {100 * x.high:.0f})"
            f'<div class="span"><i style="left:{100 * x.low:.1f}%;width:{100 * (x.high - x.low):.1f}%"></i>'
            f'<b style="left:{100 * x.chance:.1f}%"></b></div>'
        )
    return (
        f"<tr><th>{words.chip(x.contender.kind, x.contender.title)}</th><td>{chance}</td><td>{x.wins}</td>"
        f"<td>{x.losses}</td><td>{x.ties}</td><td>{x.both_bad}</td></tr>"
    )
