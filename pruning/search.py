"""Which share of each layer goes, found by trying: layers, heads and neurons in one knapsack.

Importance ranks the units of a layer well, and compares layers badly: how much of each layer can go is measured
instead, on masks, as the divergence from the original on calibration answers; then shares are moved between layers
for as long as that helps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvlm import LVLM, BadPlan
from lvlm.events import Progress, Report, silent

from .plan import Plan, make_plan, plan_of
from .scores import Importance, Scores
from .solver import Budget, Choice
from .trials import Trials

LEVELS = (0.2, 0.4, 0.6, 0.8)  # shares of a layer's heads or neurons that are tried alone
FINEST, COARSEST = 0.005, 0.03  # of the backbone: what one move takes from a layer and gives another


@dataclass(frozen=True)
class Search:
    """How long to look. moves: tries to shift a share between layers; layers: whether whole ones may go."""

    moves: int = 60
    layers: bool = True
    importance: str = "taylor"
    seed: int = 0

    def __post_init__(self):
        if self.moves < 0:
            raise BadPlan("A search makes no less than 0 moves.")


@dataclass(frozen=True)
class Option:
    """One way of thinning a layer: heads and neurons gone, what that saves, and what it is thought to cost."""

    gone: tuple[int, int]
    price: float
    loss: float


def search_plan(
    model: LVLM, scores: Scores, samples: Sequence, ratio: float = 0.30, settings: Search = Search(),
    report: Report = silent, trials: Trials | None = None,
) -> Plan:  # fmt: skip
    """A plan whose shares per layer were searched for. samples: with answers, calibration's will do.

    Its settings hold "loss", the divergence that it gives on the samples (nats a token), and "published_loss", that of
    the same share of every layer (None where that cannot take as much), which is never the smaller.
    trials: of an earlier search by the same scores and samples, so that another ratio takes only its own moves.
    Raises BadPlan for a ratio that nothing reaches, BadSamples for samples without answers. Raising from `report` ends
    it; the model stays as it is.
    """
    if not 0 <= ratio < 1:
        raise BadPlan(f"The ratio must be at least 0 and below 1, not {ratio!r}.")
    if settings.importance not in scores.importance:
        raise BadPlan(f"These scores hold no {settings.importance!r} importance: please choose another.")
    importance = scores.importance[settings.importance]
    prices = Budget.of(scores.anatomy, scores.workload, "parameters")
    target = ratio * prices.backbone
    trials = trials or Trials(model, importance, samples)
    usual = _published(scores, settings.importance, ratio)
    done = 0
    total = len(trials.whole) * (2 * len(LEVELS) + settings.layers) + (usual is not None) + max(1, settings.moves)

    def tried(gone: np.ndarray) -> float:
        nonlocal done
        found, done = trials.loss(gone), done + 1
        report(Progress("search", done, total, f"{done} of {total} ways tried"))
        return found

    hulls = [_options(i, trials.whole, prices, tried, settings.layers) for i in range(len(trials.whole))]
    starts = [_knapsack(hulls, trials.whole, prices, target)]
    if usual is not None:
        starts.append(_filled(usual, trials.whole, prices, target))
    losses = [tried(x) for x in starts]
    best = int(np.argmin(losses))
    gone, loss = _moved(starts[best], losses[best], trials.whole, prices, target, tried, settings)
    choice = _choice(scores, importance, gone, trials.whole)
    missing = target - choice.removed(prices)
    if missing > prices.neuron.max() + prices.group.max():
        raise BadPlan(f"{ratio:.0%} of the backbone cannot be removed here: please ask for less.")
    about = {
        "metric": "parameters",
        "importance": settings.importance,
        "ranking": "search",
        "loss": loss,
        "published_loss": losses[1] if usual is not None else None,
        "moves": settings.moves,
        "search_seed": settings.seed,
        "search_ids": [str(x.id) for x in samples],
    }
    method = "both" if len(choice.layers) < len(trials.whole) else "widthwise"
    return plan_of(scores, method, ratio, choice, about)


def gone_by(plan: Plan) -> np.ndarray:
    """(L, 2): how many heads (groups) and neurons of each layer a plan takes, as a trial has them."""
    pairs = zip(plan.dense_shape, plan.heads, plan.neurons, strict=True)
    return np.array([(groups - len(h), neurons - len(n)) for (groups, neurons), h, n in pairs], dtype=int)


def _published(scores: Scores, importance: str, ratio: float) -> np.ndarray | None:
    """The same share of every layer, as a trial; None where heads and neurons alone do not make up the ratio."""
    try:
        return gone_by(make_plan(scores, "widthwise", ratio, importance=importance))
    except BadPlan:
        return None


def _options(layer: int, whole: np.ndarray, prices: Budget, tried, layers: bool) -> list[Option]:
    """The lower convex hull of what a layer's removals save and cost, nothing removed first."""

    def alone(heads: int, neurons: int) -> float:
        gone = np.zeros_like(whole)
        gone[layer] = heads, neurons
        return tried(gone)

    def curve(place: int) -> dict[int, float]:
        counts = sorted({min(int(x * whole[layer, place]), whole[layer, place] - 1) for x in LEVELS} - {0})
        return {0: 0.0} | {n: alone(n, 0) if place == 0 else alone(0, n) for n in counts}

    heads, neurons = curve(0), curve(1)
    found = [
        Option((h, n), prices.group[layer] * h + prices.neuron[layer] * n, a + b)
        for h, a in heads.items()
        for n, b in neurons.items()
    ]
    if layers:
        found.append(Option(tuple(map(int, whole[layer])), float(prices.layer[layer]), alone(*whole[layer])))
    return _hull(found)


def _hull(options: Sequence[Option]) -> list[Option]:
    hull: list[Option] = []
    for x in sorted(options, key=lambda o: (o.price, o.loss)):
        if hull and x.price <= hull[-1].price:
            continue
        while len(hull) > 1 and _slope(hull[-2], x) <= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(x)
    return hull


def _slope(a: Option, b: Option) -> float:
    return (b.loss - a.loss) / (b.price - a.price)


def _knapsack(hulls: Sequence[Sequence[Option]], whole: np.ndarray, prices: Budget, target: float) -> np.ndarray:
    """Steps along the layers' hulls, the cheapest loss per price first, until the target is met."""
    steps = [(_slope(a, b), i, a, b) for i, hull in enumerate(hulls) for a, b in zip(hull, hull[1:])]
    gone, saved, left = np.zeros_like(whole), 0.0, len(whole)
    stopped: set[int] = set()
    for _, i, a, b in sorted(steps, key=lambda x: (x[0], x[1])):
        all_goes = tuple(b.gone) == tuple(whole[i])
        if i in stopped or saved >= target:
            continue
        room = (target - saved) / (b.price - a.price)
        if room < 1:
            stopped.add(i)
            if all_goes:  # too much: something smaller of another layer fits
                continue
            heads = int(a.gone[0] + room * (b.gone[0] - a.gone[0]) + 1e-9)
            neurons = (target - saved + a.price - prices.group[i] * heads) / prices.neuron[i]  # for what heads miss
            gone[i] = heads, np.clip(int(neurons), 0, whole[i, 1] - 1)
            saved = target
        elif all_goes and left == 1:
            stopped.add(i)
        else:
            gone[i], saved, left = b.gone, saved + b.price - a.price, left - all_goes
    return _filled(gone, whole, prices, target)


def _saved(gone: np.ndarray, whole: np.ndarray, prices: Budget) -> float:
    all_goes = (gone >= whole).all(1)
    return float(np.where(all_goes, prices.layer, prices.group * gone[:, 0] + prices.neuron * gone[:, 1]).sum())


def _filled(gone: np.ndarray, whole: np.ndarray, prices: Budget, target: float) -> np.ndarray:
    """The same with as many more (or fewer) neurons as meet the target to a neuron, of all layers alike."""
    gone = gone.copy()
    for _ in range(8):
        missing = target - _saved(gone, whole, prices)
        here = (gone < whole).all(1)
        room = np.where(here, whole[:, 1] - 1 - gone[:, 1] if missing > 0 else gone[:, 1], 0)
        if abs(missing) < prices.neuron[here].min(initial=np.inf) or not room.any():
            break
        share = min(1.0, abs(missing) / float((prices.neuron * room).sum()))
        change = np.floor(share * room + 1e-9).astype(int)
        if not change.any():
            change[int(np.argmax(room))] = 1
        gone[:, 1] += np.sign(missing).astype(int) * change
    return gone


def _moved(gone, best: float, whole, prices, target, tried, settings: Search) -> tuple[np.ndarray, float]:
    """Shares taken from one place and given to another, for as long as tries are left; what helps stays."""
    chance = np.random.default_rng(settings.seed)
    for turn in range(1, settings.moves):
        size = np.exp(chance.uniform(np.log(FINEST), np.log(COARSEST))) * prices.backbone
        new, here = gone.copy(), np.flatnonzero((gone < whole).all(1))
        for sign in (1, -1):
            i, kind = int(chance.choice(here)), int(chance.random() < 0.5)
            price = (prices.group, prices.neuron)[kind][i]
            count = max(1, round(size / price))
            new[i, kind] = np.clip(new[i, kind] + sign * count, 0, whole[i, kind] - 1)
        new = _filled(new, whole, prices, target)
        if (new != gone).any() and (found := tried(new)) < best:
            gone, best = new, found
    return gone, best


def _choice(scores: Scores, importance: Importance, gone: np.ndarray, whole: np.ndarray) -> Choice:
    everything = Choice.everything(scores.anatomy)
    out = [i for i in range(len(whole)) if (gone[i] >= whole[i]).all()]
    return everything.without_layers(out).without(importance, gone[:, 0], gone[:, 1])
