"""Numbers and small HTML fragments as the app words them: three significant digits, a unit, before → after.

Knows nothing of Gradio: plain values in, text out. Whatever may hold a person's text is escaped here.
"""

from html import escape
from math import floor, isfinite, log10

from ui.glossary import mark
from ui.texts import minus, retell, say, spoken

VARIANT_COLOURS = {"original": "#64748b", "pruned": "#ea7317", "recovered": "#16a34a", "int8": "#8b5cf6"}


def significant(value: float, digits: int = 3) -> str:
    """`value` with `digits` significant digits and no exponent: 0.01234 → "0.0123", 1234.5 → "1230"."""
    if not isfinite(value):
        return "–"
    if value == 0:
        return "0"
    decimals = digits - 1 - floor(log10(abs(value)))
    rounded = round(value, decimals)
    if rounded and floor(log10(abs(rounded))) != floor(log10(abs(value))):  # 9.996 rounds up to 10.0
        decimals -= 1
    return minus(f"{rounded:.{max(decimals, 0)}f}")


def _scaled(value: float, units: tuple[str, ...], step: float, gap: str) -> str:
    power = 0
    while power < len(units) - 1 and float(significant(abs(value))) >= step:
        value /= step
        power += 1
    return f"{significant(value)}{gap}{units[power]}" if units[power] else significant(value)


def count(number: float) -> str:
    """Parameters: 7 063 000 000 → "7.06B"."""
    return _scaled(number, ("", "k", "M", "B", "T"), 1000, "")


def memory(size: float) -> str:
    """Bytes as KiB, MiB or GiB."""
    return _scaled(size, ("B", "KiB", "MiB", "GiB", "TiB"), 1024, " ")


def flops(number: float) -> str:
    """Floating-point operations: 6.89e12 → "6.89 TFLOPs"."""
    return _scaled(number, ("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs"), 1000, " ")


def duration(seconds: float) -> str:
    """Seconds as ms, s or min."""
    if seconds < 1:
        return f"{significant(seconds * 1000)} ms"
    if seconds < 100:
        return f"{significant(seconds)} s"
    if seconds >= 600:
        return say("{minutes} min", minutes=round(seconds / 60))
    return say("{minutes} min {seconds} s", minutes=int(seconds // 60), seconds=int(seconds % 60))


def percent(fraction: float) -> str:
    """A fraction as a percentage with at most one decimal: 0.3 → "30%", 0.297 → "29.7%"."""
    return f"{fraction * 100:.1f}".rstrip("0").rstrip(".") + "%"


def queued(before: int) -> str:
    """How many go first of somebody who waits."""
    if not before:
        return say("Waiting for its turn")
    return say("{others} {others:other is|others are} before you", others=before)


def size(model) -> str:
    """A model's parameters and the memory its weights take."""
    return f"{count(model.parameters().total)} · {memory(model.bytes())}"


def change(before: float, after: float) -> str:
    """The relative difference with its sign: (10, 7) → "−30%"; "same" where nothing moved."""
    if not before or before == after:
        return say("same")
    difference = (after - before) / before
    return f"{'−' if difference < 0 else '+'}{percent(abs(difference))}"


def some(names: list[int] | tuple[int, ...]) -> str:
    """Layer numbers with runs folded: (2, 3, 4, 7) → "2–4 and 7"."""
    runs: list[list[int]] = []
    for number in sorted(names):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    texts = [text for run in runs for text in ([f"{run[0]}–{run[-1]}"] if len(run) > 2 else map(str, run))]
    return listed(texts) or say("none")


def listed(texts: list[str]) -> str:
    """A list in running text: "a, b and c"."""
    return say(" and ").join([say(", ").join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def capital(text: str) -> str:
    """With its first letter as a sentence begins."""
    return text[:1].upper() + text[1:]


def chip(variant: str, text: str, detail: str = "") -> str:
    """A variant's name in its colour; the dot's shape tells it apart without colour."""
    detail = f"<small>{escape(detail)}</small>" if detail else ""
    return f'<span class="chip chip-{escape(variant)}"><i></i><span>{escape(retell(text))}</span>{detail}</span>'


def card(title: str, before: str, after: str, difference: str, fraction: float, hint: str) -> str:
    """One of the before → after cards; `fraction` (0…1) of the bar stays filled."""
    number, _, unit = after.partition(" ")
    width = f"{max(0.0, min(1.0, fraction)) * 100:.1f}"
    return (
        f'<div class="card" title="{escape(hint)}"><h4>{escape(title)}</h4>'
        f'<p class="now"><b>{escape(number)}</b> <small>{escape(unit)}</small></p>'
        f'<div class="meter"><i style="width:{width}%"></i></div>'
        f'<p class="was"><em>{escape(difference)}</em> '
        f"<span>{escape(say('from {before}', before=before))}</span></p></div>"
    )


def notice(text: str, kind: str = "info") -> str:
    """A sentence on a quiet ground; `kind` "error" where something was refused."""
    return f'<div class="notice notice-{escape(kind)}" role="status">{escape(retell(text))}</div>' if text else ""


def heading(finding: str, how_to_read: str, scale: bool = False) -> str:
    """A figure's title, which states what it shows, over a line on how to read it and, for maps, the colour scale."""
    legend = f'<span class="scale">{say("goes first")}<i></i>{say("keeps")}</span>' if scale else ""
    how = mark(escape(how_to_read), spoken())
    return f'<div class="finding"><h3>{escape(finding)}</h3><p>{how} {legend}</p></div>'
