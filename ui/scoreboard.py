"""The models at hand on the Measure tab: what is asked of them, their scores and what they keep. Drawn from a desk."""

import gradio as gr

from evaluation.suites import PER_TASK
from ui import figures, heard, measuring, reasons, words
from ui.figure import figure
from ui.files import as_csv
from ui.inputs import Dial
from ui.measuring import SUITES
from ui.texts import retell, say
from ui.workspace import Desk

ALL_ASKED = "All models at hand were asked these questions: choose others, or prune another one."
HOW_TO = {
    "scores": "A row a task, a mark a model, all asked the same held-out questions.",
    "kept": "Share of the original's score, by the answer's form and the task's demand. Bars: 95% intervals.",
}


class Scoreboard:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        with gr.Column(elem_classes="slab"):
            head = gr.HTML()
            with gr.Row(equal_height=False, elem_classes="asking"):
                self.suite = suites("suite")
                self.per_task = Dial(
                    1,
                    PER_TASK,
                    measuring.AT_HAND,
                    step=1,
                    buttons=[],
                    label="Questions a task",
                    scale=2,
                    elem_id="per-task",
                    min_width=200,
                )
                self.score = gr.Button(
                    "Score", variant="primary", interactive=False, elem_id="score", scale=1, min_width=180
                )
            said = gr.HTML(elem_id="score-said")
        cards = gr.HTML(elem_id="score-cards")
        with gr.Row(equal_height=False, visible=False) as pair:
            with gr.Column(scale=6, min_width=320, elem_classes=["slab", "pair"]):
                scores_head, scores = gr.HTML(), figure("scores", "Scores, task by task")
            with gr.Column(scale=5, min_width=320, elem_classes=["slab", "pair"], visible=False) as kept_slab:
                kept_head, kept = gr.HTML(), figure("kept", "What is kept of the original's scores")
        with gr.Accordion("The same as a table", open=False, visible=False, elem_id="scores-more") as more:
            rows = table("scores-table")
            csv = download("scores-csv")
        self.outputs = [head, self.suite, self.per_task, self.score, said, cards, pair, scores_head, scores, kept_slab]
        self.outputs += [kept_head, kept, more, rows, csv]

    def draw(self, desk: Desk) -> list:
        wish, found, todo = desk.measuring.wish, measuring.heard(desk), measuring.unheard(desk)
        button = gr.Button(_label(desk, todo), interactive=bool(todo) and not desk.busy)
        said = words.notice(desk.measuring.refusal, "error") or words.notice(_hint(desk, todo, bool(found)))
        said += reasons.why({"score": reasons.waits(desk) or ("" if todo else say(ALL_ASKED))})
        asks = words.heading(
            say("What do the models at hand score?"), say("All answer the same held-out questions, word for word.")
        )
        drawn = [asks, wish.suite, wish.per_task, button, said]
        if not found:
            nothing = ["", gr.Row(visible=False), "", None, gr.Column(visible=False), "", None]
            return [*drawn, *nothing, gr.Accordion(visible=False), None, gr.DownloadButton(visible=False)]
        shares, rows = heard.kept(found), heard.table(found)
        compared = len(found) > 1 and bool(shares)
        return [
            *drawn,
            heard.cards(found),
            gr.Row(visible=True),
            words.heading(heard.finding(found), say(HOW_TO["scores"])),
            figures.scores(heard.rows(found)),
            gr.Column(visible=compared),
            words.heading(heard.kept_finding(shares), say(HOW_TO["kept"])) if compared else "",
            figures.retained(shares) if compared else None,
            gr.Accordion(visible=True),
            heard.worded(rows),
            as_csv(rows, f"scores-{wish.suite}"),
        ]


def suites(name: str) -> gr.Radio:
    """Which questions."""
    choices = [(title, x) for x, title in SUITES.items()]
    return gr.Radio(choices, value="scenes", label="Asked about", elem_id=name, min_width=280, scale=3)


def table(name: str, **options) -> gr.Dataframe:
    """A table to read."""
    return gr.Dataframe(
        interactive=False,
        show_label=False,
        elem_id=name,
        elem_classes="sheet",
        max_height=420,
        buttons=["fullscreen"],
        datatype="auto",
        **options,
    )


def download(name: str) -> gr.DownloadButton:
    """The button under a table."""
    return gr.DownloadButton("Download as CSV", size="sm", elem_id=name, elem_classes="file", visible=False)


def _label(desk: Desk, todo: list) -> str:
    if not todo:
        return say("Scored")
    if len(todo) == 1:
        return say("Score the original" if todo[0].kind == "original" else f"Score the {todo[0].kind} one")
    return say("Score all {n}" if len(todo) == len(list(desk.variants)) else "Score the other {n}", n=len(todo))


def _hint(desk: Desk, todo: list, some: bool) -> str:
    if desk.pruned is None:
        return say("Only the original is at hand: prune it first, to see what that costs.")
    if some and todo:
        names = words.listed([f"“{retell(x.title)}”" for x in todo])
        return say("{names} came later: score again to compare.", names=names)
    return ""
