"""The Chat tab: one picture and one question; up to four models answer side by side, and one answer is read closely."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import gradio as gr

from lvlm.errors import LVLMError
from lvlm.images import check_question
from ui import panes, scenes, words
from ui.compared import Compared
from ui.inputs import Dial
from ui.kept import keeps
from ui.limits import HOTTEST, LONGEST_ANSWER, MOST_EXCHANGES
from ui.part import Part, Start, whole
from ui.parting import parting
from ui.reasons import waits, why
from ui.scenes import Scenes
from ui.talk import Exchange, How
from ui.texts import retell, say
from ui.variants import MOST_PANES
from ui.workspace import Desk, Desks

FRAME_SECONDS = 0.08  # between two looks at the growing answers
INT8 = "8-bit weights in the last pane (LLM.int8)"
GREEDY = "A new seed changes answers above temperature 0 alone (under “More”): greedy ones have no chance in them."
AFRESH = (
    "Every question is asked afresh: earlier turns are not sent, so that answers differ by the model alone. "
    "The same picture, question, seed and settings give the same answers again. "
    "The last {most} questions stay; Cases keep for good."
)


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, Callable, list]:
    """The tab's content; and how a page that arrives while answers grow follows them."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280, elem_classes="slab"):
            table = Scenes()
        with gr.Column(scale=8, min_width=320):
            with gr.Row(equal_height=False, elem_classes=["slab", "who"]):
                who = gr.Dropdown(
                    [],
                    multiselect=True,
                    max_choices=MOST_PANES,
                    label="Who answers, up to four: the others are compared with the first",
                    elem_id="who",
                    filterable=False,
                    scale=5,
                    min_width=260,
                )
                int8 = gr.Checkbox(
                    label=INT8, elem_id="int8", interactive=False, container=False, scale=3, min_width=240
                )
            shown = panes.build()
            prune = gr.Button("Prune as planned and compare", visible=False, size="sm", elem_id="prune-first")
            with gr.Row(equal_height=True, elem_classes="ask"):
                question = gr.Textbox(
                    placeholder="Ask about the picture…",
                    label="Question",
                    show_label=False,
                    container=False,
                    scale=8,
                    lines=1,
                    max_lines=4,
                    elem_id="question",
                    min_width=80,
                )
                ask = gr.Button("Ask", variant="primary", scale=1, min_width=84, elem_id="ask")
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=56, interactive=False, elem_id="stop")
            refusal = gr.HTML(elem_id="refusal")
            with gr.Row(equal_height=False, elem_classes="switches"):
                again = {
                    name: gr.Button(label, size="sm", min_width=72, scale=0, interactive=False, elem_id=name)
                    for name, label in (("retry", "Retry"), ("reseed", "New seed"), ("undo", "Undo"), ("edit", "Edit"))
                }
                clear = gr.Button("Clear", size="sm", min_width=72, scale=0, elem_id="clear")
                keep = gr.Button("Keep this case", size="sm", min_width=110, scale=0, elem_id="keep-case")
            keeps(desks, desk_key, keep)
            parted = gr.HTML(elem_id="parting")
            compared = Compared()
            with gr.Accordion("More: how the answers are made", open=False):
                with gr.Row():
                    length = Dial(
                        8, LONGEST_ANSWER, 96, step=8, buttons=[], label="Longest answer (tokens)", elem_id="length"
                    )
                    temperature = Dial(
                        0,
                        HOTTEST,
                        0,
                        step=0.1,
                        buttons=[],
                        label="Temperature",
                        info="0 always takes the likeliest word (greedy): differences come from pruning",
                        elem_id="temperature",
                    )
                    seed = gr.Number(
                        value=0,
                        precision=0,
                        minimum=0,
                        label="Seed",
                        info="The same for every model; it matters above temperature 0",
                        elem_id="seed",
                        buttons=[],
                    )
                afresh = gr.HTML()

    hows = [length, temperature, seed]
    growing = [x for pane in shown for x in (pane.chat, pane.stats)]
    talking = [*growing, parted, ask, stop, *again.values(), *compared.outputs]

    def draw_talk(desk: Desk) -> list:
        """Every pane's messages and facts, where the answers part, what can be pressed, and the answer read closely."""
        busy = desk.answering is not None and desk.answering.busy
        last = desk.talk[-1] if desk.talk else None
        can = last is not None and not busy
        return [
            *(x for here in panes.standing(desk) for x in (panes.messages(desk, here), panes.facts(desk, here, busy))),
            (parting(last, busy) if last else "") + _why(last, busy),
            gr.Button(_ask_label(desk), interactive=not busy),
            gr.Button(interactive=busy),
            gr.Button(interactive=can),
            gr.Button(interactive=can and last.how.temperature > 0),
            gr.Button(interactive=can),
            gr.Button(interactive=can),
            *compared.draw(desk),
        ]

    def follow(key: str) -> Iterator[list]:
        """Show the answers growing until the last has ended; between its ends only text that grew is sent, and what can
        be pressed: a drawing of the desk as it was before the question may reach the page after the first frame."""
        desk = desks.at(key)
        yield draw_talk(desk)
        before, stood = [None] * len(shown), None
        while (job := desk.answering) is not None and job.busy:
            now, stands = [panes.messages(desk, here) for here in panes.standing(desk)], panes.waiting(desk)
            if now != before or stands != stood:
                grown = (gr.skip() if new == old else new for new, old in zip(now, before, strict=True))
                facts = [panes.facts(desk, x, True) if stands != stood else gr.skip() for x in panes.standing(desk)]
                pressed = [gr.Button(_ask_label(desk), interactive=False), gr.Button(interactive=True)]
                rest = [gr.skip()] * (len(talking) - len(growing) - 3)
                yield [*(x for one in zip(grown, facts, strict=True) for x in one), gr.skip(), *pressed, *rest]
                before, stood = now, stands
            time.sleep(FRAME_SECONDS)
        yield draw_talk(desk)
        if (job := desk.looking.job) is not None and job.busy:
            still = [gr.skip()] * (len(talking) - len(compared.outputs))
            for drawn in compared.follow(desk, compared.outputs):
                yield [*still, *drawn]
            yield [*still, *compared.draw(desk)]

    def catch_up(key: str) -> Iterator[list]:
        """What a page that arrives follows. Where nothing is being answered it has drawn all there is, and more may
        come before this does: nothing is drawn over it."""
        desk = desks.at(key)
        answering = desk.answering is not None and desk.answering.busy
        yield from follow(key) if answering or desk.looking.busy else [[gr.skip()] * len(talking)]

    said = [*talking, question, refusal]

    def asked(desk: Desk, text: str, how: How) -> Iterator[list]:
        """Ask, and follow the answers; what cannot be asked is said, and stays in its box."""
        try:
            text = check_question(text)
            if desk.model is None:
                raise LVLMError("The model is still loading: ask again in a moment.")
            if desk.answering is not None and desk.answering.busy:
                raise LVLMError("The last question is still being answered: press Stop first.")
            job = desk.ask(desk.image, text, **asdict(how))
        except LVLMError as error:
            yield [*draw_talk(desk), gr.skip(), words.notice(str(error), "error")]
            return
        frames = follow(desk.id)
        yield [*next(frames), "", ""]
        for drawn in frames:
            yield [*drawn, gr.skip(), gr.skip()]  # the next question may be being typed
        if job.error:  # refused after all: the question goes back into its box
            yield [*draw_talk(desk), text, words.notice(job.error, "error")]

    def put_question(key: str, text: str, length: int = 96, temperature: float = 0.0, seed: int = 0) -> Iterator[list]:
        """Ask every model in the panes about the picture; their answers stream side by side."""
        desk = desks.at(key)
        try:
            desk.how = How.wished(length, temperature, seed)
        except LVLMError as error:
            yield [*draw_talk(desk), gr.skip(), words.notice(str(error), "error")]
            return
        yield from asked(desk, text, desk.how)

    def retry(key: str) -> Iterator[list]:
        """Ask the last question again, in the same way, of whoever stands in the panes now."""
        yield from _again(desks.at(key), 0)

    def reseed(key: str) -> Iterator[list]:
        """Ask the last question again with the next seed; at temperature 0 nothing would change."""
        yield from _again(desks.at(key), 1)

    def _again(desk: Desk, later: int) -> Iterator[list]:
        try:
            last = desk.take_back()
        except LVLMError as error:
            yield [*draw_talk(desk), gr.skip(), words.notice(str(error), "error"), gr.skip()]
            return
        desk.how = replace(last.how, seed=last.how.seed + later)
        for drawn in asked(desk, last.question, desk.how):
            drawn[-2] = gr.skip()  # what is being typed stays
            yield [*drawn, desk.how.seed]

    def undo(key: str):
        """Take the last question and its answers back."""
        return _taken_back(desks.at(key), lambda question: gr.skip())

    def edit(key: str):
        """Take the last question back into its box, to ask it otherwise."""
        return _taken_back(desks.at(key), lambda question: question)

    def _taken_back(desk: Desk, box: Callable[[str], object]) -> list:
        try:
            last = desk.take_back()
        except LVLMError as error:
            return [*draw_talk(desk), gr.skip(), words.notice(str(error), "error")]
        return [*draw_talk(desk), box(last.question), ""]

    def clear_talk(key: str):
        """Forget the conversation."""
        desk = desks.at(key)
        desk.stop()
        desk.talk = []
        return draw_talk(desk)

    streaming = {"outputs": said, "show_progress": "hidden", "concurrency_limit": None}
    asking = {"fn": put_question, "inputs": [desk_key, question, *hows], **streaming}
    ask.click(**asking, api_name="ask")
    question.submit(**asking, api_visibility="private")
    table.questions.click(
        lambda sample: sample[0],
        table.questions,
        question,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    ).then(**asking, api_visibility="private")
    stop.click(lambda key: desks.at(key).stop(), desk_key, None, queue=False, api_visibility="private")
    for name, event in (("retry", retry), ("reseed", reseed)):
        again[name].click(event, desk_key, **{**streaming, "outputs": [*said, seed]}, api_name=name)
    for name, event in (("undo", undo), ("edit", edit)):
        again[name].click(event, desk_key, said, show_progress="hidden", queue=False, api_name=name)
    clear.click(clear_talk, desk_key, talking, queue=False, show_progress="hidden", api_name="clear")
    compared.wire(desks, desk_key, shown)

    laid = [*table.outputs, *talking, refusal]

    def lay(desk: Desk, note: str = "") -> list:
        return [*table.draw(desk), *draw_talk(desk), words.notice(note, "error")]

    table.wire(desks, desk_key, laid, lay)

    def keep_how(key: str, length: int, temperature: float, seed: int) -> None:
        """Remember how to answer, so that a page that comes back shows it; what makes no sense is said on asking."""
        try:
            desks.at(key).how = How.wished(length, temperature, seed)
        except LVLMError:
            return

    gr.on(
        [x.input for x in hows],
        keep_how,
        [desk_key, *hows],
        None,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )

    def switch_int8(key: str, on: bool):
        """Store the last pane's model in 8 bits, or go back."""
        desk = desks.at(key)
        if len(desk.panes) < 2:
            raise LVLMError("Nothing is pruned yet: please prune first.")
        last = desk.panes[-1]
        if on:
            desk.small(last.id)
        elif last.kind == "int8":
            desk.variants.show([*desk.variants.panes[:-1], last.parent.id])

    def compare(key: str, ids: list[str]):
        """Choose which one to four models answer, by their names at hand: "original", "pruned-1", "recovered-1" …
        The others are compared with the first."""
        desks.at(key).variants.show(ids or [])

    def prune_first(key: str):
        """Carry out the plan as it stands, without leaving the chat."""
        desks.at(key).prune()

    def draw(desk: Desk) -> list:
        scenes.first_scene(desk)
        can, last = len(desk.panes) > 1, desk.panes[-1] if desk.panes else None
        return [
            gr.Dropdown([(retell(x.title), x.id) for x in desk.variants], value=desk.variants.panes),
            *panes.heads(desk),
            gr.Checkbox(
                label=say(INT8) if can else say("{what}: prune first", what=say(INT8)),
                value=last is not None and last.kind == "int8",
                interactive=can and not desk.busy,
            ),
            gr.Button(visible=desk.pruned is None and desk.plan is not None, interactive=not desk.busy),
            desk.how.max_new_tokens,
            desk.how.temperature,
            desk.how.seed,
            f'<p class="asked">{say(AFRESH, most=MOST_EXCHANGES)}</p>{why({"prune-first": waits(desk)})}',
            *lay(desk),
        ]

    starts = [
        Start(int8.input, switch_int8, [int8]),
        Start(who.input, compare, [who]),
        Start(prune.click, prune_first),
    ]
    changing = [who, *(x for pane in shown for x in (pane.column, pane.head)), int8, prune, *hows, afresh, *laid]
    return Part(changing, draw, starts, lambda desk: (*whole(desk), desk.answered)), catch_up, talking


def _why(last: Exchange | None, busy: bool) -> str:
    """Why the switches under the answers, Ask and Stop cannot be pressed."""
    growing = say("The last question is still being answered: press Stop first.") if busy else ""
    can = growing or ("" if last else say("Ask a question first."))
    chance = "" if last and last.how.temperature > 0 else say(GREEDY)
    stop = "" if busy else say("Nothing is being answered.")
    return why({"ask": growing, "stop": stop, "reseed": can or chance, **dict.fromkeys(("retry", "undo", "edit"), can)})


def _ask_label(desk: Desk) -> str:
    return say({0: "Ask", 1: "Ask", 2: "Ask both"}.get(len(desk.panes), "Ask all"))
