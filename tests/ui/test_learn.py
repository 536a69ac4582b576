"""The tour, its figures and the glossary, without a browser: both languages say the same, and every step says what the
library found."""

import json
import re
import string

import gradio as gr
import numpy as np
import pytest

from lvlm.errors import LVLMError
from ui import glossary, learn, teaching, texts
from ui.figure import table
from ui.language import _plain, marked
from ui.teaching import Stored, Trained
from ui.tour import pictures
from ui.tour.stop import speaking
from ui.words import heading, significant
from tests.ui.conftest import wait


def fields(text: str) -> set[str]:
    """What a sentence leaves to be put in; a formula's braces are none."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same():
    """Tour, glossary and labels have the same keys in English and Chinese, none is empty, and generated sentences leave
    the same values to be put in."""
    for en, zh in ((texts.tour("en"), texts.tour("zh")), (glossary.terms("en"), glossary.terms("zh"))):
        assert list(en) == list(zh)
        assert all(en.values()) and all(zh.values())
    assert all(x.strip() and y.strip() for x, y in texts.labels().items())
    for key, text in texts.tour("en").items():
        if not key.endswith(".text"):  # static, with formulas
            assert fields(text) == fields(texts.tour("zh")[key]), key
    assert all(x["term"] and x["says"] for language in texts.LANGUAGES for x in glossary.terms(language).values())


@pytest.mark.parametrize(
    "accepted, language",
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("de,zh-TW;q=0.9", "zh"),
        ("en-GB", "en"),
        ("fr", "en"),
        (None, "en"),
        ("", "en"),
    ],
)
def test_the_browser_tells_the_language(accepted, language):
    """The first language of the browser's that we speak, or English; one chosen by hand stays."""
    assert texts.preferred(accepted) == language


def test_a_language_that_nothing_is_written_in_is_refused(desks):
    """By hand wins over the browser, and an unknown one is refused in words."""
    desk = desks.at("a")
    desk.hear("zh-CN")
    assert desk.language == "zh"
    desk.speak("en")
    desk.hear("zh-CN")
    assert desk.language == "en"
    with pytest.raises(LVLMError):
        desk.speak("de")


def test_known_labels_are_marked_for_the_browser_and_plain_in_the_api():
    """A label, an info and a choice that are in the table become marks; others, and all of the API, stay as they are."""
    found = marked({"label": "Model", "info": "unknown words", "choices": [("Layerwise", "layerwise"), ("x", "y")]})
    assert "__i18n__" in found["label"] and found["info"] == "unknown words"
    assert "__i18n__" in found["choices"][0][0] and found["choices"][1] == ("x", "y")
    assert _plain([{"label": found["label"]}, 3]) == [{"label": "Model"}, 3]


def test_a_term_is_explained_once_where_it_stands_and_formulas_are_left_alone():
    """Terms in running text carry their meaning in both languages; formulas, tags and later repetitions do not."""
    found = glossary.mark('Block influence of a token, $token$ and <a href="#">token</a>: block influence.')
    assert found.count('class="term"') == 2 and "$token$" in found and '<a href="#">token</a>' in found
    assert glossary.terms("en")["influence"]["says"].split(":")[0] in found
    assert glossary.terms("zh")["influence"]["says"][:8] in found
    assert "term" not in glossary.mark("tokenizer and kludge")
    assert 'class="term"' in glossary.mark("这一层的块影响力最低", "zh")


def test_headings_of_every_tab_explain_their_terms():
    """The line under a figure's title carries the glossary; the title itself stays plain."""
    found = heading("Block influence", "Layers with low block influence go first.")
    assert found.index("term") > found.index("</h3>")


def opened(desks):
    desk = desks.at("a")
    wait(desk.open("tiny"))
    return desk


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_step_computes_on_the_model_at_hand(desks, language):
    """Each step's function gives a value for each of its outputs, with figures where something was found, in words of
    the desk's language without holes."""
    desk = opened(desks)
    desk.speak(language)
    with gr.Blocks():
        stops = [learn.stop_of(number, desks) for number in range(1, learn.BEYOND + 1)]
        given = {1: ["heads", 1, 1, 0, "how many?"], 2: ["neurons", 1, 7], 3: [0, "how many?", 2], 4: [0, 1, 0, False],
                 5: [[1], 0], 6: [], 7: ["layerwise", 20, 0], 8: [30], 9: [], 10: [90, 80, True, "few"],
                 learn.BEYOND: [1, 45]}  # fmt: skip
        for number, stop in enumerate(stops, 1):
            found = stop.show(desk, *given[number])
            assert len(found) == len(stop.outputs) and len(given[number]) == len(stop.controls), stop.name
            assert "<h3>" in found[0] and "{" not in found[0] and "notice" not in found[0], stop.name
            assert len(stop.ranges(desk)) == len(stop.fitted)
            if number not in (6, 9):  # their work has not been started
                assert any(hasattr(x, "to_plotly_json") for x in found), stop.name


@pytest.mark.parametrize(
    "number, values",
    [(1, ["heads", 99, 0, 0, "x"]), (1, ["heads", 0, 0, 0, " "]), (3, [77, "x", 0]), (4, [99, 0, 0, False]), (5, [[0, 1, 2, 3], 0]),
     (7, ["layerwise", None, 0]), (10, [0, 80, True, "few"]), (learn.BEYOND, [99, 45]), (learn.BEYOND, [0, 90])],
)  # fmt: skip
def test_what_nobody_can_mean_gets_a_sentence(desks, number, values):
    """A layer, picture, sample, ratio or goal that is none, and no question, are refused in words."""
    desk = opened(desks)
    with gr.Blocks(), pytest.raises(LVLMError):
        learn.stop_of(number, desks).show(desk, *values)


def test_the_tour_waits_for_a_model_and_begins_anew_with_another(desks):
    """Before there is a model it says so; what was found about one model is not shown about the next."""
    desk = desks.at("a")
    with pytest.raises(LVLMError, match="loading"):
        teaching.of(desk)
    opened(desks)
    teaching.heads_of(desk, 0, 1)
    assert desk.teaching.switched
    wait(desk.open("another"))
    assert not teaching.of(desk).switched


def test_heads_pile_up_layer_by_layer(desks):
    """A second layer's heads join the first's, none twice; every layer's come by the job."""
    desk = opened(desks)
    first = teaching.heads_of(desk, 0, 1)
    assert len(teaching.heads_of(desk, 0, 2).effects) == 2 * len(first.effects)
    assert len(teaching.heads_of(desk, 0, 2).effects) == 2 * len(first.effects)
    assert wait(teaching.switch_all(desk, 0)).state == "done"
    found = {(x.group.layer, x.group.unit) for x in desk.teaching.switched[0].effects}
    assert len(found) == len(desk.teaching.switched[0].effects) == sum(x.groups for x in desk.model.anatomy.layers)


def test_a_step_has_one_event_and_writes_back_no_choice_that_holds(desks):
    """The page makes the calls of one event one after the other, so that no answer comes after that to a later call;
    and what is typed while an answer is on its way is not overwritten by what was asked."""
    desk = opened(desks)
    with gr.Blocks() as app:
        learn.build(desks, gr.Textbox())
        stop = learn.stop_of(4, desks)
    for name in ("tour-units-found", "tour-taylor-found", "tour-projector-found", "tour-takeover-found"):
        place = next(x for x in app.blocks.values() if getattr(x, "elem_id", None) == name)
        assert len([x for x in app.fns.values() if place in x.outputs]) == 1, name
    held, moved = (stop.show(desk, 0, 2, number, False)[3].constructor_args for number in (1, 99))
    assert "value" not in held and moved["value"] == held["maximum"] == 3


def test_a_page_leads_to_where_the_tour_was_left_and_nobody_back(desks):
    """Once, from the first step; who went on before the page had shown the first, or is there, is not moved."""
    step = lambda number, begun: learn._arrive(desks, number, "a", begun)[:2]  # noqa: E731
    stay = gr.skip()
    assert step(1, False) == [1, stay] and step(2, False) == [2, stay] and step(3, True) == [3, stay]
    at, walk = step(1, False)  # the page is refreshed
    assert at == 3 and walk.constructor_args["selected"] == 3
    assert step(3, True) == [3, stay] and step(1, True) == [1, stay]


@pytest.mark.parametrize("signed", [False, True])
def test_a_chosen_head_is_told_of_both_ways(desks, signed):
    """In words and in the figure: what Taylor says of it, the real change without it, and its place in its layer by
    either, as the library has them; a head that the layer has not is the last one it has."""
    desk = opened(desks)
    with gr.Blocks():
        stop = learn.stop_of(4, desks)
        found = stop.show(desk, 0, 2, 1, signed)
        assert stop.show(desk, 0, 2, 99, signed)[3].value == 3
    place = desk.teaching.switched[0].place(2, 1, signed)
    said = place.effect.predicted if signed else place.effect.published
    assert "Head 1 of layer 2" in found[0] and "masked" in found[0]
    for number in (said, place.effect.real):
        assert significant(abs(number)) in found[0]
    assert f"{place.by_estimate} of {place.of}" in found[0] and f"{place.by_change} of {place.of}" in found[0]
    ring = next(x for x in found[1].data if x.marker.size == 25)
    assert ring.x[0] == said and ring.y[0] == (place.effect.real if signed else abs(place.effect.real))


def test_a_groups_table_has_its_real_rows_and_columns(desks):
    """What is taken away as CSV is each matrix with the rows or columns that the unit owns, not what is drawn of it."""
    desk = opened(desks)
    for kind, unit in (("heads", 1), ("neurons", 7)):
        seen = teaching.group_of(desk, kind, 1, unit)
        found = table(json.loads(pictures.group(seen, speaking(desk)).to_json()))
        assert list(found["matrix"]) == [x.path for x in seen.stripes]
        assert list(found["takes"]) == ["columns" if x.dim else "rows" for x in seen.stripes]
        assert list(found["first"]) == [x.start for x in seen.stripes]
        assert list(found["last"] - found["first"] + 1) == [x.width for x in seen.stripes]
        assert list(found["weights"]) == [x.weights for x in seen.stripes]


def test_every_equation_of_the_paper_stands_with_its_number():
    """The tour's formulas carry the paper's numbers 1 to 9, each once and in both languages, and say the same."""
    for language in texts.LANGUAGES:
        told = " ".join(texts.tour(language).values())
        assert sorted(re.findall(r"\\tag\{(\d)\}", told)) == list("123456789")
    tags = [[re.findall(r"\\tag\{\d\}", x) for x in texts.tour(language).values()] for language in texts.LANGUAGES]
    assert tags[0] == tags[1]


def test_the_advice_is_what_prune_and_heal_are_set_to(desks):
    """One press makes the best way's method and ratio the desk's plan, and the paper's recipe the healing's."""
    desk = opened(desks)
    ways, _ = teaching.advised(desk, 0.9, 0.5, False, "few")
    desk.healing.choose("strongest")
    best = teaching.apply(desk)
    assert best.ratio == ways[0].ratio > 0
    assert (desk.method, desk.ratio, desk.healing.choice) == (best.method, best.ratio, "advised")
    assert desk.plan.ratio == best.ratio
    teaching.advised(desk, 1.0, 0.5, False, "few")
    assert teaching.apply(desk) is None  # nothing has to go


def test_figures_of_long_work_show_what_was_found(desks):
    """Trained projectors stand at their ratios with both shares; stored models with their bytes and answers."""
    say = speaking(desks.at("a"))
    drawn = pictures.projector([Trained("layerwise", 0.15, 0.5, 0.75, 1.0, 36)], say)
    assert list(drawn.data[0].x) == [15, 15] and list(drawn.data[0].y) == [50, 75]
    sizes = {"original": 4 << 20, "pruned": 3 << 20, "int8": 2 << 20, "both": 1 << 20}
    drawn = pictures.stored(Stored(0.3, "how many?", sizes, dict.fromkeys(sizes, "two")), say)
    assert np.allclose(drawn.data[0].x, [4, 3, 2, 1]) and all("two" in x for x in drawn.data[0].text)
