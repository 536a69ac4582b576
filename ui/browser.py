"""Every single answer on the Measure tab, to be filtered and looked at. Questions by task and outcome, everybody's
answers, how likely each held the true one, and the picture of the one that was clicked; drawn from a desk.
"""

import gradio as gr

from ui import heard, measuring, words
from ui.files import as_csv
from ui.heard import EVERY_TASK, FILTERS
from ui.scoreboard import download, table
from ui.texts import retell, say
from ui.workspace import Desk

SOURCES = [("The models at hand", "desk"), ("The experiment above", "experiment")]
MOST_ROWS = 500  # shown at once


class Browser:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        with gr.Column(elem_classes="slab", elem_id="records-slab"):
            with gr.Row(equal_height=False):
                self.source = gr.Radio(
                    SOURCES, value="desk", label="Answers of", min_width=300, scale=2, elem_id="source"
                )
                self.other = gr.Dropdown([], label="Compared with the original", min_width=220, elem_id="other")
                self.task = gr.Dropdown([EVERY_TASK], value=EVERY_TASK, label="Task", min_width=160, elem_id="task")
            self.which = gr.Radio([(y, x) for x, y in FILTERS.items()], value="all", label="Show", elem_id="which")
            said = gr.HTML(elem_id="records-said")
            with gr.Row(equal_height=False):
                with gr.Column(scale=8, min_width=320):
                    self.records = table("records", wrap=True)
                    csv = download("records-csv")
                with gr.Column(scale=3, min_width=260):
                    image = gr.Image(
                        show_label=False,
                        interactive=False,
                        visible=False,
                        height=240,
                        buttons=[],
                        elem_id="asked-image",
                    )
                    self.one = [image, gr.HTML(elem_id="record")]
        self.filters = [self.source, self.other, self.task, self.which]
        self.outputs = [*self.filters, said, self.records, csv, *self.one]

    def draw(self, desk: Desk) -> list:
        browse, source = desk.measuring.browse, measuring.source(desk)
        found, names = measuring.records(desk), [x for x, _ in measuring.compared(desk)]
        if not found:
            return [
                source,
                gr.Dropdown([], value=None, interactive=False),
                gr.Dropdown([(say(EVERY_TASK), EVERY_TASK)], value=EVERY_TASK),
                browse.which,
                words.notice(_why(desk, source)),
                gr.Dataframe(visible=False),
                gr.DownloadButton(visible=False),
                *_nothing(),
            ]
        tasks = [EVERY_TASK, *found[0].report.scores]
        task = browse.task if browse.task in tasks else EVERY_TASK
        place = min(browse.other, len(names) - 1)
        places = heard.chosen(found, browse.which, place if source == "desk" else 1, task)
        told = heard.listed(found, places)
        return [
            source,
            gr.Dropdown(
                [(retell(x), x) for x in names[1:]], value=names[place] if place else None, interactive=len(names) > 2
            ),
            gr.Dropdown([(say(x), x) for x in tasks], value=task),
            browse.which,
            _count(len(places), len(found[0].report.records)),
            gr.Dataframe(told.head(MOST_ROWS), visible=True, column_widths=_widths(len(found))),
            as_csv(heard.written(found, places), "answers"),
            *(draw_one(desk, places[0]) if places else _nothing()),
        ]


def _nothing() -> list:
    return [gr.Image(value=None, visible=False), ""]


def draw_one(desk: Desk, place: int) -> list:
    """The picture and everybody's answer of one record; as it was, where there is no such record any more."""
    found = measuring.records(desk)
    if not found or place >= len(found[0].report.records):
        return [gr.skip(), gr.skip()]
    image = measuring.picture(desk, place)
    return [gr.Image(value=image, visible=image is not None), heard.detail(found, place)]


def _widths(variants: int) -> list[str]:
    """The question takes what one variant alone leaves free."""
    return ["52px", "104px", "352px" if variants == 1 else "220px", "96px", *["132px"] * variants]


def _why(desk: Desk, source: str) -> str:
    if source == "desk":
        return say("Score the models at hand to read their answers.")
    empty = measuring.found(desk).table.empty
    return say("Run the experiment to read its answers." if empty else "This experiment asks no questions.")


def _count(some: int, total: int) -> str:
    said = say(
        "<b>{some:,}</b> of {total:,} questions. In brackets: how likely the model held the true answer. Click a row "
        "to see the picture.",
        some=some, total=total,
    )  # fmt: skip
    if some > MOST_ROWS:
        said += say(" The first {most} are shown; the file has all.", most=MOST_ROWS)
    return f'<p class="asked">{said}</p>'
