"""The ways of choosing what goes that an experiment holds against the paper's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lvlm import LVLM
from lvlm.events import Report, silent
from pruning import Plan, Scores, Search, make_plan, search_plan
from pruning.trials import Trials

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


def _searched(ground: Ground, method: str, ratio: float) -> Plan:
    how = Search(MOVES, layers=method == "both", seed=ground.seed)
    return search_plan(ground.model, ground.scores, ground.samples, ratio, how, ground.report, ground.trials)


PUBLISHED = "published"  # the paper's own: make_plan, and no more
CHOICES = {
    "global": Choice("heads and neurons of all layers compete", _together, ("widthwise",)),
    "search": Choice("shares per layer searched for", _searched, ("both",)),
}
