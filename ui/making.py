"""Making variants on a desk: cutting, healing, storing in 8 bits. Each starts the desk's job, whose result stands among
the desk's variants; what was made before is shown again. Knows the library and jobs, and nothing of Gradio.
"""

import gc
import re
import shutil
import threading
import time
import weakref
from pathlib import Path

from lvlm.disk import workplace
from lvlm.errors import Cancelled, LVLMError
from lvlm.events import Report
from pruning import Repair, gain, measure, pack, prune, quantize, way
from recovery import RecoveryDiverged
from samples import load_samples
from ui import jobs, runs
from ui.healing import ASKED_OF, in_words
from ui.measuring import ask
from ui.runs import Run
from ui.variants import MOST_PANES, ORIGINAL, Variant
from ui.words import percent

REPAIRED_ON = 64  # samples that a repair is fitted to
COMPARED_ON = {"train": 24, "test": 48}  # that its gain is told on: of those it was fitted to, and fresh ones


def cut(desk) -> jobs.Job | None:
    """Carry out the plan, measure both models, and repair what stays if that is wished; a variant that was made so
    comes to the front. Raises LVLMError before there is a plan."""
    model, plan, repair = desk.model, _planned(desk.plan), REPAIRED_ON * desk.repair
    desk.check_free()
    if (known := cut_by(desk, plan, repair)) is not None:
        _show(desk, known)
        return None
    plain = cut_by(desk, plan)

    def work(report: Report) -> tuple:
        made = None if plain else _cut(model, plan, report)
        return made, _repaired(model, plan, plain.model if plain else made[0], repair, report) if repair else None

    def done(result: tuple) -> None:
        made, fixed = result
        if made is None and desk.variants.get(plain.id) is not plain:
            return  # dropped meanwhile, and what would come of it, too
        _put_repaired(desk, plain or _put_cut(desk, plan, made), repair, fixed)

    return desk.start("Prune, repair and measure" if repair else "Prune and measure", work, done)


def cut_by(desk, plan, repair: int = 0) -> Variant | None:
    """The variant that this plan made, repaired on so many samples."""
    wanted = plan.to_json()
    cuts = (x for x in desk.variants if x.kind == "pruned" and x.repair == repair)
    return next((x for x in cuts if x.plan.to_json() == wanted), None)


def cut_by_plan(desk, plan, report: Report, repair: int = 0) -> Variant:
    """The variant that this plan made, cut and measured now where there is none; for work that holds the machine."""
    if (known := cut_by(desk, plan, repair)) is not None:
        return known
    plain = cut_by(desk, plan) or _put_cut(desk, plan, _cut(desk.model, plan, report))
    return _put_repaired(
        desk, plain, repair, _repaired(desk.model, plan, plain.model, repair, report) if repair else None
    )


def cut_from(original, plan, repair: int, report: Report):
    """The original, cut by the plan and repaired on so many samples; with as many threads the same to the bit."""
    if not repair:
        return prune(original, plan)
    return prune(original, plan, Repair(), load_samples("scenes", n=repair), report)


def _planned(plan):
    if plan is None:
        raise LVLMError("The model is still loading: please press again in a moment.")
    return plan


def _cut(model, plan, report: Report) -> tuple:
    """The pruned model, seconds that the cut took, and both models' costs."""
    began = time.perf_counter()
    pruned = cut_from(model, plan, 0, report)
    seconds = time.perf_counter() - began
    return pruned, seconds, measure(model, report=report), measure(pruned, report=report)


def _put_cut(desk, plan, made: tuple) -> Variant:
    model, seconds, before, cost = made
    original = desk.variants.get(ORIGINAL)
    original.cost = before
    title = f"Pruned {percent(plan.achieved)} {way(plan)}"
    id = desk.variants.new_id("pruned")
    found = Variant(id, "pruned", title, model, original, plan, cost=cost, seconds=seconds)
    desk.variants.put(found)
    gc.collect()
    return found


def _repaired(model, plan, plain, repair: int, report: Report) -> tuple:
    """The repaired model, seconds that this took, and what it gains on samples it was fitted to and on fresh ones."""
    began = time.perf_counter()
    fixed = cut_from(model, plan, repair, report)
    seconds = time.perf_counter() - began
    fitted, fresh = (load_samples("scenes", split=x, n=n) for x, n in COMPARED_ON.items())
    return fixed, seconds, gain(model, plain, fixed, fitted, fresh, report)


def _put_repaired(desk, plain: Variant, repair: int, made: tuple | None) -> Variant:
    """Beside the plain cut, so that both answer; the plain one itself where nothing was repaired."""
    if made is None:
        return plain
    model, seconds, gained = made
    title, id = f"Repaired {percent(plain.plan.achieved)} {way(plain.plan)}", desk.variants.new_id("pruned")
    return _show(
        desk,
        Variant(id, "pruned", title, model, plain, repair=repair, gain=gained, cost=plain.cost, seconds=seconds),
    )


def _show(desk, variant: Variant) -> Variant:
    """Put it among the variants and in a pane; a repaired one beside what it was before."""
    panes = desk.variants.panes
    desk.variants.put(variant)
    if variant.gain is not None:
        before = [x for x in panes if x not in (variant.id, variant.parent.id)]
        desk.variants.show([*before[: MOST_PANES - 2], variant.parent.id, variant.id])
    return variant


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
    stop = threading.Event()

    def work(report: Report) -> None:
        pruned = chosen or cut_by_plan(desk, plan, report, run.repair if run else REPAIRED_ON * desk.repair)
        at = run or Run.begin(model.digest(), plan, recipe, wish.data, pruned.repair)
        try:
            with at.held():
                _train(desk, at, pruned, stop, report)
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

    job = desk.start("Heal the pruned model", work, shares=True)
    wish.stop, wish.job = stop, job  # it may be asked to stop while it waits for its turn
    return job


def _train(desk, run: Run, pruned: Variant, stop: threading.Event, report: Report) -> None:
    """Train, and put what came of it among the variants; of a run that diverged, its best."""
    diverged, began = None, time.perf_counter()
    try:
        made = desk.healing.train(run, pruned.model, desk.model, report, stop)
    except RecoveryDiverged as error:
        made, diverged = error.best, error
    seconds = time.perf_counter() - began
    title, id = f"Recovered: {in_words(run.recipe)}", desk.variants.new_id("recovered")
    desk.variants.put(Variant(id, "recovered", title, made, pruned, recipe=run.recipe, data=run.data, seconds=seconds))
    if diverged:
        raise diverged


def _ask_all(desk, per_task: int, report: Report) -> None:
    """Held-out questions to every variant that was not asked them yet."""
    for variant in desk.variants:
        if per_task and (ASKED_OF, per_task) not in variant.measured and variant.kind != "int8":
            ask(variant, ASKED_OF, per_task, report)
            desk.measuring.version += 1
