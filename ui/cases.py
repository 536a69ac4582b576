"""The Cases tab: where does it break? A hunt for failures, the kept cases, and blind votes. Its three parts draw
themselves; here is what changes which of them.
"""

from collections.abc import Callable

import gradio as gr

from ui import blind, casefile, hunting, keeping, reopening, rereading
from ui.exporting import exported
from ui.hunted import Hunted
from ui.kept import EXPORTS, Kept
from ui.part import Instant, Part, Start, whole
from ui.voting import VOTES, Voting
from ui.workspace import Desk, Desks

PRESS_FILE = "() => document.querySelector('#case-file a, #case-file button, a#case-file, button#case-file')?.click()"


def build(desks: Desks, desk_key: gr.Textbox, tab: gr.Tab, one_user: bool = False) -> tuple[Part, Part]:
    """The content of `tab`, which is worked out once somebody looks at it; and the answers of one case, which are read
    after it was kept. one_user: all cases are everybody's."""

    def whose(desk: Desk) -> str | None:
        return None if one_user else casefile.owner(desk)

    kept = Kept(whose)
    gr.HTML('<h2 class="part">Hunt for failures</h2>')
    prey = Hunted()
    gr.HTML('<h2 class="part">Blind vote</h2>')
    voting = Voting(whose)

    instant = Instant(desks, desk_key, lambda desk: desk.keeping)
    on = instant.on

    # --- the hunt ---

    def open_cases(desk: Desk) -> None:
        desk.keeping.opened = True

    def choose_hunt(desk: Desk, over: str, steps: str, suite: str, per_task: float) -> None:
        """Hunt over the models at hand ("hand") or the ratios of a method ("widthwise", "layerwise"), in the paper's
        steps ("paper") or every 5% ("fine"), among so many questions a task of a suite."""
        desk.keeping.hunting.set(over, steps, suite, per_task)

    def choose_task(desk: Desk, task: str) -> None:
        desk.keeping.hunting.task, desk.keeping.hunting.place = task or "", None

    def keep_found(desk: Desk) -> None:
        """Keep the failure that is looked at as a case, with every model's answer."""
        case = hunting.keep(desk, desk.keeping.hunting.place)
        desk.keeping.chosen = case.id
        desk.keeping.version += 1

    on([tab.select], open_cases, [], kept, kept.answers, prey, voting, named=False)
    on([x.input for x in prey.settings], choose_hunt, prey.settings, prey)
    on([prey.task.input], choose_task, [prey.task], prey, named=False)
    on([prey.keep.click], keep_found, [], prey, kept, kept.answers)

    def choose_failure(key: str, choice: gr.SelectData) -> list:
        desk = desks.at(key)
        desk.keeping.hunting.place = int(choice.row_value[0]) - 1
        return prey.draw_one(desk)

    prey.prey.select(choose_failure, desk_key, prey.one, queue=False, show_progress="hidden", api_visibility="private")

    # --- kept cases ---

    def judge_case(desk: Desk, verdict: str, tags: list[str], note: str) -> None:
        """What a person thinks of the chosen case: a verdict, tags and a note; replaces what was there."""
        keeping.judge(desk, whose(desk), verdict or "", tags, note)

    def delete_case(desk: Desk) -> None:
        """Delete the chosen case; asks for a second press."""
        keeping.drop(desk, whose(desk))

    def find_cases(desk: Desk, *wish: str) -> None:
        """Filter the kept cases by task, verdict, tag, kind of model, share removed, and words in them."""
        keeping.look_for(desk, *wish)

    def stop_reading(desk: Desk) -> None:
        rereading.cancel(desk, desk.keeping.chosen)

    # a pasted text is a change and no input to Gradio; nothing that is drawn writes into this box
    on([*(x.input for x in kept.filters[:-1]), kept.text.change], find_cases, kept.filters, kept, kept.answers)
    on([kept.judged.input, kept.tags.input, kept.note.blur], judge_case, kept.judgement, kept, kept.answers)
    on([kept.drop.click], delete_case, [], prey, kept, kept.answers)
    on([kept.answers.cancel.click], stop_reading, [], kept.answers, named=False)

    def choose_row(key: str, choice: gr.SelectData) -> list:
        desk = desks.at(key)
        found, place = keeping.cases(desk, whose(desk)), int(choice.row_value[0]) - 1
        if place < len(found):
            desk.keeping.chosen, desk.keeping.sure = found[place].id, None
        return [*kept.draw_one(desk), *kept.answers.draw(desk)]

    one = [*kept.one, *kept.answers.outputs]
    kept.listed.select(choose_row, desk_key, one, queue=False, show_progress="hidden", api_visibility="private")

    for kind in EXPORTS:
        export = _exporter(desks, kind, whose)
        kept.exports[kind].click(export, desk_key, kept.file, show_progress="hidden", concurrency_limit=None).then(
            None, None, None, js=PRESS_FILE, api_visibility="private"
        )

    # --- votes ---

    def choose_voting(desk: Desk, source: str, question: str, who: list[str]) -> None:
        """Ask about drawn scenes ("drawn") or one's own picture in Chat ("own", with a question), between these models
        at hand."""
        blind.choose(desk, source, question, who)

    on([voting.source.input, voting.question.blur, voting.who.input], choose_voting, voting.settings, voting)
    for outcome in VOTES:
        on([voting.votes[outcome].click], _voter(outcome), [], voting)

    # --- what takes long ---

    def start_hunt(key: str):
        """Ask the models of the hunt what they were not asked yet, in the background."""
        hunting.start(desks.at(key))

    def open_case(key: str):
        """Open the chosen case again: make its models anew, ask with the same seed, and compare the answers."""
        desk = desks.at(key)
        reopening.reopen(desk, desk.keeping.chosen or "")

    def next_pair(key: str, source: str, question: str, who: list[str]):
        """Let two models at hand, drawn by chance, answer a question blindly."""
        desk = desks.at(key)
        blind.choose(desk, source, question, who)
        blind.start(desk)

    starts = [
        Start(prey.start.click, start_hunt),
        Start(kept.again.click, open_case),
        Start(voting.next.click, next_pair, voting.settings),
    ]
    answers, draw_answers = instant.drawing(kept.answers)
    outputs, draw = instant.drawing(kept, prey, voting)
    return Part(outputs, draw, starts, _state), Part(answers, draw_answers, state=_reading)


def _state(desk: Desk) -> tuple:
    keeping = desk.keeping
    moved = keeping.version, keeping.hunting.version, keeping.blind.version, desk.measuring.version
    return (*whole(desk), keeping.opened, *moved)


def _reading(desk: Desk) -> tuple:
    keeping, reading = desk.keeping, desk.keeping.readings.get(desk.keeping.chosen)
    job = reading and (reading.job.state, reading.job.before, reading.job.text)
    return desk.busy, keeping.opened, keeping.version, keeping.chosen, keeping.read, job


def _voter(outcome: str) -> Callable[[Desk], None]:
    def cast(desk: Desk) -> None:
        blind.vote(desk, outcome)

    cast.__name__ = f"vote_{outcome.replace('-', '_')}"
    cast.__doc__ = f"Judge the two answers at hand: {VOTES[outcome].lower()}. Then their names are shown."
    return cast


def _exporter(desks: Desks, kind: str, whose: Callable) -> Callable:
    def export(key: str, request: gr.Request) -> str:
        desk = desks.at(key)
        here = request.headers.get("referer", "").partition("?")[0]  # where each case can be opened again
        return exported(desk, whose(desk), kind, here)

    export.__name__ = f"export_cases_{kind}"
    export.__doc__ = f"All cases that the filter lets through, as {EXPORTS[kind]}."
    return export
