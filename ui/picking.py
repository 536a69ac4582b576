"""What a visitor picks out by hand on the Prune tab: a layer or head, pins, a budget instead of a ratio, a plan kept to
compare with, and a trial of what would go. Knows the library and jobs, and nothing of Gradio.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lvlm.errors import LVLMError
from lvlm.events import Progress, Report
from lvlm.images import check_question
from pruning import (
    CalibrationSettings, Plan, Search, Unit, fit, make_plan, masked, plan_in_rounds, search_plan, time_layers,
)  # fmt: skip
from pruning.budget import TIMED
from samples import load_samples
from ui import jobs
from ui.talk import Exchange
from ui.variants import Variant
from ui.words import percent

PIN, FORCE, FREE = "pin", "force", "free"  # what can be wished for a unit
UNIT, PLAN = "unit", "plan"  # what can be tried
LONGEST_TRIAL = 64  # tokens of an answer
SEARCH = "Search for better shares"
IN_ROUNDS = "Plan in rounds"
ROUNDS = 4
SEARCHED_ON = 16  # samples, as `experiment beyond` has it


@dataclass
class Trial:
    """One question to the original and to it with something masked: `exchange` grows while they answer."""

    what: str  # "layer 3"
    exchange: Exchange

    @property
    def said(self) -> tuple:
        """Moves while the answers grow, and when they end."""
        return tuple((len(x.text), x.stats is not None) for x in self.exchange.answers.values())


@dataclass
class Picking:
    """All of it on one desk. `version` moves when something here changes that the plan does not show."""

    unit: Unit | None = None  # what is looked at
    pinned: tuple[Unit, ...] = ()
    forced: tuple[Unit, ...] = ()
    budget: tuple[str, float] | None = None  # (a unit of pruning.budget.UNITS, at most), instead of a ratio
    typed: str = "memory"  # what the next budget is for
    kept: Plan | None = None  # laid under the plan at hand
    trial: Trial | None = None
    version: int = 0

    def plan(self, scores, pace, *, ratio: float, largest: float, **options) -> Plan:
        """By the budget, if there is one, else by the ratio. Raises BadPlan where the wishes cannot be met."""
        options |= {"pinned": self.pinned, "forced": self.forced}
        if self.budget is None:
            return make_plan(scores, ratio=ratio, **options)
        return fit(scores, *self.budget, pace, largest=largest, **options)

    def wish(self, unit: Unit, what: str) -> None:
        """PIN it, FORCE it out, or FREE it of either."""
        self.pinned = tuple(x for x in self.pinned if x != unit) + ((unit,) if what == PIN else ())
        self.forced = tuple(x for x in self.forced if x != unit) + ((unit,) if what == FORCE else ())

    def wished(self, unit: Unit | None) -> str:
        """PIN, FORCE or FREE: what holds for a unit by its own wish."""
        return PIN if unit in self.pinned else FORCE if unit in self.forced else FREE

    def under(self, plan: Plan | None) -> Plan | None:
        """The kept plan, if it is of the same model and can be compared with this one."""
        same = self.kept is not None and plan is not None and self.kept.digest == plan.digest
        return self.kept if same else None


def select(desk, unit: Unit | None) -> None:
    """Look at a layer or head."""
    desk.picking.unit = unit
    desk.picking.version += 1


def look_at(desk, text: str | None) -> None:
    """The same by its text, "3" or "3.2"; a head that the layer has not is the whole layer. Raises BadPlan."""
    unit = None if text is None else Unit.parse(text)
    if unit is not None and unit.head is not None and unit.head >= desk.scores.anatomy.layers[unit.layer].groups:
        unit = Unit(unit.layer)
    select(desk, unit)


def toggle(desk, what: str) -> None:
    """PIN or FORCE the unit that is looked at, or undo that, and plan anew. Raises LVLMError where that cannot be met:
    the wish is then not kept."""
    unit = desk.picking.unit
    if unit is None:
        raise LVLMError("Nothing is picked yet: please click a layer or head first.")
    before = desk.picking.pinned, desk.picking.forced, desk.refusal
    desk.picking.wish(unit, FREE if desk.picking.wished(unit) == what else what)
    _settle(desk, before)


def wishes(desk, pinned: list[Unit], forced: list[Unit]) -> None:
    """All of them at once, as the chips have them. Raises BadPlan as above."""
    picking = desk.picking
    before = picking.pinned, picking.forced, desk.refusal
    picking.pinned, picking.forced = tuple(pinned), tuple(forced)
    _settle(desk, before)


def _settle(desk, before: tuple) -> None:
    """Plan by the new wishes, or go back to those before, and leave the plan as it is, where that is not to be had."""
    desk.replan()
    desk.picking.version += 1
    if desk.refusal:
        sentence = desk.refusal
        desk.picking.pinned, desk.picking.forced, desk.refusal = before
        raise LVLMError(sentence)


def keep(desk) -> None:
    """Keep the plan at hand to compare others with; or, once there is one, drop it."""
    picking = desk.picking
    picking.kept = None if picking.under(desk.plan) else desk.plan
    desk.version += 1


def limit(desk, unit: str | None, most: float | None) -> jobs.Job | None:
    """Plan by a budget (in the library's units: bytes, seconds, …), or by the ratio again (None). The first budget of
    time has every layer timed, which is a job."""
    desk.picking.budget = None if unit is None else (unit, most)
    shared = desk.shared
    if unit not in TIMED or shared is None or shared.pace is not None:
        _replanned(desk)
        return None

    def done(pace) -> None:
        shared.pace = pace
        _replanned(desk)

    return desk.start("Time every layer", lambda report: time_layers(shared.model, report=report), done)


def search(desk) -> jobs.Job:
    """Find out, by trying, how much should go of each layer at the ratio at hand; that is the plan then, until another
    is wished for. Raises LVLMError where there is nothing to search, or a wish that a search cannot keep."""
    picking = desk.picking
    if picking.pinned or picking.forced or desk.protect_first or desk.protect_last:
        raise LVLMError(
            "This must be free to take from every layer: please let go of what is pinned, forced out or protected, and "
            "press again."
        )
    shared, scores, ratio, how = desk.shared, desk.scores, desk.ratio, Search(importance=desk.importance)

    def work(report: Report) -> Plan:
        return search_plan(shared.model, scores, load_samples("scenes", n=SEARCHED_ON), ratio, how, report)

    return _worked_out(
        desk, SEARCH, work,
        f"Better shares were found for {percent(ratio)}, but the controls were moved meanwhile: press Search again to "
        "have them for what they say now.",
    )  # fmt: skip


def in_rounds(desk) -> jobs.Job:
    """Plan for the ratio at hand a little at a time, what is left scored anew after each round, on as many samples as
    the scores at hand are of; that is the plan then, until another is wished for. What is pinned, forced out or
    protected holds in each round. Raises LVLMError where there is nothing to plan."""
    shared, ratio, samples = desk.shared, desk.ratio, desk.samples
    settings = CalibrationSettings(balanced=desk.balanced)
    wishes = {"method": desk.method, "importance": desk.importance, "ranking": desk.ranking}
    wishes |= {"protect_first": desk.protect_first, "protect_last": desk.protect_last}
    wishes |= {"pinned": desk.picking.pinned, "forced": desk.picking.forced}

    def work(report: Report) -> Plan:
        found = load_samples("scenes", n=samples)
        return plan_in_rounds(shared.model, found, ratio, ROUNDS, settings=settings, report=report, **wishes)

    return _worked_out(
        desk, IN_ROUNDS, work,
        f"The rounds for {percent(ratio)} are done, but the controls were moved meanwhile: press Plan in rounds again "
        "to have them for what they say now.",
    )  # fmt: skip


def _worked_out(desk, title: str, work: Callable[[Report], Plan], moved: str) -> jobs.Job:
    """Start a job that ends with a plan for the wishes of now, and says `moved` where they are others by then."""
    picking, wishes = desk.picking, desk.wishes
    if desk.scores is None or desk.shared is None:
        raise LVLMError("The model is still loading: please try again in a moment.")
    if not desk.ratio:
        raise LVLMError("There is nothing to share out at 0%: please move the slider first.")

    def done(plan: Plan) -> None:
        if desk.wishes != wishes:
            desk.refuse(moved)
            return
        picking.budget = None  # its share stays; a budget of time may not
        desk.plan, desk.refusal = plan, ""

    return desk.start(title, work, done, shares=True)


def _replanned(desk) -> None:
    desk.replan()
    desk.version += 1


def try_out(desk, what: str, question: str) -> jobs.Job:
    """Ask the original, and it with the unit looked at (UNIT) or the whole plan (PLAN) masked; nothing is cut.

    Raises LVLMError before there is something to try, BadQuestion for a question that cannot be asked.
    """
    picking, scores, image, model = desk.picking, desk.scores, desk.image, desk.model
    question = check_question(question or "")
    if desk.plan is None:
        raise LVLMError("The model is still loading: please try again in a moment.")
    if what == UNIT:
        if picking.unit is None:
            raise LVLMError("Nothing is picked yet: please click a layer or head, or try the whole plan.")
        plan, name = make_plan(scores, ratio=0.0, forced=[picking.unit]), picking.unit.name
    else:
        plan, name = desk.plan, f"what the plan removes ({percent(desk.plan.achieved)})"
    panes = [
        Variant("original", "original", "Original", model),
        Variant("tried", "pruned", f"Without {name}", None),
    ]
    trial = Trial(name, Exchange.of(question, panes))

    def work(report: Report) -> None:
        with masked(model, plan) as panes[1].model:
            how = {"max_new_tokens": LONGEST_TRIAL, "temperature": 0.0}
            trial.exchange.grow(panes, image, threading.Event(), lambda: report(Progress("try", 0, 0, "")), **how)

    job = desk.start(f"Try without {name}", work)
    picking.trial = trial
    return job
