"""Looking closer at an answer: whose, beside whom, at which word, and where both look; as drawn, too."""

import pytest

from evaluation.divergence import diverge
from lvlm import LVLMError
from pruning import make_plan
from tests import tiny
from tests.ui.conftest import wait
from ui import divergence, gaze, looking
from ui.figure import table


@pytest.fixture
def desk(desks):
    """Original, a model cut in width and one that has lost layers, asked the same."""
    desk = desks.at("a")
    wait(desk.open("one"))
    wait(desk.prune())
    desk.plan = make_plan(desk.scores, method="layerwise", ratio=0.3)
    wait(desk.prune())
    desk.variants.show(["original", "pruned-1", "pruned-2"])
    desk.image = tiny.picture()
    wait(desk.ask(desk.image, "how many?", max_new_tokens=6, temperature=0))
    wait(desk.looking.job)
    return desk


def test_the_newest_answer_is_read_at_once(desk):
    """On a small model nobody has to ask: the first other answer is read as the library reads it."""
    pair = looking.chosen(desk)
    assert (pair.reference.id, pair.other.id) == ("original", "pruned-1")
    assert [x.variant for x in pair.choices] == ["pruned-1", "pruned-2"] and looking.read(desk) is None
    models = (desk.variants.get(x).model for x in ("original", "pruned-1"))
    assert pair.divergence == diverge(*models, desk.image, "how many?", pair.answer.tokens)
    assert looking.token_of(desk, pair) == (pair.divergence.parts_at or 0)


def test_another_answer_and_an_older_one_can_be_read(desk):
    """What is chosen holds until the next question is asked, or it is there no more."""
    first = desk.talk[0]
    wait(desk.ask(desk.image, "what?", max_new_tokens=3, temperature=0))
    assert looking.chosen(desk).exchange is desk.talk[1]
    looking.choose(desk, first, "pruned-2")
    wait(looking.read(desk))
    assert looking.chosen(desk).answer is first.answers["pruned-2"] and first.answers["pruned-2"].divergence
    desk.talk.remove(first)
    assert looking.chosen(desk).exchange is desk.talk[0]
    desk.drop("pruned-2")
    assert looking.chosen(desk).other.id == "pruned-1"
    desk.talk = []
    assert looking.chosen(desk) is None
    with pytest.raises(LVLMError, match="ask two models"):
        looking.read(desk)


def test_both_models_look_through_the_same_layer_and_head(desk):
    """Layers keep their original numbers; one that a model has lost is said so, not replaced by a neighbour."""
    looking.choose(desk, None, "pruned-2")
    wait(looking.look(desk))
    pair, weights = looking.chosen(desk), desk.looking.gaze.weights
    assert looking.look(desk) is None and set(weights) == {"original", "pruned-2"}
    assert looking.seen(desk, pair.reference).shape == (tiny.IMAGE_TOKENS,)
    kept = pair.other.plan.layers
    gone = next(i for i in range(4) if i not in kept)
    looking.point(desk, 0, kept[-1], 1)
    assert looking.seen(desk, pair.reference) == pytest.approx(weights["original"][kept[-1]][1])
    assert looking.seen(desk, pair.other) == pytest.approx(weights["pruned-2"][len(kept) - 1][1])
    looking.point(desk, 0, gone, None)
    assert looking.seen(desk, pair.reference) is not None and looking.seen(desk, pair.other) is None
    assert f"Layer {gone} was cut out" in looking.lost(desk, pair.other)
    looking.choose(desk, None, "pruned-1")
    pair = looking.chosen(desk)
    layer, head = next((i, h) for i in range(4) for h in range(4) if h not in pair.other.plan.heads[i])
    looking.point(desk, 0, layer, head)
    assert f"Head {head} of layer {layer} was cut out" in looking.lost(desk, pair.other)


@pytest.mark.parametrize("point", [(99, None, None), (-1, None, None), (0, 99, None), (0, None, 1), (0, 1, 99)])
def test_what_is_not_there_cannot_be_pointed_at(desk, point):
    """Tokens, layers and heads out of range are refused in words, and nothing moves."""
    before = (desk.looking.token, desk.looking.layer, desk.looking.head)
    with pytest.raises(LVLMError, match="choose"):
        looking.point(desk, *point)
    assert (desk.looking.token, desk.looking.layer, desk.looking.head) == before


def test_words_are_drawn_with_both_models_choices(desk):
    """A button a token with what each holds of it, one mark where they part, the same in a table; all escaped."""
    found = looking.chosen(desk).divergence
    html = divergence.running(found, "probability", "<Original>", "Pruned", "pruned", 2)
    assert html.count("<button") == len(found.places) == html.count('class="tip"')
    assert html.count('aria-pressed="true"') == 1 and html.count(" parts") == (found.parts_at is not None)
    assert "<Original>" not in html and html.count('class="bar') == 10 * len(found.places)
    rows = divergence.table(found, "Original", "Pruned")
    assert rows.count("<tr>") == len(found.places) + 1
    sentence, apart = divergence.told(found, "Original", "Pruned")
    assert f"token {found.parts_at + 1}" in sentence and "nats a token" in apart
    steps = {divergence.level(x, by) for by in divergence.LEVELS for x in found.places}
    assert steps <= set(range(5)) and len(divergence.names_of(found)) == len(found.places)


def test_the_picture_is_darkened_where_nobody_looks(desk):
    """One patch a cell on the picture's own pixels; the finding names the place; the table has every cell."""
    wait(looking.look(desk))
    pair, seen = looking.chosen(desk), desk.looking.gaze
    weights = looking.seen(desk, pair.reference)
    figure = gaze.overlay(seen.image, weights, seen.grid, 1.0)
    assert figure.data[0].z.sum() == pytest.approx(weights.sum()) and len(figure.layout.images) == 1
    width, height = seen.image.size
    assert 0 < figure.data[0].x[0] < figure.data[0].x[1] < width and figure.data[0].y[0] < figure.data[0].y[1]
    assert len(table(figure.to_plotly_json())) == tiny.IMAGE_TOKENS
    row, column, most = seen.grid.most(weights)
    assert gaze.where(row, column, seen.grid) in gaze.finding("Original", weights, seen.grid)
    assert "pays" in gaze.finding("Original", weights, None)
