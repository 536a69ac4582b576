"""Making variants on a desk: cutting, healing, storing in 8 bits. Each starts the desk's job, whose result stands among
the desk's variants; what was made before is shown again. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import re
import shutil
import time
import weakref
from pathlib import Path

from lvlm.disk import workplace
from lvlm.errors import Cancelled, LVLMError
from lvlm.events import Report
from pruning import measure, pack, prune, quantize
from recovery import RecoveryDiverged
from ui import jobs, runs
from ui.healing import ASKED_OF, in_words
from ui.measuring import ask
from ui.runs import Run
from ui.variants import ORIGINAL, Variant
from ui.words import percent


def cut(desk) -> jobs.Job | None:
    """Carry out the plan and measure both models; a variant that was cut by the same plan comes to the front.
    Raises LVLMError before there is a plan."""
    model, plan = desk.model, _planned(desk.plan)
    desk.check_free()
    if (known := cut_by(desk, plan)) is not None:
        desk.variants.put(known)
        return None
    return desk.start(
        "Prune and measure", lambda report: _cut(model, plan, report), lambda made: _put_cut(desk, plan, made)
    )


def cut_by(desk, plan) -> Variant | None:
    """The variant that this plan made."""
    wanted = plan.to_json()
    return next((x for x in desk.variants if x.kind == "pruned" and x.plan.to_json() == wanted), None)


def cut_by_plan(desk, plan, report: Report) -> Variant:
    """The variant that this plan made, cut and measured now where there is none; for work that holds the machine."""
    return cut_by(desk, plan) or _put_cut(desk, plan, _cut(desk.model, plan, report))


def _planned(plan):
    if plan is None:
        raise LVLMError("The model is still loading: please press again in a moment.")
    return plan


def _cut(model, plan, report: Report) -> tuple:
    """The pruned model, seconds that the cut took, and both models' costs."""
    began = time.perf_counter()
    pruned = prune(model, plan)
    seconds = time.perf_counter() - began
    return pruned, seconds, measure(model, report=report), measure(pruned, report=report)


def _put_cut(desk, plan, made: tuple) -> Variant:
    model, seconds, before, cost = made
    original = desk.variants.get(ORIGINAL)
    original.cost = before
    title = f"Pruned {percent(plan.achieved)} {plan.method}"
    id = desk.variants.new_id("pruned")
    found = Variant(id, "pruned", title, model, original, plan, cost=cost, seconds=seconds)
    desk.variants.put(found)
    gc.collect()
    return found


def small(desk, id: str) -> jobs.Job | None:
    """Store a variant's weights in 8 bits, as a variant of its own; one that was stored before comes to the front.
    Raises LVLMError for one that is in 8 bits."""
    whole = desk.variants.find(id)
    desk.check_free()
    if whole.kind == "int8":
        raise LVLMError(f"“{whole.title}” is stored in 8 bits already: choose another model.")
    known = _small_of(desk, whole)
    if known is not None:
        desk.variants.put(known)
        return None

    def done(model) -> None:
        if desk.variants.get(id) is whole:
            _put_small(desk, whole, model)

    return desk.start(f"Store “{whole.title}” in 8 bits", lambda report: quantize(whole.model, "int8"), done)


def _small_of(desk, whole: Variant) -> Variant | None:
    return next((x for x in desk.variants.children(whole.id) if x.kind == "int8"), None)


def _put_small(desk, whole: Variant, model) -> Variant:
    return desk.variants.put(Variant(desk.variants.new_id("int8"), "int8", f"{whole.title}, 8-bit", model, whole))


def stored_small(desk, whole: Variant) -> Variant:
    """A variant in 8 bits, stored so now where it is not at hand; for work that holds the machine."""
    return _small_of(desk, whole) or _put_small(desk, whole, quantize(whole.model, "int8"))


def save(desk, id: str) -> jobs.Job | None:
    """Save a variant as a zip file, which lies there as long as the variant does."""
    variant = desk.variants.find(id)
    desk.check_free()
    if variant.file is not None:
        return None

    def work(report: Report) -> Path:
        folder = workplace("saved-")
        weakref.finalize(variant, shutil.rmtree, folder, ignore_errors=True)  # at the program's end, too
        return pack(variant.model, folder / f"{file_name(variant.title)}.zip", report)

    def done(file: Path) -> None:
        variant.file = file

    return desk.start(f"Save “{variant.title}”", work, done)


def file_name(title: str) -> str:
    """A title as the name of a file on any system."""
    return re.sub(r"[^\w%+.-]+", "-", title).strip("-.") or "model"


def heal(desk, run: Run | None = None) -> jobs.Job:
    """Heal the chosen pruned model by the recipe at hand, cut as planned first if nothing is; or go on with a run.

    What the training made stands among the variants before questions are asked of it, and whatever ends those.
    Raises LVLMError for what cannot be begun.
    """
    model, wish = desk.model, desk.healing
    plan = _planned(run.plan if run else desk.to_heal)
    chosen = None if run else desk.patient
    recipe = run.recipe if run else wish.recipe(model, plan)

    def work(report: Report) -> None:
        pruned = chosen or cut_by_plan(desk, plan, report)
        at = run or Run.begin(model.digest(), plan, recipe, wish.data)
        try:
            with at.held():
                _train(desk, at, pruned, report)
                _ask_all(desk, wish.asked, report)
        except (Cancelled, RecoveryDiverged):
            at.remove()
            raise
        except Exception:
            if not at.points():
                at.remove()
            raise
        else:
            at.remove()
        finally:
            wish.goes_on = runs.unfinished(model.digest())

    wish.job = desk.start("Heal the pruned model", work, shares=True)
    return wish.job


def _train(desk, run: Run, pruned: Variant, report: Report) -> None:
    """Train, and put what came of it among the variants; of a run that diverged, its best."""
    diverged, began = None, time.perf_counter()
    try:
        made = desk.healing.train(run, pruned.model, desk.model, report)
    except RecoveryDiverged as error:
        made, diverged = error.best, error
    seconds = time.perf_counter() - began
    title, id = f"Recovered: {in_words(run.recipe)}", desk.variants.new_id("recovered")
    desk.variants.put(
        Variant(id, "recovered", title, made, pruned, recipe=run.recipe, data=run.data, seconds=seconds)
    )
    if diverged:
        raise diverged


def _ask_all(desk, per_task: int, report: Report) -> None:
    """Held-out questions to every variant that was not asked them yet."""
    for variant in desk.variants:
        if per_task and (ASKED_OF, per_task) not in variant.measured and variant.kind != "int8":
            ask(variant, ASKED_OF, per_task, report)
            desk.measuring.version += 1
