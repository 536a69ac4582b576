"""A picked layer or head, and a trial of what would go, in words. Pure functions to HTML; whatever may hold a person's
or a model's text is escaped.
"""

from html import escape

from evaluation import wording
from pruning import Facts, Plan, Unit
from ui import words
from ui.picking import FORCE, FREE, PIN, Picking, Trial
from ui.texts import retell, say

HINT = "Click a bar, a head or a layer in the figures, or choose one here, to see its numbers."
BUTTONS = {  # what a press does, by what holds
    PIN: {PIN: "Take the pin out", FREE: "Pin: never prune", FORCE: "Pin: never prune"},
    FORCE: {FORCE: "Let the scores decide", FREE: "Force out", PIN: "Force out"},
}


def fate(unit: Unit, plan: Plan, picking: Picking) -> str:
    """What becomes of a unit, and by whose wish."""
    gone = unit.layer in plan.removed_layers or (unit.head is not None and unit.head not in plan.heads[unit.layer])
    wished = picking.wished(unit)
    if wished == FREE and unit.head is not None:
        wished = picking.wished(Unit(unit.layer))
    if gone:
        return say("goes, forced out by you" if wished == FORCE else "goes by this plan")
    return say("stays, pinned by you" if wished == PIN else "stays in this plan")


def facts(found: Facts, becomes: str) -> str:
    """A unit's numbers, and what goes with it."""
    unit, score = found.unit, words.significant(found.score)
    share = say(
        "{count} ({share} of the language model)",
        count=words.count(found.parameters), share=words.percent(found.share),
    )  # fmt: skip
    if unit.head is None:
        rows = [
            (
                "Block influence",
                say("{score}: rank {rank} of {of} layers", score=score, rank=found.rank, of=found.of),
            ),
            ("Over image tokens", _number(found.image)),
            ("Over text tokens", _number(found.text)),
            ("Parameters", share),
            (
                "Goes with it",
                say(
                    "all {heads} heads, {neurons:,} neurons and the norms; what enters the layer would pass on as "
                    "it is",
                    heads=found.in_layer,
                    neurons=found.neurons,
                ),  # fmt: skip
            ),
        ]
    else:
        shares = ", a group of {queries} query heads that share one key and value"
        group = say(shares, queries=found.queries) if found.queries > 1 else ""
        rows = [
            (
                "Importance",
                say(
                    "{score}: rank {rank} of {of} heads, {rank_here} of {here} in its layer{group}",
                    score=score,
                    rank=found.rank,
                    of=found.of,
                    rank_here=found.rank_in_layer,
                    here=found.in_layer,
                    group=group,
                ),  # fmt: skip
            ),
            ("Parameters", share),
            ("Goes with it", "; ".join(_together(found))),
        ]
    body = "".join(f"<div><dt>{say(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows)
    name = words.capital(retell(unit.name))
    return f'<div class="picked"><h4>{name} <span>{escape(becomes)}</span></h4><dl>{body}</dl></div>'


def _number(value: float | None) -> str:
    return say("not known: the samples had none") if value is None else words.significant(value)


def _together(found: Facts) -> list[str]:
    """ "rows 32–63 of q_proj, k_proj and v_proj", "columns 32–63 of o_proj"."""
    places: dict[tuple, list[str]] = {}
    for x in found.together:
        places.setdefault((x.rows, x.first, x.last), []).append(x.path.rpartition(".")[2])
    return [
        say(
            "rows {first}–{last} of {matrices}" if rows else "columns {first}–{last} of {matrices}",
            first=first,
            last=last,
            matrices=words.listed(names),
        )  # fmt: skip
        for (rows, first, last), names in places.items()
    ]


def trial(trial: Trial | None, busy: bool) -> str:
    """Both answers, and where they part."""
    if trial is None:
        return ""
    answers = list(trial.exchange.answers.values())
    columns = "".join(
        f'<div class="said said-{x.kind}">{words.chip(x.kind, x.title)}<p>{escape(x.text) or "…"}</p></div>'
        for x in answers
    )
    ended = not busy and all(x.stats is not None for x in answers)
    return (
        f'<div class="tried"><p class="asked">“{escape(trial.exchange.question)}”</p><div class="two">{columns}</div>'
        f'<p class="asked">{_verdict(*(x.text.split() for x in answers)) if ended else ""}</p></div>'
    )


def _verdict(original: list[str], without: list[str]) -> str:
    place = wording.parts_at(original, without)
    if place is None:
        return say("Both give the same answer: nothing that this question needs is lost.")
    return say("The answers part at word {word}.", word=place + 1)
