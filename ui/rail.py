"""The left rail: which model, what was made from it, memory in use, and the job under way."""

from collections.abc import Sequence

import gradio as gr

from lvlm import memory
from lvlm.catalogue import Entry, catalogue, find
from lvlm.errors import LVLMError
from ui import tree, words
from ui.jobs import Job
from ui.language import static
from ui.part import Part, Start
from ui.shelf import machine_memory
from ui.texts import retell, say
from ui.workspace import Desk, Desks

ABOUT = "See what pruning takes out of a vision-language model, and how its answers change."
STAGES = {
    "return": "Making again",
    "load": "Loading",
    "calibrate": "Calibrating",
    "measure": "Measuring",
    "samples": "Preparing",
    "teach": "Asking the original",
    "recover": "Healing",
    "answer": "Asking held-out questions",
    "score": "Asking held-out questions",
    "plan": "Planning",
    "experiment": "Measuring, several models at once",
    "save": "Saving",
    "likelihood": "Weighing the true answers",
    "repair": "Repairing what stays",
    "quantize": "Storing in 8 bits",
    "search": "Searching",
    "rounds": "Planning in rounds",
    "try": "Trying it",
    "effects": "Switching off heads",
    "remake": "Making again",
    "reask": "Asking again",
    "compare": "Comparing",
    "diverge": "Reading the answers",
    "gaze": "Looking at the picture",
}


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, ...]:
    """The rail inside a `gr.Sidebar`: the model, what was made from it and its name, and what changes with time."""
    gr.HTML(f'<div class="brand"><h1>Prunoscope</h1><p>{static(ABOUT)}</p></div>')
    gr.HTML(
        static("Its numbers: CSV."), visible="hidden", elem_id="figure-words"
    )  # for page.js; one text is translated
    picker = gr.Dropdown(
        _choices(),
        value=None,
        label="Model",
        allow_custom_value=True,
        elem_id="picker",
        info="Or type a folder or hub id",
    )
    fits = gr.HTML()
    about = gr.HTML()
    at_hand = tree.build(desks, desk_key)
    room = gr.HTML(elem_id="memory")

    def open_model(key: str, name: str):
        """Load, calibrate and plan another model by catalogue name, hub id or folder."""
        desk = desks.at(key)
        if name and name.strip() and (desk.shared is None or name != desk.shared.name):
            desk.open(name)

    def draw(desk: Desk) -> list:
        name = desk.shared.name if desk.shared else None
        return [gr.Dropdown(_choices(), value=name), _about(desk)]

    def draw_memory(desk: Desk) -> list:
        return [_memory(desks, desk), choices_with_needs(catalogue())]

    opening = Part([picker, about], draw, [Start(picker.input, open_model, [picker])])
    return opening, *at_hand, Part([room, fits], draw_memory)


def build_job(desks: Desks, desk_key: gr.Textbox) -> Part:
    """The job under way, or why the last one failed: at the rail's foot, or along the bottom of a phone."""
    with gr.Column(elem_id="job", min_width=200):
        progress = gr.HTML()
        cancel = gr.Button("Cancel", size="sm", visible=False, elem_id="cancel")

    def draw(desk: Desk) -> list:
        if desk.busy:
            return [underway(desk.job) + words.notice(desk.notice, "error"), gr.Button(say("Cancel"), visible=True)]
        return [words.notice(desk.notice, "error"), gr.Button(say("OK"), visible=bool(desk.notice))]

    def cancel_or_read(key: str) -> list:
        """Cancel the job under way; or, once it ended badly, take its message away."""
        desk = desks.at(key)
        if desk.busy:
            desk.job.cancel()
        desk.notice = ""
        return draw(desk)

    cancel.click(
        cancel_or_read, desk_key, [progress, cancel], queue=False, show_progress="hidden", api_visibility="private"
    )
    return Part([progress, cancel], draw)


def _choices() -> list[tuple[str, str]]:
    return [(label(entry), entry.name) for entry in catalogue()]


def label(entry: Entry) -> str:
    """Title, parameters, and what a click costs."""
    try:
        size = words.count(entry.parameters.total)
    except LVLMError:
        return entry.title
    return f"{entry.title} · {size}" + ("" if entry.bundled else f" · {_download(entry)}")


def _download(entry: Entry) -> str:
    return say("{size} to download", size=words.memory(entry.download_bytes))


ESTIMATED = (
    "Memory for one image and a short question, estimated: weights, activations, gradients and, to heal, a teacher "
    "beside the model."
)
STEPS = {"chat": "Chat", "calibrate-checkpointing": "Calibrate", "recover": "Heal"}


def choices_with_needs(entries: Sequence[Entry]) -> str:
    """What each model is made of and takes, and what of it this machine has the memory for now. Folded away."""
    rows, room = [], memory.free()  # looked up once: the table is drawn at every tick of the clock
    for entry in entries:
        if entry.bundled and not entry.available:
            continue
        parts = entry.parameters
        made = " + ".join(
            f"{words.count(size)} {say(name)}"
            for name, size in (("vision", parts.vision), ("projector", parts.projector), ("language", parts.decoder))
        )
        got = say("bundled") if entry.bundled else _download(entry)
        rows.append(
            f"<tr class='model'><th colspan='{len(STEPS)}'>{words.escape(entry.title)}<p>{made}<br>"
            f"{words.escape(entry.licence)} · {got}</p></th></tr>"
            f"<tr>{''.join(_cell(entry, x, room) for x in STEPS)}</tr>"
        )
    return (
        f'<details class="fits"><summary>{say("What each model takes, and fits here")}</summary>'
        f"<table>{''.join(rows)}</table><p>{say(ESTIMATED)}</p></details>"
    )


def _cell(entry: Entry, step: str, room: int) -> str:
    fits, size = entry.fits(step, room), words.memory(entry.need(step).total)
    mark, why = ("✓", "fits this machine now") if fits else ("✗", "does not fit this machine now")
    return f"<td class='{'yes' if fits else 'no'}' title='{say(why)}'>{mark} {say(STEPS[step])}<br>{size}</td>"


def _about(desk: Desk) -> str:
    if desk.model is None:
        return '<div class="about skeleton"></div>'
    model, parts = desk.model, desk.model.parameters()
    rows = "".join(
        f"<tr><th>{say(name)}</th><td>{words.count(size)}</td><td><i style='width:{100 * size / parts.total:.1f}%'>"
        f"</i></td></tr>"
        for name, size in (("Vision", parts.vision), ("Projector", parts.projector), ("Language", parts.decoder))
    )
    entry = find(desk.shared.name)
    licence = f" · {words.escape(entry.licence)}" if entry else ""
    layers = model.anatomy.layers
    shape = say(
        "{layers} layers · {heads} heads · {neurons:,} neurons a layer",
        layers=len(layers), heads=layers[0].n_heads, neurons=layers[0].neurons,
    )  # fmt: skip
    return f'<div class="about"><table>{rows}</table><p>{shape}{licence}</p></div>'


def underway(job: Job) -> str:
    """A job as a bar: what it does and the time left, or how many go before it."""
    stage = say(STAGES.get(job.stage, job.stage)) or _before(job)
    left = job.seconds_left
    left = say("{time} left", time=words.duration(left)) if left and left > 1 else ""
    detail = " · ".join(words.escape(x) for x in (retell(job.text), left) if x)
    return (
        f'<div class="job" role="status"><b>{words.escape(retell(job.title))}</b><p>{words.escape(stage)} '
        f"<span>{detail}</span></p>"
        f'<div class="meter"><i style="width:{100 * job.fraction:.0f}%"></i></div></div>'
    )


def _before(job: Job) -> str:
    return words.queued(job.before) if job.state == "waiting" else say("Starting")


def _memory(desks: Desks, desk: Desk) -> str:
    """How much of the budget all models take, and this visitor's; and what the machine has left."""
    used, left, _ = machine_memory()
    held, limit = desks.budget.held(), desks.budget.limit
    mine = memory.held(x.model.network for x in desk.variants if x.model is not None)
    ours = say(
        "{held} of {limit} for all models; yours {mine}",
        held=words.memory(held), limit=words.memory(limit), mine=words.memory(mine),
    )  # fmt: skip
    machine = say("{used} in use · {free} free", used=words.memory(used), free=words.memory(left))
    return (
        f'<div class="memory"><h2 class="rail-title">{say("Memory")}</h2><div class="meter"><i style="width:'
        f'{min(100.0, 100 * held / limit):.1f}%"></i></div><p>{ours}</p><p>{machine}</p></div>'
    )
