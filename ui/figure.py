"""How a figure stands on the page, and how it is taken away: as a picture (PNG, SVG) by the browser, or as the table of
numbers that it draws (CSV). What figures show is drawn elsewhere.
"""

import base64
import html
import json
import re

import gradio as gr
import numpy as np
import pandas as pd

PICTURES = ("PNG", "SVG")
TAG = re.compile(r"<[^>]+>")


def figure(name: str, label: str, classes: str = "") -> gr.Plot:
    """A place for a figure with its three downloads, which a keyboard reaches too. `name` makes the element's id
    ("plot-" + name) and the files' names; `label` is what a screen reader calls it."""
    buttons = {kind: gr.Button(kind, size="sm") for kind in (*PICTURES, "CSV")}
    plot = gr.Plot(
        label=label,
        show_label=False,
        container=False,
        elem_id=f"plot-{name}",
        elem_classes=["figure", *classes.split()],
        buttons=list(buttons.values()),
    )
    text = gr.Textbox(visible=False)
    for kind in PICTURES:
        buttons[kind].click(
            None, None, None, js=f"() => prunoscope.saveFigure('{name}', '{kind.lower()}')", api_visibility="private"
        )
    buttons["CSV"].click(
        as_csv, plot, text, queue=False, show_progress="hidden", api_visibility="private"
    ).success(
        None, text, None, js=f"text => prunoscope.saveText('{name}.csv', text)", api_visibility="private"
    )  # fmt: skip
    return plot


def as_csv(payload) -> str:
    """The table behind the figure that the browser shows (Gradio's PlotData), as CSV; empty where none is shown."""
    return table(json.loads(payload.plot)).to_csv(index=False) if payload else ""


def table(drawn: dict) -> pd.DataFrame:
    """Every point of a figure (Plotly's JSON: data and layout) that says something on hover, a row each; others are
    marks upon those.

    Columns, where anything is in them: panel, series, one for each axis by its title, value (a map's), the lower and
    the upper end of each interval that is drawn, note (what is said on hover), and what a trace's `meta["columns"]`
    names of its customdata. A trace whose `meta["row"]` (column → value) says what it stands for, as a shape does,
    gives that row alone.
    """
    layout = drawn.get("layout", {})
    parts = [_rows(trace, layout) for trace in drawn.get("data", []) if trace.get("hoverinfo") != "skip"]
    parts = [x for x in parts if len(x)]
    if not parts:
        return pd.DataFrame()
    found = pd.concat(parts, ignore_index=True)
    return found.dropna(axis=1, how="all")


def _rows(trace: dict, layout: dict) -> pd.DataFrame:
    if row := (trace.get("meta") or {}).get("row"):
        return pd.DataFrame([row])
    x_name, y_name = (_axis(trace, layout, x) for x in "xy")
    x, y, z = (_array(trace.get(part)) for part in "xyz")
    if z is not None and z.ndim == 2:  # a map: (rows of y, columns of x)
        x = np.arange(z.shape[1]) if x is None else x
        y = np.arange(z.shape[0]) if y is None else y
        x, y = np.tile(x, len(y)), np.repeat(y, len(x))
    if x is None and y is None:
        return pd.DataFrame()
    count = len(x if x is not None else y)
    columns = {
        "panel": _panel(trace, layout),
        "series": _plain(trace.get("name")),
        x_name: x if x is not None else np.arange(count),
        y_name: y if y is not None else np.arange(count),
    }
    if z is not None:
        columns["value"] = z.ravel()
    for axis, name in (("x", x_name), ("y", y_name)):
        columns |= _ends(trace.get(f"error_{axis}") or {}, name, columns[name])
    columns["note"] = _notes(trace, count)
    found = pd.DataFrame({name: _fit(values, count) for name, values in columns.items()})
    told = _array(trace.get("customdata"))
    if told is not None:
        told = told.reshape(count, -1)
        for i, name in enumerate((trace.get("meta") or {}).get("columns", [])):
            found[name] = told[:, i]
    drawn = z.ravel() if z is not None else found[x_name] if trace.get("orientation") == "h" else found[y_name]
    return found[~pd.isna(np.asarray(drawn, dtype=object))]


def _ends(bar: dict, name: str, values) -> dict:
    """Both ends of Plotly's error bars about the values of an axis; without `arrayminus` both reach as far."""
    above = _array(bar.get("array"))
    if above is None:
        return {}
    below = _array(bar["arrayminus"]) if bar.get("arrayminus") is not None else above
    sizes = [np.asarray(x, dtype=float) for x in (values, below, above)]
    return {f"lower end of {name}": sizes[0] - sizes[1], f"upper end of {name}": sizes[0] + sizes[2]}


def _axis(trace: dict, layout: dict, letter: str) -> str:
    """The title of the axis that a trace lies on, or the axis' letter."""
    axis = trace.get(f"{letter}axis", letter)
    title = layout.get(f"{letter}axis{axis[1:]}", {}).get("title") or {}
    return _plain(title.get("text") if isinstance(title, dict) else title) or letter


def _panel(trace: dict, layout: dict) -> str | None:
    """The title over a trace's panel, as Plotly's subplots write it: an annotation in the middle above it."""
    x, y = (
        layout.get(f"{letter}axis{trace.get(f'{letter}axis', letter)[1:]}", {}).get("domain", (0, 1)) for letter in "xy"
    )
    for note in layout.get("annotations", []):
        at = note.get("x"), note.get("y")
        if note.get("xref") == note.get("yref") == "paper" and None not in at and note.get("yanchor") == "bottom":
            if abs(at[0] - (x[0] + x[1]) / 2) < 1e-6 and abs(at[1] - y[1]) < 1e-6:
                return _plain(note.get("text"))
    return None


def _array(values) -> np.ndarray | None:
    """A list, or Plotly's base64 form of a typed array: {"dtype", "bdata", "shape"}."""
    if values is None:
        return None
    if isinstance(values, dict):
        found = np.frombuffer(base64.b64decode(values["bdata"]), dtype=np.dtype(values["dtype"]))
        shape = values.get("shape")
        return found.reshape([int(n) for n in str(shape).split(",")]) if shape else found
    return np.array(values, dtype=object)


def _fit(values, count: int):
    """One value for all rows, or one each; shorter lists are filled up."""
    if values is None or isinstance(values, str):
        return [values] * count
    return list(values)[:count] + [None] * (count - len(values))


def _notes(trace: dict, count: int) -> list[str | None]:
    notes = trace.get("hovertext", trace.get("text"))
    if isinstance(notes, list):
        return [_plain(x) for x in notes]
    return [_plain(notes)] * count


def _plain(text) -> str | None:
    """Without Plotly's markup."""
    if not isinstance(text, str):
        return None
    return " ".join(html.unescape(TAG.sub(" ", text)).split()) or None
