"""An answer word by word as HTML: each token coloured by how the reference model took it, with both models' own choices
on hover, on keyboard focus, and as a table. Plain values in, text out; knows nothing of Gradio.
"""

import re

from evaluation.divergence import Choice, Divergence, Place
from ui import words
from ui.texts import say

LEVELS = {  # where each step of the scale begins: the reference's probability falls, or the KL rises
    "probability": (0.5, 0.2, 0.05, 0.01),
    "kl": (0.05, 0.2, 0.7, 2.0),
}
SCALES = {
    "probability": ("likely", "unthinkable", "How likely the {reference} held each word that was said"),
    "kl": ("agree", "far apart", "How far the two models' expectations part before each word (KL divergence)"),
}
MARK = re.compile(r"</?[\w|]+>")
LEAST = 0.001  # smaller probabilities are only said to be smaller
# A click, or Enter on the focused word, chooses it; the mark moves here so that the focus stays where it is.
CHOOSE = """element.addEventListener("click", event => {
  const word = event.target.closest("[data-at]");
  if (!word) return;
  for (const other of element.querySelectorAll("[data-at]")) other.setAttribute("aria-pressed", other === word);
  trigger("select", {index: Number(word.dataset.at), value: word.textContent});
});"""


def likely(probability: float) -> str:
    """A probability as a percentage; "under 0.1%" where there is little to tell."""
    return say("under {least}", least=words.percent(LEAST)) if probability < LEAST else words.percent(probability)


def level(place: Place, by: str) -> int:
    """0 (nothing to see) to 4 of the scale."""
    if by == "kl":
        return sum(place.kl >= x for x in LEVELS[by])
    return sum(place.reference.probability < x for x in LEVELS[by])


def shown(text: str, token_text: str = "") -> str:
    """A token as it stands in a line: its text, the end of the answer (a mark of the format), or half a character."""
    if MARK.fullmatch(text or token_text):
        return say("(end)")
    return text.strip() or (say("(space)") if text else "·")


def names_of(found: Divergence) -> list[str]:
    """What to call each token in a list: "3 turtles"."""
    return [f"{i + 1} {_name(x)}" for i, x in enumerate(found.places)]


def _name(place: Place) -> str:
    own = next((c.text for v in (place.reference, place.other) for c in v.choices if c.token == place.token), "")
    return shown(place.text, own)


def told(found: Divergence, reference: str, other: str) -> tuple[str, str]:
    """Where the two part first, in a sentence; and how far over the whole answer, in another. reference, other: what
    the models are called."""
    at = found.parts_at
    mine, theirs = found.likely
    apart = say(
        "Over the {tokens} tokens a word is {theirs} likely to {other} and {mine} to {reference} (geometric means); "
        "expectations part by {kl} nats a token (KL).",
        tokens=len(found.places), theirs=likely(theirs), other=other, mine=likely(mine), reference=reference,
        kl=words.significant(found.mean_kl),
    )  # fmt: skip
    if at is None:
        tokens = len(found.places)
        return say(
            "They never part: both hold the same word likeliest at each of the {tokens} tokens", tokens=tokens
        ), apart
    best, said = (x.choices[0] for x in (found.places[at].reference, found.places[at].other))
    return say(
        "They part at token {place}: {reference} expects “{expected}” ({sure}), {other} “{said}” ({as_sure})",
        place=at + 1, reference=reference, expected=_choice(best), sure=likely(best.probability), other=other,
        said=_choice(said), as_sure=likely(said.probability),
    ), apart  # fmt: skip


def _choice(choice: Choice) -> str:
    return shown(choice.text, choice.text)


def legend(by: str, reference: str) -> str:
    """The scale in words, from nothing to see to most."""
    low, high, what = SCALES[by]
    steps = "".join(f'<i class="level-{n}"></i>' for n in range(5))
    return (
        f'<p class="legend">{words.escape(say(what, reference=reference))}: '
        f"<span>{say(low)} {steps} {say(high)}</span> "
        f'<span class="legend-parts"><i class="parts-mark">▾</i> {say("here they part")}</span></p>'
    )


def running(found: Divergence, by: str, reference: str, other: str, kind: str, chosen: int) -> str:
    """The answer as a row of words that can be hovered, focused and pressed."""
    drawn = []
    for i, place in enumerate(found.places):
        parts = i == found.parts_at
        label = (
            f"{_name(place)}: {reference} {likely(place.reference.probability)}, {other} "
            f"{likely(place.other.probability)}{say(', ') + say('here they part') if parts else ''}"
        )
        gap = " " if place.text[:1].isspace() else ""
        drawn.append(
            f'{gap}<button type="button" class="piece level-{level(place, by)}{" parts" if parts else ""}" '
            f'data-at="{i}" aria-pressed="{"true" if i == chosen else "false"}" aria-label="{words.escape(label)}">'
            f"{words.escape(_name(place))}{_tip(place, reference, other, kind)}</button>"
        )
    return f'<div class="running">{"".join(drawn)}</div>'


def _tip(place: Place, reference: str, other: str, kind: str) -> str:
    sides = "".join(
        f'<span class="tip-side line-{side}">{_held(name, place, view)}{_bars(view.choices, place.token)}</span>'
        for side, name, view in (("original", reference, place.reference), (kind, other, place.other))
    )
    apart = say("KL {kl} nats", kl=words.significant(place.kl))
    apart = f'<span class="tip-kl">{apart}</span>'
    return f'<span class="tip" aria-hidden="true">{sides}{apart}</span>'


def _held(name: str, place: Place, view) -> str:
    return say(
        "<b>{name}</b> holds “{word}” {likely} likely: its choice {rank}",
        name=words.escape(name), word=words.escape(_name(place)), likely=likely(view.probability), rank=view.rank,
    )  # fmt: skip


def _bars(choices: tuple[Choice, ...], said: int) -> str:
    return "".join(
        f'<span class="bar{" spoken" if x.token == said else ""}"><i style="width:{100 * x.probability:.1f}%"></i>'
        f"<em>{words.escape(_choice(x))}</em><small>{likely(x.probability)}</small></span>"
        for x in choices
    )


def table(found: Divergence, reference: str, other: str) -> str:
    """The same as a table, folded away: for screen readers, and to copy."""
    choices = (say("Choices of {name}", name=x) for x in (reference, other))
    names = (say("Token"), reference, other, say("KL (nats)"), *choices)
    head = "".join(f"<th>{words.escape(x)}</th>" for x in names)
    rows = []
    for i, place in enumerate(found.places):
        mark = f" · {say('here they part')}" if i == found.parts_at else ""
        views = "".join(
            f"<td>{say('{likely}, choice {rank}', likely=likely(x.probability), rank=x.rank)}</td>"
            for x in (place.reference, place.other)
        )
        lists = "".join(
            f"<td>{words.escape(', '.join(f'{_choice(c)} {likely(c.probability)}' for c in x.choices))}</td>"
            for x in (place.reference, place.other)
        )
        rows.append(
            f'<tr><th scope="row">{i + 1} {words.escape(_name(place))}{mark}</th>{views}'
            f"<td>{words.significant(place.kl)}</td>{lists}</tr>"
        )
    return (
        f'<details class="told"><summary>{say("The same as a table")}</summary><div class="wide" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )
