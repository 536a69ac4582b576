"""Where answers to one question part, by the words that were said, as HTML. Knows nothing of Gradio."""

from evaluation import wording
from ui import words
from ui.talk import Answer, Exchange
from ui.texts import retell, say

SAME = {
    2: "Both give the same answer.",
    3: "All three give the same answer.",
    4: "All four give the same answer.",
}


def parting(exchange: Exchange, busy: bool) -> str:
    """Every answer beside the first, with the words that differ marked; empty while they grow."""
    if busy or len(exchange.answers) < 2:
        return ""
    reference, *others = exchange.answers.values()
    said = reference.text.split()
    if all(x.text.split() == said for x in others):
        return f'<p class="parting same">{say(SAME[len(exchange.answers)])}</p>'
    shared, lines = set(range(len(said))), []
    for answer in others:
        here = answer.text.split()
        alike, same = wording.shared(said, here)
        shared &= alike
        lines.append(_line(answer, here, same))
    lines.insert(0, _line(reference, said, shared))
    return f'<div class="parting"><p>{words.escape(_told(reference, others))}</p>{"".join(lines)}</div>'


def _told(reference: Answer, others: list[Answer]) -> str:
    said = reference.text.split()
    places = [wording.parts_at(said, x.text.split()) for x in others]
    if len(others) == 1:
        return say("They part at word {word}.", word=places[0] + 1)
    return " ".join(
        say("“{title}” says the same as “{reference}”.", title=retell(x.title), reference=retell(reference.title))
        if place is None
        else say("“{title}” parts from it at word {word}.", title=retell(x.title), word=place + 1)
        for x, place in zip(others, places, strict=True)
    )


def _line(answer: Answer, said: list[str], same: set[int]) -> str:
    marked = [words.escape(x) if i in same else f"<mark>{words.escape(x)}</mark>" for i, x in enumerate(said)]
    return f'<span class="line-{answer.kind}">{" ".join(marked) or say("(nothing)")}</span>'
