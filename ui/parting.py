"""Where answers to one question part, by the words that were said, as HTML. Knows nothing of Gradio."""

from difflib import SequenceMatcher

from ui import words
from ui.talk import Answer, Exchange

NUMBERS = {2: "Both", 3: "All three", 4: "All four"}


def parting(exchange: Exchange, busy: bool) -> str:
    """Every answer beside the first, with the words that differ marked; empty while they grow."""
    if busy or len(exchange.answers) < 2:
        return ""
    reference, *others = exchange.answers.values()
    said = reference.text.split()
    if all(x.text.split() == said for x in others):
        return f'<p class="parting same">{NUMBERS[len(exchange.answers)]} give the same answer.</p>'
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
        return f"They part at word {_first(said, others[0].text.split()) + 1}."
    return " ".join(
        f"“{x.title}” says the same as “{reference.title}”."
        if x.text.split() == said
        else f"“{x.title}” parts from it at word {_first(said, x.text.split()) + 1}."
        for x in others
    )


def _first(one: list[str], other: list[str]) -> int:
    """Place of the first word that differs."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _line(answer: Answer, said: list[str], same: set[int]) -> str:
    marked = [words.escape(x) if i in same else f"<mark>{words.escape(x)}</mark>" for i, x in enumerate(said)]
    return f'<span class="line-{answer.kind}">{" ".join(marked) or "(nothing)"}</span>'
