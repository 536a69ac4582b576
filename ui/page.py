"""The whole page: rail and tabs on one desk, arrival and refresh, and the poll that follows long jobs."""

from functools import partial

import gradio as gr

from lvlm import LVLMError, load, memory
from ui import api, cases, chat, heal, language, learn, measure, prune, rail, reopening, serving, sharing
from ui.arrivals import DESK_KEY
from ui.part import Part
from ui.shelf import Shelf
from ui.workspace import Desks

BUSY_SECONDS, IDLE_SECONDS = 0.25, 30.0  # between two looks at the desk
AT_ONCE_SECONDS = 0.5  # for which a page waits for its model, which may be here already, before it draws that it loads
# A tab keeps its key through a refresh. A tab that goes leaves it behind for the next one that comes with none, so that
# a closed browser finds its desk again, and two open tabs never share one. Plain http has no crypto.randomUUID.
# A link gets a desk of its own, so that nothing is lost by following it, and leaves the address: a refresh keeps what
# was done since.
ARRIVAL = """() => {
  const name = "prunoscope-desk";
  const address = new URL(location.href), asked = address.search;
  const linked = KEYS.filter(key => address.searchParams.has(key));
  linked.forEach(key => address.searchParams.delete(key));
  if (linked.length) history.replaceState(null, "", address);
  const left = linked.length ? null : localStorage.getItem(name);
  const key = sessionStorage.getItem(name) || left ||
    Array.from(crypto.getRandomValues(new Uint8Array(16)), b => b.toString(16).padStart(2, "0")).join("");
  sessionStorage.setItem(name, key);
  if (left === key) localStorage.removeItem(name);
  window.addEventListener("pagehide", () => localStorage.setItem(name, key));
  window.addEventListener("pageshow", event => {
    if (event.persisted && localStorage.getItem(name) === key) localStorage.removeItem(name);
  });
  if (window.innerWidth < 768) document.querySelector("#rail.open .toggle-button")?.click();
  return [key, asked];
}""".replace("KEYS", str(list(sharing.KEYS)))


def build_app(model: str, *, memory_gib: float | None = None, one_user: bool = False) -> gr.Blocks:
    """The page as Gradio blocks; every new visitor starts with `model`, and all models stay within `memory_gib` (None:
    a share of what is free). one_user: kept cases are not told apart by sessions."""
    shelf = Shelf(partial(load, step="calibrate-checkpointing"))  # the least that a desk needs
    desks = Desks(shelf)
    if memory_gib is not None:
        desks.budget.limit = round(memory_gib * 2**30)
    memory.keep_within(desks.budget.room)
    with language.Studio(title="Prunoscope", analytics_enabled=False, fill_width=True) as app:
        app.desks = desks
        calls = api.build(desks, model, one_user)
        desk_key = gr.Textbox(visible=False, elem_id=DESK_KEY)
        address = gr.Textbox(visible=False)
        seen = gr.State(None)
        timer = gr.Timer(BUSY_SECONDS)
        back = gr.Button("Look", visible="hidden", elem_id="look")  # pressed by page.js when somebody comes back
        with gr.Sidebar(width=300, elem_id="rail"):
            side, at_hand, named, clock = rail.build(desks, desk_key)
            speech = language.build(desks, desk_key)
            shared = sharing.build(desks, desk_key)
        job = rail.build_job(desks, desk_key)
        with gr.Tabs(selected="prune", elem_id="tabs") as tabs:
            with gr.Tab("Prune", id="prune"):
                prune_tab, to_chat, *trying = prune.build(desks, desk_key)
            with gr.Tab("Heal", id="heal"):
                heal_tab, curves, from_heal = heal.build(desks, desk_key)
            with gr.Tab("Chat", id="chat"):
                chat_tab, follow, talking = chat.build(desks, desk_key)
            with gr.Tab("Measure", id="measure") as tab:
                measure_tab = measure.build(desks, desk_key, tab)
            with gr.Tab("Cases", id="cases") as tab:
                cases_tab, case_answers = cases.build(desks, desk_key, tab, one_user)
            with gr.Tab("Learn", id="learn"):
                learn_tab = learn.build(desks, desk_key)
        headed = language.headers(app)
        gr.on(
            [to_chat.click, from_heal.click],
            lambda: gr.Tabs(selected="chat"),
            None,
            tabs,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

        parts = [side, at_hand, named, prune_tab, *trying, heal_tab, curves, chat_tab, measure_tab, cases_tab]
        parts += [case_answers, learn_tab, speech, headed]
        outputs = [component for part in parts for component in part.outputs]
        following = [timer, seen, *job.outputs, *clock.outputs]

        def look(key: str, drawn_before: list | None, again: Part | None = None) -> list:
            """The job under way, and those parts that moved since this page last drew them; `again` in any case."""
            if not key:
                return [gr.skip()] * (len(following) + len(outputs))
            desk = desks.peek(key)
            if desk.shared is None and desk.job is None:
                desk.open(model).thread.join(AT_ONCE_SECONDS)
            # Before drawing: what changes meanwhile is drawn next time, and the next time comes soon.
            awake, now = desk.awake, [(desk.language, part.state(desk)) for part in parts]
            drawn = []
            for part, state, before in zip(parts, now, drawn_before or [None] * len(parts), strict=True):
                same = state == before and part is not again
                drawn += [gr.skip()] * len(part.outputs) if same else part.draw(desk)
            pace = gr.Timer(BUSY_SECONDS if awake else IDLE_SECONDS)
            return [pace, now, *job.draw(desk), *clock.draw(desk), *drawn]

        def returned(key: str, drawn_before: list | None) -> list:
            """Somebody is back: what was pressed may have sent for models that were put away. Where nothing is under
            way, nothing is drawn: it might be drawn over what is being chosen."""
            if key and desks.peek(key).awake:
                return look(key, drawn_before)
            return [gr.skip()] * (len(following) + len(outputs))

        question = next(x for x in app.blocks.values() if getattr(x, "elem_id", None) == "question")

        def arrive(key: str, asked: str, request: gr.Request) -> list:
            """A page opens or is refreshed: find its desk, or lay a new one; follow the link that it came by, or open
            the case that the address names."""
            case = request.query_params.get("case")
            if key:
                desks.at(key).hear(request.headers.get("accept-language"))  # models that were put away come back
            if case:
                reopening.follow_link(desks.at(key), case)
            said, typed = sharing.arrive(desks, key, asked, model)
            tab = "cases" if case else "chat" if typed else None
            tab = gr.Tabs(selected=tab) if tab else gr.skip()
            return [key, tab, said, typed or gr.skip(), *look(key, None)]

        app.load(
            arrive,
            [desk_key, address],
            [desk_key, tabs, shared, question, *following, *outputs],
            js=ARRIVAL,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        ).then(follow, desk_key, talking, show_progress="hidden", api_visibility="private", concurrency_limit=None)
        for due, seeing in ((timer.tick, look), (back.click, returned)):
            due(
                seeing,
                [desk_key, seen],
                [*following, *outputs],
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )

        for part in parts:
            for start in part.starts:
                start.trigger(
                    _started(desks, start.function, partial(look, again=part)),
                    [desk_key, seen, *start.inputs],
                    [*following, *outputs],
                    queue=False,
                    show_progress="hidden",
                )
        app.unload(serving.forgetting(app))
        api.only_these(app, calls)
    return app


def _started(desks: Desks, function, look):
    """The event function that starts a job and shows its first progress; what a person got wrong is said there, and
    the part's inputs are put back to what holds."""

    def event(key: str, drawn_before: list | None, *inputs) -> list:
        try:
            function(key, *inputs)
        except LVLMError as error:
            desks.at(key).refuse(str(error))
        return look(key, drawn_before)

    event.__doc__ = function.__doc__
    event.__name__ = function.__name__
    return event
