"""The kept cases on the Cases tab: filtered, judged, deleted, opened again, and handed to others as files; drawn from a
desk. And what the button under the chat's answers does, which keeps one.
"""

from collections.abc import Callable

import gradio as gr
import pandas as pd

from evaluation.cases import KINDS, TAGS, VERDICTS, Case, Filter, Said
from evaluation.scoring import normalised
from lvlm.errors import LVLMError
from ui import casefile, keeping, words
from ui.heard import true
from ui.keeping import SHARES
from ui.reasons import waits, why
from ui.rereading import Reading
from ui.scoreboard import table
from ui.texts import retell, say
from ui.workspace import Desk, Desks

MOST_ROWS = 300  # shown at once
EMPTY = "Nothing is kept yet. Press “Keep this case” under the answers in Chat, or keep what the hunt below found."
NONE_FIT = "No kept case fits: please choose other filters."
OWN = "Cases belong to this browser session; whoever has a case's link can open it."
ALL = "This app was started for one person: everything that was ever kept here is listed."
EXPORTS = {"csv": "CSV", "jsonl": "JSONL", "html": "HTML page"}
ASKED_KINDS = [("Any model", ""), *((x.capitalize(), x) for x in KINDS[1:])]
ASKED_VERDICTS = [("Any verdict", ""), *((y, x or "none") for x, y in VERDICTS.items())]


def keeps(desks: Desks, desk_key: gr.Textbox, button: gr.Button) -> None:
    """Let a button under the chat's answers keep the last question with all of them; what came of it stands below."""
    said = gr.HTML(elem_id="keep-said")

    def keep_case(key: str) -> str:
        """Keep the last question, its picture, everybody's answers and how the models were made; gives a sentence."""
        desk = desks.at(key)
        try:
            case = keeping.keep_talk(desk)
        except LVLMError as error:
            return words.notice(str(error), "error")
        return words.notice(say("Kept, to be judged under Cases: “{question}”", question=case.question))

    button.click(keep_case, desk_key, said, queue=False, show_progress="hidden")


class Answers:
    """The answers of the case that is looked at, drawn by themselves, as how far they part may come while a note is
    being typed."""

    def __init__(self, whose: Callable[[Desk], str | None]):
        self.whose = whose
        told = gr.HTML(elem_id="case-told")
        self.cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel-reading")
        self.outputs = [told, self.cancel]

    def draw(self, desk: Desk) -> list:
        case, again, owner = _chosen(desk), desk.keeping.again, self.whose(desk)
        if case is None:
            return [gr.skip()] * len(self.outputs)
        own = owner is None or casefile.book().owner(case.id) == owner
        reading = desk.keeping.readings.get(case.id)
        told = detail(case, again if again and again.case.id == case.id else None, own, reading)
        told += why({"reopen": waits(desk), "drop-case": "" if own else say("kept in another session")})
        return [told, gr.Button(visible=reading is not None and reading.job.busy)]


class Kept:
    """Its components; `outputs` in the order that `draw` fills them, `one` what shows a single case; its `answers` are
    a part of their own."""

    def __init__(self, whose: Callable[[Desk], str | None]):
        self.whose = whose
        with gr.Column(elem_classes="slab", elem_id="kept-slab"):
            with gr.Row(equal_height=False, elem_classes="filters") as filters:
                self.task = gr.Dropdown([("Any task", "")], value="", label="Task", min_width=130, elem_id="case-task")
                self.verdict = gr.Dropdown(
                    ASKED_VERDICTS, value="", label="Verdict", min_width=160, elem_id="case-verdict"
                )
                self.tag = gr.Dropdown(
                    [("Any tag", ""), *((y, x) for x, y in TAGS.items())], value="", label="Tag", min_width=130
                )
                self.kind = gr.Dropdown(ASKED_KINDS, value="", label="With an answer of", min_width=140)
                self.removed = gr.Dropdown(
                    [(x or "Any share", x) for x in SHARES], value="", label="Removed", min_width=120
                )
                self.text = gr.Textbox(
                    label="Words in it", placeholder="question, answer, note…", min_width=160, elem_id="case-text"
                )
            said = gr.HTML(elem_id="cases-said")
            self.listed = table("cases", wrap=True)
            with gr.Row(elem_classes="exports") as exports:
                self.exports = {
                    kind: gr.Button(f"Export as {title}", size="sm", min_width=120, elem_id=f"export-{kind}")
                    for kind, title in EXPORTS.items()
                }
            self.file = gr.DownloadButton("The file", visible="hidden", elem_id="case-file")
            with gr.Row(equal_height=False, visible=False, elem_id="case-one") as one:
                with gr.Column(scale=3, min_width=220, visible=False) as frame:
                    image = gr.Image(show_label=False, interactive=False, height=240, buttons=[], elem_id="case-image")
                with gr.Column(scale=6, min_width=300):
                    self.answers = Answers(whose)
                    self.again = gr.Button("Open again: same models, same seed", variant="primary", elem_id="reopen")
                with gr.Column(scale=5, min_width=280):
                    self.judged = gr.Radio([(y, x) for x, y in VERDICTS.items()], label="Verdict", elem_id="judged")
                    self.tags = gr.CheckboxGroup([(y, x) for x, y in TAGS.items()], label="Tags", elem_id="case-tags")
                    self.note = gr.Textbox(label="Note", lines=2, max_lines=8, elem_id="case-note")
                    self.drop = gr.Button("Delete", size="sm", elem_id="drop-case")
        self.filters = [self.task, self.verdict, self.tag, self.kind, self.removed, self.text]
        self.judgement = [self.judged, self.tags, self.note]
        self.one = [one, frame, image, self.again, *self.judgement, self.drop]
        self.outputs = [filters, *self.filters[:-1], said, self.listed, exports, *self.one]

    def draw(self, desk: Desk) -> list:
        now, owner = desk.keeping, self.whose(desk)
        found, tasks = keeping.cases(desk, owner), casefile.book().tasks(owner)
        if found and now.chosen is None:
            now.chosen = found[0].id
        which = now.which
        verdict = "" if which.verdict is None else which.verdict or "none"
        task = gr.Dropdown([(say("Any task"), ""), *((say(x), x) for x in tasks)], value=which.task)
        said = words.notice(now.refusal, "error") + (_count(found, which, owner))
        listed = gr.Dataframe(_rows(found[:MOST_ROWS]), visible=bool(found), column_widths=WIDTHS)
        chosen = [which.tag, which.kind, now.removed]
        ever = gr.Row(visible=bool(found) or which != Filter())
        return [ever, task, verdict, *chosen, said, listed, gr.Row(visible=bool(found)), *self.draw_one(desk)]

    def draw_one(self, desk: Desk) -> list:
        """The case that is looked at: picture, answers then and now, and what is thought of it."""
        now, owner = desk.keeping, self.whose(desk)
        case = _chosen(desk)
        if case is None:
            return [gr.Row(visible=False), *[gr.skip()] * (len(self.one) - 1)]
        own = owner is None or casefile.book().owner(case.id) == owner
        image = case.image
        sure = now.sure == case.id
        return [
            gr.Row(visible=True),
            gr.Column(visible=image is not None),
            image,
            gr.Button(interactive=not desk.busy),
            gr.Radio(value=case.verdict, interactive=own),
            gr.CheckboxGroup(value=list(case.tags), interactive=own),
            gr.Textbox(value=case.note, interactive=own),
            gr.Button(
                say("Press again to delete it" if sure else "Delete"),
                variant="stop" if sure else "secondary",
                interactive=own,
            ),  # fmt: skip
        ]


def _chosen(desk: Desk) -> Case | None:
    """None where it was deleted meanwhile, too."""
    if desk.keeping.chosen is None:
        return None
    try:
        return casefile.book().get(desk.keeping.chosen)
    except LVLMError:
        return None


WIDTHS = ["48px", "290px", "120px", "190px", "100px", "290px"]


def _rows(cases: list[Case]) -> pd.DataFrame:
    """A row a case, newest first."""
    columns = ["#", "question", "task", "last answer", "removed", "verdict and tags"]
    told = [
        [i, x.question, say(x.task or "own question"), x.sides[-1].answer or "–",
         words.percent(max(y.ratio for y in x.sides)),
         "; ".join(map(say, (VERDICTS[x.verdict], *(TAGS[y] for y in x.tags))))]
        for i, x in enumerate(cases, 1)
    ]  # fmt: skip
    return pd.DataFrame(told, columns=[say(x) for x in columns])


def _count(found: list[Case], which, owner: str | None) -> str:
    rule = say(ALL if owner is None else OWN)
    if not found:
        return words.notice(say(EMPTY if which == Filter() else NONE_FIT)) + f'<p class="asked">{rule}</p>'
    shown = say(" The newest {most} are shown; files have all.", most=MOST_ROWS) if len(found) > MOST_ROWS else ""
    count = say("<b>{n:,}</b> {n:case|cases}.", n=len(found))
    return f'<p class="asked">{count}{shown} {rule}</p>'


def detail(case: Case, again, own: bool, reading: Reading | None = None) -> str:
    """Question, everybody's answer then (and now), how far they part or whether that is being read, the settings, and
    the link."""
    now = dict(zip((x.variant for x in case.sides), again.answers, strict=True)) if again else {}
    answers = "".join(_answer(x, now.get(x.variant), case) for x in case.sides)
    truth = true(case.truth, say(case.task or "")) if case.truth else ""
    how = say("greedy")
    if case.temperature:
        how = say("temperature {t}, seed {seed}", t=words.significant(case.temperature), seed=case.seed)
    about = [case.model, how, say("at most {n} tokens", n=case.max_new_tokens)]
    if case.breaks_at is not None:
        about.append(say("first breaks with {share} removed", share=words.percent(case.breaks_at)))
    if not own:
        about.append(say("kept in another session"))
    return (
        f'<div class="record"><h3>{words.escape(case.question)}</h3>{truth}{_same(again)}{answers}{_read(reading)}'
        f'<p class="quiet">{words.escape(" · ".join(about))}<br>'
        f'<a href="?case={case.id}">{say("Link to this case")}</a></p></div>'
    )


def _read(reading: Reading | None) -> str:
    """Where the job is that reads the answers, or why it did not read them all."""
    if reading is None:
        return ""
    job = reading.job
    if job.state == "waiting":
        return words.notice(say("How far the answers part is still to be read: {line}", line=words.queued(job.before)))
    if job.busy:
        title = words.escape(retell(job.text))
        return words.notice(say("Reading how far the answers part from the original: {title}", title=title))
    return words.notice(say("How far some answers part was not read: {why}", why=retell(reading.why)))


def _same(again) -> str:
    """Whether the answers are the same, once it was asked again."""
    if again is None:
        return ""
    asked = [x for x in again.answers if x.now is not None]
    same = sum(x.same for x in asked)
    if same == len(asked) == len(again.answers):
        return words.notice(say("Opened again, made anew and asked with the same seed: every answer is the same."))
    left = len(again.answers) - len(asked)
    rest = say(" {left} could not be asked.", left=left) if left else ""
    said = say("Opened again: {same} of {asked} answers are the same.", same=same, asked=len(asked))
    return words.notice(said + rest)


def _answer(said: Said, now, case: Case) -> str:
    facts = []
    if said.ratio:
        facts.append(say("{share} removed", share=words.percent(said.ratio)))
    if said.probability is not None:
        facts.append(say("gave the true answer {likely:.0f}%", likely=100 * said.probability))
    if said.divergence is not None:
        at = said.divergence["parts_at"]
        parts = "never parts from the original" if at is None else "parts from the original at token {place}"
        facts.append(say(parts, place=1 + (at or 0)))
        facts.append(say("{kl} nats a token", kl=words.significant(said.divergence["mean_kl"])))
    mark = ""
    if case.truth is not None:
        mark = "right" if normalised(said.answer) == normalised(case.truth) else "wrong"
    after = ""
    if now is not None and not now.same:
        after = f'<div class="again">{words.escape(_now(now))}</div>'
    elif now is not None:
        after = f'<div class="again">{say("now the same")}</div>'
    text = words.escape(said.answer) or f"<em>{say('nothing')}</em>"
    return (
        f'<div class="said said-{said.kind} {mark}">{words.chip(said.kind, said.title, " · ".join(facts))}'
        f"<p>{text}</p>{after}</div>"
    )


def _now(now) -> str:
    return say("now: {answer}", answer=now.now if now.now is not None else retell(now.why))
