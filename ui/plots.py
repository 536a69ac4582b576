"""Figures of what a plan removes: pure functions from arrays to Plotly figures and the sentence each one shows.

Every figure has one row a layer, the first layer on top, and the same row height and margins, so that eyes can travel
from one to the next. Backgrounds are transparent; text and grid lines take the page's colours (assets/style.css).
What goes is hatched or hollow, never only another hue.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ui.words import VARIANT_COLOURS, count, percent, significant, some

KEPT, GONE = VARIANT_COLOURS["original"], VARIANT_COLOURS["pruned"]
ATTENTION, MLP = "#55657c", "#9fb0c6"  # two shades of the original's colour
SCALE = "Viridis"  # perceptually uniform and safe for colour-blind eyes
NEURON_COLUMNS = 96  # neurons are drawn as this many equal groups a layer

Kept = Sequence[Sequence[int]]  # per original layer: the indices that stay (empty: the whole layer goes)


def _row_height(layers: int) -> int:
    return int(np.clip(420 / layers, 13, 30))


def look(figure: go.Figure, height: int, x_title: str, y_title: str) -> go.Figure:
    """What all figures of the page share."""
    figure.update_layout(
        height=height,
        margin=dict(l=46, r=14, t=6, b=48),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=False,
        dragmode=False,
        font=dict(family="system-ui, sans-serif", size=12, color="#808a9a"),
        hoverlabel=dict(bgcolor="#1e293b", bordercolor="#1e293b", font=dict(color="#f8fafc", size=13), align="left"),
    )
    figure.update_xaxes(title=dict(text=x_title, standoff=8), fixedrange=True, zeroline=False, showgrid=False)
    figure.update_yaxes(title=dict(text=y_title, standoff=4), fixedrange=True, zeroline=False, showgrid=False)
    return figure


def _frame(figure: go.Figure, layers: int, x_title: str) -> go.Figure:
    """One row a layer, the first on top."""
    look(figure, _row_height(layers) * layers + 54, x_title, "layer").update_layout(bargap=0.22, barmode="overlay")
    figure.update_yaxes(
        range=[layers - 0.5, -0.5],
        tickmode="array",
        tickvals=list(range(0, layers, 1 if layers <= 16 else 2)),
    )
    return figure


def _bars(
    values: np.ndarray, gone: np.ndarray, colour: str, hover: list[str], base: np.ndarray | float = 0
) -> list[go.Bar]:
    """One bar a layer from `base` on: solid in `colour` where it stays, hollow and hatched where it goes (L,)."""
    bars = []
    for hatched in (False, True):
        look = (
            dict(
                color="rgba(234, 115, 23, 0.06)",
                line=dict(color=GONE, width=1.2),
                pattern=dict(shape="/", fillmode="overlay", fgcolor=GONE, fgopacity=0.55, size=6, solidity=0.25),
            )
            if hatched
            else dict(color=colour, line=dict(width=0))
        )
        bars.append(
            go.Bar(
                x=np.where((gone == hatched) & (values > 0), values, np.nan),
                y=np.arange(len(values)),
                orientation="h",
                marker=look,
                base=base,
                name="goes" if hatched else "stays",
                hovertext=hover,
                hoverinfo="text",
            )
        )
    return bars


def influence_finding(influence: np.ndarray, removed: Sequence[int]) -> str:
    """What the bars show, in one sentence: what goes, or where the influence sits."""
    layers, total = len(influence), float(np.sum(influence))
    if removed:
        share = float(np.sum(influence[list(removed)])) / total if total else 0.0
        noun = f"Layer {some(removed)} carries" if len(removed) == 1 else f"Layers {some(removed)} carry"
        return f"{noun} {percent(round(share, 2))} of the influence and {'goes' if len(removed) == 1 else 'go'}"
    descending = np.cumsum(np.sort(influence)[::-1])
    few = int(np.searchsorted(descending, 0.6 * total)) + 1
    share = percent(round(float(descending[few - 1] / total), 2)) if total else "0%"
    return f"{few} of {layers} layers {'carries' if few == 1 else 'carry'} {share} of the influence"


def influence(values: np.ndarray, removed: Sequence[int], image: np.ndarray, text: np.ndarray) -> go.Figure:
    """Block influence, one bar a layer; removed layers hatched. All arrays (L,), 1 − cosine similarity."""
    layers = len(values)
    gone = np.isin(np.arange(layers), removed)
    hover = [
        f"<b>Layer {i}</b> {'goes' if gone[i] else 'stays'}<br>It turns what passes through it by "
        f"{significant(float(v))}<br>image tokens {significant(float(im))} · text tokens {significant(float(tx))}"
        for i, (v, im, tx) in enumerate(zip(values, image, text, strict=True))
    ]
    figure = go.Figure(_bars(values, gone, KEPT, hover))
    return _frame(figure, layers, "block influence (1 − cosine)").update_xaxes(showgrid=True, rangemode="tozero")


def _table(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows of unequal length as one (L, widest) array, NaN past a row's end."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def _goes(rows: Sequence[np.ndarray], kept: Kept) -> np.ndarray:
    """(L, widest) bool: True where an existing entry is not kept."""
    gone = np.zeros((len(rows), max(map(len, rows))), dtype=bool)
    for i, row in enumerate(rows):
        gone[i, : len(row)] = True
        gone[i, np.asarray(kept[i], dtype=int)] = False
    return gone


def _map(
    values: np.ndarray, gone: np.ndarray, told: np.ndarray, names: list[str], sentence: str, gap: float
) -> list[go.Heatmap]:
    """Two heatmaps on one scale: what stays in full colour, what goes faded. All arrays (L, widest).

    The colour is the logarithm of a unit's importance over its layer's mean: units compete within their layer.
    `told` (L, widest, k): what the hover `sentence` may name as %{customdata[i]}, and a table of the figure by these
    `names`; the sentence's "$" becomes "stays" or "goes".
    """
    means = np.nanmean(values, axis=1, keepdims=True)
    shares = np.divide(values, means, out=np.ones_like(values), where=means > 0)
    shares[np.isnan(values)] = np.nan
    positive = shares[np.isfinite(shares) & (shares > 0)]
    logs = np.log10(np.maximum(shares, positive.min() if positive.size else 1.0))  # zeros sink to the floor
    low, high = float(np.nanmin(logs)), float(np.nanmax(logs))
    if low == high:
        low, high = low - 0.5, high + 0.5
    return [
        go.Heatmap(
            z=np.where(gone == goes, logs, np.nan),
            opacity=0.22 if goes else 1,
            colorscale=SCALE,
            zmin=low,
            zmax=high,
            xgap=gap,
            ygap=max(gap, 2),
            showscale=False,
            hoverongaps=False,
            name="goes" if goes else "stays",
            customdata=told,
            meta=dict(columns=names),
            hovertemplate=sentence.replace("$", "goes" if goes else "stays") + "<extra></extra>",
        )
        for goes in (False, True)
    ]


def heads_finding(scores: Sequence[np.ndarray], kept: Kept) -> str:
    """How many heads go and how little of the importance they hold."""
    total, gone = sum(map(len, scores)), _goes(scores, kept)
    if not gone.any():
        best = int(np.argmax([np.sum(row) for row in scores]))
        return f"All {total} heads stay; layer {best}'s matter most"
    importance = sum(float(np.sum(row)) for row in scores)
    lost = sum(float(np.sum(row[gone[i, : len(row)]])) for i, row in enumerate(scores))
    share = lost / importance if importance else 0.0
    return f"{int(gone.sum())} of {total} heads go; they hold {percent(round(share, 3))} of the heads' importance"


def heads(scores: Sequence[np.ndarray], kept: Kept, group: int = 1) -> go.Figure:
    """Head importance, layers × heads; removed heads faded and crossed out.

    `scores`: per layer (heads,), or (key/value groups,) where `group` > 1 query heads share one key/value head.
    """
    values, gone = _table(scores), _goes(scores, kept)
    ranks = 1 + np.sum(values[:, None, :] > values[:, :, None], axis=2)
    what = "head" if group == 1 else f"group of {group} heads"
    figure = go.Figure(
        _map(
            values,
            gone,
            np.dstack([values, ranks]),
            ["importance", "rank"],
            f"<b>Layer %{{y}}, {what} %{{x}}</b> $<br>"
            "importance %{customdata[0]:.3g}, rank %{customdata[1]} in its layer",
            gap=3,
        )
    )
    ys, xs = np.nonzero(gone)
    figure.add_scatter(
        x=xs,
        y=ys,
        mode="markers",
        hoverinfo="skip",
        marker=dict(symbol="x-thin", size=7, line=dict(width=1.6, color=GONE)),
    )
    figure.update_xaxes(tickmode="array", tickvals=list(range(0, values.shape[1], 1 if values.shape[1] <= 12 else 4)))
    return _frame(figure, len(scores), "head" if group == 1 else "key/value group").update_xaxes(
        range=[-0.5, values.shape[1] - 0.5], automargin=False
    )


def neurons_finding(scores: Sequence[np.ndarray], kept: Kept) -> str:
    """How many neurons go and how little of the importance they hold."""
    gone = _goes(scores, kept)
    total = sum(map(len, scores))
    importance = sum(float(np.sum(row)) for row in scores)
    if not gone.any():
        top = sum(float(np.sum(np.sort(row)[-len(row) // 10 :])) for row in scores)
        return (
            f"All {total:,} neurons stay; the top tenth holds "
            f"{percent(round(top / importance if importance else 0.0, 2))} of their importance"
        )
    lost = sum(float(np.sum(row[gone[i, : len(row)]])) for i, row in enumerate(scores))
    return (
        f"{percent(round(gone.sum() / total, 2))} of the neurons go; they hold "
        f"{percent(round(lost / importance if importance else 0.0, 3))} of the neurons' importance"
    )


def neurons(scores: Sequence[np.ndarray], kept: Kept) -> go.Figure:
    """Neuron importance, each layer's neurons sorted from least to most important, in equal groups.

    A group's colour is its mean importance; a group of which more than half goes is faded, and the cut is marked.
    """
    columns = min(NEURON_COLUMNS, min(map(len, scores)))
    means, lost, cuts = np.empty((len(scores), columns)), np.empty((len(scores), columns)), np.empty(len(scores))
    for i, row in enumerate(scores):
        goes = np.ones(len(row), dtype=bool)
        goes[np.asarray(kept[i], dtype=int)] = False
        order = np.argsort(row)
        order = np.concatenate([order[goes[order]], order[~goes[order]]])  # what goes first, then by importance
        edges = np.linspace(0, len(row), columns + 1).round().astype(int)
        for out, values in ((means, row), (lost, goes)):
            out[i] = np.add.reduceat(values[order], edges[:-1], dtype=float) / np.diff(edges)
        cuts[i] = goes.mean() * columns - 0.5
    share = np.broadcast_to((cuts[:, None] + 0.5) / columns, means.shape)
    figure = go.Figure(
        _map(
            means,
            lost > 0.5,
            np.dstack([means, share]),
            ["mean importance", "share that goes"],
            "<b>Layer %{y}</b>: %{customdata[1]:.1%} of its "
            "neurons go<br>this group $, mean importance %{customdata[0]:.3g}",
            gap=0,
        )
    )
    marked = np.flatnonzero(cuts > -0.5)
    gaps = np.full(len(marked), np.nan)  # breaks the line between two layers
    figure.add_scatter(
        x=np.stack([cuts[marked], cuts[marked], gaps], axis=1).ravel(),
        mode="lines",
        hoverinfo="skip",
        y=np.stack([marked - 0.5, marked + 0.5, gaps], axis=1).ravel(),
        line=dict(color=GONE, width=2.5),
    )
    figure = _frame(figure, len(scores), "neurons, least important first")
    return figure.update_xaxes(showticklabels=False, range=[-0.5, columns - 0.5], title=dict(standoff=14))


def network_finding(before: int, after: int) -> str:
    """The decoder's size in one sentence."""
    if before == after:
        return f"All {count(before)} parameters of the decoder layers stay"
    return f"{percent(round((before - after) / before, 3))} of the decoder layers' {count(before)} parameters go"


def network(attention: np.ndarray, mlp: np.ndarray, attention_kept: np.ndarray, mlp_kept: np.ndarray) -> go.Figure:
    """The decoder to scale: one bar a layer, attention then MLP, its length the parameters; what goes is hollow.

    All arrays (L,), in parameters.
    """
    layers = len(attention)
    figure, start = go.Figure(), np.zeros(layers)
    for name, whole, stays, colour in (
        ("attention", attention, attention_kept, ATTENTION),
        ("MLP", mlp, mlp_kept, MLP),
    ):
        hover = [
            f"<b>Layer {i}, {name}</b><br>{count(float(s))} of {count(float(w))} parameters stay"
            for i, (s, w) in enumerate(zip(stays, whole, strict=True))
        ]
        for values, goes, base in ((stays, False, start), (whole - stays, True, start + stays)):
            figure.add_traces(_bars(values, np.full(layers, goes), colour, hover, base))
        start = start + whole
    return _frame(figure, layers, "parameters")
