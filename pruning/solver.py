"""Which units to remove so that a target is met as closely as possible. Pure functions of arrays."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lvlm import Anatomy

from .cost import Workload, count, layer_flops
from .scores import Importance

METRICS = ("parameters", "bytes", "flops", "memory")


@dataclass(frozen=True, eq=False)
class Budget:
    """Prices of layers and units in one metric, all exact: every metric is linear in layers, groups and neurons."""

    model: float  # the whole model, as it is
    backbone: float  # the language part of it: what a ratio is a share of
    layer: np.ndarray  # (L,)
    group: np.ndarray  # (L,)
    neuron: np.ndarray  # (L,)

    @classmethod
    def of(cls, anatomy: Anatomy, workload: Workload, metric: str) -> "Budget":
        layers, tokens = anatomy.layers, workload.prompt_tokens
        units = {kind: np.array([x.unit(kind) for x in layers], dtype=np.float64) for kind in ("heads", "neurons")}
        whole = count(anatomy, workload)
        if metric == "flops":
            one_head = np.array([4.0 * tokens * tokens * x.heads_per_group * x.head_dim for x in layers])
            return cls(
                model=whole.flops_prefill,
                backbone=whole.flops_prefill - workload.vision_flops,
                layer=np.array([float(layer_flops(x, tokens, tokens)) for x in layers]),
                group=2.0 * tokens * units["heads"][:, 1] + one_head,
                neuron=2.0 * tokens * units["neurons"][:, 1],
            )
        size = 1 if metric == "parameters" else anatomy.itemsize
        cache = np.zeros(len(layers))
        if metric == "memory":
            kept = [min(tokens, (x.window or tokens + 1) - 1) * x.head_dim for x in layers]
            cache = 2.0 * anatomy.itemsize * np.array(kept)
        cached = float(sum(c * x.groups for c, x in zip(cache, layers)))
        return cls(
            model=size * anatomy.parts.total + cached,
            backbone=size * anatomy.parts.decoder + cached,
            layer=np.array([size * x.parameters + c * x.groups for x, c in zip(layers, cache)]),
            group=size * units["heads"][:, 0] + cache,
            neuron=size * units["neurons"][:, 0],
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """What stays: layers, and per original layer the sorted kept groups and neurons (empty if the layer goes)."""

    anatomy: Anatomy
    layers: tuple[int, ...]
    heads: tuple[np.ndarray, ...]
    neurons: tuple[np.ndarray, ...]
    pinned: tuple[frozenset[int], ...]  # per original layer: groups that must stay

    @classmethod
    def everything(cls, anatomy: Anatomy) -> "Choice":
        return cls(
            anatomy,
            tuple(range(len(anatomy.layers))),
            tuple(np.arange(x.groups) for x in anatomy.layers),
            tuple(np.arange(x.neurons) for x in anatomy.layers),
            (frozenset(),) * len(anatomy.layers),
        )

    @property
    def heads_gone(self) -> np.ndarray:
        """(L,) groups that went already, of layers that are there."""
        gone = [x.groups - len(self.heads[i]) for i, x in enumerate(self.anatomy.layers)]
        return np.array(gone) * np.isin(np.arange(len(gone)), self.layers)

    def free_heads(self, layer: int, order: np.ndarray) -> np.ndarray:
        """The groups of `order` that are there and not pinned; all but the last where no pinned one would stay."""
        pinned, here = self.pinned[layer], self.heads[layer]
        if pinned or len(here) < len(order):
            order = order[np.isin(order, here) & ~np.isin(order, list(pinned))]
        return order if pinned else order[:-1]

    def removed(self, prices: Budget) -> float:
        kept = set(self.layers)
        total = 0.0
        for i, layer in enumerate(self.anatomy.layers):
            if i not in kept:
                total += prices.layer[i]
            else:
                total += prices.group[i] * (layer.groups - len(self.heads[i]))
                total += prices.neuron[i] * (layer.neurons - len(self.neurons[i]))
        return total

    def without_layers(self, gone: Sequence[int]) -> "Choice":
        gone, none = set(gone), np.arange(0)
        return replace(
            self,
            layers=tuple(i for i in self.layers if i not in gone),
            heads=tuple(none if i in gone else x for i, x in enumerate(self.heads)),
            neurons=tuple(none if i in gone else x for i, x in enumerate(self.neurons)),
        )

    def without(self, importance: Importance, heads: np.ndarray, neurons: np.ndarray) -> "Choice":
        """Fewer by these numbers per original layer, the least important first; removed layers stay removed.

        Groups that went already count among `heads`, pinned ones stay, and so does one of each layer at least.
        """
        order_heads, order_neurons = importance.order
        kept, gone = set(self.layers), self.heads_gone

        def cut(i: int, here: np.ndarray) -> np.ndarray:
            more = int(heads[i]) - int(gone[i])
            return np.setdiff1d(here, self.free_heads(i, order_heads[i])[:more]) if i in kept and more > 0 else here

        return replace(
            self,
            heads=tuple(cut(i, x) for i, x in enumerate(self.heads)),
            neurons=tuple(
                np.sort(order_neurons[i][int(neurons[i]) :]) if i in kept and neurons[i] else x
                for i, x in enumerate(self.neurons)
            ),
        )

    def unit_size(self, prices: Budget, method: str, free: np.ndarray, round_to: int = 1) -> float:
        """How far from a target the closest reachable choice may lie: one layer, or one neuron and head per layer."""
        if method == "layerwise":
            return float(prices.layer.max())
        return float(round_to * prices.neuron[free].sum() + prices.group[free].max(initial=0.0))


def layerwise(choice, prices, influence, free, target, contiguous=False, below=False) -> Choice:
    """Remove whole layers, lowest influence first (or the block of neighbours with the lowest sum).

    As many as come closest to the target; below: as many as do not exceed it. At least one layer always stays, and
    so does one with a pinned head.
    """
    candidates = [i for i in choice.layers if free[i] and not choice.pinned[i]]
    if len(candidates) == len(choice.layers):  # something must stay
        candidates.remove(max(candidates, key=lambda i: influence[i]))
    left = prices.layer - prices.group * choice.heads_gone
    if contiguous:
        return choice.without_layers(_block(candidates, left, influence, target, below))
    order = sorted(candidates, key=lambda i: (influence[i], i))
    sums = np.concatenate([[0.0], np.cumsum(left[order])])
    n = int(np.searchsorted(sums, target + 1e-9, side="right")) - 1 if below else int(np.abs(sums - target).argmin())
    return choice.without_layers(order[: max(n, 0)])


def _block(candidates, price, influence, target, below) -> list[int]:
    best, key = [], (abs(target), 0.0)
    allowed = set(candidates)
    for start in candidates:
        total, lost = 0.0, 0.0
        for end in range(start, len(price)):
            if end not in allowed:
                break
            total, lost = total + price[end], lost + influence[end]
            # Blocks of one size differ by rounding only: compare their influence, not their last bit.
            found = (round(abs(total - target) / price.max(), 6) * price.max(), lost)
            if (not below or total <= target) and found < key:
                best, key = list(range(start, end + 1)), found
    return best


def widthwise_local(choice, prices, importance, heads_free, neurons_free, target, round_to=1) -> Choice:
    """The same share of every layer's heads (floored to whole ones) and neurons, the least important first.

    Neurons make up for what whole heads miss, so that the target is met to one neuron per layer. Heads that went
    already count as a part of their layer's share.
    """
    layers = choice.anatomy.layers
    here = np.isin(np.arange(len(layers)), choice.layers)
    groups = np.array([x.groups for x in layers]) * (here & heads_free)
    neurons = np.array([x.neurons for x in layers]) * (here & neurons_free)
    none = np.zeros(len(layers), dtype=int)
    total = float(prices.group @ groups + prices.neuron @ neurons)
    if target <= 0 or total <= 0:
        return choice
    fewest_heads = choice.heads_gone * heads_free
    target = target + float(prices.group @ fewest_heads)
    most_heads = np.maximum(groups - np.array([max(len(x), 1) for x in choice.pinned]), 0)
    most_neurons = _cut_neurons(1.0, neurons, round_to)
    reachable = float(prices.neuron @ most_neurons)
    share = min(1.0, target / total)
    # Shares at which some layer loses one more head: the first at which the neurons can do the rest.
    steps = np.unique(np.concatenate([[share], *(np.arange(1, g + 1) / g for g in np.unique(groups) if g)]))
    heads = most_heads
    for step in steps[steps >= share]:
        found = np.clip(np.floor(step * groups + 1e-9).astype(int), fewest_heads, most_heads)
        if float(prices.group @ found) + reachable >= target:
            heads = found
            break
    rest = target - float(prices.group @ heads)
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if float(prices.neuron @ _cut_neurons(middle, neurons, round_to)) <= rest:
            low = middle
        else:
            high = middle
    under, over = (_cut_neurons(x, neurons, round_to) if rest > 0 else none for x in (low, high))
    closer = min((under, over), key=lambda x: abs(float(prices.neuron @ x) - rest))
    return choice.without(importance, heads, closer)


def _cut_neurons(share: float, neurons: np.ndarray, round_to: int) -> np.ndarray:
    """Neurons to remove per layer at a share: what stays is a multiple of round_to, and at least that (or one)."""
    cut = np.floor(share * neurons + 1e-9).astype(int)
    kept = np.ceil((neurons - cut) / round_to).astype(int) * round_to
    kept = np.minimum(np.maximum(kept, round_to), neurons)
    return np.where(cut > 0, neurons - kept, 0)


def widthwise_global(choice, prices, importance, heads_free, neurons_free, target, round_to=1, whole=False) -> Choice:
    """All heads and neurons of all layers compete: the least important per price goes first.

    Neurons compete in blocks of round_to. Each layer's best head (or its pinned ones) and best block always stay; or,
    whole: they compete too, after all else in their layer, and the layer goes with them. One layer stays at least.
    """
    layers = choice.anatomy.layers
    density, price, owner, amount = [], [], [], []
    rests: dict[int, tuple[float, float]] = {}  # layer → density and price of what goes last of it
    for i in choice.layers:
        lost, paid, most = 0.0, 0.0, -np.inf
        for kind, free in (("heads", heads_free[i]), ("neurons", neurons_free[i])):
            if not free:
                continue
            cost = (prices.group if kind == "heads" else prices.neuron)[i]
            if kind == "heads":
                values = importance.heads[i][choice.free_heads(i, importance.order[0][i])]
                sizes = np.ones(len(values), dtype=int)
            else:
                values = np.sort(importance.neurons[i])
                sizes = np.ones(len(values) - 1, dtype=int)
            if kind == "neurons" and round_to > 1:
                first = len(values) % round_to or round_to
                edges = np.arange(first, len(values), round_to)  # the last block stays
                sizes = np.diff(np.concatenate([[0], edges]))
                values = np.add.reduceat(values, np.concatenate([[0], edges]))[:-1] if len(edges) else values[:0]
            elif kind == "neurons":
                values = values[:-1]
            density.append(values / (np.maximum(sizes, 1) * cost) if len(sizes) else values)
            price.append(sizes * cost)
            amount.append(sizes)
            owner.append(np.full(len(values), 3 * i + (kind == "neurons")))
            lost, paid = lost + values.sum(), paid + price[-1].sum()
            most = max(most, density[-1].max(initial=-np.inf))
        if whole and heads_free[i] and neurons_free[i] and not choice.pinned[i]:
            left = importance.heads[i][choice.heads[i]].sum() + importance.neurons[i].sum() - lost
            rest = prices.layer[i] - prices.group[i] * choice.heads_gone[i] - paid
            rests[i] = max(left / rest, most), rest
    if len(rests) == len(choice.layers):  # something must stay
        rests.pop(max(rests, key=rests.get), None)
    for i, (dense, rest) in rests.items():  # behind the others: of equals, the first go first
        for found, value in ((density, dense), (price, rest), (amount, 1), (owner, 3 * i + 2)):
            found.append(np.array([value]))
    removed = np.zeros(3 * len(layers), dtype=int)
    if target > 0 and density:
        density, price, amount, owner = (np.concatenate(x) for x in (density, price, amount, owner))
        order = np.argsort(density, kind="stable")
        sums = np.concatenate([[0.0], np.cumsum(price[order])])
        n = int(np.abs(sums - target).argmin())
        removed = np.bincount(owner[order[:n]], weights=amount[order[:n]], minlength=len(removed)).astype(int)
    heads, neurons, gone = removed.reshape(-1, 3).T
    return choice.without(importance, heads + choice.heads_gone, neurons).without_layers(np.flatnonzero(gone))
