"""A budget instead of a ratio: what a plan costs in every unit a person thinks in, and the least ratio that fits."""

from dataclasses import dataclass

from lvlm import BadPlan

from .cost import count, int8_bytes
from .pace import Pace
from .plan import Plan, make_plan
from .scores import Scores

STEP = 0.001  # ratios are tried in thousandths
UNITS = {  # what a budget may be for → how it is said
    "parameters": "parameters",
    "memory": "memory of the weights",
    "int8": "memory of the weights in 8 bits",
    "flops": "compute up to the first token",
    "first_token": "time to the first token",
    "token": "time for each further token",
}
TIMED = ("first_token", "token")  # need the model's pace


@dataclass(frozen=True)
class Forecast:
    """What a model will cost. Counts are exact; seconds are foretold by the pace of the original, None without it."""

    parameters: int
    memory: int  # bytes of the weights
    int8: int  # bytes of the weights once `quantize` stored the decoder in 8 bits
    flops: int  # image + prompt, up to the first token
    first_token: float | None
    token: float | None

    @property
    def tokens_per_s(self) -> float | None:
        """After the first."""
        return self.token and 1 / self.token


def forecast(scores: Scores, plan: Plan | None = None, pace: Pace | None = None) -> Forecast:
    """Of the model that a plan makes; of the original without one."""
    anatomy = scores.anatomy
    if plan is not None:
        anatomy = anatomy.kept(plan.layers, [len(x) for x in plan.heads], [len(x) for x in plan.neurons])
    cost = count(anatomy, scores.workload)
    seconds = (None, None)
    if pace is not None:
        seconds = (
            (pace.first.total, pace.further.total) if plan is None else (pace.first_token_s(plan), pace.token_s(plan))
        )
    return Forecast(cost.parameters.total, cost.bytes, int8_bytes(anatomy), cost.flops_prefill, *seconds)


def fit(scores: Scores, unit: str, most: float, pace: Pace | None = None, *, largest: float = 0.99, **options) -> Plan:
    """The plan of the least ratio (in thousandths) that costs at most `most` of a unit: see UNITS.

    most: parameters, bytes, FLOPs or seconds of the whole model. pace: what `time_layers` found, for the times.
    largest: ratio that is not exceeded. options: `make_plan`'s others; what it refuses at any ratio, this does too.
    Raises BadPlan for a budget that nothing meets, naming the least that can be had.
    """
    if unit not in UNITS:
        raise BadPlan(f"There is no budget of {unit!r}: choose one of {', '.join(UNITS)}.")
    if not (isinstance(most, int | float) and most > 0):
        raise BadPlan("A budget must be a number above zero.")
    if unit in TIMED and pace is None:
        raise BadPlan("A budget of time needs the model's layers to be timed first: please call time_layers.")
    plans: dict[int, Plan] = {}

    def cost(step: int) -> float:
        plans[step] = make_plan(scores, ratio=round(step * STEP, 3), **options)
        return getattr(forecast(scores, plans[step], pace), unit)

    if cost(0) <= most:
        return plans[0]
    high = _reachable(cost, round(largest / STEP))
    least = cost(high)
    if least > most:
        raise BadPlan(
            f"{said(unit, most)} cannot be reached: the least {UNITS[unit]} to be had here is {said(unit, least)}, "
            f"with {plans[high].achieved:.0%} removed. Please allow that much, or protect and pin less."
        )
    low = 0  # too much at low, enough at high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(middle) <= most else (middle, high)
    return plans[high]


def _reachable(cost, largest: int) -> int:
    """The largest step up to `largest` of which there is a plan."""
    low, high = 0, largest + 1
    while high - low > 1:
        middle = largest if high == largest + 1 and low == 0 else (low + high) // 2
        try:
            cost(middle)
            low = middle
        except BadPlan:
            high = middle
    return low


def said(unit: str, amount: float) -> str:
    """An amount in words: "6.01 GiB", "80 ms", "4.95 B parameters", "6.89 TFLOPs"."""
    if unit in TIMED:
        return f"{amount * 1000:.3g} ms"
    steps, names = {
        "parameters": (1000, ("parameters", "k parameters", "M parameters", "B parameters")),
        "flops": (1000, ("FLOPs", "kFLOPs", "MFLOPs", "GFLOPs", "TFLOPs")),
    }.get(unit, (1024, ("B", "KiB", "MiB", "GiB")))
    power = 0
    while amount >= steps and power < len(names) - 1:
        amount, power = amount / steps, power + 1
    return f"{amount:.3g} {names[power]}" if amount < 1000 else f"{amount:.0f} {names[power]}"
