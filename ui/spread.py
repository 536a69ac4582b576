"""How unequal the neurons of a layer are: a histogram of their importance, in the manner of plots.py."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from pruning import shares
from pruning.shares import Kept
from ui.plots import GOES, LOOK, MARGIN, MLP, STAYS, row_height, strokes
from ui.texts import say
from ui.words import percent

HOVER = {
    GOES: "<b>{n:,} {n:neuron goes|neurons go}</b><br>importance {low:.2g} to {high:.2g} times their layer's mean",
    STAYS: "<b>{n:,} {n:neuron stays|neurons stay}</b><br>importance {low:.2g} to {high:.2g} times their layer's mean",
}


def spread(scores: Sequence[np.ndarray], kept: Kept, layer: int | None) -> go.Figure:
    """How importance spreads over the neurons of a layer, or of all: a histogram of their importance over their
    layer's mean, on a logarithmic scale; what goes is hatched."""
    found = shares.histogram(*_picked(layer, scores, kept))
    edges = found.edges
    traces = [
        dict(
            type="bar",
            x=(edges[1:] + edges[:-1]) / 2,
            y=counts,
            name=say(what),
            marker=strokes(what, MLP),
            hovertext=[
                say(HOVER[what], n=n, low=10**a, high=10**b)
                for n, a, b in zip(counts, edges[:-1], edges[1:], strict=True)
            ],
            hoverinfo="text",
        )
        for what, counts in ((STAYS, found.stays), (GOES, found.goes))
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


def _picked(layer: int | None, *rows: Sequence) -> list[Sequence]:
    """Of each list a layer's entry alone, or all where none is picked."""
    return [x if layer is None else [x[layer]] for x in rows]


def spread_finding(scores: Sequence[np.ndarray], kept: Kept, layer: int | None) -> str:
    """How unequal the neurons are."""
    share = shares.below(*_picked(layer, scores), 0.5)
    where = say("All layers") if layer is None else say("Layer {layer}", layer=layer)
    share = percent(round(share, 2))
    return say("{where}: {share} of the neurons matter less than half the mean", where=where, share=share)
