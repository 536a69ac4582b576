"""Measures cells that are not in the store yet: in processes of this machine, or on a Ray cluster.

Each piece of work makes one model and asks it everything that is asked of it. Results are kept as they come, so that
whatever ends a run, the next one goes on from there.
"""

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import torch

from evaluation.cells import Cell, Desk, Variant, Work
from evaluation.scoring import evaluate
from evaluation.store import Store
from lvlm import LVLM, Cancelled, LVLMError, load
from lvlm.events import Event, Progress, Report, silent
from pruning import Repair, measure, prune, quantize
from recovery import recover
from samples import load_samples

SMALL = 100_000_000  # parameters: below, a process on each core is quicker than one on all of them
KEPT = 1.5  # the teacher's outputs are kept for up to so many times the samples that a training looks at
TRIES = 3  # of a piece of work whose process died
CHECKED_SECONDS = 0.5  # between two looks whether the run was cancelled

Done = tuple[str, Cell, dict]
_cancelled = None  # in a worker: set once the run was cancelled


def run(
    cells: Sequence[Cell], store: Store, scratch: Path, workers: int | None = None, report: Report = silent,
    cluster: str | None = None,
) -> dict[Cell, dict]:  # fmt: skip
    """Every cell's result, computed where the store lacks it.

    scratch: folder for scores, the teacher's outputs and checkpoints. workers: processes; by default one a core for
    small models, else one. cluster: a Ray address ("auto", "local"), instead of processes here.
    `report` hears Progress("experiment"); raising from it ends the run, what is finished stays.
    """
    desk = Desk(scratch, report)
    keys = {}
    for i, cell in enumerate(cells):
        report(Progress("plan", i, len(cells), "planning"))
        keys[cell] = desk.key(cell, desk.plan(cell.variant))
    todo = desk.work(cells, lambda key, cell: not store.has(key, cell))
    store.note(keys.items())
    if todo:
        total, done = sum(len(x.cells) for x in todo), 0

        def tick() -> None:
            report(Progress("experiment", done, total, f"{done} of {total} measured"))

        tick()
        for part, timed in _shifts(todo):
            alone = timed or _large(desk, part)
            if cluster:
                from evaluation.cluster import on_cluster  # ray is optional

                found = on_cluster(part, cluster, scratch, tick, alone)
            else:
                found = _in_processes(part, scratch, 1 if timed else workers or _workers(alone), tick)
            with closing(found):  # whatever is raised here ends the work at once
                for key, cell, result in found:
                    store.put(key, cell, result)
                    done += 1
                    tick()
    return {cell: store.get(key) for cell, key in keys.items()}


def _workers(alone: bool) -> int:
    return 1 if torch.cuda.is_available() or alone else os.cpu_count() or 1


def _large(desk: Desk, todo: Sequence[Work]) -> bool:
    """Whether a piece of work wants all cores."""
    return any(desk.model(x.variant.model).parameters().total >= SMALL for x in todo)


def _shifts(todo: Sequence[Work]) -> list[tuple[list[Work], bool]]:
    """What may be done at the same time, and whether it is timed: that comes first, and one by one, for two that are
    timed at once would time each other.

    A model that must be trained is made once for all that is asked of it, the others again for each shift.
    """
    timed, asked = [], []
    for work in todo:
        costs = [x for x in work.cells if x[1].suite is None]
        if not costs or work.variant.recipe:
            (timed if costs else asked).append(work)
            continue
        timed.append(replace(work, cells=tuple(costs)))
        if rest := tuple(x for x in work.cells if x not in costs):
            asked.append(replace(work, cells=rest))
    return [x for x in ((timed, True), (asked, False)) if x[0]]


# --- processes of this machine ---


def _in_processes(todo: Sequence[Work], scratch: Path, workers: int, tick: Callable[[], None]) -> Iterator[Done]:
    """Results as they come; tick() may end the run by raising.

    Work whose process died (killed, out of memory) is tried again in a new one.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    left, tries = list(todo), 0
    while left:
        event = context.Event()
        with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(event, threads)) as pool:
            waiting = {pool.submit(compute, x, scratch): x for x in left}
            try:
                while waiting:
                    ready, _ = wait(waiting, CHECKED_SECONDS, FIRST_COMPLETED)
                    tick()
                    for future in ready:
                        yield from future.result()
                        left.remove(waiting.pop(future))
            except BrokenProcessPool as error:
                tries += 1
                if tries == TRIES:
                    raise LVLMError(
                        f"A process that measured died {TRIES} times, perhaps for want of memory: please give fewer "
                        "workers. What is finished is kept."
                    ) from error
            except BaseException:
                event.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _begin(event, threads: int) -> None:
    global _cancelled
    _cancelled = event
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _end_with(parent) -> None:
    """A run that was killed takes its processes along, which would wait for work for ever."""
    parent.join()
    os._exit(1)


def _listen(event: Event) -> None:
    if _cancelled is not None and _cancelled.is_set():
        raise Cancelled("Cancelled.")


# --- one piece of work, wherever it is done ---


@lru_cache(maxsize=1)
def _loaded(name: str) -> LVLM:
    return load(name, step="chat")


@lru_cache(maxsize=1)
def _training(pool: int, seed: int) -> tuple:
    return tuple(load_samples("scenes", n=pool, seed=seed))


def compute(work: Work, scratch: Path, report: Callable = _listen) -> list[Done]:
    """Make the model and measure it."""
    began = time.perf_counter()
    model, healing = _made(work, scratch, report)
    about = {"parameters": asdict(model.parameters()), "bytes": model.bytes(), "recovery": healing,
             "achieved": work.plan.achieved if work.plan else 0.0, "torch": torch.__version__,
             "repair": next((x["seconds"] for x in model.history if x["step"] == "repair"), None)}  # fmt: skip
    found, small = [], None
    for key, cell in sorted(work.cells, key=lambda x: x[1].int8):
        if cell.int8 and small is None:
            small = quantize(model, "int8")
        asked, result = small if cell.int8 else model, dict(about)
        if cell.int8:
            result["bytes"] = small.bytes()
        if cell.suite is None:
            result |= {"cost": measure(asked, report=report).to_dict(), "probabilities": None}
        else:
            heard = evaluate(asked, cell.suite, cell.per_task, cell.questions_seed, report=report, images=cell.images,
                             probabilities=cell.probabilities)  # fmt: skip
            likely = [round(x.probability, 4) for x in heard.records] if cell.probabilities else None
            result |= {"answers": [x.answer for x in heard.records], "probabilities": likely}
            result |= {"scores": heard.scores, "average": heard.average}
            result |= {"by_format": heard.by_format(), "by_demand": heard.by_demand()}
        found.append((key, cell, result | {"seconds": time.perf_counter() - began}))
        began = time.perf_counter()
    return found


def _refitted(variant: Variant) -> tuple:
    """What `prune` is told of a repair."""
    return (Repair(), load_samples("scenes", n=variant.repair, seed=variant.seed)) if variant.repair else ()


def _made(work: Work, scratch: Path, report: Callable) -> tuple[LVLM, dict | None]:
    variant = work.variant
    dense = _loaded(variant.model)
    model = dense if work.plan is None else prune(dense, work.plan, *_refitted(variant))
    if variant.recipe is None:
        return model, None
    run, taught = scratch / "runs" / work.cells[0][0], scratch / "taught"
    recipe = variant.recipe
    seen = (recipe.steps or 0) * recipe.batch
    if recipe.needs_teacher and recipe.arithmetic != "paper" and recipe.fraction * variant.pool <= KEPT * seen:
        recipe = replace(recipe, cache=str(taught))
    large = model.parameters().total >= SMALL  # below, a run is over before a checkpoint would pay
    if large:
        recipe = replace(recipe, checkpoints=str(run))
    healed = recover(
        model, dense if recipe.needs_teacher else None, _training(variant.pool, variant.seed), recipe, report,
        resume=large and run.exists(),
    )  # fmt: skip
    shutil.rmtree(run, ignore_errors=True)
    step = healed.history[-1]
    kept = ("steps", "best_step", "samples", "seconds", "held_out_before", "held_out", "curve")
    return healed, {x: step[x] for x in kept}
