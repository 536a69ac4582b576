"""What the children do when a disk or memory fails them: each piece of work is prepared, done under the fault, looked
at, and done again after it."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from evaluation import evaluate
from evaluation.casebook import Casebook
from evaluation.cells import Cell, Variant
from evaluation.store import Store
from lvlm import LVLMError, memory
from lvlm.events import LossPoint
from pruning import calibrate, make_plan, pack, prune, quantize, save
from recovery import Recipe, recover
from tests import tiny
from tests.faults import deeds, faults
from tests.faults.children import Life
from tests.ui.conftest import chatty
from ui import desk as desk_module
from ui import healing, workspace


def files(folder: Path) -> dict:
    """What lies there; of a book of cases what is kept in it, as its file may be laid out anew."""
    found = {x: x.read_bytes() for x in folder.rglob("*") if x.is_file() and x.name != "ballast"}
    books = {x: {y.id for y in Casebook(x).find()} for x in found if x.suffix == ".sqlite"}
    return {x: y for x, y in found.items() if ".sqlite" not in x.name} | books


def patients() -> tuple:
    return deeds.models()["pruned"], deeds.models()["dense"]


def heal(folder: Path, stop_at: int = 0) -> None:
    stop = threading.Event()

    def listen(event) -> None:
        if isinstance(event, LossPoint) and event.step == stop_at:
            stop.set()

    recipe = replace(deeds.RECIPE, steps=6, checkpoints=str(folder / "run"))
    recover(*patients(), tiny.samples(9), recipe, listen, resume=True, stop=stop)


def teach(folder: Path) -> None:
    recipe = replace(deeds.RECIPE, steps=1, cache=str(folder / "teacher"))
    recover(*patients(), tiny.samples(9), recipe)


def put(folder: Path, number: int) -> None:
    cell = Cell(Variant("tiny"), per_task=number)
    Store(folder / "store", ()).put(f"{number:020}", cell, {"answers": [os.urandom(1000).hex()]})


def note(folder: Path, number: int) -> None:
    some = [Cell(Variant("tiny"), per_task=i + 1) for i in range(100 * number)]
    Store(folder / "store", ()).note([(x, "0" * 20) for x in some])


@dataclass(frozen=True)
class Work:
    """before, act: of the folder."""

    before: Callable[[Path], object]
    act: Callable[[Path], object]


DISK_WORK = {
    "save": Work(lambda x: save(deeds.models()["dense"], x / "m"), lambda x: save(deeds.models()["pruned"], x / "m")),
    "save in 8 bits": Work(faults.nothing, lambda x: save(deeds.models()["int8"], x / "m")),
    "pack": Work(
        lambda x: pack(deeds.models()["dense"], x / "m.zip"), lambda x: pack(deeds.models()["pruned"], x / "m.zip")
    ),
    "scores": Work(
        lambda x: tiny.scores(deeds.models()["dense"]).save(x / "s"),
        lambda x: tiny.scores(deeds.models()["dense"], 1).save(x / "s"),
    ),
    "recover": Work(lambda x: heal(x, stop_at=2), heal),
    "teacher": Work(faults.nothing, teach),
    "result": Work(lambda x: put(x, 1), lambda x: put(x, 2)),
    "list of results": Work(lambda x: note(x, 1), lambda x: note(x, 2)),
    "case": Work(
        lambda x: Casebook(x / "c.sqlite").keep(deeds.a_case(0), "me"),
        lambda x: Casebook(x / "c.sqlite").keep(deeds.a_case(1), "me"),
    ),
}


def refusal(act: Callable, *given) -> str | None:
    try:
        act(*given)
    except LVLMError as error:
        return f"{type(error).__name__}: {error}"
    return None


def suffer(life: Life, fault: str, folder: Path) -> dict:
    """Every piece of work under a fault of the disk: (its sentence, whether all is as before, whether it then works);
    a text instead where the fault cannot be brought about."""
    begin, strike, relent = faults.DISKS[fault]
    try:
        begin(folder)
    except faults.NotAllowed as error:
        return str(error)
    found = {}
    for name, work in DISK_WORK.items():
        place = folder / name
        place.mkdir()
        work.before(place)
        before = files(place)
        strike(folder)
        said = refusal(work.act, place)
        relent(folder)
        found[name] = said, files(place) == before, refusal(work.act, place)
    return found


# --- memory ---


def large():
    """A model of 13 MB a layer, so that what fails is large and what must go on is small."""
    shared = dict(tiny.SHARED)
    tiny.SHARED.update(hidden_size=256)
    family = dict(tiny.FAMILIES["llama"])
    tiny.FAMILIES["llama"].update(intermediate_size=4096)
    try:
        model = tiny.model("llama")
        model.network.config.get_text_config().max_position_embeddings = 4096
        return model
    finally:
        tiny.SHARED.update(shared)
        tiny.FAMILIES["llama"].update(family)


def run_short(life: Life, folder: Path, unforeseen: bool) -> dict:
    """Every step with 6 MB to spare: (its sentence, whether it then works). unforeseen: estimates are told there is
    plenty, so that the allocators themselves say no."""
    model = large()
    scores = tiny.scores(model)
    plan = make_plan(scores, "widthwise", 0.3)
    pruned = prune(model, plan)
    digest = model.digest()
    steps = {
        "prune": lambda: prune(model, plan),
        "quantize": lambda: quantize(model, "int8"),
        "calibrate": lambda: calibrate(model, tiny.samples(2)),
        "recover": lambda: recover(pruned, model, tiny.samples(5), Recipe(train="full", steps=1, batch=2)),
        "evaluate": lambda: evaluate(model, "scenes", 1, 1),
    }
    found = {}
    if unforeseen:
        os.environ[memory.OVERRIDE] = "64"
    for name, step in steps.items():
        faults.limit_memory(6 << 20)
        said = refusal(step)
        faults.lift_memory()
        found[name] = said, refusal(step) if name in ("prune", "recover") else None
    assert model.digest() == digest
    return found


# --- the app ---


def serve_others(life: Life, fault: str, folder: Path) -> dict:
    """One visitor heals and saves while the disk or memory fails; another one asks the same before, meanwhile and
    after."""
    os.environ |= {"XDG_CACHE_HOME": str(folder), "XDG_DATA_HOME": str(folder), memory.OVERRIDE: "64"}
    desk_module.load_samples = lambda reader, n, **options: tiny.samples(n)
    healing.read = lambda data, recipe: tiny.samples(12)
    desks = workspace.Desks(workspace.Shelf(lambda name, report: large() if name == "large" else chatty()))
    one, other = desks.at("one"), desks.at("other")
    ended(one.open("large" if fault == "memory" else "small"))
    ended(other.open("other"))
    ended(one.prune())
    one.healing.own = Recipe(train="full", batch=2, steps=4, learning_rate=1e-3)
    one.healing.asked = 0
    strike, relent = (
        (lambda x: faults.limit_memory(24 << 20), lambda x: faults.lift_memory())
        if fault == "memory"
        else faults.DISKS[fault][1:]
    )

    def answer() -> str:
        ended(other.ask(None, "how many?", max_new_tokens=6, temperature=0))
        return "".join(x.text for x in other.talk[-1].answers.values())

    answers = [answer()]
    strike(folder)
    job = ended(one.heal())
    failed = job.state, one.notice
    answers.append(answer())
    relent(folder)
    answers.append(answer())
    again = ended(one.heal())
    return {"failed": failed, "answers": answers, "again": (again.state, one.notice)}


def ended(job):
    job.thread.join()
    return job
