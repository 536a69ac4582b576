"""A kept case opened again: the same model, cut by the kept plans, the same picture, question and seed; and whether the
answers are the same. Knows the library and desks, and nothing of Gradio.
"""

import threading
from dataclasses import asdict, dataclass
from functools import partial

from evaluation.cases import BadCase, Case, Said
from lvlm.events import Progress, Report
from pruning import Plan
from recovery import Recipe
from ui import casefile, looking, making
from ui.talk import Exchange, How
from ui.variants import MOST_PANES, ORIGINAL

NOT_TRAINED = (
    "Opening a case trains nothing: its recipe is set on the Heal tab. Press Heal there, then open the case again."
)
NOT_KNOWN = "How it was made was not kept."


@dataclass(frozen=True)
class Answered:
    """One variant's kept answer, and its answer now; None where it could not be asked, and why."""

    said: Said
    now: str | None
    why: str = ""

    @property
    def same(self) -> bool:
        return self.now is not None and self.now.strip() == self.said.answer.strip()


@dataclass(frozen=True)
class Again:
    """A case that was asked again."""

    case: Case
    answers: tuple[Answered, ...]


def reopen(desk, id: str):
    """Start to open a case again; the model is loaded first where another one is at hand. Raises LVLMError."""
    case = casefile.book().get(id)
    desk.check_free()
    desk.keeping.chosen, desk.keeping.again, desk.keeping.opened = case.id, None, True
    if desk.model is not None and desk.model.digest() == case.digest:
        return _ask_again(desk, case)
    return desk.open(case.model, then=lambda: _ask_again(desk, case))


def follow_link(desk, id: str) -> bool:
    """A page came with `?case=id`: open it again, once. Returns whether there is such a case."""
    keeping = desk.keeping
    if keeping.linked == id:
        return True
    keeping.linked = id
    try:
        reopen(desk, id)
    except BadCase as error:
        keeping.refusal, keeping.opened = str(error), True
        return False
    return True


def _ask_again(desk, case: Case):
    def work(report: Report) -> tuple[Again, Exchange, object]:
        if desk.model.digest() != case.digest:
            raise BadCase(
                f"{case.model} has other weights now ({desk.model.digest()}) than when the case was kept "
                f"({case.digest}): please load those to open it again."
            )
        found = []
        for i, said in enumerate(case.sides):
            report(Progress("remake", i, len(case.sides), said.title))
            found.append(_remade(desk, said, report))
        variants = list(dict.fromkeys(x for x, _ in found if x is not None))
        how = How(case.max_new_tokens, case.temperature, case.seed)
        exchange, image = Exchange.of(case.question, variants, how), case.image
        asking = partial(report, Progress("reask", 0, 1, "asking again"))  # raises once it is cancelled
        asking()
        exchange.grow(variants, image, threading.Event(), asking, **asdict(how))
        answers = [
            Answered(said, exchange.answers[x.id].text if x else None, why)
            for said, (x, why) in zip(case.sides, found, strict=True)
        ]
        return Again(case, tuple(answers)), exchange, image

    def done(result: tuple) -> None:
        again, exchange, image = result
        desk.greeted = True
        desk.show(image, (case.question,))
        desk.variants.show(list(exchange.answers)[:MOST_PANES])
        desk.talk.append(exchange)
        looking.answers_ended(desk)
        desk.answered += 1
        desk.keeping.again = again
        desk.keeping.version += 1

    return desk.start("Open the case again", work, done)


def _remade(desk, said: Said, report: Report) -> tuple:
    """(the variant that gave this answer, or None, why not)."""
    if said.plan is None and said.kind in ("pruned", "recovered"):
        return None, NOT_KNOWN
    known = next((x for x in desk.variants if casefile.said(x, "").made == said.made), None)
    if known is not None:
        return known, ""
    if said.recipe is not None:
        desk.healing.own = Recipe.from_dict(said.recipe)
        if said.plan is not None:
            desk.healing.of = making.cut_by_plan(desk, Plan.from_json(said.plan), report, said.repair).id
        return None, NOT_TRAINED
    base = desk.variants.get(ORIGINAL)
    if said.plan:
        base = making.cut_by_plan(desk, Plan.from_json(said.plan), report, said.repair)
    return (making.stored_small(desk, base) if said.int8 else base), ""
