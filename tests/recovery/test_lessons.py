"""Which samples and tokens count: fractions, orders, masks, and the paper's sums against plain full passes."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lvlm import BadSamples, silent
from recovery import Recipe
from recovery.lessons import Selection, digest_of, lesson
from recovery.lessons import terms as terms_of
from recovery.parts import Once
from recovery.student import student_of
from recovery.teacher import Teacher
from recovery.trainer import Training
from tests import tiny

ALL = {"sft": 1.0, "kl": 1.0, "rkl": 1.0, "l2": 1.0}


def outputs(model, given, recipe, layers):
    """What a model comes to on a lesson."""
    with torch.no_grad():
        return student_of(model, recipe, layers, Once())(given.inputs, given.tokens, given.scored)


def found_terms(pruned, dense, samples, indices, recipe, layers=(-1,)):
    """The terms of some samples, as one batch."""
    given = lesson(pruned, samples, indices, recipe)
    places = [[i % len(x.anatomy.layers) for i in layers] for x in (pruned, dense)]
    taught = Teacher(dense, places[1], None, recipe).outputs(given)
    found = terms_of(outputs(pruned, given, recipe, places[0]), taught, given, recipe, given.counts(recipe))
    return {k: float(v) for k, v in found.items()}


def test_a_fraction_is_the_same_everywhere():
    """Chosen by the seed alone, in the right number, none of it twice, held-out samples apart."""
    one, other = (Selection.of(1000, Recipe(fraction=0.1, seed=4)) for _ in range(2))
    assert one.train == other.train and one.held_out == other.held_out
    assert len(set(one.train) | set(one.held_out)) == 100 and len(one.held_out) == 10
    assert one.train != Selection.of(1000, Recipe(fraction=0.1, seed=5)).train
    with pytest.raises(BadSamples, match="two or more"):
        Selection.of(20, Recipe(fraction=0.05))


def test_every_epoch_sees_every_sample_once_in_its_own_order():
    """Batches follow one another without a gap, and any of them can be asked for again, in any order."""
    chosen = Selection.of(24, Recipe(held_out=2))
    batches = [chosen.batch(i, 5) for i in range(9)]
    flat = [x for batch in batches for x in batch]
    first, second = flat[:22], flat[22:44]
    assert Counter(first) == Counter(second) == Counter(chosen.train) and first != second
    assert replace(chosen, seed=1).batch(0, 22) != first
    assert [Selection.of(24, Recipe(held_out=2)).batch(i, 5) for i in (7, 2, 4)] == [batches[i] for i in (7, 2, 4)]


def test_the_digest_tells_samples_apart():
    """By their ids and their order."""
    samples = tiny.samples(3)
    assert digest_of(samples) == digest_of(list(samples)) != digest_of(samples[::-1])
    assert digest_of(samples[:2]) != digest_of(samples)


def test_which_tokens_count(dense):
    """Text, answers or all but padding for L2; logits where a label is; every position in the paper's arithmetic."""
    samples = tiny.samples(3)
    batch = dense.encode(samples)
    wanted = {"text": batch.mask & ~batch.image_mask, "all": batch.mask}
    answers = F.pad(batch.labels[:, 1:] != -100, (0, 1))
    wanted["answers"] = answers
    assert len({int(x.sum()) for x in wanted.values()}) == 3 and not batch.mask.all()
    for name, mask in wanted.items():
        given = lesson(dense, samples, [0, 1, 2], Recipe(l2_tokens=name))
        assert torch.equal(given.tokens, mask) and torch.equal(given.scored, answers) and given.labelled.all()
        assert torch.equal(given.labels, batch.labels[batch.labels != -100])
    given = lesson(dense, samples, [0, 1, 2], Recipe(arithmetic="paper", kl=1.0))
    assert given.tokens.all() and given.scored.all() and int(given.labelled.sum()) == int(answers.sum())
    assert lesson(dense, samples, [0], Recipe(sft=0.0)).scored is None


def test_padding_changes_nothing(pruned, dense):
    """A sample's terms are the same alone and beside a longer one, weighted by their tokens."""
    samples, recipe = tiny.samples(4), Recipe(**ALL, l2_layers="all")
    layers = range(len(pruned.anatomy.layers))
    short, long = (found_terms(pruned, dense, samples, [i], recipe, layers) for i in (0, 3))
    both = found_terms(pruned, dense, samples, [0, 3], recipe, layers)
    a, b = (lesson(dense, samples, [i], recipe).counts(recipe).tolist() for i in (0, 3))
    for k, term in enumerate(recipe.terms):
        mean = (short[term] * a[k] + long[term] * b[k]) / (a[k] + b[k])
        assert both[term] == pytest.approx(mean, rel=1e-4) and short[term] != pytest.approx(long[term], rel=1e-2)


def test_the_mask_matters(pruned, dense):
    """Each choice of tokens gives another L2."""
    samples = tiny.samples(4)
    found = [
        found_terms(pruned, dense, samples, [0, 1, 3], Recipe(l2_tokens=x))["l2"] for x in ("text", "answers", "all")
    ]
    assert len({round(x, 4) for x in found}) == 3


def test_the_papers_arithmetic(pruned, dense):
    """As published: KL summed over every position with T² of plain logits, the last state's MSE, CE's mean."""
    samples, temperature = tiny.samples(4), 2.0
    recipe = Recipe(**ALL, arithmetic="paper", temperature=temperature)
    found = found_terms(pruned, dense, samples, [0, 1, 3], recipe)
    batch = dense.encode([samples[i] for i in (0, 1, 3)])
    with torch.no_grad():
        s, t = (x.network(**batch.inputs).logits.double() for x in (pruned, dense))
        hidden = [x.network.model(**batch.inputs).last_hidden_state.double() for x in (pruned, dense)]
    log_s, log_t = (F.log_softmax(x / temperature, -1) for x in (s, t))
    wanted = {
        "sft": F.cross_entropy(s[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), ignore_index=-100),
        "kl": temperature**2 * F.kl_div(log_s, log_t, reduction="sum", log_target=True),
        "rkl": temperature**2 * F.kl_div(log_t, log_s, reduction="sum", log_target=True),
        "l2": F.mse_loss(*hidden),
    }
    assert found == pytest.approx({k: float(v) for k, v in wanted.items()}, rel=1e-4)


def test_the_repaired_arithmetic(pruned, dense):
    """Means over answer tokens; L2 between each student layer and the teacher's that it came from."""
    samples, recipe = tiny.samples(4), Recipe(**ALL, l2_layers="all", temperature=1.5)
    kept = pruned.history[0]["layers"]
    assert kept != [0, 1, 2]  # else the map could be the identity
    batch = dense.encode(samples)
    text, at = batch.mask & ~batch.image_mask, batch.labels[:, 1:] != -100
    with torch.no_grad():
        s, t = (x.network(**batch.inputs, output_hidden_states=True) for x in (pruned, dense))
    p, q = (F.softmax(x.logits[:, :-1][at].double() / 1.5, -1) for x in (t, s))
    wanted = {"kl": 1.5**2 * float((p * (p / q).log()).sum(-1).mean())}
    pairs = [(s.hidden_states[i + 1], t.hidden_states[k + 1]) for i, k in enumerate(kept[:-1])]
    pairs.append((s.hidden_states[-1], t.hidden_states[-1]))  # both after the final norm
    shares = [((a - b).double().square().sum(-1) / b.double().square().sum(-1))[text].mean() for a, b in pairs]
    wanted["l2"] = float(sum(shares) / len(shares))
    training = Training(pruned, dense, samples, replace(recipe, batch=3, held_out=1), silent, False)
    assert training.student.layers == (0, 1, 2) and training.teacher.run.layers == (*kept[:-1], 3)
    given = lesson(pruned, samples, range(4), recipe)
    taught = Teacher(dense, [*kept[:-1], 3], None, recipe).outputs(given)
    said = outputs(pruned, given, recipe, range(len(kept)))
    found = terms_of(said, taught, given, recipe, given.counts(recipe))
    assert {k: float(found[k]) for k in wanted} == pytest.approx(wanted, rel=1e-4)
