"""Blind votes on the Cases tab: a question, two answers without names, four buttons, then the names and the score;
drawn from a desk.
"""

from collections.abc import Callable

import gradio as gr

from evaluation import votes
from evaluation.votes import Standing
from ui import blind, reasons, words
from ui.blind import SOURCES, Match
from ui.heard import true
from ui.texts import retell, say
from ui.workspace import Desk

VOTES = {"left": "A is better", "right": "B is better", "tie": "Equally good", "both-bad": "Both bad"}
PRESS_NEXT = "Press Next pair: a question and two answers appear here."
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
                head = gr.HTML()
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
        self.outputs = [
            head,
            self.who,
            self.source,
            self.question,
            said,
            self.next,
            image,
            told,
            *self.votes.values(),
            score,
        ]

    def draw(self, desk: Desk) -> list:
        now, there = desk.keeping.blind, list(desk.variants)
        taking, match = blind.taking_part(desk), now.match
        can = len(taking) > 1
        open_vote = match is not None and match.vote is None
        return [
            words.heading(say("Which answer is better?"), say(HOW_TO)),
            gr.CheckboxGroup([(retell(x.title), x.id) for x in there], value=[x.id for x in taking]),
            now.source,
            gr.Textbox(value=now.question, visible=now.source == "own"),
            words.notice("" if can else _too_few(len(there)))
            + reasons.why({"next-pair": reasons.waits(desk) or ("" if can else _too_few(len(there)))})
            + reasons.why(dict.fromkeys((f"vote-{x}" for x in VOTES), _why_no_vote(match))),
            gr.Button(interactive=can and not desk.busy),
            gr.Image(value=match and match.image, visible=match is not None and match.image is not None),
            _match(match, now.alike),
            *[gr.Button(interactive=open_vote) for _ in self.votes],
            _score(blind.standings(desk, self.whose(desk))),
        ]


def _too_few(there: int) -> str:
    return say(
        "A vote needs two models: prune first." if there < 2 else "Two models must take part: please tick another."
    )


def _why_no_vote(match: Match | None) -> str:
    if match is None:
        return say(PRESS_NEXT)
    return "" if match.vote is None else say("This pair is judged already: please press Next pair.")


def _match(match: Match | None, alike: int) -> str:
    """The question and both answers; names only after the vote."""
    if match is None:
        return f'<p class="quiet">{say(PRESS_NEXT)}</p>'
    voted, sides = match.vote is not None, []
    for letter, answer, who in zip("AB", match.answers, match.contenders, strict=True):
        name = words.chip(who.kind, f"{letter}: {retell(who.title)}") if voted else f"<b>{letter}</b>"
        colour = f" said-{who.kind}" if voted else " said-hidden"
        text = words.escape(answer) or f"<em>{say('nothing')}</em>"
        sides.append(f'<div class="said{colour}">{name}<p>{text}</p></div>')
    truth = true(match.truth, "") if voted and match.truth else ""
    skipped = say("{n} {n:question|questions} answered alike, skipped.", n=alike)
    skipped = f"<p class='quiet'>{skipped}</p>" if alike else ""
    return f'<div class="record"><h3>{words.escape(match.question)}</h3>{truth}{"".join(sides)}{skipped}</div>'


def finding(standings: list[Standing]) -> str:
    """What the votes say, in one sentence."""
    if not standings:
        return say("No votes yet")
    pair = votes.preferred(standings)
    if pair is None:
        return say("No preference that could not be chance, so far")
    best, least = (retell(x.title) for x in pair)
    return say("{one} is preferred to {other} beyond chance", one=best, other=least)


def _score(standings: list[Standing]) -> str:
    if not standings:
        return ""
    two, first = len(standings) == 2, retell(standings[0].contender.title)
    of = say("preferred to the other") if two else say("preferred to {title}", title=first)
    heads = "".join(f"<th>{words.escape(x)}</th>" for x in ("", of, *map(say, ("won", "lost", "equal", "both bad"))))
    body = "".join(_row(x) for x in standings)
    cast = say("{n} {n:vote|votes}; equal and both bad count half.", n=votes.cast(standings))
    method = "Wilson's" if two else "Bradley–Terry's"
    how = say(f"In brackets and as a bar: {method} 95% interval.")
    return (
        f'<div class="result"><p class="done">{words.escape(finding(standings))}</p><table><thead><tr>{heads}</tr>'
        f"</thead><tbody>{body}</tbody></table><p class='quiet'>{cast} {how}</p></div>"
    )


def _row(x: Standing) -> str:
    chance = say("the reference")
    if x.low is not None:
        chance = (
            say("{chance:.0f}% ({low:.0f} to {high:.0f})", chance=100 * x.chance, low=100 * x.low, high=100 * x.high)
            + f'<div class="span"><i style="left:{100 * x.low:.1f}%;width:{100 * (x.high - x.low):.1f}%"></i>'
            f'<b style="left:{100 * x.chance:.1f}%"></b></div>'
        )
    return (
        f"<tr><th>{words.chip(x.contender.kind, x.contender.title)}</th><td>{chance}</td><td>{x.wins}</td>"
        f"<td>{x.losses}</td><td>{x.ties}</td><td>{x.both_bad}</td></tr>"
    )
