"""Figures of what pruning costs, as pure functions. From an experiment's lines, or what models at hand answered, to
Plotly figures; the sentences over them are in `ui.costs`. Colours and grounds as in `ui.plots`.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from evaluation.scoring import Record
from evaluation.statistics import Retention
from evaluation.tables import beside_dense
from ui.lines import METHOD_LOOKS, X_TITLES, Line, Printed
from ui.plots import look
from ui.texts import retell, say
from ui.words import VARIANT_COLOURS, percent, significant

SYMBOLS = {"original": "circle", "pruned": "diamond", "recovered": "triangle-up", "int8": "square"}  # as the chips'
FILLS = ("", "-open", "-open-dot", "-dot")  # of the first of a kind, the second …
ZONES = (  # of the ratio in %, as under the slider
    (0, 30, "safe", "rgba(148, 163, 184, 0.10)"),
    (30, 50, "tipping", "rgba(242, 166, 90, 0.14)"),
    (50, 66, "extreme", "rgba(194, 65, 12, 0.14)"),
)
TICKS = {"ratio": (0, 15, 30, 45, 60), "fraction": (1, 5, 10, 20, 100), "calibration": (1, 2, 5, 10, 20, 50)}
CROWDED = 4  # lines; above, intervals are told in the hover alone
MEASURES = {  # of the efficiency table: column → panel title
    "weights GiB": "weights",
    "prefill GFLOPs": "compute",
    "first token ms": "first word after",
    "tokens/s": "words a second",
}
SCORES_HEIGHT = 440
GREY = "#808a9a"


def experiment(x: str, lines: Sequence[Line], under: Sequence[Printed] = (), bars: dict | None = None) -> go.Figure:
    """What is kept of the original's score (AVG-%) over column `x`, with 95% intervals; the paper's lines below ours.

    bars: ratio → what is to be reached, 0…1.
    """
    figure = go.Figure()
    for line in under:
        colour, _, symbol = line.look
        trusted = [not why for why in line.suspect]
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.name,
            mode="lines+markers",
            opacity=0.55,
            line=dict(color=colour, width=5, dash="solid"),
            marker=dict(size=10, symbol=[f"{symbol}" if ok else "x-thin-open" for ok in trusted], color=colour,
                        line=dict(color=colour, width=[0 if ok else 2.5 for ok in trusted])),
            hovertext=line.told,
            hoverinfo="text",
        )  # fmt: skip
    names = {x.name for x in lines}
    for line in lines:
        colour, dash, symbol = line.look
        show = len(lines) <= CROWDED and bool(np.isfinite(line.low).all())
        figure.add_scatter(
            x=line.x,
            y=line.y,
            name=line.name,
            mode="lines+markers",
            line=dict(color=colour, width=2.4, dash=dash),
            marker=dict(size=9, symbol=list(line.symbols) or symbol, color=colour, line=dict(width=1.6, color=colour)),
            error_y=dict(
                array=line.high - line.y,
                arrayminus=line.y - line.low,
                visible=show,
                color=_faint(colour),
                thickness=1.6,
                width=4,
            ),
            hovertext=line.told,
            hoverinfo="text",
            legendgroup=line.twin or line.name,
            showlegend=line.twin not in names,
        )
    for ratio, bar in (bars or {}).items():
        figure.add_shape(type="line", x0=100 * ratio - 4, x1=100 * ratio + 4, y0=100 * bar, y1=100 * bar,
                         line=dict(color=VARIANT_COLOURS["recovered"], width=2, dash="dot"))  # fmt: skip
    named = [x for x in figure.data if x.showlegend is not False]  # a phone has them below one another
    look(figure, 400 + 8 * max(0, len(named) - CROWDED), say(X_TITLES[x]), say("kept (% of the original)"))
    _ground(figure, x)
    figure.update_yaxes(range=_span(lines, under), showgrid=True)
    return _legend(figure)


def _faint(colour: str) -> str:
    """A #rrggbb colour half transparent."""
    return "rgba({}, {}, {}, 0.5)".format(*(int(colour[i : i + 2], 16) for i in (1, 3, 5)))


def _span(lines: Sequence[Line], under: Sequence[Printed]) -> list[float]:
    """Ends of the axis of what is kept, in %: from 0, or from where all lines lie in the upper half."""
    lowest = min((float(np.nanmin(x.y)) for x in (*lines, *under)), default=0.0)
    highest = max((float(np.nanmax(x.y)) for x in (*lines, *under)), default=100.0)
    bottom = 0.0 if lowest < 50 else 10 * (lowest // 10) - 10
    return [bottom, max(highest, 100.0) + 0.13 * (100 - bottom)]


def _ground(figure: go.Figure, x: str) -> None:
    """The x axis with its zones, and the original's 100%."""
    figure.add_hline(y=100, line=dict(color=VARIANT_COLOURS["original"], width=1.2, dash="dot"))
    if x == "ratio":
        for start, end, name, colour in ZONES:
            figure.add_vrect(x0=start, x1=end, fillcolor=colour, line_width=0, layer="below")
            figure.add_annotation(
                x=(start + end) / 2, y=1, yref="paper", yanchor="top", text=say(name), showarrow=False
            )
        figure.update_xaxes(range=[-2, 66], tickvals=TICKS[x])
    else:
        ends = np.log10([TICKS[x][0], TICKS[x][-1]])
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=100, yanchor="bottom", text=say("original"), showarrow=False
        )
        figure.update_xaxes(type="log", tickvals=TICKS[x], range=[ends[0] - 0.08, ends[1] + 0.08], showgrid=True)


def _legend(figure: go.Figure, y: float = -0.19) -> go.Figure:
    """Names under the figure."""
    figure.update_layout(
        showlegend=True,
        legend=dict(orientation="h", tracegroupgap=0, y=y, yanchor="top", x=0, xanchor="left", font=dict(size=12)),
        margin=dict(t=26),
    )  # fmt: skip
    return figure


def efficiency(table: pd.DataFrame) -> go.Figure:
    """A panel a measure, in % of the original, over the ratio: a line a method."""
    measures = [x for x in MEASURES if x in table]
    figure = make_subplots(
        -(-len(measures) // 2), 2, subplot_titles=[say(MEASURES[x]) for x in measures], vertical_spacing=0.2,
        horizontal_spacing=0.13,
    )  # fmt: skip
    measured = {method: beside_dense(table, method) for method in METHOD_LOOKS}
    for i, column in enumerate(measures):
        for method, (colour, dash, symbol) in METHOD_LOOKS.items():
            rows, kept = measured[method]
            if len(rows) < 2:
                continue
            figure.add_scatter(
                x=100 * rows["ratio"],
                y=kept[column],
                name=retell(method),
                legendgroup=method,
                showlegend=i == 0,
                mode="lines+markers",
                line=dict(color=colour, width=2.4, dash=dash),
                marker=dict(size=8, symbol=symbol, color=colour),
                hovertext=[
                    say(
                        "<b>{method}, {share} removed</b><br>{measure}: {kept}% of the original's<br>{was} → {now}",
                        method=retell(method),
                        share=percent(r),
                        measure=say(MEASURES[column]),
                        kept=significant(k),
                        was=_quantity(column, rows[column].iloc[0]),
                        now=_quantity(column, v),
                    )
                    for r, k, v in zip(rows["ratio"], kept[column], rows[column], strict=True)
                ],
                hoverinfo="text",
                row=i // 2 + 1,
                col=i % 2 + 1,
            )
    figure.update_annotations(font=dict(size=13))
    look(figure, 470, "", "")
    figure.add_hline(y=100, line=dict(color=VARIANT_COLOURS["original"], width=1.2, dash="dot"))
    figure.update_xaxes(range=[-3, 64], tickvals=TICKS["ratio"])
    figure.update_xaxes(title=dict(text=say("removed (%)")), row=-(-len(measures) // 2))
    figure.update_yaxes(title=dict(text=say("of the original (%)")), col=1)
    figure.update_yaxes(showgrid=True, rangemode="tozero")
    return _legend(figure, -0.14)


def _quantity(column: str, value: float) -> str:
    number, unit = value, column.split()[-1]
    if unit == "GiB" and value < 1:
        number, unit = 1024 * value, "MiB"
    return f"{significant(number)} {say(unit)}"


def answers(variants: Sequence[str], records: Sequence[Sequence[Record]]) -> go.Figure:
    """Which of a few questions each variant answers right: a row a question, ● right and ✕ wrong. records: (V, N)."""
    figure, asked = go.Figure(), records[0]
    for right, symbol, colour, name in (
        (True, "circle", VARIANT_COLOURS["recovered"], "right"),
        (False, "x-thin-open", VARIANT_COLOURS["pruned"], "wrong"),
    ):
        found = [(v, i, r) for v, rows in enumerate(records) for i, r in enumerate(rows) if r.right is right]
        figure.add_scatter(
            x=[v for v, _, _ in found],
            y=[i for _, i, _ in found],
            name=say(name),
            mode="markers",
            marker=dict(symbol=symbol, size=11, color=colour, line=dict(color=colour, width=2.2)),
            hovertext=[
                say(
                    "<b>{question}</b><br>{model} says: {answer}<br>True is: {truth}",
                    question=r.question,
                    model=retell(variants[v]),
                    answer=r.answer or say("nothing"),
                    truth=r.truth,
                )
                for v, _, r in found
            ],
            hoverinfo="text",
        )
    look(figure, 28 * len(asked) + 90, "", "")
    figure.update_xaxes(tickvals=list(range(len(variants))), ticktext=[retell(x) for x in variants], side="top",
                        range=[-0.5, len(variants) - 0.5])  # fmt: skip
    figure.update_yaxes(tickvals=list(range(len(asked))), ticktext=[_short(x.question) for x in asked],
                        range=[len(asked) - 0.5, -0.5], showgrid=True, automargin=True)  # fmt: skip
    return _legend(figure, -0.02).update_layout(margin=dict(t=30))


def _short(text: str, longest: int = 22) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1].rstrip()}…"


# --- models at hand ---


def scores(rows: pd.DataFrame) -> go.Figure:
    """Right answers in %, a row a task and the average on top: a mark a variant, joined by a line.

    rows: task, kind, title, score (0…100), right, asked; tasks in order, the average first.
    """
    tasks = list(dict.fromkeys(rows["task"]))
    figure = go.Figure()
    for i, task in enumerate(tasks):
        found = rows["score"][rows["task"] == task]
        figure.add_scatter(
            x=[found.min(), found.max()], y=[i] * 2, mode="lines", hoverinfo="skip",
            showlegend=False, line=dict(color="rgba(128, 138, 154, 0.45)", width=3),
        )  # fmt: skip
    kinds = dict(zip(rows["title"], rows["kind"], strict=True))
    shift, marks = _apart(kinds), _marks(kinds)
    for title in kinds:
        part = rows[rows["title"] == title]
        figure.add_scatter(
            x=part["score"],
            y=[tasks.index(x) + shift[title] for x in part["task"]],
            name=retell(title),
            mode="markers",
            marker=marks[title],
            cliponaxis=False,
            hovertext=[
                say(
                    "<b>{title}, {task}</b><br>{score:.1f}% right: {right} of {asked} questions"
                    if x.asked
                    else "<b>{title}, {task}</b><br>{score:.1f}% right",
                    title=retell(title),
                    task=say(x.task),
                    score=x.score,
                    right=x.right,
                    asked=x.asked,
                )
                for x in part.itertuples()
            ],
            hoverinfo="text",
        )
    look(figure, SCORES_HEIGHT, say("right answers (%)"), "")
    _rows(figure, [say(x) for x in tasks])
    figure.add_hline(y=0.5, line=dict(color="rgba(128, 138, 154, 0.5)", width=1))
    figure.update_xaxes(range=[-3, 103], showgrid=True, dtick=20)
    return _legend(figure, -0.15)


def retained(kept: dict[str, dict[str, tuple[str, Retention]]]) -> go.Figure:
    """What each variant keeps of the original's score, with its 95% interval, a row a group of questions.

    kept: group → title → (kind, retention); in their order.
    """
    groups = list(kept)
    figure = go.Figure()
    kinds = {title: kind for part in kept.values() for title, (kind, _) in part.items()}
    shift, marks = _apart(kinds), _marks(kinds)
    for title, kind in kinds.items():
        found = [(i, kept[group][title][1]) for i, group in enumerate(groups) if title in kept[group]]
        figure.add_scatter(
            x=[x.percent for _, x in found],
            y=[i + shift[title] for i, _ in found],
            name=retell(title),
            mode="markers",
            marker=marks[title],
            cliponaxis=False,
            error_x=dict(
                array=[x.high - x.percent for _, x in found], arrayminus=[x.percent - x.low for _, x in found],
                thickness=1.6, width=4, color=VARIANT_COLOURS[kind],
            ),
            hovertext=[
                say(
                    "<b>{title}, {group}</b><br>keeps {kept:.1f}% of the original's score (95%: {low:.1f} to "
                    "{high:.1f}%)",
                    title=retell(title), group=say(groups[i]), kept=x.percent, low=x.low, high=x.high,
                )
                for i, x in found
            ],
            hoverinfo="text",
        )  # fmt: skip
    look(figure, SCORES_HEIGHT, say("kept (% of the original)"), "")
    _rows(figure, [say(x) for x in groups])
    figure.add_vline(x=100, line=dict(color=VARIANT_COLOURS["original"], width=1.4, dash="dot"))
    figure.update_xaxes(rangemode="tozero", showgrid=True)
    return _legend(figure, -0.15)


def _apart(titles: Iterable[str]) -> dict[str, float]:
    """How far each variant's marks stand from the middle of their row, so that none hides another."""
    titles = list(titles)
    step = min(0.18, 0.6 / max(1, len(titles) - 1))
    return {title: step * (i - (len(titles) - 1) / 2) for i, title in enumerate(titles)}


def _marks(kinds: dict[str, str]) -> dict[str, dict]:
    """Title → its mark: a colour and a shape for each kind, filled otherwise for each further one of a kind."""
    seen: dict[str, int] = {}
    found = {}
    for title, kind in kinds.items():
        fill = FILLS[seen.get(kind, 0) % len(FILLS)]
        seen[kind] = seen.get(kind, 0) + 1
        line = dict(width=2 if "open" in fill else 0, color=VARIANT_COLOURS[kind])
        found[title] = dict(symbol=SYMBOLS[kind] + fill, size=12, color=VARIANT_COLOURS[kind], line=line)
    return found


def _rows(figure: go.Figure, names: Sequence[str]) -> None:
    """One row a name, the first on top."""
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=list(names), range=[len(names) - 0.5, -0.5],
                        automargin=True)  # fmt: skip
