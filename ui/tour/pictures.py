"""Figures of the guided tour: pure functions from the library's findings to Plotly figures. Grounds and colours as in
`ui.plots`; words come in the visitor's language.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from evaluation.advisor import Evidence, Way
from pruning import Plan, Takeover, split
from pruning.dependencies import Group, Stripe
from pruning.effects import Effect, Effects
from pruning.hidden import Activity, Gap, Trace
from ui.plots import ATTENTION, MLP, SCALE, look
from ui.teaching import Stored, Trained
from ui.texts import minus
from ui.words import VARIANT_COLOURS, memory, percent, significant

Say = Callable[..., str]  # key, values → text in the visitor's language
GREY, GONE, KEPT = "#808a9a", VARIANT_COLOURS["pruned"], VARIANT_COLOURS["original"]
HATCH = dict(shape="/", fillmode="overlay", fgcolor=GONE, fgopacity=0.7, size=6, solidity=0.3)
THINNEST = 1 / 45  # of a matrix's side: a stripe of one row would not be seen
METHODS = {"layerwise": ("#2f7fd6", "diamond"), "widthwise": (GONE, "circle")}  # as on the Measure tab


def activity(found: Activity, picture: Image.Image | None, say: Say) -> go.Figure:
    """On the left the picture's patches, lit where the unit writes; on the right the words."""
    side = math.isqrt(int(found.image.sum()))
    square = picture is not None and side and side * side == found.image.sum()
    words = [_shown(x) for x in np.array(found.tokens, dtype=object)[~found.image]]
    written = found.written[~found.image]
    widths = [0.42, 0.58] if square else [1.0]
    figure = make_subplots(1, 2 if square else 1, column_widths=widths, horizontal_spacing=0.25)  # labels: on a phone
    if square:
        patches = found.written[found.image].reshape(side, side)
        figure.add_layout_image(
            source=picture.convert("L").resize((240, 240)), x=-0.5, y=-0.5, sizex=side, sizey=side, xref="x", yref="y",
            sizing="stretch", layer="below",
        )  # fmt: skip
        figure.add_heatmap(
            z=patches, colorscale=SCALE, opacity=0.62, showscale=False, zmin=0, row=1, col=1,
            hovertemplate=f"{say('image')}: %{{z:.3g}}<extra></extra>",
        )  # fmt: skip
    figure.add_bar(
        x=written, y=list(range(len(words))), orientation="h", marker_color=KEPT, row=1, col=2 if square else 1,
        hovertext=[f"{w}: {significant(float(v))}" for w, v in zip(words, written)], hoverinfo="text",
    )  # fmt: skip
    height = max(300, 22 * len(words) + 60)
    look(figure, height, "", "").update_layout(margin=dict(l=14, r=14, t=6, b=44))
    if square:
        figure.update_xaxes(range=[-0.5, side - 0.5], showticklabels=False, title=say("image"), col=1)
        figure.update_yaxes(range=[side - 0.5, -0.5], showticklabels=False, scaleanchor="x", constrain="domain", col=1)
    last = 2 if square else 1
    figure.update_yaxes(
        range=[len(words) - 0.5, -0.5], tickvals=list(range(len(words))), ticktext=words, automargin=True, col=last
    )
    return figure.update_xaxes(title=say("axis.written"), col=last)


def _shown(token: str) -> str:
    """A token as a label: spaces to be seen, marks of the format without their brackets' meaning to HTML."""
    return token.strip().replace("<", "‹").replace(">", "›") or "␣"


def group(found: Group, say: Say) -> go.Figure:
    """The layer's matrices that the unit has a part in, to scale, from what reads on the left to what writes on the
    right; its stripes hatched."""
    reads, writes = [x for x in found.stripes if x.dim == 0], [x for x in found.stripes if x.dim == 1]
    figure, gap = go.Figure(), 0.22 * max(x.rows for x in found.stripes)
    x0, columns = 0.0, []
    for stripes in (reads, writes):
        y0, widest = 0.0, max(x.columns for x in stripes)
        for stripe in stripes:
            columns.append((stripe, x0, y0))
            y0 += stripe.rows + gap
        x0 += widest + 2 * gap
    bottom = max(y + x.rows for x, _, y in columns)
    for stripe, x, y in columns:
        y += (bottom - stripe.rows) / 2 if stripe.dim else 0
        figure.add_scatter(
            x=[x, x + stripe.columns, x + stripe.columns, x, x], y=[y, y, y + stripe.rows, y + stripe.rows, y],
            fill="toself", fillcolor="rgba(100, 116, 139, 0.16)", line=dict(color=GREY, width=1), mode="lines",
            hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            **_stripe(stripe, x, y), fill="toself", fillcolor="rgba(234, 115, 23, 0.25)", fillpattern=HATCH,
            line=dict(color=GONE, width=1.5), mode="lines", name=stripe.path, hoveron="fills",
            text=f"<b>{stripe.path}</b><br>{_hovered(stripe, say)}", hoverinfo="text", meta=dict(row=_row(stripe, say)),
        )  # fmt: skip
        figure.add_annotation(
            x=x + stripe.columns / 2, y=y, yanchor="bottom", showarrow=False, text=stripe.path.split(".")[-1]
        )
    look(figure, 380, "", "").update_layout(margin=dict(l=10, r=10, t=22, b=10))
    figure.update_yaxes(range=[bottom + gap / 2, -gap], visible=False, scaleanchor="x")
    return figure.update_xaxes(visible=False)


def _hovered(stripe: Stripe, say: Say) -> str:
    """Which rows or columns a unit owns, of how many."""
    key = "2.hover_columns" if stripe.dim else "2.hover_rows"
    return say(key, first=stripe.start, last=stripe.last, rows=stripe.rows, columns=stripe.columns)


def _row(stripe: Stripe, say: Say) -> dict:
    """The same for a table: what is drawn is widened to be seen."""
    return {
        say("2.matrix"): stripe.path, say("2.part"): say("2.columns" if stripe.dim else "2.rows"),
        say("2.first"): stripe.start, say("2.last"): stripe.last, say("2.all_rows"): stripe.rows,
        say("2.all_columns"): stripe.columns, say("2.weights"): stripe.weights,
    }  # fmt: skip


def _stripe(stripe: Stripe, x: float, y: float) -> dict:
    """The corners of what a unit owns of a matrix drawn at x, y."""
    side = stripe.columns if stripe.dim else stripe.rows
    width = max(stripe.width, THINNEST * side)
    start = min(stripe.start, side - width)
    if stripe.dim:
        xs, ys = (x + start, x + start + width), (y, y + stripe.rows)
    else:
        xs, ys = (x, x + stripe.columns), (y + start, y + start + width)
    return dict(x=[xs[0], xs[1], xs[1], xs[0], xs[0]], y=[ys[0], ys[0], ys[1], ys[1], ys[0]])


def influence(found: Trace, layer: int, say: Say) -> go.Figure:
    """Layers × words, the picture's tokens as one column; the layer at hand framed."""
    words = [_shown(x) for x, image in zip(found.tokens, found.image, strict=True) if not image]
    table = found.words
    if found.picture is not None:
        words = [say("image"), *words]
        table = np.column_stack([found.picture, table])
    layers = len(table)
    figure = go.Figure(
        go.Heatmap(
            z=np.log10(np.maximum(table, 1e-5)), customdata=table, colorscale=SCALE, showscale=False, xgap=2, ygap=2,
            x=list(range(len(words))),
            hovertemplate=f"{say('axis.layer')} %{{y}}, %{{text}}<br>1 − cos = %{{customdata:.3g}}<extra></extra>",
            text=[words] * layers,
        )
    )  # fmt: skip
    look(figure, max(13, min(30, 420 // layers)) * layers + 90, "", say("axis.layer"))
    figure.add_shape(
        type="rect", x0=-0.5, x1=len(words) - 0.5, y0=layer - 0.5, y1=layer + 0.5, line=dict(color=GONE, width=2.5)
    )
    figure.update_xaxes(tickvals=list(range(len(words))), ticktext=words, tickangle=-45, automargin=True)
    return figure.update_yaxes(range=[layers - 0.5, -0.5], tickvals=list(range(0, layers, 1 if layers <= 16 else 2)))


def effects(found: Effects, chosen: Effect, signed: bool, say: Say) -> go.Figure:
    """Each head: what Taylor says across, what happens up, and lines that cross at the chosen one. Sizes on logarithms,
    or both with their signs."""
    across = np.array([x.predicted if signed else max(x.published, 1e-12) for x in found.effects])
    up = np.array([x.real if signed else max(abs(x.real), 1e-7) for x in found.effects])
    here = np.array([x.group.layer == chosen.group.layer for x in found.effects])
    at = next(i for i, x in enumerate(found.effects) if x is chosen)
    told = [
        f"<b>{say('head', number=x.group.unit)}, {say('axis.layer')} {x.group.layer}</b><br>Σ|w·g| = "
        f"{significant(x.published)}<br>−Σ w·g = {minus(f'{x.predicted:.2g}')}<br>"
        f"{say('axis.real')}: {minus(f'{x.real:+.2g}')}"
        for x in found.effects
    ]
    figure = go.Figure()
    guide = dict(color=GONE, dash="dot", width=1.2)
    figure.add_vline(x=across[at], line=guide, layer="below").add_hline(y=up[at], line=guide, layer="below")
    figure.add_scatter(
        x=[across[at]], y=[up[at]], mode="markers", hoverinfo="skip",
        marker=dict(size=25, symbol="circle-open", color=GONE, line=dict(width=2.5, color=GONE)),
    )  # fmt: skip
    for now in (False, True):
        rows = np.flatnonzero(here == now)
        figure.add_scatter(
            x=across[rows], y=up[rows], mode="markers+text" if now else "markers", hoverinfo="text",
            hovertext=[told[i] for i in rows], textfont=dict(size=11, color="#1c0f02"),
            text=[found.effects[i].group.unit for i in rows] if now else None,
            marker=dict(
                size=15 if now else 9, symbol="circle" if now else "circle-open", color=GONE if now else KEPT,
                line=dict(width=1.6, color=GONE if now else KEPT),
            ),
        )  # fmt: skip
    place = (across[at], up[at]) if signed else (math.log10(across[at]), math.log10(up[at]))  # as Plotly wants it
    figure.add_annotation(
        x=place[0], y=place[1], ax=0, ay=-38, text=f"<b>{say('head', number=chosen.group.unit)}</b>", bgcolor="#9a3c06",
        font=dict(color="#ffffff"), borderpad=3, arrowcolor=GONE, arrowhead=0, standoff=13,
    )  # fmt: skip
    if signed:
        ends = [float(min(across.min(), 0)), float(max(across.max(), 0))]
        figure.add_scatter(x=ends, y=ends, mode="lines", line=dict(color=GREY, dash="dot", width=1.5), hoverinfo="skip")
    look(
        figure, 360, say("axis.signed" if signed else "axis.estimate"), say("axis.real" if signed else "axis.real_size")
    )
    kind = "linear" if signed else "log"
    figure.update_layout(margin=dict(l=64))
    figure.update_xaxes(type=kind, showgrid=True, nticks=6, exponentformat="power")
    return figure.update_yaxes(type=kind, showgrid=True, nticks=6, exponentformat="power")


def gap(found: Gap, say: Say) -> go.Figure:
    """Two lines over the layers: the cosine with the original's hidden state, and its length over the original's."""
    layers = len(found.cosine) - 1
    figure = make_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.09)
    for row, values, name, colour in (
        (1, found.cosine, "axis.cosine", GONE), (2, found.norm, "axis.norm", "#2f7fd6")
    ):  # fmt: skip
        figure.add_scatter(
            x=list(range(layers + 1)), y=values, mode="lines+markers", line=dict(color=colour, width=2.4), row=row,
            col=1, marker=dict(size=8, symbol="circle" if row == 1 else "diamond"), connectgaps=True,
            hovertemplate=f"{say('axis.layer')} %{{x}}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        figure.add_hline(y=1, line=dict(color=GREY, dash="dot", width=1.2), row=row, col=1)
    look(figure, 380, "", "").update_layout(margin=dict(l=64, t=14))
    for i in found.removed:
        for row in (1, 2):
            figure.add_vrect(x0=i - 0.4, x1=i + 0.4, fillcolor="rgba(234, 115, 23, 0.16)", line_width=0, row=row, col=1)
        figure.add_annotation(x=i, y=1, yref="paper", yanchor="bottom", text="✕", showarrow=False)
    ticks = list(range(0, layers + 1, 1 if layers <= 16 else 2))
    figure.update_xaxes(tickvals=ticks, ticktext=[str(x) if x < layers else "→" for x in ticks])
    figure.update_xaxes(title=say("axis.layer"), row=2)
    figure.update_yaxes(title=say("axis.cosine"), row=1)
    return figure.update_yaxes(title=say("axis.norm"), row=2).update_yaxes(showgrid=True)


def projector(found: Sequence[Trained], say: Say) -> go.Figure:
    """Each training: from the pruned model's share of right answers up to the healed one's; dotted the original's."""
    figure = go.Figure()
    for x in found:
        colour, symbol = METHODS[x.method]
        told = f"<b>{percent(x.ratio)}</b><br>{percent(x.pruned)} → {percent(x.healed)}"
        figure.add_scatter(
            x=[100 * x.ratio] * 2, y=[100 * x.pruned, 100 * x.healed], mode="lines+markers", hovertext=told,
            hoverinfo="text", line=dict(color=VARIANT_COLOURS["recovered"], width=2.5),
            marker=dict(
                size=13, symbol=[f"{symbol}-open", "triangle-up"], color=[colour, VARIANT_COLOURS["recovered"]],
                line=dict(width=2, color=[colour, VARIANT_COLOURS["recovered"]]),
            ),
        )  # fmt: skip
    if found:
        figure.add_hline(y=100 * found[-1].original, line=dict(color=KEPT, dash="dot", width=1.5))
    look(figure, 340, say("axis.ratio"), say("axis.right"))
    figure.update_xaxes(range=[0, 62], showgrid=True)
    return figure.update_yaxes(range=[0, 104], showgrid=True)


def layers(plan: Plan, say: Say) -> go.Figure:
    """Each layer to scale, attention then MLP: solid what stays, hatched what goes."""
    count, start, figure = len(plan.dense_shape), np.zeros(len(plan.dense_shape)), go.Figure()
    for part, colour in zip(split(plan), (ATTENTION, MLP), strict=True):
        for values, goes in ((part.stays, False), (part.first, True)):
            figure.add_bar(
                x=np.where(values > 0, values, np.nan), y=list(range(count)), base=start, orientation="h",
                marker=dict(color="rgba(234, 115, 23, 0.06)", line=dict(color=GONE, width=1), pattern=HATCH)
                if goes else dict(color=colour),
                hovertemplate=f"{say('axis.layer')} %{{y}}: %{{x:,}}{' ' + say('removed') if goes else ''}"
                "<extra></extra>",
            )  # fmt: skip
            start = start + values
    look(figure, 13 * count + 54, say("axis.parameters"), say("axis.layer")).update_layout(
        barmode="overlay", bargap=0.2
    )
    return figure.update_yaxes(range=[count - 0.5, -0.5], tickvals=list(range(0, count, 2)))


def stored(found: Stored, say: Say) -> go.Figure:
    """Four bars of memory in the variants' colours; beside each what it answers."""
    names = list(found.sizes)
    looks = {"original": (KEPT, ""), "pruned": (GONE, "/"), "int8": (VARIANT_COLOURS["int8"], ""),
             "both": (VARIANT_COLOURS["int8"], "/")}  # fmt: skip
    figure = go.Figure(
        go.Bar(
            x=[found.sizes[x] / 2**20 for x in names], y=[say(x) for x in names], orientation="h",
            marker=dict(
                color=[looks[x][0] for x in names],
                pattern=dict(shape=[looks[x][1] for x in names], fgcolor="#ffffff", fgopacity=0.5, size=7),
            ),
            text=[f"{memory(found.sizes[x])} · “{_clip(found.answers[x])}”" for x in names], textposition="outside",
            hovertext=[found.answers[x] for x in names], hoverinfo="text", cliponaxis=False,
        )
    )  # fmt: skip
    look(figure, 260, say("axis.memory"), "").update_yaxes(autorange="reversed", automargin=True)
    return figure.update_xaxes(range=[0, 2.1 * max(found.sizes.values()) / 2**20])


def _clip(text: str, most: int = 40) -> str:
    """An answer's beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def evidence(found: Sequence[Evidence], way: Way, kept: float, say: Say) -> go.Figure:
    """What is known of a method over the ratio, the goal as a line and the proposal as a star."""
    figure = go.Figure()
    for x in found:
        if not x.points:
            continue
        ours = x.source == "ours"
        colour, symbol = (VARIANT_COLOURS["int8"], "square") if x.int8 else METHODS[x.method]
        figure.add_scatter(
            x=[100 * p.ratio for p in x.points], y=[p.kept for p in x.points], mode="lines+markers",
            name=say("10.ours" if ours else "10.paper", model=x.model, where=x.where),
            line=dict(color=colour, width=2.4 if ours else 4, dash="solid" if ours else "dot"),
            opacity=1 if ours else 0.6, marker=dict(size=9, symbol=symbol),
            hovertemplate="%{x:.0f}% → %{y:.1f}%<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=100 * kept, line=dict(color=KEPT, dash="dash", width=1.5), annotation_text=say("goal"))
    if np.isfinite(way.kept):
        figure.add_scatter(
            x=[100 * way.ratio], y=[way.kept], mode="markers", name=say("proposal"), hoverinfo="name",
            marker=dict(symbol="star", size=17, color=VARIANT_COLOURS["recovered"], line=dict(width=1, color="#fff")),
        )  # fmt: skip
    look(figure, 360, say("axis.ratio"), say("axis.kept"))
    figure.update_layout(showlegend=True, legend=dict(orientation="h", y=-0.28, x=0))
    figure.update_xaxes(range=[-2, 62], showgrid=True)
    return figure.update_yaxes(showgrid=True)


def takeover(found: Takeover, say: Say) -> go.Figure:
    """A bar for each neuron that goes, the most replaceable first: solid what the others can say in its place, hatched
    what is lost."""
    order = np.argsort(-found.shares)
    shares, neurons = 100 * found.shares[order], found.neurons[order]
    figure = go.Figure()
    figure.add_bar(
        x=list(range(1, len(shares) + 1)), y=shares, marker=dict(color=KEPT, line_width=0), width=1.0,
        hovertext=[say("beyond.hover", number=int(n), share=f"{x:.0f}%") for n, x in zip(neurons, shares)],
        hoverinfo="text",
    )  # fmt: skip
    figure.add_bar(
        x=list(range(1, len(shares) + 1)), y=100 - shares, width=1.0, hoverinfo="skip",
        marker=dict(color="rgba(0,0,0,0)", line_width=0, pattern=HATCH),
    )  # fmt: skip
    figure.add_hline(y=100 * found.together, line=dict(color=GREY, dash="dot", width=2))
    look(figure, 320, say("beyond.axis.neurons"), say("beyond.axis.share"))
    return figure.update_layout(barmode="stack", bargap=0, showlegend=False).update_yaxes(range=[0, 100])
