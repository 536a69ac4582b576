"""What every figure of the page hands out as a table."""

import io
import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from gradio.components.plot import PlotData
from plotly.subplots import make_subplots

from ui import figure, plots


def table(drawn: go.Figure) -> pd.DataFrame:
    return figure.table(json.loads(drawn.to_json()))


def test_bars_come_back_with_their_axes_names():
    """A bar is a row: its numbers in columns named by the axes' titles, what hover says beside them."""
    drawn = go.Figure(go.Bar(x=np.array([1.5, np.nan, 3.0]), y=[0, 1, 2], orientation="h", name="stays",
                             hovertext=["<b>Layer 0</b> stays", "", "Layer 2"]))  # fmt: skip
    drawn.update_xaxes(title="influence").update_yaxes(title=dict(text="layer"))
    found = table(drawn)
    assert list(found.columns) == ["series", "influence", "layer", "note"]
    assert found["influence"].tolist() == [1.5, 3.0] and found["layer"].tolist() == [0, 2]
    assert found["note"].tolist() == ["Layer 0 stays", "Layer 2"]


def test_a_map_is_a_row_a_cell_with_its_own_numbers():
    """Cells of a heatmap keep row, column, colour and the numbers that hover tells, by the names given to them."""
    values = np.array([[0.1, 0.2, 0.3], [0.4, np.nan, 0.6]])
    drawn = go.Figure(go.Heatmap(z=values, customdata=np.dstack([values * 10]), meta={"columns": ["importance"]}))
    found = table(drawn)
    assert len(found) == 5
    np.testing.assert_allclose(found["importance"].astype(float), found["value"].astype(float) * 10)
    assert found.loc[found["value"] == 0.6, ["x", "y"]].values.tolist() == [[2, 1]]


def test_panels_are_told_apart():
    """Every point says under which of the panels' titles it stands."""
    drawn = make_subplots(1, 2, subplot_titles=["Left", "Right <b>one</b>"])
    for column in (1, 2):
        drawn.add_scatter(x=[1, 2], y=[3.0, 4.0], name="a", row=1, col=column)
    found = table(drawn)
    assert found["panel"].tolist() == ["Left", "Left", "Right one", "Right one"]


def test_intervals_keep_both_ends():
    """Error bars that reach further down than up, along either axis, are told by where they end; those of one size, too."""
    drawn = go.Figure()
    drawn.add_scatter(x=[1, 2], y=np.array([3.0, 4.0]), error_y=dict(array=np.array([0.5, 1.0]), arrayminus=[1.5, 2.0]))
    drawn.add_scatter(x=[1, 2], y=[5, 6], error_x=dict(array=[0.5, 0.25]))
    found = table(drawn)
    assert found["lower end of y"].dropna().tolist() == [1.5, 2.0]
    assert found["upper end of y"].dropna().tolist() == [3.5, 5.0]
    assert found["lower end of x"].dropna().tolist() == [0.5, 1.75]
    assert found["upper end of x"].dropna().tolist() == [1.5, 2.25]


def test_the_apps_own_maps_say_which_head_goes_and_how_important_it_is():
    """The table of the heads' figure has every head once, with its importance as the scores hold it."""
    scores = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    found = table(plots.heads(scores, [np.array([0, 1]), np.array([1])], 1))
    heads = found.dropna(subset=["importance"])
    assert len(heads) == 4
    at = {(row["layer"], row["head"]): row for _, row in heads.iterrows()}
    assert {k: float(row["importance"]) for k, row in at.items()} == {(0, 0): 1, (0, 1): 2, (1, 0): 3, (1, 1): 4}
    assert [k for k, row in at.items() if row["series"] == "goes"] == [(1, 0)]


def test_the_file_reads_back():
    """What is downloaded is CSV of the figure that is on the screen, and nothing where none is."""
    drawn = go.Figure(go.Scatter(x=["a, b", "c"], y=[1, 2]))
    text = figure.as_csv(PlotData(type="plotly", plot=drawn.to_json()))
    assert pd.read_csv(io.StringIO(text))["x"].tolist() == ["a, b", "c"]
    assert figure.as_csv(None) == ""
