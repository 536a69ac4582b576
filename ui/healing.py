"""Healing on a desk: which recipe, by choice or by hand; the run under way; and the curve of the last one. Knows the
library and the runs on disk, and nothing of desks, jobs or Gradio.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from lvlm.errors import BadSamples
from lvlm.events import LossPoint, Progress, Report
from pruning import Plan
from recovery import Recipe, advise, preset, published, recover
from recovery.lessons import Selection
from samples import load_samples
from ui.runs import CHECKPOINTS, TEACHER, Run
from ui.shelf import is_small

POOL = 4000  # samples of built-in data, of which a recipe takes its fraction
KEPT = 500  # samples whose teacher's outputs are kept on disk: so few come again and again
MINUTES, LONG_MINUTES = 1.5, 60.0  # of training, for small models and others
ASKED, MOST_ASKED = 10, 200  # questions of each kind, before and after
ASKED_OF = "scenes"  # the suite that they are of
BUILT_IN = ("scenes", "easy-vqa")


def strongest(plan: Plan) -> Recipe:
    """Everything trains, against answers, the original's words and its hidden state: best on the bundled models."""
    settings = preset(plan.model)
    settings = settings | {"learning_rate": min(settings["learning_rate"], 5e-4)}
    return Recipe(train="full", sft=1.0, kl=1.0, l2=1.0, temperature=1.0, **settings)


def as_published(plan: Plan, term: str) -> Recipe:
    """The authors' code with one distillation term."""
    return published(term, plan.model)


CHOICES: dict[str, tuple[str, Callable[[Plan], Recipe]]] = {
    "advised": ("As the paper advises", advise),
    "strongest": ("All weights, SFT + KL + L2", strongest),
    "published-l2": ("The authors' SFT + L2", partial(as_published, term="l2")),
    "published-rkl": ("The authors' SFT + reverse KL", partial(as_published, term="rkl")),
}
TRAINED = {"projector": "projector", "lora": "LoRA", "full": "all weights"}
TERMS = {"sft": "SFT", "kl": "KL", "rkl": "reverse KL", "l2": "L2"}


def in_words(recipe: Recipe) -> str:
    """What trains against which losses."""
    return f"{TRAINED[recipe.train]}, {' + '.join(TERMS[x] for x in recipe.terms)}"


def read(data: str, recipe: Recipe) -> list:
    """The samples that a recipe chooses from; of built-in ones only those that it takes have pictures drawn."""
    if data not in BUILT_IN:
        return load_samples(data)
    chosen = Selection.of(POOL, recipe)
    return load_samples(data, n=POOL, pictures={*chosen.train, *chosen.held_out})


@dataclass
class Healing:
    """What a visitor chose, and the last run. `own` is the recipe changed by hand; None follows `choice`, for `length`
    (its minutes and steps) where that was said."""

    of: str | None = None  # id of the pruned variant; None: the newest, or as planned where there is none
    choice: str = "advised"
    own: Recipe | None = None
    length: dict | None = None
    data: str = "scenes"
    asked: int = ASKED
    refusal: str = ""  # why the last wish makes no recipe
    points: list[LossPoint] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    goes_on: Run | None = None  # an unfinished run that was found on disk
    job: object = None  # the last run's

    def recipe(self, model, plan: Plan) -> Recipe:
        """The recipe at hand: the one by hand, or the chosen one with a length that suits the model."""
        if self.own is not None:
            return self.own
        found = CHOICES[self.choice][1](plan)
        if is_small(model):
            found = replace(found, minutes=MINUTES, held_out=24)  # looks at more would take most of so short a run
        else:
            found = replace(found, minutes=LONG_MINUTES, micro_batch=1, checkpointing=True)
        return replace(found, **self.length) if self.length else found

    def change(self, before: Recipe, wish: Recipe) -> None:
        """Take a recipe that was changed by hand; one that only lasts longer or shorter is still the chosen one."""
        length = {"minutes": wish.minutes, "steps": wish.steps}
        if self.own is None and replace(before, **length) == wish:
            self.length = length
        elif wish != before:
            self.own = wish

    def choose(self, choice: str) -> None:
        """Take a recipe from the list. Raises BadSamples for none of it."""
        if choice not in CHOICES:
            raise BadSamples(f"There is no recipe {choice!r}: choose {', '.join(CHOICES)}.")
        self.choice, self.own, self.refusal = choice, None, ""

    def use(self, data: str, asked: int) -> None:
        """What to learn from, and how many questions to ask before and after. Raises BadSamples."""
        if not (isinstance(asked, int) and 0 <= asked <= MOST_ASKED):
            raise BadSamples(f"{asked} questions of each kind cannot be asked: choose 0 to {MOST_ASKED}.")
        if not data or not (data in BUILT_IN or data.endswith(".json")):
            raise BadSamples(
                f'There is no data called "{data}": choose {", ".join(BUILT_IN)}, or type the path of a LLaVA '
                "instruction .json file."
            )
        self.data, self.asked = data, asked

    def train(self, run: Run, pruned, teacher, report: Report, stop: threading.Event):
        """The healed LVLM, from the run's last checkpoint on if it has one; once `stop` is set, the best so far after
        the step in hand. `points` grows meanwhile."""
        self.points = run.points()
        report(Progress("samples", 0, 1, f"reading {run.data}"))
        samples = read(run.data, run.recipe)
        few = run.recipe.fraction * len(samples) <= KEPT
        kept = few and run.recipe.needs_teacher and run.recipe.arithmetic == "repaired"
        recipe = replace(
            run.recipe,
            checkpoints=str(run.folder / CHECKPOINTS),
            cache=str(run.folder / TEACHER) if kept else None,
        )

        def listen(event) -> None:
            if isinstance(event, LossPoint):
                self.points.append(event)
            report(event)

        return recover(
            pruned, teacher if recipe.needs_teacher else None, samples, recipe, listen, resume=True, stop=stop
        )
