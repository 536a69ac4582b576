"""What a plan costs, in words: cards and sentences of what is foretold, the table of what was measured, and two plans'
costs side by side. Pure functions from the library's counts to HTML.
"""

from html import escape

from pruning import Forecast, Overlap, Plan, way
from pruning.budget import TIMED, UNITS, said
from ui import words
from ui.texts import retell, say

BUDGETS = {  # what a budget may be for, in plain words
    "memory": "Memory of the weights",
    "int8": "Memory of the weights, stored in 8 bits",
    "parameters": "Parameters",
    "flops": "Compute up to the first word",
    "first_token": "Time to the first word",
    "token": "Time for each further word",
}
SCALES = {  # units of the number that is asked for, the largest that gives the original at least ten of them
    "parameters": ((1e9, "B"), (1e6, "M"), (1e3, "k")),
    "flops": ((1e12, "TFLOPs"), (1e9, "GFLOPs"), (1e6, "MFLOPs")),
    "memory": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
}
HOW_TIMES = (
    "Predicted from the seconds that each layer of the original took on this machine: a layer that goes takes its time "
    "along, and attention and MLP shrink with their heads and neurons as a layer of half the width did when timed."
)
assert BUDGETS.keys() == UNITS.keys()


def scale(unit: str, whole: float | None) -> tuple[float, str]:
    """(factor, name) of the unit in which a budget is typed, given what the original costs."""
    if unit in TIMED:
        return 1e-3, "ms"
    steps = SCALES["memory" if unit == "int8" else unit]
    return next((x for x in steps if whole is not None and whole >= 2 * x[0]), steps[-1])


def skeleton() -> str:
    return '<div class="cards">' + '<div class="card skeleton"></div>' * 3 + "</div>"


def cards(plan: Plan, before: Forecast, after: Forecast, budget: tuple[str, float] | None) -> str:
    """Parameters, memory and compute before → after, what was asked, and what else it comes to."""
    triples = [
        ("Parameters", words.count, "parameters", "vision tower and projector included"),
        ("Memory", words.memory, "memory", "of the weights"),
        ("Compute", words.flops, "flops", "one image and one question, up to the first word of the answer"),
    ]
    shown = ""
    for title, written, name, hint in triples:
        was, now = getattr(before, name), getattr(after, name)
        shown += words.card(say(title), written(was), written(now), words.change(was, now), now / was, say(hint))
    return f'<div class="cards">{shown}</div><p class="asked">{_asked(plan, budget)} {_also(before, after)}</p>'


def _asked(plan: Plan, budget: tuple[str, float] | None) -> str:
    ratio, exactly = words.percent(plan.ratio), words.percent(plan.achieved)
    if budget is None:
        return say(
            "You asked for {ratio} of the language model; this removes exactly <b>{exactly}</b>.",
            ratio=ratio, exactly=exactly,
        )  # fmt: skip
    unit, most = budget
    return say(
        "Your budget of {most} ({what}) is met from {ratio} of the language model on; this removes exactly "
        "<b>{exactly}</b>.",
        most=escape(retell(said(unit, most))), what=escape(say(BUDGETS[unit]).lower()), ratio=ratio, exactly=exactly,
    )  # fmt: skip


def _also(before: Forecast, after: Forecast) -> str:
    """Memory in 8 bits, and seconds where the layers were timed."""
    found = say("In 8 bits the weights would take <b>{memory}</b>.", memory=words.memory(after.int8))
    if after.first_token is None:
        return found
    times = say(
        "Predicted: first word after <b>{first}</b> (now {first_now}), each further one <b>{next}</b> (now "
        "{next_now}).",
        first=words.duration(after.first_token), first_now=words.duration(before.first_token),
        next=words.duration(after.token), next_now=words.duration(before.token),
    )  # fmt: skip
    return f'{found} <span title="{escape(say(HOW_TIMES))}">{times}</span>'


def result(pruned, foretold: Forecast | None) -> str:
    """What pruning did, as measured: a table of original against pruned. foretold: of the plan that made it."""
    if pruned is None or pruned.cost is None:
        return ""
    before, after = pruned.origin.cost, pruned.cost
    rows = [
        ("Parameters", words.count, before.parameters.total, after.parameters.total),
        ("of which language model", words.count, before.parameters.decoder, after.parameters.decoder),
        ("Memory of the weights", words.memory, before.bytes, after.bytes),
        ("Peak memory while answering (measured)", words.memory, before.peak_bytes, after.peak_bytes),
        ("Compute to the first word", words.flops, before.flops_prefill, after.flops_prefill),
        ("Compute a further token", words.flops, before.flops_per_token, after.flops_per_token),
        ("First word after (measured)", words.duration, before.first_token_s, after.first_token_s),
        ("Tokens a second (measured)", words.significant, before.tokens_per_s, after.tokens_per_s),
    ]
    if foretold is not None and foretold.first_token is not None:
        rows.append(("First word after (predicted)", words.duration, before.first_token_s, foretold.first_token))
        rows.append(("Tokens a second (predicted)", words.significant, before.tokens_per_s, foretold.tokens_per_s))
    done = say(
        "Pruned {share} {method} in {time}; the original is untouched.",
        share=words.percent(pruned.plan.achieved), method=retell(way(pruned.plan)),
        time=words.duration(pruned.parent.seconds if pruned.gain else pruned.seconds),
    )  # fmt: skip
    heads = words.chip("original", "Original"), words.chip("pruned", "Pruned")
    return f'<div class="result"><p class="done">{done}</p>{_repair(pruned)}{_table(heads, rows)}</div>'


def _repair(pruned) -> str:
    """What a repair took and gained, on the samples that it was fitted to and on others."""
    if pruned.gain is None:
        return ""
    (was, now), (fresh_was, fresh_now) = pruned.gain.fitted, pruned.gain.fresh
    shares = {"was": was, "now": now, "fresh_was": fresh_was, "fresh_now": fresh_now}
    told = say(
        "Repaired in {time} on {samples} samples, without training. Of the words that the original says next, the "
        "pruned model says <b>{fresh_was} → {fresh_now}</b> on pictures it never saw, and {was} → {now} on those it "
        "was fitted to. Chat asks all three: the original, before the repair, and after.",
        time=words.duration(pruned.seconds), samples=pruned.repair,
        **{name: words.percent(round(x, 3)) for name, x in shares.items()},
    )  # fmt: skip
    return f'<p class="done">{told}</p>'


def _table(heads: tuple[str, str], rows: list[tuple]) -> str:
    body = "".join(
        f"<tr><th>{say(name)}</th><td>{unit(was)}</td><td>{unit(now)}</td><td>{words.change(was, now)}</td></tr>"
        for name, unit, was, now in rows
        if was is not None and now is not None
    )
    return (
        f"<table><thead><tr><td></td><th>{heads[0]}</th><th>{heads[1]}</th><th>{say('change')}</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def beside(kept: Plan, plan: Plan, costs: tuple[Forecast, Forecast], shared: Overlap) -> str:
    """A kept plan and the one at hand: how much of what goes is the same, and what each costs."""
    rows = [
        ("Parameters", words.count, *(x.parameters for x in costs)),
        ("Memory of the weights", words.memory, *(x.memory for x in costs)),
        ("Memory in 8 bits", words.memory, *(x.int8 for x in costs)),
        ("Compute to the first word", words.flops, *(x.flops for x in costs)),
        ("First word after (predicted)", words.duration, *(x.first_token for x in costs)),
        ("A further word (predicted)", words.duration, *(x.token for x in costs)),
    ]
    heads = tuple(
        f'<span class="stroke">{mark}</span> {say(name)}<br><small>{words.percent(x.achieved)} {retell(way(x))}</small>'
        for mark, name, x in (("╲", "kept", kept), ("╱", "now", plan))
    )
    finding = say("The two plans agree on {share} of what either removes", share=words.percent(round(shared.share, 3)))
    how = say(
        "In the figures ╳ goes in both ({both} parameters), ╲ only in the kept plan ({kept}), ╱ only in the one at "
        "hand ({now}).",
        both=words.count(shared.both), kept=words.count(shared.first), now=words.count(shared.second),
    )  # fmt: skip
    return f'<div class="result">{words.heading(finding, how)}{_table(heads, rows)}</div>'
