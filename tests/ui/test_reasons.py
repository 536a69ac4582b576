"""Why what cannot be pressed cannot, in words beside it."""

import re

import gradio as gr
import pytest

from tests import tiny
from tests.ui.conftest import machine_held, wait
from ui import chat, page, texts
from ui.desk import Desk


def reasons(values: list) -> dict[str, str]:
    """Element id → sentence, of everything that was drawn."""
    drawn = " ".join(x for x in values if isinstance(x, str))
    return dict(re.findall(r'<span hidden data-why="([\w-]+)">(.*?)</span>', drawn))


@pytest.fixture
def parts(desks, monkeypatch):
    """Every tab as drawn: what is disabled there, and what is said of it."""
    monkeypatch.setattr(page, "Desks", lambda shelf: desks)
    app = page.build_app("one")
    look = next(x for x in app.fns.values() if len(x.outputs) > 50 and getattr(x.fn, "__name__", "") == "look")

    def drawn(desk: Desk) -> tuple[set[str], dict[str, str]]:
        values = look.fn(desk.id, None)
        shut = {
            x.elem_id
            for x, value in zip(look.outputs, values, strict=True)
            if isinstance(value, gr.Button) and not value.interactive and value.visible and x.elem_id
        }
        return shut, reasons(values)

    return drawn


def test_whatever_cannot_be_pressed_says_why(desks, parts):
    """On every tab, while nothing is loaded, while something is under way, with nothing chosen, asked or left to ask;
    what can be pressed says nothing, and all of it is there in Chinese."""
    desk = desks.at("a")
    desk.keeping.opened = desk.measuring.opened = True
    wait(desk.open("one"))
    shut, said = parts(desk)
    assert {"pin", "force", "next-pair", "stop", "retry", "reseed"} <= shut
    assert shut == {id for id, why in said.items() if why and id in shut}
    assert "Pick a layer" in said["pin"] and "Ask a question" in said["retry"] and not said["try"] + said["prune"]
    with machine_held():
        job = desk.calibrate(3)
        shut, said = parts(desk)
        assert {"search", "fit", "try", "prune", "hunt", "score", "variant-save"} <= shut
        assert all("Calibrate on 3 samples" in said[x] for x in ("search", "fit", "try", "prune", "variant-save"))
        assert shut == {id for id, why in said.items() if why and id in shut}
        job.cancel()
        wait(job)
    wait(desk.prune())
    desk.image = tiny.picture()
    wait(desk.ask(desk.image, "How many?", max_new_tokens=3, temperature=0))
    shut, said = parts(desk)
    assert "temperature" in said["reseed"] and not said["retry"] and "reseed" in shut
    texts.speak("zh")
    desk.language = "zh"
    assert not [x for x in parts(desk)[1].values() if x and not re.search("[\u4e00-\u9fff]", x)]
    assert chat._why(None, True)
