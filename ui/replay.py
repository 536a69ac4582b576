"""A session as a Python script that does the same through the library. It loads, calibrates, plans, prunes, heals and
stores in 8 bits, and asks the same questions with the same seeds. Knows desks and the library, and nothing of Gradio.
"""

import zipfile
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch

from lvlm.disk import whole, workplace
from lvlm.errors import LVLMError
from pruning import Plan, Search, Unit, make_plan
from recovery import Recipe
from ui.healing import BUILT_IN, POOL
from ui.pictures import name_of
from ui.talk import Exchange
from ui.variants import ORIGINAL, Variant

SCRIPT, PICTURE = "session.py", "picture.png"
HEAD = '''"""A session of Prunoscope through its library, on {model}. Run it in the project's folder: python {script}"""
'''
ASK = '''
def ask(models, picture, question, **how):
    """Every model's answer, printed as it was shown."""
    print(f"\\n{question}")
    for name, model in models.items():
        print(f"{name}: {''.join(model.chat(picture, question, **how))}")
'''
HEAL = '''
def healed(pruned, data, recipe, steps):
    """`pruned`, trained by the recipe and stopped after so many steps; only pictures in use are drawn."""
    if data in {built_in!r}:
        chosen = Selection.of({pool}, recipe)
        lessons = load_samples(data, n={pool}, pictures={{*chosen.train, *chosen.held_out}})
    else:
        lessons = load_samples(data)
    stop = threading.Event()

    def listen(event):
        if isinstance(event, LossPoint) and event.step >= steps - 1:
            stop.set()

    try:
        return recover(pruned, original if recipe.needs_teacher else None, lessons, recipe, listen, stop=stop)
    except RecoveryDiverged as error:
        return error.best
'''


@dataclass
class Script:
    """The text, and a person's own picture that goes with it (PIL)."""

    text: str
    picture: object = None

    def save(self) -> Path:
        """In a folder of its own, as session.py, or, where a picture goes with it, as a zip file of both."""
        file = workplace("session-") / (SCRIPT if self.picture is None else "session.zip")
        with whole(file, "The script") as part:
            if self.picture is None:
                part.write_text(self.text, encoding="utf-8")
            else:
                with zipfile.ZipFile(part, "w") as packed:
                    packed.writestr(SCRIPT, self.text)
                    with packed.open(PICTURE, "w") as out:
                        self.picture.save(out, "PNG")
        return file


@dataclass
class _Writer:
    """Lines of the script, what they import, and the sets of scores that they need."""

    body: list[str] = field(default_factory=list)
    imports: set[tuple[str, str]] = field(default_factory=set)
    calibrated: set[tuple[int, bool]] = field(default_factory=set)  # (samples, balanced)

    def uses(self, module: str, *names: str) -> None:
        self.imports |= {(module, name) for name in names}


def save(desk) -> Path:
    """The desk's session as a file in a folder of its own. Raises LVLMError while there is nothing to write."""
    return write(desk).save()


def write(desk) -> Script:
    """What made every variant on the desk, and the conversation at hand. Raises LVLMError while no model is loaded."""
    if desk.model is None or desk.scores is None:
        raise LVLMError("The model is still loading: please export the session in a moment.")
    out = _Writer()
    out.uses("lvlm", "load")
    made = [x for x in desk.variants if x.id != ORIGINAL]
    for variant in made:
        _make(desk, variant, out)
    if not made and desk.plan is not None:
        _plan(desk, "plan", desk.plan, out)
        out.body.append("print(plan.explain())")
    own = _ask(desk, out) if desk.talk else None
    return Script(_whole(desk, out), own)


def _name(variant: Variant) -> str:
    """Its id as a Python name."""
    return variant.id.replace("-", "_")


def _make(desk, variant: Variant, out: _Writer) -> None:
    name, parent = _name(variant), _name(variant.parent)
    out.body.append(f"\n# {' '.join(variant.title.split())}")
    if variant.kind == "pruned":
        out.uses("pruning", "prune")
        if variant.repair:  # fitted to what the original computes, by the plan of the cut that it is made of
            out.uses("pruning", "Repair")
            out.uses("samples", "load_samples")
            lessons = f'load_samples("scenes", n={variant.repair})'
            out.body.append(f"{name} = prune(original, plan_of_{parent}, Repair(), {lessons})")
        else:
            _plan(desk, f"plan_of_{name}", variant.plan, out)
            out.body.append(f"{name} = prune({parent}, plan_of_{name})")
    elif variant.kind == "int8":
        out.uses("pruning", "quantize")
        out.body.append(f'{name} = quantize({parent}, "int8")')
    else:
        _heal(variant, name, parent, out)


def _plan(desk, name: str, plan: Plan, out: _Writer) -> None:
    """The plan by the call that makes it from scores at hand, or, where none of those does, as it is."""
    wish = _wish(plan)
    for about, scores in _scores(desk):
        if plan.settings.get("ranking") == "search" and _same_scores(scores, plan):
            out.calibrated.add(about)
            out.body.append(f"{name} = {_search(plan, about, out)}")
            return
        if "rounds" in plan.settings and _same_scores(scores, plan):
            out.body.append(f"{name} = {_rounds(plan, out)}")
            return
        if _same(scores, wish, plan):
            out.uses("pruning", "make_plan")
            out.calibrated.add(about)
            out.body.append(f"{name} = make_plan({_named(about)}, {_given(wish, out)})")
            return
    out.uses("pruning", "Plan")
    out.body.append(f"{name} = Plan.from_json({plan.to_json()!r})")


def _scores(desk) -> list[tuple[tuple[int, bool], object]]:
    """((samples, balanced), scores) of all that the model was scored by."""
    known = ((False, desk.shared.scores), (True, desk.shared.balanced))
    return [((samples, balanced), x) for balanced, found in known for samples, x in found.items()]


def _named(about: tuple[int, bool]) -> str:
    return f"{'balanced' if about[1] else 'scores'}_{about[0]}"


def _same_scores(scores, plan: Plan) -> bool:
    """Whether a plan was made from these: it holds what tells them apart."""
    made = make_plan(scores, ratio=0.0).settings
    return all(made[x] == plan.settings.get(x) for x in ("sample_ids", "seed", "calibration", "scores"))


def _search(plan: Plan, about: tuple[int, bool], out: _Writer) -> str:
    """The call that searches for a plan again, which takes as long as it did."""
    said = plan.settings
    out.uses("pruning", "Search", "search_plan")
    out.uses("samples", "load_samples")
    lessons = f'load_samples("scenes", n={len(said["search_ids"])})'
    given = {"moves": said["moves"], "importance": said["importance"], "seed": said["search_seed"]}
    how = ", ".join(f"{k}={v!r}" for k, v in given.items() if v != getattr(Search(), k))
    return f"search_plan(original, {_named(about)}, {lessons}, {plan.ratio!r}, Search({how}))"


def _rounds(plan: Plan, out: _Writer) -> str:
    """The call that plans in rounds again, which scores as often as it did."""
    said = plan.settings
    out.uses("pruning", "plan_in_rounds")
    out.uses("samples", "load_samples")
    how = _given({k: v for k, v in _wish(plan).items() if k != "ratio"}, out)
    if said["importance"] == "balanced":
        out.uses("pruning", "CalibrationSettings")
        how += ", settings=CalibrationSettings(balanced=True)"
    lessons = f'load_samples("scenes", n={len(said["sample_ids"])})'
    return f"plan_in_rounds(original, {lessons}, {plan.ratio!r}, {said['rounds']}, {how})"


def _wish(plan: Plan) -> dict:
    """`make_plan`'s arguments, those that are not its defaults."""
    said = plan.settings
    pinned, forced = ([Unit.parse(x) for x in said.get(part, ())] for part in ("pinned", "forced"))
    whole = {x.layer for x in pinned if x.head is None}
    protect = [i for i in said.get("protected", ()) if i not in whole]
    wish = {"method": plan.method, "ratio": plan.ratio, "budget": said.get("budget"), "protect": protect}
    wish |= {"pinned": pinned, "forced": forced}
    defaults = {"metric": "parameters", "importance": "taylor", "ranking": "layer", "contiguous": False, "round_to": 1}
    wish |= {k: said[k] for k, usual in defaults.items() if said.get(k, usual) != usual}
    if said.get("depth_share") is not None:
        wish["depth_share"] = said["depth_share"]
    return {k: v for k, v in wish.items() if v is not None and v != []}


def _same(scores, wish: dict, plan: Plan) -> bool:
    try:
        return make_plan(scores, **wish).to_json() == plan.to_json()
    except LVLMError:
        return False


def _given(wish: dict, out: _Writer) -> str:
    """A wish as it stands in a call."""
    units = {"pinned", "forced"} & set(wish)
    if units:
        out.uses("pruning", "Unit")
    return ", ".join(f"{k}={_units(v) if k in units else repr(v)}" for k, v in wish.items())


def _units(units: list[Unit]) -> str:
    return f"[{', '.join(f'Unit.parse({str(x)!r})' for x in units)}]"


def _heal(variant: Variant, name: str, parent: str, out: _Writer) -> None:
    """By the steps that were made: minutes would be others on another machine."""
    for module, names in (
        ("lvlm.events", ["LossPoint"]),
        ("recovery", ["Recipe", "RecoveryDiverged", "recover"]),
        ("recovery.lessons", ["Selection"]),
        ("samples", ["load_samples"]),
        ("", ["threading"]),
    ):
        out.uses(module, *names)
    done = next(x for x in reversed(variant.model.history) if x["step"] == "recover")
    recipe = variant.recipe.recorded() | {"minutes": None, "steps": done["planned"]}
    usual = {x.name: x.default for x in fields(Recipe)}
    given = ", ".join(f"{k}={v!r}" for k, v in recipe.items() if v != usual[k])
    out.body.append(f"recipe_of_{name} = Recipe({given})")
    out.body.append(f"{name} = healed({parent}, {variant.data!r}, recipe_of_{name}, steps={done['steps']})")


def _ask(desk, out: _Writer):
    """The conversation; gives a person's own picture, which has to come along."""
    scene = name_of(desk.image)
    own = desk.image is not None and scene is None
    if desk.image is None:
        picture = "None"
    elif scene is None:
        out.uses("pathlib", "Path")
        picture = f'Path(__file__).with_name("{PICTURE}")'
    else:
        out.uses("samples", "examples")
        picture = f"next(x.image_path for x in examples() if x.title == {scene!r})"
    out.body.append(f"\n# The conversation; every question is asked afresh\npicture = {picture}")
    for exchange in desk.talk:
        _exchange(desk, exchange, out)
    return desk.image if own else None


def _exchange(desk, exchange: Exchange, out: _Writer) -> None:
    at_hand = [desk.variants.get(id) for id in exchange.answers]
    gone = [x.title for x in exchange.answers.values() if desk.variants.get(x.variant) is None]
    if gone:
        out.body.append(f"# dropped since, and not asked again: {', '.join(' '.join(x.split()) for x in gone)}")
    models = ", ".join(f"{x.title!r}: {_name(x)}" for x in at_hand if x is not None)
    how = exchange.how
    settings = f"max_new_tokens={how.max_new_tokens}, temperature={how.temperature}, seed={how.seed}"
    if models:
        out.body.append(f"ask({{{models}}}, picture, {exchange.question!r}, {settings})")


def _whole(desk, out: _Writer) -> str:
    """The lines in the order of a module: imports, functions, load, calibrate, and what follows."""
    start = [f"original = load({desk.shared.name!r})"]
    start.append(f'assert original.digest() == "{desk.model.digest()}", "these are other weights than the session\'s"')
    if out.calibrated:
        out.uses("pruning", "calibrate")
        out.uses("samples", "load_samples")
        for samples, balanced in sorted(out.calibrated):
            how = ""
            if balanced:
                out.uses("pruning", "CalibrationSettings")
                how = ", CalibrationSettings(balanced=True)"
            lessons = f'load_samples("scenes", n={samples})'
            start.append(f"{_named((samples, balanced))} = calibrate(original, {lessons}{how})")
    by_module: dict[str, list[str]] = {}
    for module, name in sorted(out.imports):
        by_module.setdefault(module, []).append(name)
    imports = [f"import {x}" for x in sorted([*by_module.pop("", []), "torch"])]
    imports += [f"from {module} import {', '.join(names)}" for module, names in sorted(by_module.items())]
    parts = [HEAD.format(model=desk.shared.name, script=SCRIPT), *imports]
    parts.append(
        f"\ntorch.set_num_threads({torch.get_num_threads()})  # as in the session: sums in another order differ"
    )
    functions = HEAL.format(built_in=BUILT_IN, pool=POOL) if ("recovery", "recover") in out.imports else ""
    functions += ("\n" if functions else "") + ASK if desk.talk else ""
    return "\n".join([*parts, functions, "", *start, *out.body, ""])
