"""Cases on a desk: kept from a conversation or a hunt, judged, opened again, and voted on blindly; drawn and exported."""

import json

import gradio as gr
import pytest

from evaluation.cases import BadCase, Filter, Said
from evaluation.divergence import diverge
from evaluation.experiments import Grid
from evaluation.reports import from_jsonl
from evaluation.scoring import Record, Report
from evaluation.votes import Contender, Standing
from lvlm.errors import LVLMError
from recovery import Recipe
from samples import Sample, Turn
from tests import tiny
from tests.ui import made_up
from tests.ui.conftest import machine_held, wait
from tests.ui.served import until
from ui import (
    blind,
    casefile,
    cases,
    hunted,
    hunting,
    keeping,
    kept,
    measuring,
    reopening,
    rereading,
    voting,
)
from ui.hunted import Catch

HOW = {"max_new_tokens": 6, "temperature": 0.7, "seed": 3}


@pytest.fixture
def desk(desks):
    """A tiny model, pruned, both of which answered a question about a picture."""
    found = desks.at("a")
    wait(found.open("one"))
    wait(found.prune())
    found.show(tiny.picture(), ("How many?",))
    wait(found.ask(found.image, "How many apples?", **HOW))
    wait(found.looking.job)
    return found


def kept_of(desk):
    """The case that is kept of the conversation, once all its answers were read."""
    case = keeping.keep_talk(desk)
    if case.id in desk.keeping.readings:
        wait(desk.keeping.readings[case.id].job)
    return casefile.book().get(case.id)


def test_a_conversation_is_kept_with_all_that_makes_it_again(desk):
    """Picture, question, settings, both answers, the plan, and the weights' digest; nothing to keep is said."""
    case = keeping.keep_talk(desk)
    assert casefile.book().get(case.id).question == "How many apples?"
    assert case.question == "How many apples?" and case.digest == desk.model.digest() and case.model == "one"
    assert (case.max_new_tokens, case.temperature, case.seed) == (6, 0.7, 3)
    assert [x.kind for x in case.sides] == ["original", "pruned"]
    assert [x.answer for x in case.sides] == [x.text for x in desk.talk[-1].answers.values()]
    assert case.sides[0].plan is None and json.loads(case.sides[1].plan)["digest"] == case.digest
    assert case.sides[1].ratio == desk.pruned.plan.achieved and case.image.tobytes() == desk.image.tobytes()
    desk.talk = []
    with pytest.raises(BadCase, match="ask something"):
        keeping.keep_talk(desk)


def test_every_kept_answer_says_how_far_it_parts_from_the_original(desk):
    """Three answer, the original not first among them: a job reads each answer beside the original, in the tokens that
    were said, however small the model; what the chat has read beside another is not taken for it."""
    wait(desk.small("pruned-1"))
    desk.variants.show(["pruned-1", "original", "int8-1"])
    wait(desk.ask(desk.image, "How many apples?", **HOW))
    wait(desk.looking.job)
    case, said = kept_of(desk), desk.talk[-1].answers
    assert [x.kind for x in case.sides] == ["pruned", "original", "int8"] and not desk.keeping.readings
    for side in case.sides:
        if side.kind == "original":
            assert side.divergence is None
            continue
        model = desk.variants.get(side.variant).model
        found = diverge(desk.model, model, desk.image, "How many apples?", said[side.variant].tokens)
        assert side.divergence["parts_at"] == found.parts_at
        assert side.divergence["mean_kl"] == pytest.approx(found.mean_kl, rel=1e-3) and found.mean_kl > 0


def test_a_reading_that_ends_early_leaves_the_case_whole_and_says_why(desk):
    """Cancelled while it waits, or failed: every answer is there still, and one sentence stands under them."""
    desk.talk[-1].answers["pruned-1"].divergence = None
    with machine_held():
        case = keeping.keep_talk(desk)
        reading = desk.keeping.readings[case.id]
        until(lambda: reading.job.before == 1, "it does not wait")
        assert desk.awake and "1 other is before you" in kept.detail(case, None, True, reading)
        rereading.cancel(desk, case.id)
        wait(reading.job)
    assert not desk.awake and casefile.book().get(case.id) == case
    assert "not read: It was cancelled." in kept.detail(case, None, True, reading)

    def broken():
        raise LVLMError("There is no memory.")

    wait(rereading.read(desk, case, [rereading.Unread(1, broken)]))
    assert "There is no memory." in kept.detail(case, None, True, desk.keeping.readings[case.id])
    assert casefile.book().get(case.id) == case


def test_a_case_belongs_to_its_session_unless_the_app_is_one_persons(desk, desks):
    """Another desk lists none of it and cannot change it; who has the link can open it; one user sees everything."""
    case, other = keeping.keep_talk(desk), desks.at("b")
    assert keeping.cases(desk, casefile.owner(desk)) and keeping.cases(other, casefile.owner(other)) == []
    assert len(keeping.cases(other, None)) == 1 and "a" not in casefile.owner(desk).split()
    other.keeping.chosen = case.id
    for change in (lambda: keeping.judge(other, casefile.owner(other), "fails", [], ""),):
        with pytest.raises(BadCase, match="another session"):
            change()
    keeping.judge(other, None, "fails", ["miscount"], "seen")
    assert casefile.book().get(case.id).note == "seen"


def test_deleting_takes_two_presses(desk):
    """The first one only asks; choosing another case in between forgets it."""
    case, me = keeping.keep_talk(desk), casefile.owner(desk)
    keeping.drop(desk, me)
    assert casefile.book().get(case.id)
    keeping.drop(desk, me)
    assert keeping.cases(desk, me) == [] and desk.keeping.chosen is None
    with pytest.raises(BadCase, match="chosen"):
        keeping.drop(desk, me)


def test_a_case_opens_again_on_an_empty_desk_with_the_same_answers(desk, desks):
    """Another visitor follows the link: the model is loaded, cut by the kept plan and asked with the same seed, sampled
    or not; 8-bit copies are made too, and the question lies in that visitor's chat."""
    wait(desk.small("pruned-1"))
    desk.variants.show(["original", "pruned-1", "int8-1"])
    wait(desk.ask(desk.image, "How many apples?", **HOW))
    case, other = keeping.keep_talk(desk), desks.at("b")
    assert len(case.sides) == 3
    assert reopening.follow_link(other, case.id)
    wait(other.job)  # loads the model, and starts the next job
    wait(other.job)
    again = other.keeping.again
    assert not other.notice and [x.same for x in again.answers] == [True] * 3, again
    assert [x.kind for x in other.panes] == ["original", "pruned", "int8"]
    assert other.talk[-1].question == case.question and other.image.tobytes() == desk.image.tobytes()
    assert other.pruned.plan.to_json() == case.sides[1].plan
    job = other.job
    assert reopening.follow_link(other, case.id) and other.job is job  # a refresh asks nothing again
    html = kept.detail(case, again, own=False)
    assert "every answer is the same" in html and "another session" in html


def test_a_case_whose_opening_is_cancelled_is_not_judged(desk, monkeypatch):
    """Answers that a Cancel cut off are not held against the kept ones."""
    wait(desk.ask(desk.image, "How many apples?", **HOW))
    case, grow = keeping.keep_talk(desk), reopening.Exchange.grow

    def cancelled(exchange, *given, **how):
        desk.job.cancel()
        grow(exchange, *given, **how)

    monkeypatch.setattr(reopening.Exchange, "grow", cancelled)
    assert wait(reopening.reopen(desk, case.id)).state == "cancelled" and desk.keeping.again is None


def test_what_cannot_be_opened_again_says_why(desk, desks):
    """Other weights, a healed model that is not at hand, a model whose plan was not kept, and no such case."""
    plan, recipe = desk.pruned.plan.to_json(), Recipe(steps=2).recorded()
    sides = (
        Said("original", "original", "Original", "no such answer"),
        Said("recovered-1", "recovered", "Healed", "two", 0.3, plan, recipe, weights="elsewhere"),
        Said("pruned-9", "pruned", "Lost", "two", 0.3),
    )
    from dataclasses import replace

    case = replace(keeping.keep_talk(desk), sides=sides, id="1" * 24)
    casefile.book().keep(case, "me")
    wait(reopening.reopen(desk, case.id))
    first, second, third = desk.keeping.again.answers
    assert first.now is not None and not first.same
    assert second.now is None and "Heal" in second.why and desk.healing.own == Recipe.from_dict(recipe)
    assert desk.healing.of == "pruned-1"
    assert third.now is None and "not kept" in third.why
    assert "0 of 1" in kept.detail(case, desk.keeping.again, True) and second.why in kept.detail(
        case, desk.keeping.again, True
    )
    wrong = replace(case, digest="0" * 16, id="2" * 24)
    casefile.book().keep(wrong, "me")
    other = desks.at("b")
    reopening.reopen(other, wrong.id)
    wait(other.job)
    wait(other.job)
    assert "other weights" in other.notice
    assert not reopening.follow_link(other, "3" * 24) and "no case" in other.keeping.refusal


# --- the hunt ---


def answers(right: str) -> Report:
    """To the bundled scenes, one question a task: "y" is right."""
    from evaluation.scoring import questions

    asked = questions("scenes", 1, 1, False)
    marks = (right * 9)[: len(asked)]
    return Report("scenes", "m", 1, tuple(
        Record(x.id, task, x.question, x.answer, x.answer if mark == "y" else "odd", 0.9 if mark == "y" else 0.1)
        for (task, x), mark in zip(asked, marks, strict=True)
    ))  # fmt: skip


def test_a_hunt_over_the_models_at_hand_finds_and_keeps_what_broke(desk):
    """What the original has right and the pruned one wrong is listed, with its drop, and kept once with its truth."""
    wish = desk.keeping.hunting
    wish.set("hand", "paper", "scenes", 1)
    assert hunting.caught(desk).missing == 2 and hunting.caught(desk).failures == []
    desk.variants.get("original").measured[("scenes", 1)] = answers("yyyyn")
    desk.pruned.measured[("scenes", 1)] = answers("ny")
    catch = hunting.caught(desk)
    assert not catch.missing and [x.place for x in catch.failures] == [0, 2, 6, 8]
    with pytest.raises(LVLMError, match="All these"):
        hunting.start(desk)
    case = hunting.keep(desk, 0)
    assert (case.truth, case.task, case.verdict) == (catch.original[0].truth, catch.original[0].task, "fails")
    assert case.breaks_at == desk.pruned.plan.achieved and case.sides[1].plan == desk.pruned.plan.to_json()
    assert [x.probability for x in case.sides] == [0.9, 0.1]
    if case.id in desk.keeping.readings:
        wait(desk.keeping.readings[case.id].job)
    original, pruned = casefile.book().get(case.id).sides
    assert original.divergence is None and pruned.divergence["mean_kl"] > 0
    for wrong in (0, 1):  # kept already; right
        with pytest.raises(LVLMError):
            hunting.keep(desk, wrong)


def test_a_hunt_asks_only_who_was_not_asked(desk, monkeypatch):
    """In the background, and the answers stay with the models; ratio by ratio it is the runner that asks."""
    asked = []

    def evaluate(model, suite, per_task, seed, **more):
        asked.append(model)
        return answers("y")

    monkeypatch.setattr(measuring, "evaluate", evaluate)
    wish = desk.keeping.hunting
    wish.set("hand", "paper", "scenes", 1)
    desk.variants.get("original").measured[("scenes", 1)] = answers("y")
    wait(hunting.start(desk))
    assert asked == [desk.pruned.model] and not hunting.caught(desk).missing
    wish.set("layerwise", "fine", "scenes", 1)
    got = []
    monkeypatch.setattr(hunting.hunt, "measure", lambda cells, *rest: got.extend(cells))
    assert hunting.start(desk).shares
    wait(desk.job)
    assert [x.variant.ratio for x in got] == [0, *hunting.STEPS["fine"]] and got[0].variant.model == "one"


def test_the_plan_of_a_ratio_that_broke_something_is_kept(desk, tmp_path, monkeypatch):
    """Ratio by ratio: each hunted model's own plan stands in the case, made of the scores that experiments begin with."""
    monkeypatch.setattr(measuring, "RESULTS", tmp_path / "results")
    made_up.fill(measuring.store(), "zero-shot", Grid("one", per_task=2))
    desk.keeping.hunting.set("layerwise", "paper", "scenes", 2)
    catch = hunting.caught(desk)
    assert not catch.missing and catch.failures
    case = hunting.keep(desk, catch.failures[0].place)
    plans = [json.loads(x.plan) for x in case.sides[1:]]
    assert [x["ratio"] for x in plans] == [0.15, 0.3, 0.45, 0.6] and {x["method"] for x in plans} == {"layerwise"}
    assert {x["digest"] for x in plans} == {desk.model.digest()}
    if case.id in desk.keeping.readings:
        wait(desk.keeping.readings[case.id].job)
    distances = [x.divergence["mean_kl"] for x in casefile.book().get(case.id).sides[1:]]
    assert all(x > 0 for x in distances) and len(set(distances)) == 4
    with pytest.raises(LVLMError):
        desk.keeping.hunting.set("layerwise", "odd", "scenes", 2)


def test_the_hunts_figure_counts_where_questions_break_first():
    """A bar a model; its heights are the failures that begin there, and the sentence names the highest."""
    from evaluation.hunt import Hunted, failures

    original = answers("y").records
    others = [
        Hunted("pruned", f"widthwise {r:.0%}", r, answers(x).records) for r, x in ((0.3, "yn"), (0.6, "nnnnnnnnn"))
    ]
    catch = Catch(list(original), others, failures(original, others), 0, 3)
    assert hunted.first_breaks(catch).counts == (4, 5) and "5 of them first at widthwise 60%" in hunted.finding(catch)
    assert list(hunted.breaks(catch).data[0].y) == [4, 5]
    table = hunted.rows(catch, catch.failures)
    assert len(table) == 9 and set(table["breaks at"]) == {"widthwise 30%", "widthwise 60%"}
    assert "Nothing breaks" in hunted.finding(Catch(list(original), others[:0] + [others[0]], [], 0, 2))


# --- votes ---


@pytest.fixture
def drawn_questions(monkeypatch):
    """Three questions; no scene is drawn."""
    pool = [("t", Sample(f"q{i}", tiny.picture(i), (Turn(f"How many {i}?", "two"),), "test")) for i in range(3)]
    monkeypatch.setattr(blind, "questions", lambda *given: pool)
    monkeypatch.setattr(blind, "suite_of", lambda name: type("S", (), {"samples": lambda self, *given: pool})())


def test_no_name_is_shown_before_the_vote(desk, drawn_questions):
    """Neither titles, kinds nor colours stand on the page before; after, both do, and the score counts the vote."""
    part = [desk.variants.get("original"), desk.pruned]
    wait(blind.start(desk))
    match = desk.keeping.blind.match
    assert {match.left, match.right} == {"original", "pruned-1"} and match.vote is None
    before = voting._match(match, 0)
    for variant in part:
        assert variant.title not in before and f"chip-{variant.kind}" not in before
        assert f"said-{variant.kind}" not in before
    blind.vote(desk, "left")
    after = voting._match(match, 0)
    assert all(x.title in after for x in part)
    first, second = blind.standings(desk, casefile.owner(desk))
    winner = first if first.wins else second
    assert winner.contender.kind == {"original": "original", "pruned-1": "pruned"}[match.left]
    assert blind.standings(desk, "somebody else") == []
    with pytest.raises(LVLMError, match="judged already"):
        blind.vote(desk, "tie")


def test_a_seed_draws_the_same_match(desk, desks, drawn_questions):
    """Question, pair, sides and answers follow from the seed, which is kept with the vote."""
    found = []
    for _ in range(2):
        desk.keeping.blind.seed = 5
        wait(blind.start(desk))
        match = desk.keeping.blind.match
        found.append((match.left, match.right, match.question, match.answers, match.seed))
    assert found[0] == found[1]
    blind.vote(desk, "both-bad")
    assert casefile.book().votes(desk.model.digest())[0].seed == match.seed


def test_who_cannot_vote_is_told(desk, drawn_questions):
    """One model, no pair, no question: a sentence each; a vote of one's own needs a question."""
    with pytest.raises(LVLMError, match="Next pair"):
        blind.vote(desk, "left")
    blind.choose(desk, "own", "", ["original", "pruned-1"])
    with pytest.raises(LVLMError, match="empty"):
        blind.start(desk)
    blind.choose(desk, "own", "Which?", ["original", "pruned-1"])
    wait(blind.start(desk))
    assert desk.keeping.blind.match.question == "Which?" and desk.keeping.blind.match.image is desk.image
    blind.choose(desk, "drawn", "", ["original"])
    with pytest.raises(LVLMError, match="two models"):
        blind.start(desk)
    with pytest.raises(LVLMError, match="choose drawn"):
        blind.choose(desk, "odd", "", [])


def test_the_sentence_over_the_score_claims_no_more_than_the_interval():
    """Beyond chance only where the interval leaves one half out."""
    one = Standing(Contender("o", "original", "O"), 9, 5, 4, 0, 0, 0.55, 0.2, 0.8)
    for low, high, said in (
        (0.3, 0.7, "could not be chance"),
        (0.1, 0.4, "O is preferred to P"),
        (0.6, 0.9, "P is preferred to O"),
    ):
        two = Standing(Contender("p", "pruned", "P"), 9, 4, 5, 0, 0, (low + high) / 2, low, high)
        assert said in voting.finding([one, two]).replace("beyond", "")
    assert voting.finding([]) == "No votes yet"


# --- the page ---


def test_the_tab_draws_what_it_promises(desk, desks, drawn_questions):
    """One value an output: before anybody looks, with nothing kept, with a case, opened again, hunted and voted on; and
    for another session that looks at a case by its link."""
    with gr.Blocks():
        part, one = cases.build(desks, gr.Textbox(), gr.Tab())
    other = desks.at("b")

    def drawn(at) -> list:
        found, answers = part.draw(at), one.draw(at)
        assert (len(found), len(answers)) == (len(part.outputs), len(one.outputs))
        return [*found, *answers]

    drawn(other)
    assert drawn(desk)[0] == gr.skip()
    desk.keeping.opened = other.keeping.opened = True
    before = part.state(desk)
    assert "Nothing is kept yet" in str(drawn(desk))
    case = keeping.keep_talk(desk)
    assert part.state(desk) != before and "How many apples?" in str(drawn(desk))
    wait(reopening.reopen(desk, case.id))
    assert "every answer is the same" in str(drawn(desk))
    desk.keeping.hunting.set("hand", "paper", "scenes", 1)
    desk.variants.get("original").measured[("scenes", 1)] = answers("y")
    desk.pruned.measured[("scenes", 1)] = answers("n")
    assert "9 of 9 right answers break" in str(drawn(desk))
    wait(blind.start(desk))
    blind.vote(desk, "left")
    assert "1 vote" in str(drawn(desk))
    wait(other.open("one"))
    other.keeping.chosen = case.id
    assert "another session" in str(drawn(other)) and "Nothing is kept yet" in str(drawn(other))


def test_what_people_and_models_write_is_text(desk):
    """No markup of a question, an answer or a note reaches the page."""
    nasty = "<img src=x onerror=alert(1)>"
    from dataclasses import replace

    case = replace(keeping.keep_talk(desk), question=nasty, truth=nasty, sides=(Said("a", "original", nasty, nasty),))
    assert "<img" not in kept.detail(case, None, True)


def test_the_filters_words_become_a_filter(desk):
    """ "" lets all through, "none" those not judged; shares become bounds; nonsense is refused."""
    keeping.look_for(desk, "", "none", "miscount", "int8", "above 50%", "x")
    assert desk.keeping.which == Filter("", "", "miscount", "int8", 0.5, 1.0, "x")
    keeping.look_for(desk, "", "", "", "", "", "")
    assert desk.keeping.which == Filter()
    for wrong in (("", "odd", "", "", "", ""), ("", "", "odd", "", "", ""), ("", "", "", "", "odd", "")):
        with pytest.raises(BadCase):
            keeping.look_for(desk, *wrong)


def test_exports_hold_what_the_filter_lets_through(desk, desks):
    """All three kinds are files with this session's cases and nobody else's; the page links to where it came from."""
    case = kept_of(desk)
    asked = gr.Request(headers={"referer": "http://here:1/?case=other"})
    files = {}
    for kind in kept.EXPORTS:
        export = cases._exporter(desks, kind, casefile.owner)
        with open(export("a", asked), encoding="utf-8") as mine, open(export("b", asked), encoding="utf-8") as theirs:
            files[kind] = mine.read()
            assert case.id in files[kind] and case.id not in theirs.read()
    assert from_jsonl(files["jsonl"]) == [case]
    assert f'href="http://here:1/?case={case.id}"' in files["html"]
