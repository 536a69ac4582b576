"""The Heal tab: by which recipe a pruned model is trained back, its curves meanwhile, and what came of it."""

from dataclasses import replace

import gradio as gr

from lvlm.errors import BadSamples, LVLMError
from recovery import BadRecipe, Recipe
from ui import curves, healed, reasons, words
from ui.figure import figure
from ui.healing import BUILT_IN, CHOICES, MINUTES
from ui.inputs import Choice, Dial
from ui.part import Part, Start, whole
from ui.texts import retell, say
from ui.workspace import Desk, Desks

OWN = "own"
TRAIN = [("Projector only", "projector"), ("Projector and LoRA", "lora"), ("All decoder weights", "full")]
WEIGHTS = {
    "sft": "Right answers (SFT)",
    "kl": "Teacher's odds (KL)",
    "rkl": "Same, reversed (RKL)",
    "l2": "Teacher's states (L2)",
}
ARITHMETIC = [("means over tokens", "repaired"), ("as published", "paper")]
WAITING = "Heal (waiting for a plan)"
MINUTES_LABEL = "Minutes of training"
NO_MINUTES = "Minutes of training (not in use: steps are set below)"
HOW_TO = {
    "held_out": "On samples that are never trained on. The ring marks the weights that are kept.",
    "terms": "Every loss in use, batch by batch (faint) and smoothed. Lower is better.",
}


def build(desks: Desks, desk_key: gr.Textbox) -> tuple[Part, Part, gr.Button]:
    """The tab's content; what of it moves with each step; and its button that leads to the chat."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=320):
            with gr.Column(elem_classes="slab"):
                of = Choice([], label="Which pruned model", visible=False, elem_id="heal-of")
                choice = gr.Radio(_choices(), value="advised", label="How to heal", elem_id="recipe")
                minutes = Dial(0.5, 60, MINUTES, step=0.5, buttons=[], label=MINUTES_LABEL, elem_id="minutes")
                with gr.Accordion("More: what trains, losses, data", open=False, elem_id="heal-more"):
                    train = gr.Radio(TRAIN, value="lora", label="What trains (the vision tower never does)")
                    with gr.Row():
                        weights = [
                            Dial(0, 2, 0, step=0.1, buttons=[], label=label, min_width=140, elem_id=f"weight-{term}")
                            for term, label in WEIGHTS.items()
                        ]
                    with gr.Row():
                        temperature = Dial(0.5, 4, 2, step=0.5, buttons=[], label="Temperature of KL", min_width=140)
                        layers = gr.Dropdown(
                            ["last", "all", "2", "4"],
                            value="last",
                            allow_custom_value=True,
                            label="Layers that L2 compares",
                            info="Or every k-th",
                            min_width=140,
                        )
                    with gr.Row():
                        rate = gr.Number(
                            value=1e-3, label="Learning rate (peak)", min_width=140, elem_id="rate", buttons=[]
                        )
                        rank = Dial(1, 128, 32, step=1, buttons=[], label="Rank of LoRA", min_width=140)
                    with gr.Row():
                        batch = Dial(
                            1, 64, 16, step=1, buttons=[], label="Samples a step", min_width=140, elem_id="batch"
                        )
                        steps = gr.Number(
                            value=None,
                            label="Steps (instead of minutes)",
                            min_width=140,
                            elem_id="steps",
                            placeholder="by the clock",
                        )
                    data = gr.Dropdown(
                        list(BUILT_IN),
                        value="scenes",
                        allow_custom_value=True,
                        label="Data",
                        info="Or the path of a LLaVA instruction .json",
                        elem_id="data",
                    )
                    fraction = Dial(1, 100, 5, step=1, buttons=[], label="Share of the data (%)", elem_id="fraction")
                    arithmetic = gr.Radio(ARITHMETIC, value="repaired", label="How losses add up")
                    asked_each = Dial(
                        0,
                        50,
                        10,
                        step=1,
                        buttons=[],
                        label="Held-out questions of each kind",
                        info="Asked of every model before and after; 0 asks none",
                        elem_id="asked",
                    )
                said = gr.HTML(elem_id="recipe-said")
                heal = gr.Button(WAITING, variant="primary", size="lg", interactive=False, elem_id="heal")
                stop = gr.Button("Stop and keep the best so far", variant="stop", visible=False, elem_id="stop-healing")
            with gr.Column(elem_classes="slab", visible=False, elem_id="unfinished") as unfinished:
                found = gr.HTML()
                with gr.Row():
                    resume = gr.Button("Resume", size="sm", variant="primary", elem_id="resume", min_width=90)
                    discard = gr.Button("Discard", size="sm", elem_id="discard", min_width=90)
        with gr.Column(scale=7, min_width=320):
            with gr.Column(elem_classes="slab"):
                chart = gr.HTML(elem_id="chart")
            ahead = gr.HTML(elem_id="ahead")
            facts = gr.HTML(elem_id="healing-facts")
            with gr.Row(equal_height=False, visible=False) as curve_row:
                with gr.Column(min_width=300, elem_classes=["slab", "pair"]):
                    held_head = gr.HTML()
                    held = figure("held-out", "Loss on samples that are never trained on")
                with gr.Column(min_width=300, elem_classes=["slab", "pair"]):
                    terms_head = gr.HTML()
                    terms = figure("terms", "Every loss in use")
            result = gr.HTML(elem_id="healed")
            to_chat = gr.Button("Ask both →", visible=False, elem_id="healed-to-chat", variant="primary")

    knobs = [
        train,
        *weights,
        temperature,
        layers,
        rate,
        rank,
        batch,
        fraction,
        arithmetic,
        minutes,
        steps,
    ]
    settings, wish = [*knobs, data, asked_each], [choice, said, heal, ahead]

    def draw_settings(desk: Desk) -> list:
        if desk.to_heal is None:
            return [gr.skip()] * len(settings)
        recipe = at_hand(desk)
        return [
            recipe.train,
            *recipe.weights.values(),
            recipe.temperature,
            str(recipe.l2_layers),
            recipe.learning_rate,
            recipe.rank,
            recipe.batch,
            round(100 * recipe.fraction, 1),
            recipe.arithmetic,
            _minutes(recipe),
            recipe.steps,
            desk.healing.data,
            desk.healing.asked,
        ]

    def draw_wish(desk: Desk) -> list:
        return [OWN if desk.healing.own else desk.healing.choice, *_button(desk), healed.ahead(desk)]

    def draw(desk: Desk) -> list:
        goes_on = None if desk.busy else desk.healing.goes_on
        desk.healing.refusal = ""  # the inputs are put back to what they were
        return [
            *draw_wish(desk),
            *draw_settings(desk),
            _patients(desk),
            gr.Button(visible=desk.is_healing),
            gr.Row(visible=desk.is_healing or bool(desk.healing.points)),
            gr.Column(visible=goes_on is not None),
            healed.unfinished(goes_on) if goes_on else "",
            healed.chart(desk),
            healed.result(desk),
            gr.Button(visible=desk.variants.latest("recovered") is not None and not desk.is_healing),
        ]

    def draw_live(desk: Desk) -> list:
        points = list(desk.healing.points)
        return [
            healed.facts(desk),
            words.heading(curves.held_out_finding(points), say(HOW_TO["held_out"])),
            curves.held_out(points),
            words.heading(curves.terms_finding(points), say(HOW_TO["terms"])),
            curves.terms(points),
        ]

    def set_recipe(key: str, *values) -> list:
        """Change the recipe by hand: what trains, losses, data and how long."""
        desk = desks.at(key)
        if desk.to_heal is not None:
            try:
                take(desk, *values)
                desk.healing.refusal = ""
            except LVLMError as error:
                desk.healing.refusal = str(error)
        return [*draw_wish(desk), gr.skip() if desk.to_heal is None else _minutes(at_hand(desk), moved=True)]

    for knob in settings:
        knob.input(
            set_recipe,
            [desk_key, *settings],
            [*wish, minutes],
            queue=False,
            trigger_mode="always_last",
            show_progress="hidden",
            api_name="set_recipe" if knob is train else None,
            api_visibility="public" if knob is train else "private",
        )

    def choose_recipe(key: str, choice: str) -> list:
        """Take a recipe from the list: advised, strongest, published-l2 or published-rkl."""
        desk = desks.at(key)
        if desk.to_heal is not None and choice != OWN:
            try:
                desk.healing.choose(choice)
            except LVLMError as error:
                desk.healing.refusal = str(error)
        return [*draw_wish(desk), *draw_settings(desk)]

    choice.input(choose_recipe, [desk_key, choice], [*wish, *settings], queue=False, show_progress="hidden")

    def start_healing(key: str):
        """Heal the pruned model by the recipe at hand; it is pruned as planned first if it was not yet."""
        desk = desks.at(key)
        if desk.healing.refusal:
            raise BadRecipe(desk.healing.refusal)
        desk.heal()

    def stop_healing(key: str):
        """End the training after the step in hand and keep the best weights so far."""
        desks.at(key).stop_healing()

    stop.click(stop_healing, desk_key, None, queue=False)

    def resume_healing(key: str):
        """Go on with the unfinished run that was found, from its last checkpoint."""
        desk = desks.at(key)
        if desk.healing.goes_on is None:
            raise BadRecipe("There is no unfinished run of this model: please start one.")
        desk.heal(desk.healing.goes_on)

    def discard_healing(key: str):
        """Forget the unfinished run that was found."""
        desks.at(key).discard_run()

    def choose_patient(key: str, id: str):
        """Choose which of several pruned models is healed, by its id: "pruned-1" …"""
        desks.at(key).treat(id)

    starts = [
        Start(of.input, choose_patient, [of]),
        Start(heal.click, start_healing),
        Start(resume.click, resume_healing),
        Start(discard.click, discard_healing),
    ]
    drawn = [*wish, *settings, of, stop, curve_row, unfinished, found, chart, result, to_chat]
    asked = Part(drawn, draw, starts, lambda desk: (*whole(desk), desk.measuring.version))
    live = [facts, held_head, held, terms_head, terms]
    return asked, Part(live, draw_live, state=lambda desk: (*whole(desk), len(desk.healing.points))), to_chat


def at_hand(desk: Desk) -> Recipe:
    """The recipe that the controls show."""
    return desk.healing.recipe(desk.model, desk.to_heal)


def _minutes(recipe: Recipe, moved: bool = False) -> Dial:
    """The clock, which is out of use, and says so, while steps are set. moved: it may be in the person's hand."""
    by_clock = recipe.minutes is not None
    value = {"value": recipe.minutes} if by_clock and not moved else {}
    return Dial(label=say(MINUTES_LABEL if by_clock else NO_MINUTES), interactive=by_clock, **value)


def _patients(desk: Desk) -> Choice:
    """The pruned models, where there are several to choose from."""
    pruned = [x for x in desk.variants if x.kind == "pruned"]
    choices = [(retell(x.title), x.id) for x in pruned]
    return Choice(choices=choices, value=desk.patient.id if desk.patient else None, visible=len(pruned) > 1)


def _choices() -> list[tuple[str, str]]:
    return [*((label, name) for name, (label, _) in CHOICES.items()), ("By hand", OWN)]


def take(desk: Desk, train, sft, kl, rkl, l2, temperature, layers, rate, rank, batch, fraction, arithmetic, minutes,
         steps, data, asked_each) -> None:  # fmt: skip
    """Make the recipe that the controls show the desk's. Raises BadRecipe and BadSamples."""
    desk.healing.use(data, _whole(asked_each))
    before = at_hand(desk)
    length = {"minutes": None, "steps": _whole(steps)} if steps is not None else {"minutes": minutes, "steps": None}
    if fraction is None:
        raise BadSamples("The share of the data is empty: please choose 1 to 100 %.")
    wish = replace(
        before,
        train=train,
        sft=sft,
        kl=kl,
        rkl=rkl,
        l2=l2,
        temperature=temperature,
        l2_layers=int(layers) if str(layers).isdigit() else layers,
        learning_rate=rate,
        rank=_whole(rank),
        batch=_whole(batch),
        fraction=fraction / 100,
        arithmetic=arithmetic,
        **length,
    )
    wish = replace(wish, alpha=max(1, round(before.alpha / before.rank * wish.rank)))  # LoRA's scale stays
    if length["steps"] is None and length["minutes"] is None:
        raise BadRecipe("Neither minutes nor steps are given: please choose how long to train.")
    desk.healing.change(before, wish)


def _whole(number):
    """A box's 16.0 as 16; anything else as it is, for the library to judge."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _button(desk: Desk) -> list:
    """The sentence under the recipe, and the Heal button."""
    if desk.to_heal is None:
        return [reasons.why({"heal": reasons.loading(desk)}), gr.Button(say(WAITING), interactive=False)]
    label = say("Heal the pruned model")
    if desk.patient is None:
        label = say("Prune {what} and heal", what=healed.gone(desk.to_heal))
    refusal = desk.healing.refusal
    said = words.notice(refusal, "error") or words.notice(healed.planned(desk))
    said += reasons.why({"heal": retell(refusal) or reasons.waits(desk)})
    return [said, gr.Button(label, interactive=not refusal and not desk.busy)]
