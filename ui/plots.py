"""Figures of single heads and neurons under a plan: pure functions from arrays to Plotly figures and the sentence each
one shows; and what these share with the bars of whole layers (bars.py).

Every figure has one row a layer, the first layer on top, and the same row height and margins, so that eyes can travel
from one to the next. Backgrounds are transparent; text and grid lines take the page's colours (assets/style.css).
What goes is hatched or hollow, never only another hue. With two plans, a stroke "/" is what only the plan at hand
removes, "\\" what only the kept one does, and both strokes cross where both do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from pruning import Unit, shares
from pruning.shares import Kept
from ui.texts import say
from ui.words import VARIANT_COLOURS, percent

KEPT, GONE = VARIANT_COLOURS["original"], VARIANT_COLOURS["pruned"]
ATTENTION, MLP = "#55657c", "#9fb0c6"  # two shades of the original's colour
CHOSEN = "#c2570c"  # the page's accent: the frame around what is looked at
SCALE = "Viridis"  # perceptually uniform and safe for colour-blind eyes
NEURON_COLUMNS = 96  # neurons are drawn as this many equal groups a layer
STAYS, GOES, ONLY_KEPT, BOTH = "stays", "goes", "goes in the kept plan only", "goes in both plans"
STROKES = {GOES: "/", ONLY_KEPT: "\\", BOTH: "x"}  # of bars
CROSSES = {GOES: "line-ne", ONLY_KEPT: "line-nw", BOTH: "x-thin"}  # over heads


@dataclass(frozen=True)
class Marks:
    """Layers and heads that a figure points out."""

    pinned: tuple[Unit, ...] = ()
    forced: tuple[Unit, ...] = ()
    unit: Unit | None = None  # what is looked at


def row_height(layers: int) -> int:
    return int(np.clip(420 / layers, 13, 30))


MARGIN = dict(l=46, r=14, t=6, b=48)
LOOK = dict(  # what all figures of the page share
    paper_bgcolor="rgba(0,0,0,0)",
    plot_bgcolor="rgba(0,0,0,0)",
    showlegend=False,
    dragmode=False,
    font=dict(family="system-ui, sans-serif", size=12, color="#808a9a"),
    hoverlabel=dict(bgcolor="#1e293b", bordercolor="#1e293b", font=dict(color="#f8fafc", size=13), align="left"),
)


def look(figure: go.Figure, height: int, x_title: str, y_title: str) -> go.Figure:
    """The same for a figure that is there already, with one panel or several."""
    figure.update_layout(height=height, margin=MARGIN, **LOOK)
    figure.update_xaxes(title=dict(text=x_title, standoff=8), fixedrange=True, zeroline=False, showgrid=False)
    figure.update_yaxes(title=dict(text=y_title, standoff=4), fixedrange=True, zeroline=False, showgrid=False)
    return figure


def framed(
    traces: list[dict], layers: int, x_title: str, marks: Marks = Marks(), x: dict = {}, y: dict = {}, **layout
) -> go.Figure:
    """A figure of one row a layer, the first on top; the row that is looked at is framed.

    Made at one go from plain dicts: Plotly checks whatever is updated later once more, and the slider waits for it.
    """
    shapes = list(layout.pop("shapes", ()))
    if marks.unit is not None:
        at = dict(xref="paper", x0=0, x1=1, y0=marks.unit.layer - 0.5, y1=marks.unit.layer + 0.5)
        shapes.append(dict(type="rect", line=dict(color=CHOSEN, width=1.5), **at))
    axis = dict(fixedrange=True, zeroline=False, showgrid=False)
    rows = dict(range=[layers - 0.5, -0.5], tickmode="array", tickvals=list(range(0, layers, 1 if layers <= 16 else 2)))
    return go.Figure(
        traces,
        LOOK
        | dict(
            height=row_height(layers) * layers + 54,
            margin=MARGIN,
            barmode="overlay",
            shapes=shapes,
            xaxis=axis | dict(title=dict(text=x_title, standoff=8)) | x,
            yaxis=axis | dict(title=dict(text=say("layer"), standoff=4)) | rows | y,
        )
        | layout,
    )


def pins(marks: Marks, place) -> list[dict]:
    """A ring where something is pinned, a crossed square where it is forced out: light on dark, on any ground.

    place: Unit → (x, y), or None for one that this figure does not show.
    """
    traces = []
    for units, symbol in ((marks.pinned, "circle-open"), (marks.forced, "square-x-open")):
        spots = [spot for unit in units if (spot := place(unit)) is not None]
        for colour, width in (("#0f172a", 4.5), ("#ffffff", 1.8)) if spots else ():
            marker = dict(symbol=symbol, size=11, color=colour, line=dict(width=width, color=colour))
            traces.append(dots([x for x, _ in spots], [y for _, y in spots], marker))
    return traces


def dots(x, y, marker: dict, **more) -> dict:
    """Marks upon a figure; they say nothing on hover."""
    return dict(
        type="scatter", x=x, y=y, mode="markers", hoverinfo="skip", cliponaxis=False, marker=marker, **more
    )  # fmt: skip


def fates(this: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """What becomes of units that the plan at hand removes, or not, and so the kept one: arrays of one shape."""
    found = np.where(this, GOES, STAYS).astype(object)
    if kept is not None:
        found[this & kept], found[~this & kept] = BOTH, ONLY_KEPT
    return found


def compared(noun: str, both: float, this: float, kept: float, said=lambda x: f"{x:,.0f}") -> str:
    """What two plans have in common, in one sentence. noun: layers, heads, neurons or parameters."""
    if not this and not kept:
        return say("Both plans remove the same {things}", things=say(noun))
    things = say(noun[:-1] if both == 1 else noun)
    many = say("{count} {things} {n:goes|go} in both plans", count=said(both), things=things, n=both)
    alone = [
        say(text, count=said(x))
        for x, text in ((this, "{count} only now"), (kept, "{count} only in the kept one"))
        if x
    ]
    return say(", ").join([many if both else say("No {things} go in both plans", things=things), *alone])


def _map(
    values: np.ndarray, gone: np.ndarray, told: np.ndarray, names: list[str], sentence: str, gap: float
) -> list[dict]:
    """Two heatmaps on one scale: what stays in full colour, what goes faded. All arrays (L, widest).

    The colour is the logarithm of a unit's importance over its layer's mean: units compete within their layer.
    `told` (L, widest, k): what the hover `sentence` may name as %{customdata[i]}, and a table of the figure by these
    `names`; the sentence's "$" becomes "stays" or "goes".
    """
    relative = shares.relative(values, of_nothing=1.0)
    positive = relative[np.isfinite(relative) & (relative > 0)]
    logs = np.log10(np.maximum(relative, positive.min() if positive.size else 1.0))  # zeros sink to the floor
    low, high = float(np.nanmin(logs)), float(np.nanmax(logs))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [
        dict(
            type="heatmap",
            z=np.where(gone == goes, logs, np.nan),
            opacity=0.22 if goes else 1,
            colorscale=SCALE,
            zmin=low,
            zmax=high,
            xgap=gap,
            ygap=max(gap, 2),
            showscale=False,
            hoverongaps=False,
            name=say("goes" if goes else "stays"),
            customdata=told,
            meta=dict(columns=names),
            hovertemplate=sentence.replace("$", say("goes" if goes else "stays")) + "<extra></extra>",
        )
        for goes in (False, True)
    ]


def heads_finding(scores: Sequence[np.ndarray], kept: Kept, other: Kept | None = None) -> str:
    """How many heads go and how little of the importance they hold; or what two plans have in common."""
    if other is not None:
        found = shares.common(shares.going(scores, kept), shares.going(scores, other))
        return compared("heads", found.both, found.first, found.second)
    lost = shares.lost(scores, kept)
    if not lost.units:
        best = shares.weightiest(scores)
        return say("All {total} heads stay; layer {layer}'s matter most", total=lost.of, layer=best)
    return say(
        "{gone} of {total} heads go; they hold {share} of the heads' importance",
        gone=lost.units, total=lost.of, share=percent(round(lost.importance, 3)),
    )  # fmt: skip


def heads(
    scores: Sequence[np.ndarray], kept: Kept, group: int = 1, other: Kept | None = None, marks: Marks = Marks()
) -> go.Figure:
    """Head importance, layers × heads; removed heads faded and crossed out, pinned ones ringed.

    `scores`: per layer (heads,), or (key/value groups,) where `group` > 1 query heads share one key/value head.
    other: what a second plan keeps.
    """
    values, gone = shares.laid(scores), shares.going(scores, kept)
    what = (
        say("head {number}", number="%{x}")
        if group == 1
        else say("group {number} of {heads} heads", number="%{x}", heads=group)
    )
    traces = _map(
        values,
        gone,
        np.dstack([values, shares.ranks(values)]),
        [say("importance"), say("rank")],
        say(
            "<b>Layer {layer}, {head}</b> $<br>importance {importance}, rank {rank} in its layer",
            layer="%{y}",
            head=what,
            importance="%{customdata[0]:.3g}",
            rank="%{customdata[1]}",
        ),  # fmt: skip
        gap=3,
    )
    found = fates(gone, None if other is None else shares.going(scores, other))
    for what_goes, symbol in CROSSES.items() if other is not None else {GOES: CROSSES[BOTH]}.items():
        ys, xs = np.nonzero(found == what_goes)
        marker = dict(symbol=symbol, size=8, line=dict(width=1.8, color=GONE))
        traces.append(dots(xs, ys, marker, name=say(what_goes)))
    traces += pins(marks, lambda x: (-0.5 if x.head is None else x.head, x.layer))
    unit, shapes, columns = marks.unit, [], values.shape[1]
    if unit is not None and unit.head is not None:
        at = dict(x0=unit.head - 0.5, x1=unit.head + 0.5, y0=unit.layer - 0.5, y1=unit.layer + 0.5)
        shapes = [dict(type="rect", line=dict(color=CHOSEN, width=3), **at)]
    ticks = dict(tickmode="array", tickvals=list(range(0, columns, 1 if columns <= 12 else 4)))
    x = dict(range=[-0.5, columns - 0.5], automargin=False) | ticks
    return framed(traces, len(scores), say("head" if group == 1 else "key/value group"), marks, x, shapes=shapes)


def neurons_finding(scores: Sequence[np.ndarray], kept: Kept, other: Kept | None = None) -> str:
    """How many neurons go and how little of the importance they hold; or what two plans have in common."""
    if other is not None:
        found = shares.common(shares.going(scores, kept), shares.going(scores, other))
        return compared("neurons", found.both, found.first, found.second)
    lost = shares.lost(scores, kept)
    if not lost.units:
        return say(
            "All {total:,} neurons stay; the top tenth holds {share} of their importance",
            total=lost.of, share=percent(round(shares.top_tenth(scores), 2)),
        )  # fmt: skip
    return say(
        "{gone} of the neurons go; they hold {share} of the neurons' importance",
        gone=percent(round(lost.share, 2)),
        share=percent(round(lost.importance, 3)),
    )


def neurons(scores: Sequence[np.ndarray], kept: Kept, other: Kept | None = None, marks: Marks = Marks()) -> go.Figure:
    """Neuron importance, each layer's neurons sorted from least to most important, in equal groups.

    A group's colour is its mean importance; a group of which more than half goes is faded, and the cut is marked; so
    is, dotted, that of a second plan, which keeps `other`.
    """
    columns = min(NEURON_COLUMNS, min(map(len, scores)))
    found, gone = shares.groups(scores, kept, columns), shares.gone_of_each(scores, kept)
    traces = _map(
        found.importance,
        found.goes > 0.5,
        np.dstack([found.importance, np.broadcast_to(gone[:, None], found.goes.shape)]),
        [say("mean importance"), say("share that goes")],
        say(
            "<b>Layer {layer}</b>: {share} of its neurons go<br>this group $, mean importance {importance}",
            layer="%{y}",
            share="%{customdata[1]:.1%}",
            importance="%{customdata[0]:.3g}",
        ),  # fmt: skip
        gap=0,
    )
    traces.append(_cut(gone * columns - 0.5, "solid"))
    if other is not None:
        traces.append(_cut(shares.gone_of_each(scores, other) * columns - 0.5, "dot"))
    title = say("neurons, least important first")
    x = dict(showticklabels=False, range=[-0.5, columns - 0.5], title=dict(text=title, standoff=14))
    return framed(traces, len(scores), title, marks, x)


def _cut(cuts: np.ndarray, dash: str) -> dict:
    """A stroke down each row at `cuts` (L,), except where nothing goes."""
    marked = np.flatnonzero(cuts > -0.5)
    gaps = np.full(len(marked), np.nan)  # breaks the line between two layers
    return dict(
        type="scatter",
        x=np.stack([cuts[marked], cuts[marked], gaps], axis=1).ravel(),
        y=np.stack([marked - 0.5, marked + 0.5, gaps], axis=1).ravel(),
        mode="lines",
        hoverinfo="skip",
        line=dict(color=GONE, width=2.5, dash=dash),
    )


def strokes(what: str, colour: str) -> dict:
    """A bar's marker: solid in `colour` where it stays, hollow and hatched where it goes."""
    if what == STAYS:
        return dict(color=colour, line=dict(width=0))
    pattern = dict(fillmode="overlay", fgcolor=GONE, fgopacity=0.55, size=6, solidity=0.25)
    return dict(
        color="rgba(234, 115, 23, 0.06)", line=dict(color=GONE, width=1.2), pattern=dict(shape=STROKES[what], **pattern)
    )
