"""The ways of choosing what goes that an experiment holds against the paper's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lvlm import LVLM
from lvlm.events import Report, silent
from pruning import CalibrationSettings, Plan, Scores, Search, calibrate, make_plan, plan_in_rounds, search_plan
from pruning.trials import Trials

ROUNDS = 4
MOVES = 30  # of a search: half of what it makes by itself; its layers' curves serve every ratio


@dataclass(frozen=True, eq=False)
class Ground:
    """What plans of one model are made from. scores: of these samples."""

    model: LVLM
    scores: Scores
    samples: Sequence
    seed: int = 0
    report: Report = silent

    @cached_property
    def balanced(self) -> Scores:
        """Scores that also weigh image and text tokens alike."""
        return calibrate(self.model, self.samples, CalibrationSettings(balanced=True), self.seed, self.report)

    @cached_property
    def trials(self) -> Trials:
        """Ways of thinning the model, which remember how each turned out."""
        return Trials(self.model, self.scores.importance["taylor"], self.samples)


@dataclass(frozen=True)
class Choice:
    """make(ground, method, ratio) → Plan. title: in a table. methods: those it is a choice within."""

    title: str
    make: Callable[[Ground, str, float], Plan]
    methods: tuple[str, ...]


def _together(ground: Ground, method: str, ratio: float) -> Plan:
    return make_plan(ground.scores, method, ratio, ranking="global")


def _balanced(ground: Ground, method: str, ratio: float) -> Plan:
    return make_plan(ground.balanced, method, ratio, importance="balanced")


def _in_rounds(ground: Ground, method: str, ratio: float) -> Plan:
    return plan_in_rounds(
        ground.model, ground.samples, ratio, ROUNDS, method=method, ranking="global", seed=ground.seed,
        report=ground.report,
    )  # fmt: skip


def _searched(ground: Ground, method: str, ratio: float) -> Plan:
    how = Search(MOVES, layers=method == "both", seed=ground.seed)
    return search_plan(ground.model, ground.scores, ground.samples, ratio, how, ground.report, ground.trials)


PUBLISHED = "published"  # the paper's own: make_plan, and no more
CHOICES = {
    "global": Choice("heads and neurons of all layers compete", _together, ("widthwise",)),
    "whole": Choice("whole layers compete, too", _together, ("both",)),
    "balanced": Choice("image and text tokens count alike", _balanced, ("widthwise",)),
    "rounds": Choice("in rounds, heads and neurons of all layers compete", _in_rounds, ("widthwise", "layerwise")),
    "search": Choice("shares per layer searched for", _searched, ("both",)),
}


def choice_of(plan: Plan) -> str | None:
    """The choice that a plan was made by, PUBLISHED or one of CHOICES; None for any other way."""
    about = plan.settings
    depth = plan.method == "layerwise"  # whole layers go by block influence, whatever is said of their units
    ranking = PUBLISHED if depth else {"layer": PUBLISHED}.get(x := about.get("ranking", "layer"), x)
    importance = "taylor" if depth else about.get("importance", "taylor")
    if plan.method == "both" and ranking == "global":
        ranking = "whole" if about.get("depth_share") is None else None
    if "rounds" in about:
        asked = (about["rounds"], about.get("repaired_between"), importance) == (ROUNDS, False, "taylor")
        return "rounds" if asked and ranking == (PUBLISHED if depth else "global") else None
    return {("taylor", ranking): ranking, ("balanced", PUBLISHED): "balanced"}.get((importance, ranking))
