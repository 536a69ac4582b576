"""The hunt on the Cases tab: where each question first breaks, worst first, with the picture and everybody's answer of
the row that was clicked; drawn from a desk.
"""

import gradio as gr
import pandas as pd
import plotly.graph_objects as go

from evaluation import hunt
from evaluation.suites import PER_TASK
from ui import heard, hunting, reasons, words
from ui.figure import figure
from ui.hunting import OVER, Catch
from ui.inputs import Dial
from ui.plots import look
from ui.scoreboard import suites, table
from ui.texts import retell, say
from ui.words import VARIANT_COLOURS
from ui.workspace import Desk

MOST_ROWS = 300
WIDTHS = ["54px", "180px", "92px", "88px", "100px", "92px", "70px"]
READ = (
    "Of the questions that the original answers right: how many each model is the first to get wrong. The worst come "
    "first below: those whose true answer lost most of its probability."
)


class Hunted:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="slab"):
                self.over = gr.Radio(
                    [(y, x) for x, y in OVER.items()], value="widthwise", label="Hunt over", elem_id="hunt-over",
                    elem_classes="list",
                )  # fmt: skip
                self.steps = gr.Radio(
                    [("15, 30, 45 and 60%", "paper"), ("Every 5%", "fine")],
                    value="paper",
                    label="Ratios",
                    elem_id="hunt-steps",
                )
                with gr.Accordion("More: which questions, and how many", open=False, elem_id="hunt-more"):
                    self.suite = suites("hunt-suite")
                    self.per_task = Dial(
                        1, PER_TASK, PER_TASK, step=1, buttons=[], label="Questions a task", elem_id="hunt-each"
                    )
                said = gr.HTML(elem_id="hunt-said")
                self.start = gr.Button("Hunt", variant="primary", size="lg", interactive=False, elem_id="hunt")
            with gr.Column(scale=9, min_width=320, elem_classes="slab"):
                head, drawn = (
                    gr.HTML(elem_id="hunt-head"),
                    figure("hunt", "How many questions break first at each model"),
                )
        with gr.Column(elem_classes="slab"):
            self.task = gr.Radio([("Every task", "")], value="", label="Task", elem_id="hunt-task")
            with gr.Row(equal_height=False):
                with gr.Column(scale=8, min_width=320):
                    self.prey = table("prey", wrap=True)
                with gr.Column(scale=4, min_width=280):
                    image = gr.Image(
                        show_label=False, interactive=False, visible=False, height=220, buttons=[], elem_id="prey-image"
                    )
                    told = gr.HTML(elem_id="prey-told")
                    self.keep = gr.Button("Keep this case", visible=False, elem_id="keep-prey")
        self.settings = [self.over, self.steps, self.suite, self.per_task]
        self.one = [image, told, self.keep]
        self.outputs = [*self.settings, said, self.start, head, drawn, self.task, self.prey, *self.one]

    def draw(self, desk: Desk) -> list:
        wish, catch = desk.keeping.hunting, hunting.caught(desk)
        tasks = list(dict.fromkeys(x.task for x in catch.original))
        wish.task = wish.task if wish.task in tasks else ""
        shown = catch.of(wish.task)
        return [
            wish.over,
            gr.Radio(value=wish.steps, visible=wish.over != "hand"),
            wish.suite,
            wish.per_task,
            words.notice(_status(wish.over, catch))
            + reasons.why({"hunt": reasons.waits(desk) or _status(wish.over, catch)}),
            gr.Button(_label(catch), interactive=bool(catch.missing) and catch.total > 1 and not desk.busy),
            words.heading(finding(catch), say(READ) if catch.hunted else ""),
            breaks(catch) if catch.hunted else None,
            gr.Radio([(say("Every task"), ""), *((say(x), x) for x in tasks)], value=wish.task, visible=len(tasks) > 1),
            gr.Dataframe(rows(catch, shown[:MOST_ROWS]), visible=bool(shown), column_widths=WIDTHS),
            *self.draw_one(desk, catch),
        ]

    def draw_one(self, desk: Desk, catch: Catch | None = None) -> list:
        """The failure that is looked at; the worst where none was chosen."""
        wish, catch = desk.keeping.hunting, catch or hunting.caught(desk)
        shown = catch.of(wish.task)
        failure = next((x for x in shown if x.place == wish.place), shown[0] if shown else None)
        if failure is None:
            return [gr.Image(value=None, visible=False), "", gr.Button(visible=False)]
        wish.place = failure.place
        image, kept = hunting.picture(desk, failure.place), failure.place in (wish.kept or {})
        keep = gr.Button(
            say("Kept: it is in the list above" if kept else "Keep this case"), visible=True, interactive=not kept
        )
        return [gr.Image(value=image, visible=image is not None), _detail(catch, failure), keep]


def _status(over: str, catch: Catch) -> str:
    asked = catch.total - catch.missing
    if over == "hand" and catch.total < 2:
        return say("Only the original is at hand: prune it first, or hunt ratio by ratio.")
    if not catch.missing:
        return say("All {total} models were asked: nothing needs to be computed.", total=catch.total)
    some = "{asked} of {total} models were asked." if asked else "{total} models to ask."
    goes_on = say(" It goes on in the background, and what is done stays, whatever ends it.")
    return say(some, asked=asked, total=catch.total) + goes_on


def _label(catch: Catch) -> str:
    if catch.total and not catch.missing:
        return say("All asked")
    if catch.missing == catch.total:
        return say("Hunt")
    return say("Hunt on: {missing} of {total} to ask", missing=catch.missing, total=catch.total)


def first_breaks(catch: Catch) -> hunt.Breaks:
    """How many questions each hunted model is the first to get wrong."""
    return hunt.breaks(catch.original, catch.hunted, catch.failures)


def finding(catch: Catch) -> str:
    """Where most breaks, in one sentence."""
    if not catch.hunted:
        return say("Where does it break first?")
    found = first_breaks(catch)
    if not catch.failures:
        return say("Nothing breaks: all {right:,} questions that the original knows stay right", right=found.of)
    return say(
        "{broken:,} of {right:,} right answers break, {most:,} of them first at {title}",
        broken=len(catch.failures), right=found.of, most=found.counts[found.most],
        title=retell(catch.hunted[found.most].title),
    )  # fmt: skip


def breaks(catch: Catch) -> go.Figure:
    """A bar a model, least pruned first: how many questions it is the first to get wrong."""
    found = first_breaks(catch)
    chart = go.Figure()
    for kind in dict.fromkeys(x.kind for x in catch.hunted):
        mine = [i for i, x in enumerate(catch.hunted) if x.kind == kind]
        chart.add_bar(
            x=[retell(catch.hunted[i].title) for i in mine],
            y=[found.counts[i] for i in mine],
            name=say(kind),
            marker=dict(color=VARIANT_COLOURS[kind]),
            text=[f"{found.counts[i]:,}" for i in mine],
            textposition="outside",
            cliponaxis=False,
            hovertext=[
                say(
                    "{title}: {n:,} of {right:,} questions break here first ({share})",
                    title=retell(catch.hunted[i].title),
                    n=found.counts[i],
                    right=found.of,
                    share=words.percent(round(found.share(i), 3)),
                )
                for i in mine
            ],
            hoverinfo="text",
        )
    look(chart, 300, say("what was pruned"), say("questions that break first"))
    chart.update_layout(margin_t=24, bargap=0.5)  # room for the numbers over the bars
    chart.update_xaxes(categoryorder="array", categoryarray=[retell(x.title) for x in catch.hunted])
    return chart.update_yaxes(rangemode="tozero")


def rows(catch: Catch, failures: list) -> pd.DataFrame:
    """A row a failure: number of the question, what was asked, both answers, where it breaks, and by how much the true
    answer's probability fell."""
    found = []
    for x in failures:
        record, first = catch.original[x.place], catch.hunted[x.first]
        fell = "–" if x.drop is None else f"−{100 * x.drop:.0f}%" if x.drop > 0 else "0%"
        mends = say(" (mends later)") if x.mends else ""
        wrong = first.records[x.place].answer or "–"
        found.append([x.place + 1, record.question, say(record.task), record.answer, wrong,
                      f"{_short(first)}{mends}", fell])  # fmt: skip
    columns = ["#", "question", "task", "original", "first wrong", "breaks at", "truth fell"]
    return pd.DataFrame(found, columns=[say(x) for x in columns])


def _short(hunted: hunt.Hunted) -> str:
    """Of models that differ in their ratio only, that."""
    return retell(hunted.title) if hunted.asked is None else words.percent(hunted.asked)


def _detail(catch: Catch, failure) -> str:
    """The question, with everybody's answer."""
    record = catch.original[failure.place]
    others = "".join(heard.answer(x.kind, x.title, x.records[failure.place]) for x in catch.hunted)
    upto = retell(catch.hunted[failure.first - 1].title) if failure.first else say("the original alone")
    about = f"{say(record.task)} · {say('right up to {title}', title=upto)}"
    return (
        f'<div class="record"><h3>{words.escape(record.question)}</h3>{heard.true(record.truth, about)}'
        f"{heard.answer('original', 'Original', record)}{others}</div>"
    )
