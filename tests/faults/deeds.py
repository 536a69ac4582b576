"""What the children do before they are killed or run into a fault. Whatever they share is made once, in warm.py."""

import os
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path

from huggingface_hub import constants

from evaluation import runner
from evaluation.casebook import Casebook
from evaluation.cases import Case, Said, png
from evaluation.cells import Cell, Variant
from evaluation.store import Store
from lvlm import LVLM, load
from pruning import make_plan, prune, quantize, save
from recovery import Recipe, recover
from tests import tiny
from tests.faults.children import Life, held, linger
from tests.lvlm.test_hub import REPO, Hub, serve

RECIPE = Recipe(train="lora", rank=4, alpha=8, dropout=0.2, kl=0.5, steps=12, batch=4, learning_rate=1e-2)
CASES = 12


@cache
def models() -> dict[str, LVLM]:
    dense = tiny.model("llama-gqa")
    pruned = prune(dense, make_plan(tiny.scores(dense), "both", 0.4))
    return {"dense": dense, "pruned": pruned, "int8": quantize(pruned, "int8")}


def digests(life: Life) -> dict[str, str]:
    return {kind: model.digest() for kind, model in models().items()}


def save_over(life: Life, kind: str, folder: Path) -> None:
    """Say what is there, if anything, then put another model in its place."""
    if folder.parent.exists():
        life.say(load(folder).digest())
    life.begin()
    save(models()[kind], folder)


def loaded(life: Life, folder: Path) -> str:
    return load(folder).digest()


def heal(life: Life, folder: Path) -> tuple:
    """Go on with a run, or begin it: the healed weights and the curve."""
    recipe = replace(RECIPE, checkpoints=str(folder / "checkpoints"), cache=str(folder / "teacher"))
    life.begin()
    healed = recover(models()["pruned"], models()["dense"], tiny.samples(9), recipe, resume=True)
    return healed.digest(), healed.history[-1]["curve"]


def cells(models: list[Path]) -> list[Cell]:
    return [Cell(Variant(str(x)), per_task=1) for x in models]


def save_seeds(life: Life, folder: Path, number: int) -> list[Path]:
    return [save(tiny.model("llama", seed=i, layers=1), folder / f"m{i}") for i in range(number)]


def examine(life: Life, models: list[Path], folder: Path) -> list:
    """Measure what the store lacks, in this process: each cell's answers."""
    runner._in_processes = _here
    life.begin()
    found = runner.run(cells(models), Store(folder, ()), folder / "scratch")
    return [x["answers"] for x in found.values()]


def _here(todo, scratch, workers, tick):
    for work in todo:
        tick()
        yield from runner.compute(work, scratch)


def a_case(number: int) -> Case:
    sides = (Said("original", "original", "Original", "two"), Said("pruned", "pruned", "Pruned", "one", ratio=0.3))
    return Case(f"How many {number}?", sides, "tiny", "0" * 16, png(tiny.picture(number, (90, 90))))


def keep(life: Life, file: Path) -> None:
    """Keep cases one after the other, and say of each that it is kept."""
    made = [a_case(i) for i in range(CASES)]
    book = Casebook(file)
    life.begin()
    for case in made:
        book.keep(case, "me")
        life.say(case.id)


def fetch(life: Life, source: Path, cache: Path, online: bool = True) -> str:
    """Load a hub's model, downloading what is not there."""
    constants.HF_HUB_CACHE, constants.HF_HUB_OFFLINE = str(cache), not online
    constants.HF_TOKEN_PATH = constants.HF_STORED_TOKENS_PATH = str(cache / "no-token")
    serve(Hub(source))
    life.begin()
    return load(REPO).digest()


def die_while_busy(life: Life, lock: Path) -> None:
    """Have a worker measure for ever, and be killed once it does."""

    def tick() -> None:
        if held(lock):
            os.kill(os.getpid(), signal.SIGKILL)

    runner.compute = linger
    list(runner._in_processes(["work"], lock, 1, tick))
