"""Figures of whole layers under a plan: block influence, and the network drawn to scale. Pure functions from arrays to
Plotly figures and the sentence each one shows, in the manner of plots.py.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from pruning import shares
from ui.plots import ATTENTION, BOTH, GOES, MARGIN, MLP, ONLY_KEPT, STAYS, Marks, compared, dots, fates, framed, pins
from ui.plots import row_height, strokes
from ui.texts import say
from ui.words import capital, count, percent, significant, some

ALL, IMAGE, TEXT = "#8a94a6", ATTENTION, MLP  # tokens: all of them, of images, of words
TOWER = "#7c8aa0"
GAP = 0.35  # rows between what stands around the layers


def influence_finding(influence: np.ndarray, removed: Sequence[int], other: Sequence[int] | None = None) -> str:
    """What the bars show, in one sentence: what goes, or where the influence sits; or what two plans share."""
    layers = len(influence)
    if other is not None and (len(removed) or len(other)):
        found = shares.common(*(np.isin(np.arange(layers), x) for x in (removed, other)))
        return compared("layers", found.both, found.first, found.second)
    if removed:
        share = shares.share(influence, removed)
        return say(
            "{n:Layer|Layers} {layers} {n:carries|carry} {share} of the influence and {n:goes|go}",
            n=len(removed), layers=some(removed), share=percent(round(share, 2)),
        )  # fmt: skip
    few, share = shares.fewest(influence, 0.6)
    share = percent(round(share, 2))
    return say(
        "{few} of {layers} layers {few:carries|carry} {share} of the influence", few=few, layers=layers, share=share
    )


def influence(
    values: np.ndarray,
    removed: Sequence[int],
    image: np.ndarray,
    text: np.ndarray,
    other: Sequence[int] | None = None,
    marks: Marks = Marks(),
) -> go.Figure:
    """Block influence over image tokens and over text tokens, two bars a layer, with a stroke at that over all tokens.

    All arrays (L,), 1 − cosine similarity, NaN where there were no such tokens. removed, other: layers that the plan at
    hand and a second one remove; they are hatched.
    """
    layers = np.arange(len(values))
    gone = fates(np.isin(layers, removed), None if other is None else np.isin(layers, other))
    hover = [
        say(
            "<b>Layer {layer}</b> {fate}<br>It turns what passes through it by {all}"
            "<br>image tokens {image} · text tokens {text}",
            layer=i,
            fate=say(what),
            all=significant(float(v)),
            image=significant(float(im)),
            text=significant(float(tx)),
        )  # fmt: skip
        for i, (v, im, tx, what) in enumerate(zip(values, image, text, gone, strict=True))
    ]
    traces = []
    for name, part, colour, offset in (("image tokens", image, IMAGE, -0.4), ("text tokens", text, TEXT, 0.02)):
        traces += _bars(part, gone, colour, hover, name=say(name), offset=offset, width=0.38)
    stroke = dict(symbol="line-ns", size=0.72 * row_height(len(values)), line=dict(width=3, color=ALL))
    traces.append(dots(values, layers, stroke, name=say("all tokens")) | dict(hovertext=hover, hoverinfo="text"))
    traces += pins(marks, lambda x: (0, x.layer) if x.head is None else None)
    x = dict(showgrid=True, rangemode="tozero")
    return framed(traces, len(values), say("block influence (1 − cosine)"), marks, x)


def _bars(
    values: np.ndarray,
    gone: np.ndarray,
    colour: str,
    hover: list[str],
    name: str,
    base: np.ndarray | float = 0,
    offset: float = -0.39,
    width: float = 0.78,
) -> list[dict]:
    """One bar a layer from `base` on, drawn as the fate `gone` (L,) says; a trace for each fate that occurs."""
    return [
        dict(
            type="bar",
            x=np.where((gone == what) & (values > 0), values, np.nan),
            y=np.arange(len(values)),
            orientation="h",
            marker=strokes(what, colour),
            base=base,
            offset=offset,
            width=width,
            name=f"{name}, {say(what)}",
            hovertext=hover,
            hoverinfo="text",
        )
        for what in dict.fromkeys(gone.tolist())
    ]


def network_finding(before: int, after: int, shared: tuple[int, int, int] | None = None) -> str:
    """The decoder layers' size in one sentence; shared: parameters that two plans remove, and that one alone does."""
    if shared is not None:
        return compared("parameters", *shared, said=count)
    if before == after:
        return say("All {count} parameters of the decoder layers stay", count=count(before))
    share = percent(round((before - after) / before, 3))
    return say("{share} of the decoder layers' {count} parameters go", share=share, count=count(before))


def network(attention, mlp, vision: int, projector: int, words: int, marks: Marks = Marks()) -> go.Figure:
    """The whole network to scale: areas are parameters. One bar a decoder layer, attention then MLP, what goes hollow;
    over them vision tower and projector, under them the embeddings and output head, which pruning leaves alone.

    attention, mlp: what becomes of the layers' parameters (pruning.Split). A block larger than a layer fills several
    rows.
    """
    layers, whole = len(attention.whole), float((attention.whole + mlp.whole).max())
    traces, start = [], np.zeros(layers)
    for name, part, colour in (("attention", attention, ATTENTION), ("MLP", mlp, MLP)):
        hover = [
            say(
                "<b>Layer {layer}, {part}</b><br>{stays} of {all} parameters stay",
                layer=i,
                part=say(name),
                stays=count(float(s)),
                all=count(float(w)),
            )  # fmt: skip
            for i, (s, w) in enumerate(zip(part.stays + part.second, part.whole, strict=True))
        ]
        for what, values in ((STAYS, part.stays), (BOTH, part.both), (GOES, part.first), (ONLY_KEPT, part.second)):
            if values.any():
                traces += _bars(values, np.full(layers, what), colour, hover, say(name), start)
            start = start + values
    ticks, top = [(i, str(i)) for i in range(0, layers, 1 if layers <= 16 else 2)], -0.5
    for name, full, size in (("projector", "projector", projector), ("vision", "vision tower", vision)):
        rows = max(1.0, size / whole)
        ticks.append((top - GAP - rows / 2, say(name)))
        traces.append(_block(full, size, rows, ticks[-1][0]))
        top -= GAP + rows
    rows = max(1.0, words / whole)
    ticks.append((layers - 0.5 + GAP + rows / 2, say("words")))
    traces.append(_block("embeddings and output head", words, rows, ticks[-1][0]))
    bottom = layers - 0.5 + GAP + rows
    traces += pins(marks, lambda x: (whole * 1.02, x.layer) if x.head is None else None)
    places, names = zip(*ticks, strict=True)
    y = dict(range=[bottom, top], tickvals=places, ticktext=names, title=None)
    height = round(row_height(layers) * (bottom - top)) + 54
    x = dict(range=[0, whole * 1.04])
    return framed(traces, layers, say("parameters"), marks, x, y, height=height, margin=MARGIN | dict(l=74))


def _block(name: str, size: int, rows: float, y: float) -> dict:
    """Something beside the layers: as many parameters an area as they have."""
    return dict(
        type="bar",
        x=[size / rows],
        y=[y],
        width=[rows if rows > 1 else 0.78],
        orientation="h",
        name=say(name),
        marker=dict(color=TOWER, opacity=0.55, line=dict(width=0)),
        hovertext=f"<b>{capital(say(name))}</b><br>{say('all {count} parameters stay', count=count(size))}",
        hoverinfo="text",
    )
