"""What the Heal tab says: the paper's decision chart, how far a run is, and a table of what it brought. HTML."""

from evaluation.advisor import known
from pruning import way
from recovery import CHART, explain, history
from recovery.recipe import FEW, FEW_SAMPLES_ENOUGH, advice, asked
from ui import curves, words
from ui.healing import ASKED_OF, BUILT_IN, POOL, in_words
from ui.measuring import store
from ui.texts import retell, say, tell
from ui.variants import ORIGINAL
from ui.workspace import MOST_RATIO, Desk

TRAINS = {
    "projector": "the projector",
    "lora": "the projector and LoRA",
    "full": "the projector and all of the decoder",
}
HEALED = {"none": "not healed", "few": "healed on 5% of the data", "all": "healed on all data"}


def gone(plan) -> str:
    """How much a plan takes out, and how."""
    return say("{share} {method}", share=words.percent(plan.achieved), method=retell(way(plan)))


def planned(desk: Desk) -> str:
    """The recipe in a sentence."""
    recipe = desk.healing.recipe(desk.model, desk.to_heal)
    long = say("{steps} steps", steps=recipe.steps)
    if recipe.minutes is not None:
        long = say("about {n:g} {n:minute|minutes}", n=recipe.minutes)
    terms = " + ".join(
        f"{'' if weight == 1 else f'{weight:g} · '}{curves.NAMES[x]}" for x, weight in recipe.weights.items() if weight
    )
    data = desk.healing.data
    return say(
        "Trains {what} on {terms} for {long}, with {share} of {amount}.",
        what=say(TRAINS[recipe.train]), terms=terms, long=long, share=words.percent(recipe.fraction),
        amount=say("{n:,} samples of {data}", n=POOL, data=say(data)) if data in BUILT_IN else data,
    )  # fmt: skip


def unfinished(run) -> str:
    """What a run that was cut short is about, and how far it is."""
    last = run.points()[-1]
    return words.heading(
        say("An unfinished run was found"),
        say(
            "Pruned {what}, healed by {how}: step {step} of {total}. Resumed, it follows the curve that it would have "
            "taken.",
            what=gone(run.plan), how=retell(in_words(run.recipe)), step=last.step, total=last.total,
        ),
    )  # fmt: skip


def chart(desk: Desk) -> str:
    """The paper's decision chart, with the plan at hand on it."""
    plan = desk.to_heal
    ratio = None if plan is None else asked(plan)

    def place(x: float) -> str:
        return f"{100 * min(x, MOST_RATIO) / MOST_RATIO:.2f}%"

    def zone(start: float, end: float, here: bool, inner: str) -> str:
        width = min(end, MOST_RATIO) - start
        return f'<div class="zone{" here" if here else ""}" style="flex:{100 * width:.0f}">{inner}</div>'

    rows = {"train": "", "data": ""}
    current = None if ratio is None else advice(ratio)
    for x in CHART:
        losses = " + ".join(curves.NAMES[t] for t in x.losses)
        what = "projector only" if x.train == "projector" else "projector + LoRA"
        inner = f"<b>{say(what)}</b><span>{losses}</span><span>{retell(x.method)}</span>"
        rows["train"] += zone(x.start, x.end, x is current, inner)
    few = ratio is not None and ratio < FEW_SAMPLES_ENOUGH
    rows["data"] = zone(
        0, FEW_SAMPLES_ENOUGH, few, f"<span>{say('{share} of the data is enough', share=words.percent(FEW))}</span>"
    )
    rows["data"] += zone(FEW_SAMPLES_ENOUGH, 1, ratio is not None and not few, f"<span>{say('all data')}</span>")
    ticks = sorted({0.0, FEW_SAMPLES_ENOUGH, MOST_RATIO, *(x.start for x in CHART)})
    scale = "".join(f'<i style="left:{place(x)}">{x:.0%}</i>' for x in ticks)
    mark = why = ""
    if plan is not None:
        name = "pruned" if desk.patient is not None else "planned"
        name = f"{say(name)} {words.percent(ratio)}"
        mark = f'<div class="mark" style="left:{place(ratio)}"><span>{name}</span></div>'
        why = f'<p class="why">{words.escape(retell(explain(plan)))}</p>'
    head = words.heading(say("What the paper advises"), say("By how much of the language model is removed."))
    return (
        f'{head}<div class="advice">{mark}<div class="zones-row">{rows["train"]}</div>'
        f'<div class="zones-row">{rows["data"]}</div><div class="ticks">{scale}</div></div>{why}'
    )


def ahead(desk: Desk) -> str:
    """What healing will do and show, and what is known of its effect; nothing once a run can be seen."""
    seen = desk.is_healing or desk.healing.points or desk.variants.latest("recovered")
    if desk.to_heal is None or seen:
        return ""
    plan, recipe = desk.to_heal, desk.healing.recipe(desk.model, desk.to_heal)
    long = ("{n:g} {n:minute|minutes}", recipe.minutes) if recipe.minutes is not None else ("{n} steps", recipe.steps)
    steps = [] if desk.patient else [say("The model is pruned as planned; the original is untouched.")]
    if desk.healing.asked:
        steps.append(say("The original and the pruned model answer {n} held-out questions of each kind.",
                         n=desk.healing.asked))  # fmt: skip
    steps += [
        say("The pruned model trains for {time}. Two curves grow here: its loss on samples that it never trains on, "
            "and every loss in use. You may go on working meanwhile; Stop keeps the best so far.",
            time=say(long[0], n=long[1])),
        say("A table says what came back. The recovered model joins the others, in the rail and in Chat."),
    ]  # fmt: skip
    items = "".join(f"<li>{words.escape(x)}</li>" for x in steps)
    return (
        f'<div class="slab ahead"><div class="finding"><h3>{say("What will happen here")}</h3></div><ol>{items}</ol>'
        f"{_measured_before(plan, recipe, bool(desk.patient.repair if desk.patient else desk.repair))}</div>"
    )


def _measured_before(plan, recipe, repair: bool) -> str:
    """What such a cut, repaired or not, keeps of the original's score, left alone and healed, as far as anybody
    measured it."""
    rows = ""
    for training in ("none", "few" if recipe.fraction <= FEW else "all"):
        found = known(plan, training, store(), repair and training == "none")
        if found is not None:
            kept, evidence = found
            source = "10.ours" if evidence.source == "ours" else "10.paper"  # as the tour names them
            where = words.escape(tell(source, model=evidence.model, where=retell(evidence.where)))
            share = words.percent(round(kept / 100, 3))
            rows += f"<tr><th>{say(HEALED[training])}</th><td>{share}</td><td>{where}</td></tr>"
    what = say("Kept of the original's score, {ratio} {method}, as measured before",
               ratio=words.percent(plan.ratio), method=retell(way(plan)))  # fmt: skip
    return f"<table><caption>{what}</caption>{rows}</table>" if rows else ""


def facts(desk: Desk) -> str:
    """How far the run is, in three cards; nothing where none was made."""
    points = list(desk.healing.points)
    measured = history.measured(points)
    if not measured:
        return ""
    last, before, best = points[-1], measured[0].held_out, history.best(measured).held_out
    steps = say("step {step} of {total}", step=last.step, total=last.total)
    if desk.is_healing and last.step < last.total:
        left = words.duration(last.seconds_left) if last.step else "–"
        when = (say("Time left"), left, 1 - last.step / max(last.total, 1), steps, say("of the training"))
    else:
        of = say("of {total}", total=last.total)
        when = (say("Trained"), str(last.step), last.step / max(last.total, 1), say("steps"), of)
    speed = words.significant(last.samples_per_s) if last.samples_per_s else "–"
    cards = [
        (
            say("Held-out loss"),
            words.significant(best),
            best / before,
            words.change(before, best),
            say("from {before}", before=words.significant(before)),
        ),
        (say("Samples a second"), speed, 1.0, "", say("forward, backward and teacher")),
        when,
    ]
    return '<div class="cards healing">' + "".join(_fact(*x) for x in cards) + "</div>"


def _fact(title: str, value: str, fraction: float, note: str, detail: str) -> str:
    number, _, unit = value.partition(" ")
    return (
        f'<div class="card"><h4>{title}</h4><p class="now"><b>{number}</b> <small>{unit}</small></p><div class="meter">'
        f'<i style="width:{100 * max(0.0, min(1.0, fraction)):.1f}%"></i></div>'
        f'<p class="was"><em>{note}</em> <span>{detail}</span></p></div>'
    )


def result(desk: Desk) -> str:
    """What healing did, as measured: a table of original, pruned and recovered."""
    recovered = desk.variants.latest("recovered")
    if recovered is None:
        return ""
    step = recovered.model.history[-1]
    variants = [desk.variants.get(ORIGINAL), recovered.parent, recovered]
    looked = step["held_out"] is not None
    losses = [step["held_out_before"], step["held_out"]] if looked else [None, None]
    rows = [_row(say("Held-out loss"), [None, *losses], words.significant, falls=True)]
    heard = set.intersection(*({n for suite, n in x.measured if suite == ASKED_OF} for x in variants))
    if heard:
        per_task = max(heard)
        reports = [x.measured[(ASKED_OF, per_task)] for x in variants]
        count = len(reports[0].records)
        right, shares = [x.average for x in reports], [x.share_of(reports[0]) for x in reports]
        told = [_row(say("Right of {count} held-out questions", count=count), right, words.percent)]
        if None not in shares:
            told.append(_row(say("Share of the original's"), shares, words.percent))
        rows = told + rows
        kinds = "".join(_row(say(task), [x.scores[task] for x in reports], words.percent) for task in reports[0].scores)
        by_kind = say("By kind, {n} questions each", n=per_task)
        folded = f"<details><summary>{by_kind}</summary><table>{kinds}</table></details>"
    else:
        waiting = desk.is_healing and desk.healing.asked
        folded = f'<p class="quiet">{say("Held-out questions are being asked …")}</p>' if waiting else ""
    heads = "".join(f"<th>{words.chip(x.kind, x.kind.capitalize())}</th>" for x in variants)
    return (
        f'<div class="result"><p class="done">{_done(step)}</p><table><thead><tr><th></th>{heads}'
        f"<th>{say('change')}</th></tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table>{folded}</div>"
    )


def _done(step: dict) -> str:
    """Healed in how long, on how much, and where its best weights come from."""
    best = say("no step was better than none")
    if step["best_step"]:
        best = say("the best weights are step {step}'s", step=step["best_step"])
    return say(
        "Healed after {time}: {steps} of {planned} steps on {samples:,} of {of:,} samples; {best}."
        if step["steps"] == step["planned"]
        else "Stopped after {time}: {steps} of {planned} steps on {samples:,} of {of:,} samples; {best}.",
        time=words.duration(step["seconds"]), steps=step["steps"], planned=step["planned"], samples=step["samples"],
        of=step["of"], best=best,
    )  # fmt: skip


def _row(name: str, values: list, unit, falls: bool = False) -> str:
    """A line of the table; the last cell is what came back (or went) between the pruned and the recovered model."""
    cells = "".join(f"<td>{'–' if x is None else unit(x)}</td>" for x in values)
    before, after = values[1:]
    if before is None or after is None:
        moved = "–"
    elif falls:
        moved = words.change(before, after)
    else:
        moved = f"{'−' if after < before else '+'}{abs(100 * (after - before)):.1f} pp"
    return f"<tr><th>{words.escape(name)}</th>{cells}<td>{moved}</td></tr>"
