"""Where answers to one question part, by the words that were said, as HTML. Knows nothing of Gradio."""

from difflib import SequenceMatcher

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
        blocks = SequenceMatcher(a=said, b=here, autojunk=False).get_matching_blocks()
        shared &= {i for block in blocks for i in range(block.a, block.a + block.size)}
        lines.append(_line(answer, here, {i for block in blocks for i in range(block.b, block.b + block.size)}))
    lines.insert(0, _line(reference, said, shared))
    return f'<div class="parting"><p>{words.escape(_told(reference, others))}</p>{"".join(lines)}</div>'


def _told(reference: Answer, others: list[Answer]) -> str:
    said = reference.text.split()
    if len(others) == 1:
        return say("They part at word {word}.", word=_first(said, others[0].text.split()) + 1)
    return " ".join(
        say("“{title}” says the same as “{reference}”.", title=retell(x.title), reference=retell(reference.title))
        if x.text.split() == said
        else say(
            "“{title}” parts from it at word {word}.", title=retell(x.title), word=_first(said, x.text.split()) + 1
        )
        for x in others
    )


def _first(one: list[str], other: list[str]) -> int:
    """Place of the first word that differs."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _line(answer: Answer, said: list[str], same: set[int]) -> str:
    marked = [words.escape(x) if i in same else f"<mark>{words.escape(x)}</mark>" for i, x in enumerate(said)]
    return f'<span class="line-{answer.kind}">{" ".join(marked) or say("(nothing)")}</span>'
