"""The Measure tab: what the models at hand score, the paper's experiments, and every single answer. Its three parts
draw themselves; here is what changes which of them.
"""


import gradio as gr

from ui import measuring
from ui.browser import Browser, draw_one
from ui.files import age
from ui.part import Instant, Part, Start, whole
from ui.replication import Replication
from ui.scoreboard import Scoreboard
from ui.workspace import Desk, Desks


def build(desks: Desks, desk_key: gr.Textbox, tab: gr.Tab) -> Part:
    """The content of `tab`, which is worked out once somebody looks at it."""
    board = Scoreboard()
    gr.HTML('<h2 class="part">The paper\'s experiments</h2>')
    paper = Replication()
    gr.HTML('<h2 class="part">Answer by answer</h2>')
    answers = Browser()

    instant = Instant(desks, desk_key, lambda desk: desk.measuring)
    on = instant.on

    def open_measure(desk: Desk) -> None:
        desk.measuring.opened = True

    def choose_questions(desk: Desk, suite: str, per_task: float) -> None:
        """What the models at hand are asked, and how many questions a task."""
        desk.measuring.wish.set(suite, per_task)

    def choose_experiment(desk: Desk, name: str, suite: str, per_task: float, seeds: float) -> None:
        """Which of the paper's experiments is shown, on which suite, with how many questions a task and seeds."""
        measuring.choose(desk, name, suite, per_task, seeds)

    def lay_under(desk: Desk, model: str) -> None:
        """Lay the lines of one of the paper's models under ours; an empty name takes them away."""
        desk.measuring.papers = model

    asked = [board.suite, board.per_task]
    on([tab.select], open_measure, [], board, paper, answers, named=False)
    on([x.input for x in asked], choose_questions, asked, board, answers)
    on([x.input for x in paper.settings], choose_experiment, paper.settings, paper, answers)
    on([paper.papers.input], lay_under, [paper.papers], paper)
    on([x.input for x in answers.filters], measuring.look_at, answers.filters, answers)

    def choose_record(key: str, choice: gr.SelectData) -> list:
        """The picture and everybody's answer of the record that was clicked."""
        return draw_one(desks.at(key), int(choice.row_value[0]) - 1)

    answers.records.select(
        choose_record, desk_key, answers.one, queue=False, show_progress="hidden", api_visibility="private"
    )

    def start_scoring(key: str):
        """Ask every model at hand the questions of the chosen suite."""
        measuring.score(desks.at(key))

    def start_experiment(key: str):
        """Measure what the chosen experiment lacks, on the model at hand."""
        measuring.run_experiment(desks.at(key))

    starts = [Start(board.score.click, start_scoring), Start(paper.run.click, start_experiment)]
    outputs, draw = instant.drawing(board, paper, answers)
    return Part(outputs, draw, starts, lambda desk: (*whole(desk), desk.measuring.version, age()))
