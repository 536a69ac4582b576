"""The paper's experiments on the Measure tab. Which, what of it is measured, its figure over the paper's own lines, and
what becomes of the paper's findings, and the table; drawn from a desk.
"""

import gradio as gr
import pandas as pd

from evaluation.experiments import BARS, BESIDES, EXPERIMENTS, Experiment
from evaluation.suites import PER_TASK
from ui import costs, figures, lines, measuring, reasons, words
from ui.files import as_csv
from ui.inputs import Dial
from ui.measuring import Found
from ui.texts import retell, say
from ui.figure import figure as place
from ui.scoreboard import download, suites, table
from ui.workspace import Desk

PAPERS = [("none", ""), *((x, x) for x in lines.FAMILIES.values())]
MEASURED = "\N{NO-BREAK SPACE}✓"
ALONE = ("answers", "efficiency", *BESIDES)  # experiments that nothing of the paper's can be laid under


class Replication:
    """Its components; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=300, elem_classes="slab"):
                self.experiment = gr.Radio(
                    _choices(set()),
                    value="zero-shot",
                    show_label=False,
                    container=False,
                    elem_id="experiment",
                    elem_classes="list",
                )
                with gr.Accordion("More: what is asked, and how much", open=False, elem_id="experiment-more"):
                    self.suite = suites("experiment-suite")
                    self.per_task = Dial(
                        1, PER_TASK, PER_TASK, step=1, buttons=[], label="Questions a task", elem_id="asked-each"
                    )
                    self.seeds = Dial(
                        1,
                        len(measuring.SEEDS),
                        1,
                        step=1,
                        buttons=[],
                        label="Seeds",
                        info="Of calibration and training; each takes as long again",
                    )
                said = gr.HTML(elem_id="experiment-said")
                self.run = gr.Button("Run", variant="primary", size="lg", interactive=False, elem_id="run-experiment")
            with gr.Column(scale=9, min_width=320):
                with gr.Column(elem_classes="slab"):
                    head, figure = gr.HTML(elem_id="experiment-head"), place("experiment", "The experiment's results")
                    self.papers = gr.Radio(
                        PAPERS, value="", label="The paper's own lines, under ours", elem_id="papers"
                    )
                    suspect = gr.HTML(elem_id="suspect")
                judged = gr.HTML(elem_id="judged")
        with gr.Accordion("The same as a table", open=False, elem_id="experiment-table-more"):
            rows = table("experiment-table")
            csv = download("experiment-csv")
        self.settings = [self.experiment, self.suite, self.per_task, self.seeds]
        self.outputs = [*self.settings, said, self.run, head, figure, self.papers, suspect, judged, rows, csv]

    def draw(self, desk: Desk) -> list:
        wish, one = desk.measuring.asked, EXPERIMENTS[desk.measuring.experiment]
        found, under = measuring.found(desk), measuring.papers(desk)
        printed = lines.printed(one.name, under) if under else []
        missing = found.table.empty
        return [
            gr.Radio(_choices(measuring.complete(desk)), value=one.name),
            wish.suite,
            wish.per_task,
            desk.measuring.seeds,
            (words.notice(desk.measuring.refusal, "error") or words.notice(_status(one, found)))
            + reasons.why({"run-experiment": reasons.waits(desk) or ("" if found.missing else _status(one, found))}),
            gr.Button(_label(found), interactive=bool(found.missing) and not desk.busy),
            _head(one, found, desk.shared.name),
            _figure(one.name, found, printed),
            _switch(one, under if printed else ""),
            _about_paper(one, printed),
            costs.judged(one.name, found.table),
            None if missing else _rows(one.name, found),
            gr.DownloadButton(visible=False) if missing else as_csv(found.table, one.name),
        ]


def _choices(complete: set[str]) -> list[tuple[str, str]]:
    """Title and where the paper has it, with a mark on those that are measured on this model."""
    return [
        (f"{say(x.title)} ({_where(x)}){MEASURED if x.name in complete else ''}", x.name) for x in EXPERIMENTS.values()
    ]


def _where(one: Experiment) -> str:
    """Where the paper has it."""
    return retell(one.paper)


def _label(found: Found) -> str:
    if not found.missing:
        return say("All measured")
    if found.missing == found.total:
        return say("Run")
    return say("Run the other {missing} of {total}", missing=found.missing, total=found.total)


def _status(one: Experiment, found: Found) -> str:
    if not found.missing:
        return say("All {total} measurements are kept: nothing needs to be computed.", total=found.total)
    here = found.total - found.missing
    said = "{here} of {total} measurements are kept." if here else "{total} measurements to make."
    kept = say(said, here=here, total=found.total) + say(" What is done stays, whatever ends the run.")
    return kept + (say(" Models are trained for it.") if one.trains else "")


def _head(one: Experiment, found: Found, model: str) -> str:
    where = words.capital(_where(one))
    if found.table.empty:
        return words.heading(say(one.title), say("{where}. Not run yet on {model}.", where=where, model=model))
    read = say("{where}. {how}", where=where, how=say(costs.READ[one.name]))
    return words.heading(costs.finding(one.name, found.table), read)


def _figure(name: str, found: Found, printed: list):
    """None where there is nothing to draw."""
    if found.table.empty:
        return figures.experiment(lines.axis(name), [], printed) if printed else None
    if name == "efficiency":
        return figures.efficiency(found.table)
    if name == "answers":
        return figures.answers(*measuring.said(found.results))
    bars = BARS if name in ("healing", "competing") else {}
    return figures.experiment(lines.axis(name), lines.ours(name, found.table), printed, bars)


def _switch(one: Experiment, under: str) -> gr.Radio:
    """Whose lines can lie under ours; the paper prints the numbers of only some experiments."""
    choices = [(say(x), y) for x, y in PAPERS if not y or lines.printed(one.name, y)]
    return gr.Radio(choices, value=under, visible=len(choices) > 1)


def _about_paper(one: Experiment, printed: list) -> str:
    """What is not to be trusted of the paper's numbers, or that it prints none."""
    none = one.name not in ALONE and not any(lines.printed(one.name, x) for x in lines.FAMILIES.values())
    said = f'<p class="quiet">{say(costs.NUMBERLESS, where=_where(one))}</p>' if none else ""
    return said + costs.contradictions(one.name, lines.suspicions(printed))


def _rows(name: str, found: Found) -> pd.DataFrame:
    if name != "answers":
        return costs.shown(name, found.table)
    variants, records = measuring.said(found.results)
    told = [[x[0].question, x[0].truth, *(f"{'✓' if y.right else '✗'} {y.answer}" for y in x)] for x in zip(*records)]
    return pd.DataFrame(told, columns=[say("question"), say("true answer"), *map(retell, variants)])
