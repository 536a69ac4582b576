"""The Chat tab without a server: where answers part, what panes show, and the same question asked again."""

import gradio as gr
import pytest

from lvlm import LVLMError
from lvlm.chat import ChatStats
from tests import tiny
from tests.ui.conftest import machine_held, wait
from ui import chat, looking, panes, scenes
from ui.jobs import Job
from ui.parting import parting
from ui.shelf import Shelf
from ui.talk import Answer, Exchange, How
from ui.variants import Variant
from ui.workspace import Desk


def exchange(left: str, *others: str) -> Exchange:
    said = {"original": left, **{f"pruned-{i + 1}": text for i, text in enumerate(others)}}
    return Exchange("How many?", {x: Answer(x, x.split("-")[0], x.capitalize(), text) for x, text in said.items()})


@pytest.fixture
def desk(desks):
    desk = desks.at("a")
    wait(desk.open("one"))
    wait(desk.prune())
    desk.image = tiny.picture()
    return desk


@pytest.fixture
def events(desks):
    """The tab's public event functions by their API names."""
    with gr.Blocks() as app:
        chat.build(desks, gr.Textbox())
    return {x.api_name: x.fn for x in app.fns.values() if x.api_visibility == "public"}


def test_a_page_that_arrives_follows_only_what_grows(desk, desks):
    """Else it would draw the conversation once more, which may come after what was asked since."""
    with gr.Blocks():
        _, catch_up, talking = chat.build(desks, gr.Textbox())
    assert list(catch_up("a")) == [[gr.skip()] * len(talking)]
    desk.answering = Job("Answer", lambda report: None)  # waits for its turn
    assert next(catch_up("a")) != [gr.skip()] * len(talking)


def test_the_page_says_where_answers_part():
    """The first differing word is named, and only words that differ are marked."""
    html = parting(exchange("two red apples", "two green apples"), busy=False)
    assert "word 2" in html
    assert "<mark>red</mark>" in html and "<mark>green</mark>" in html and "<mark>two" not in html
    assert "same" in parting(exchange("two", "two"), busy=False)
    assert parting(exchange("two", "thr"), busy=True) == "" == parting(exchange("two"), busy=False)


def test_of_many_answers_each_is_held_against_the_first():
    """Which says the same and which parts where; in the first, words that anybody lacks are marked."""
    html = parting(exchange("two red apples", "two red apples", "two red pears", "one red apple"), busy=False)
    assert "“Pruned-1” says the same" in html and "“Pruned-2” parts from it at word 3" in html
    assert "“Pruned-3” parts from it at word 1" in html
    assert "<mark>two</mark> red <mark>apples</mark>" in html and html.count('class="line-') == 4
    assert "All three give the same" in parting(exchange("x", "x", "x"), busy=False)


def test_answers_cannot_inject_markup():
    """What a model says is text."""
    assert "<img" not in parting(exchange("<img src=x>", "no"), busy=False)


def test_a_pane_shows_only_what_it_was_asked():
    """A pane that came later has no empty answers to earlier questions; a message leads back to its exchange."""
    desk = Desk("a", Shelf(load=None), talk=[exchange("two"), exchange("one", "one")])
    original = desk.variants.put(Variant("original", "original", "Original", None))
    pruned = desk.variants.put(Variant("pruned-1", "pruned", "Pruned", None, original))
    assert [m["content"] for m in panes.messages(desk, pruned)] == ["How many?", "one"]
    assert len(panes.messages(desk, original)) == 4 and panes.messages(desk, None) == []
    assert panes.exchange_at(desk, pruned, 1) is desk.talk[1] and panes.exchange_at(desk, pruned, 2) is None


def test_statistics_word_speed_and_stop():
    """Under a pane: first token, tokens a second, and whether it was stopped."""
    html = panes.statistics(
        Answer("pruned-1", "pruned", "Pruned", "x", ChatStats(20, 5, 0.0321, 61.94, True)), busy=False
    )
    assert "32.1 ms" in html and "61.9 tokens/s" in html and "stopped" in html


def test_four_models_answer_one_question(desk):
    """Whoever stands in the panes answers, in their order, with facts about each below."""
    wait(desk.small("pruned-1"))
    wait(desk.small("original"))
    desk.variants.show(["pruned-1", "original", "int8-1", "int8-2"])
    wait(desk.ask(desk.image, "how many?", max_new_tokens=5, temperature=0))
    answers = desk.talk[0].answers
    assert list(answers) == ["pruned-1", "original", "int8-1", "int8-2"]
    for variant in desk.panes:
        html = panes.facts(desk, variant, busy=False)
        assert "5 tokens" in html and "parameters" in html and "of weights" in html


def test_the_seed_fixes_every_answer(desk):
    """Above temperature 0 the same seed gives the same answers again, and another seed others."""
    said = []
    for seed in (1, 1, 2):
        wait(desk.ask(desk.image, "how many?", max_new_tokens=12, temperature=1.5, seed=seed))
        said.append([x.text for x in desk.talk[-1].answers.values()])
    assert said[0] == said[1] != said[2]
    assert desk.talk[0].how == How(12, 1.5, 1)


def test_retry_new_seed_undo_and_edit(desk, events):
    """Retry asks the same in the same way of those who stand there now; a new seed asks otherwise; undo takes back,
    and edit gives the question back."""
    put, retry, reseed = (lambda *x, name=name: list(events[name]("a", *x)) for name in ("ask", "retry", "reseed"))
    put("how many?", 8, 1.5, 7)
    first = [x.text for x in desk.talk[-1].answers.values()]
    retry()
    assert len(desk.talk) == 1 and [x.text for x in desk.talk[0].answers.values()] == first
    assert reseed()[-1][-1] == 8 and desk.talk[0].how.seed == 8
    assert [x.text for x in desk.talk[0].answers.values()] != first
    desk.variants.show(["original"])
    retry()
    assert list(desk.talk[0].answers) == ["original"]
    assert events["edit"]("a")[-2] == "how many?" and not desk.talk
    put("what?", 4, 0, 0)
    events["undo"]("a")
    assert not desk.talk
    assert "ask a question first" in retry()[-1][-2] and "ask a question first" in events["undo"]("a")[-1]


@pytest.mark.parametrize(
    "how", [(0, 0, 0), (8, -1, 0), (8, 0, -1), (8, 0, 0.5), ("many", 0, 0), (8, None, 0), (8, 0, None)]
)
def test_settings_nobody_can_mean_are_refused(desk, events, how):
    """Lengths, temperatures and seeds out of range get a sentence, and nothing is asked."""
    *_, last = events["ask"]("a", "how many?", *how)
    assert "choose" in last[-1] and not desk.talk
    with pytest.raises(LVLMError):
        How.wished(*how)


def test_examples_are_found_by_what_they_try():
    """Every task names pictures that have a question of it, and no picture without."""
    for _, task in scenes.task_choices():
        found = scenes.scenes(task)
        assert found and all(x.questions(task) for x in found)
    assert len(scenes.scenes()) > len(scenes.scenes("reading")) == 1
    assert scenes.scenes("reading")[0].questions("reading") == ("Read the word on the sign.",)


def test_who_waits_is_told_how_many_go_first_and_may_cancel(desk, events):
    """A question, and an answer that is to be read or looked at, say their place in line; cancelled, nothing stays."""
    wait(desk.ask(desk.image, "How many?", max_new_tokens=3, temperature=0))
    wait(desk.looking.job)
    desk.talk[0].answers["pruned-1"].divergence = None
    with machine_held():
        for begun in (events["read_answer"]("a"), events["look"]("a", 0)):
            frame = next(x for x in begun if "1 other is before you" in str(x[-2]))
            assert frame[-1].visible
            looking.cancel(desk)
            *_, last = begun
            assert last[-2] == "" and not last[-1].visible
        assert desk.talk[0].answers["pruned-1"].divergence is None and desk.looking.gaze is None
        asked = events["ask"]("a", "What else?")
        next(x for x in asked if "1 other is before you" in str(x))
        desk.stop()
        assert "before you" not in str(list(asked)[-1]) and len(desk.talk) == 1
