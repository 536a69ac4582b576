"""How unequal the neurons of a layer are: a histogram of their importance, in the manner of plots.py."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ui.plots import GOES, LOOK, MARGIN, MLP, STAYS, Kept, row_height, strokes
from ui.texts import say
from ui.words import percent

HOVER = {
    GOES: "<b>{n:,} {n:neuron goes|neurons go}</b><br>importance {low:.2g} to {high:.2g} times their layer's mean",
    STAYS: "<b>{n:,} {n:neuron stays|neurons stay}</b><br>importance {low:.2g} to {high:.2g} times their layer's mean",
}
LEAST = 1e-4  # of the layer's mean: what is less stands there


def spread(scores: Sequence[np.ndarray], kept: Kept, layer: int | None) -> go.Figure:
    """How importance spreads over the neurons of a layer, or of all: a histogram of their importance over their
    layer's mean, on a logarithmic scale; what goes is hatched."""
    rows = range(len(scores)) if layer is None else [layer]
    values, gone = [], []
    for i in rows:
        values.append(_relative(scores[i]))
        gone.append(np.ones(len(scores[i]), dtype=bool))
        gone[-1][np.asarray(kept[i], dtype=int)] = False
    values, gone = np.log10(np.maximum(np.concatenate(values), LEAST)), np.concatenate(gone)
    edges = np.linspace(values.min(), max(values.max(), values.min() + 0.1), 31)
    counts = {what: np.histogram(values[gone == (what == GOES)], edges)[0] for what in (STAYS, GOES)}
    traces = [
        dict(
            type="bar",
            x=(edges[1:] + edges[:-1]) / 2,
            y=found,
            name=say(what),
            marker=strokes(what, MLP),
            hovertext=[
                say(HOVER[what], n=n, low=10**a, high=10**b)
                for n, a, b in zip(found, edges[:-1], edges[1:], strict=True)
            ],
            hoverinfo="text",
        )
        for what, found in counts.items()
    ]
    ticks = np.arange(np.ceil(edges[0]), np.floor(edges[-1]) + 1)
    axis = dict(fixedrange=True, zeroline=False)
    titles = [dict(text=x, standoff=y) for x, y in ((say("importance ÷ mean of the layer"), 8), (say("neurons"), 4))]
    layout = LOOK | dict(
        height=row_height(len(scores)) * len(scores) + 54,
        margin=MARGIN,
        barmode="stack",
        bargap=0.06,
        xaxis=axis | dict(title=titles[0], showgrid=False, tickvals=ticks, ticktext=[f"{10.0**x:g}" for x in ticks]),
        yaxis=axis | dict(title=titles[1], showgrid=True),
    )
    return go.Figure(traces, layout)


def _relative(row: np.ndarray) -> np.ndarray:
    """Importance over the layer's mean."""
    return row / (float(np.mean(row)) or 1.0)


def spread_finding(scores: Sequence[np.ndarray], kept: Kept, layer: int | None) -> str:
    """How unequal the neurons are."""
    rows = [_relative(row) for i, row in enumerate(scores) if layer in (None, i)]
    share = float(np.mean(np.concatenate(rows) < 0.5))
    where = say("All layers") if layer is None else say("Layer {layer}", layer=layer)
    share = percent(round(share, 2))
    return say("{where}: {share} of the neurons matter less than half the mean", where=where, share=share)
