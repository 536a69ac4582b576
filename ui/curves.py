"""Figures of a healing run: pure functions from the library's loss points to Plotly figures and the sentence each one
shows. All lines are the recovered model's, in its colour; what they were before is the pruned one's.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from lvlm.events import LossPoint
from recovery import history
from ui.plots import look
from ui.texts import say
from ui.words import VARIANT_COLOURS, change, significant

PRUNED, RECOVERED = VARIANT_COLOURS["pruned"], VARIANT_COLOURS["recovered"]
DASHES = {"sft": "solid", "kl": "dash", "rkl": "dashdot", "l2": "dot"}  # terms are told apart without a colour
NAMES = {"sft": "SFT", "kl": "KL", "rkl": "RKL", "l2": "L2"}
HEIGHT = 250
APART = 0.09  # of the height: no two labels come closer
FLOOR = 1e-6  # where a loss of zero is drawn on a logarithmic scale


def held_out_finding(points: Sequence[LossPoint]) -> str:
    """How far the held-out loss has come, in one sentence."""
    measured = history.measured(points)
    if len(measured) < 2:
        return say("The held-out loss is measured as the model heals")
    before, best = measured[0], history.best(measured)
    if best is before:
        return say(
            "The held-out loss has not fallen below the pruned model's {before} yet",
            before=significant(before.held_out),
        )
    return say(
        "The held-out loss fell from {before} to {best} ({change})",
        before=significant(before.held_out), best=significant(best.held_out),
        change=change(before.held_out, best.held_out),
    )  # fmt: skip


def held_out(points: Sequence[LossPoint]) -> go.Figure:
    """The loss on samples that are never trained on, over the steps, from the pruned model's on."""
    measured = history.measured(points)
    steps, values = [x.step for x in measured], [x.held_out for x in measured]
    figure = go.Figure()
    if not measured:
        return _empty(figure)
    before, best = values[0], history.best(measured)
    total = points[-1].total
    figure.add_scatter(
        x=[0, total], y=[before, before], mode="lines", hoverinfo="skip", line=dict(color=PRUNED, width=1.5, dash="dot")
    )
    figure.add_annotation(
        x=1, xref="paper", y=before, text=say("pruned"), showarrow=False, xanchor="right", yanchor="bottom"
    )
    figure.add_scatter(
        x=steps,
        y=values,
        mode="lines+markers",
        line=dict(color=RECOVERED, width=2.5),
        marker=dict(color=RECOVERED, size=6),
        hovertext=[
            say(
                "<b>Step {step} of {total}</b><br>held-out loss {loss}, {change} of the pruned model's",
                step=s,
                total=total,
                loss=significant(v),
                change=change(before, v),
            )
            for s, v in zip(steps, values, strict=True)
        ],
        hoverinfo="text",
    )
    if best.step:
        figure.add_scatter(
            x=[best.step],
            y=[best.held_out],
            mode="markers",
            hoverinfo="skip",
            marker=dict(symbol="circle-open", color=RECOVERED, size=15, line=dict(width=2)),
        )
    return _curves(figure, points, say("held-out loss")).update_yaxes(rangemode="tozero")


def terms_finding(points: Sequence[LossPoint]) -> str:
    """How far each term has come, in one sentence."""
    lines = history.terms(points, FLOOR)
    if not lines:
        return say("Each loss on the batches it learns from")
    moved = [f"{NAMES[x]} {significant(y.smoothed[0])} → {significant(y.smoothed[-1])}" for x, y in lines.items()]
    return say("On its batches: {losses}", losses=say(", ").join(moved))


def terms(points: Sequence[LossPoint]) -> go.Figure:
    """Each loss term on its batch, faint, and smoothed; one dash a term, labelled where it ends."""
    figure, lines = go.Figure(), history.terms(points, FLOOR)
    if not lines:
        return _empty(figure)
    for name, line in lines.items():
        figure.add_scatter(
            x=line.steps,
            y=line.values,
            mode="lines",
            hoverinfo="skip",
            opacity=0.25,
            line=dict(color=RECOVERED, width=1),
        )
        figure.add_scatter(
            x=line.steps,
            y=line.smoothed,
            name=NAMES[name],
            customdata=[x.losses[name] for x in points if x.losses],  # for the table: the faint line has no hover
            meta={"columns": ["loss on its batch"]},
            mode="lines",
            line=dict(color=RECOVERED, width=2, dash=DASHES[name]),
            hovertext=[
                say(
                    "<b>Step {step}, {loss}</b><br>{value} on its batch, {mean} smoothed",
                    step=s,
                    loss=NAMES[name],
                    value=significant(v),
                    mean=significant(m),
                )
                for s, v, m in zip(line.steps, line.values, line.smoothed, strict=True)
            ],
            hoverinfo="text",
        )
    _label(figure, {NAMES[x]: float(line.smoothed[-1]) for x, line in lines.items()}, lines)
    return _curves(figure, points, say("loss (log)")).update_layout(margin_r=48)


def _label(figure: go.Figure, ends: dict[str, float], lines: dict) -> None:
    """Name every line at its end, no two names over one another; fixes the logarithmic range that this takes."""
    everything = np.log10(np.concatenate([x.values for x in lines.values()]))
    low, high = float(everything.min()), float(everything.max())
    low, high = low - 0.05 * (high - low) - 0.05, high + 0.05 * (high - low) + 0.05
    figure.update_yaxes(type="log", range=[low, high], dtick=1 if high - low > 1.5 else "D2", tickformat="~g")
    place, last = -1.0, max(x.steps[-1] for x in lines.values())
    for name, value in sorted(ends.items(), key=lambda x: x[1]):
        place = max((np.log10(value) - low) / (high - low), place + APART)
        figure.add_annotation(x=last, y=place, yref="paper", text=name, showarrow=False, xanchor="left", xshift=4)


def _empty(figure: go.Figure) -> go.Figure:
    """Before there is anything to draw."""
    figure.add_annotation(
        x=0.5, y=0.5, xref="paper", yref="paper", text=say("Drawn as the model heals"), showarrow=False
    )
    return look(figure, HEIGHT, "", "").update_xaxes(visible=False).update_yaxes(visible=False)


def _curves(figure: go.Figure, points: Sequence[LossPoint], y_title: str) -> go.Figure:
    look(figure, HEIGHT, say("step"), y_title)
    figure.update_yaxes(showgrid=True, automargin=False)
    total = max(points[-1].total, 1)
    return figure.update_xaxes(range=[-0.02 * total, 1.02 * total], tickformat="d")
