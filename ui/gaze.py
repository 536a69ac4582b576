"""Where a model looks in the picture, as a figure: what it hardly attends to is darkened. And the finding in words."""

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from lvlm.attention import on_image
from lvlm.views import Grid
from ui import words
from ui.texts import say

HEIGHT = 300
SHADE = [[0.0, "rgba(2, 6, 23, 0.86)"], [0.5, "rgba(2, 6, 23, 0.45)"], [1.0, "rgba(2, 6, 23, 0)"]]
SIDE = 640  # pixels of the picture as it is sent
PLACES = (("upper left", "top", "upper right"), ("left", "middle", "right"), ("lower left", "bottom", "lower right"))


def where(row: int, column: int, grid: Grid) -> str:
    """A cell of the grid in words: which of nine parts of what is seen."""
    return PLACES[3 * row // grid.rows][3 * column // grid.columns]


def finding(title: str, weights: np.ndarray, grid: Grid | None) -> str:
    """How much of its attention a model pays to the picture, and to which part most. weights: (image tokens,)."""
    share = words.percent(on_image(weights))
    if grid is None:
        return say("{title} pays {share} of its attention to the picture", title=title, share=share)
    row, column, most = grid.most(weights)
    return say(
        "{title} looks most at the {place} ({most} of its attention on one patch, {share} on all)",
        title=title, place=say(where(row, column, grid)), most=words.percent(most), share=share,
    )  # fmt: skip


def overlay(image: Image.Image, weights: np.ndarray, grid: Grid, most: float) -> go.Figure:
    """The picture under its patches, each the darker the less attention it gets; `most` is left clear."""
    width, height = image.size
    left, top, right, bottom = (x * y for x, y in zip(grid.box, (width, height) * 2, strict=True))
    xs = left + (np.arange(grid.columns) + 0.5) * (right - left) / grid.columns
    ys = top + (np.arange(grid.rows) + 0.5) * (bottom - top) / grid.rows
    laid = grid.of(weights)
    hover = [
        [
            say(
                "Row {row}, column {column}: {share} of its attention",
                row=r + 1,
                column=c + 1,
                share=words.percent(float(laid[r, c])),
            )  # fmt: skip
            for c in range(grid.columns)
        ]
        for r in range(grid.rows)
    ]
    small = image.copy()
    small.thumbnail((SIDE, SIDE))
    map_ = go.Heatmap(
        z=laid,
        x=xs,
        y=ys,
        zmin=0,
        zmax=most or 1,
        colorscale=SHADE,
        showscale=False,
        hovertext=hover,
        hovertemplate="%{hovertext}<extra></extra>",
        name=say("share of the model's attention"),
    )
    figure = go.Figure(map_)
    figure.add_layout_image(
        source=small, x=0, y=0, sizex=width, sizey=height, xref="x", yref="y", sizing="stretch", layer="below"
    )
    figure.update_layout(
        height=HEIGHT,
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={
            "visible": False,
            "title": say("pixels from the left"),
            "range": [min(0, left), max(width, right)],
            "constrain": "domain",
        },
        yaxis={
            "visible": False,
            "title": say("pixels from the top"),
            "range": [max(height, bottom), min(0, top)],
            "scaleanchor": "x",
            "constrain": "domain",
        },
        dragmode=False,
    )
    return figure
