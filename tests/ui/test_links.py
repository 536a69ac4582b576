"""Links that restore a model, a plan and a question."""

from urllib.parse import parse_qsl

import pytest

from pruning import Unit
from tests.ui.conftest import wait
from ui import links, pictures
from ui.links import BadLink, Link


def query(text: str) -> dict:
    return dict(parse_qsl(text))


@pytest.fixture
def catalogued(desks, monkeypatch):
    """Whatever the desks load counts as bundled."""

    class Entry:
        available = True

        def __init__(self, name):
            self.name = self.title = name

    monkeypatch.setattr(links, "find", lambda name: Entry(name) if name in ("one", "three") else None)
    monkeypatch.setattr(links, "catalogue", lambda: [Entry("one"), Entry("three")])
    return desks


def test_a_link_restores_model_plan_and_question(catalogued):
    """What is written of one desk and followed on another gives the same model, plan, picture and question."""
    desk, other = catalogued.at("a"), catalogued.at("b")
    wait(desk.open("three"))
    desk.picking.pinned, desk.picking.forced = (Unit(0, 1),), (Unit(2),)
    desk.wish("both", 0.225, 1, 0)
    wait(desk.calibrate(3))
    title = pictures.titles()[2]
    desk.show(*pictures.named(title))
    text, left_out = links.write(desk, "  How many? & why=so ")
    assert left_out == ""

    link = links.read(query(text))
    assert link.question == "How many? & why=so" and link.scene == title
    links.follow(other, link, usual="one")
    while other.busy:
        wait(other.job)
    assert other.shared.name == "three" and other.samples == 3 and pictures.name_of(other.image) == title
    assert other.plan.to_json() == desk.plan.to_json() and other.questions == desk.questions
    assert links.write(other, link.question)[0] == text


def test_on_the_same_model_nothing_is_loaded_anew(catalogued):
    """A link to the model at hand keeps the variants that were made from it."""
    desk = catalogued.at("a")
    wait(desk.open("one"))
    wait(desk.prune())
    links.follow(desk, Link(model="one", method="layerwise", ratio=0.25), usual="one")
    assert not desk.busy and desk.pruned is not None and desk.plan.method == "layerwise" and desk.ratio == 0.25


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("model=nobody", "nobody"),
        ("model=/etc", "catalogue"),
        ("method=sideways", "sideways"),
        ("ratio=99", "0 to 60"),
        ("ratio=much", "much"),
        ("ratio=nan", "nan"),
        ("protect=9", "protect"),
        ("samples=0", "1 to 50"),
        ("pin=x", "x"),
        ("scene=Mars", "Mars"),
    ],
)
def test_a_bad_link_is_one_sentence(text, says):
    """Whatever a link asks for that there is not is named, and nothing of the link is followed."""
    with pytest.raises(BadLink, match=says) as error:
        links.read(query(text))
    assert "\n" not in str(error.value)


def test_what_cannot_be_in_a_link_is_said(desks):
    """A person's own picture and own model are left out, in so many words; an address without a link is none."""
    from PIL import Image

    desk = desks.at("a")
    wait(desk.open("one"))
    desk.show(Image.new("RGB", (8, 8)), ())
    text, left_out = links.write(desk, "")
    assert "scene" not in text and "model" not in text
    assert links.OWN_PICTURE in left_out and links.OWN_MODEL in left_out
    assert links.read(query("case=12&__theme=dark")) is None
