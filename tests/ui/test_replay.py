"""A session's script does what the session did."""

import os
import subprocess
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvlm import LVLMError, load
from lvlm.events import LossPoint
from pruning import Unit
from recovery import Recipe, recover
from tests.ui.conftest import chatty, wait
from ui import pictures, replay
from ui.healing import read
from ui.shelf import Shelf
from ui.variants import Variant
from ui.workspace import Desks

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A desk on a random model that lies in a folder, as a person's own would."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder, model = tmp_path / "model", chatty()
    model.network.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    desk = Desks(Shelf(partial(load, step="calibrate-checkpointing"))).at("a")
    wait(desk.open(str(folder)))
    desk.show(pictures.named(pictures.titles()[1])[0], ())
    yield desk
    desk.close()


def stopped(pruned, original, recipe: Recipe, after: int):
    """A training that a person stopped after so many steps."""
    stop = threading.Event()

    def listen(event):
        if isinstance(event, LossPoint) and event.step >= after - 1:
            stop.set()

    return recover(pruned, original, read("scenes", recipe), recipe, listen, stop=stop)


def run(file: Path) -> list[str]:
    """The lines that a script prints in a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run([sys.executable, str(file)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_gives_the_sessions_answers(desk):
    """Pruned by hand-picked units, healed and stopped early, stored in 8 bits, asked greedily and by chance: the script
    prints the same answers to the letter."""
    desk.picking.pinned, desk.picking.forced = (Unit(0, 1),), (Unit(1, 0),)
    desk.wish("widthwise", 0.2, 0, 1)
    wait(desk.prune())
    original, pruned = desk.variants.get("original"), desk.variants.get("pruned-1")
    recipe = Recipe(train="full", l2=1.0, steps=5, batch=2, fraction=0.005, held_out=2, learning_rate=1e-2)
    healed = stopped(pruned.model, original.model, recipe, after=2)
    desk.variants.put(Variant("recovered-1", "recovered", "Healed", healed, pruned, recipe=recipe, data="scenes"))
    wait(desk.small("pruned-1"))
    desk.variants.show(["original", "pruned-1", "recovered-1", "int8-1"])
    wait(desk.ask(desk.image, "How many?", max_new_tokens=12, temperature=0.0, seed=0))
    wait(desk.ask(desk.image, 'What is "it"?', max_new_tokens=12, temperature=1.0, seed=7))

    said = run(replay.save(desk))
    answers = [(x.title, x.text) for exchange in desk.talk for x in exchange.answers.values()]
    assert len(answers) == 8 and len({text for _, text in answers}) >= 7  # they can be told apart
    for title, text in answers:
        assert f"\n{title}: {text}\n" in f"{said}\n"


def test_a_plan_from_nowhere_goes_along_as_it_is(desk):
    """Where no scores at hand make a variant's plan, the script holds the plan itself; no plan is lost."""
    plan = desk.plan
    made = replay._Writer()
    replay._plan(desk, "plan", plan, made)
    assert "make_plan(scores_10, method='widthwise', ratio=0.3" in made.body[0]
    desk.shared.scores.clear()
    made = replay._Writer()
    replay._plan(desk, "plan", plan, made)
    scope = {}
    exec(f"from pruning import Plan\n{made.body[0]}", scope)
    assert scope["plan"].to_json() == plan.to_json()


def test_a_persons_own_picture_goes_along(desk, tmp_path):
    """A picture that is no example cannot be named: it lies beside the script, bit for bit; the examples are named."""
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    desk.show(Image.fromarray(pixels), ())
    wait(desk.ask(desk.image, "What?", max_new_tokens=1, temperature=0.0, seed=0))
    with zipfile.ZipFile(replay.save(desk)) as packed:
        assert sorted(packed.namelist()) == ["picture.png", "session.py"]
        compile(packed.read("session.py"), "session.py", "exec")
        with packed.open("picture.png") as file:
            np.testing.assert_array_equal(np.asarray(Image.open(file)), pixels)
    for title in pictures.titles():
        assert pictures.name_of(pictures.named(title)[0]) == title


def test_nothing_is_written_before_there_is_a_model(desks):
    """A desk without a model says what to wait for."""
    with pytest.raises(LVLMError, match="still loading"):
        replay.save(desks.at("new"))
