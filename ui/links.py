"""A link that restores a model, a plan and a question. Writing one of a desk, reading one, and following it on a desk:
`?model=…&method=…&ranking=…&rounds=1&ratio=30&protect=1,0&pin=…&out=…&samples=…&balanced=1&repair=1&scene=…&q=…`. Knows
nothing of Gradio.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from lvlm.catalogue import catalogue, find
from lvlm.errors import LVLMError
from lvlm.images import check_question
from pruning import Unit
from pruning.plan import METHODS
from ui import picking, pictures
from ui.workspace import DEFAULT_SAMPLES, MOST_RATIO, MOST_SAMPLES

KEYS = ("model", "method", "ranking", "rounds", "ratio", "protect", "pin", "out", "samples", "balanced", "repair",
        "scene", "q")  # fmt: skip
RANKINGS = ("layer", "global", "search")  # how layers share what goes; "search": found by trying, anew
OWN_PICTURE = "Your own picture cannot be in a link: it opens without one."
OWN_MODEL = "A model from outside the catalogue cannot be in a link: it opens with the model that the app starts with."


class BadLink(LVLMError):
    """A link that cannot be followed; nothing of it is."""


@dataclass(frozen=True)
class Link:
    """What a link asks for; None and () leave what is there as it is."""

    model: str | None = None
    method: str | None = None
    ratio: float | None = None  # 0…MOST_RATIO
    protect: tuple[int, int] = (0, 0)  # the first and the last so many layers
    pinned: tuple[Unit, ...] = ()
    forced: tuple[Unit, ...] = ()
    samples: int = DEFAULT_SAMPLES
    balanced: bool = False
    repair: bool = False
    rounds: bool = False  # in which it is planned, anew
    ranking: str = "layer"
    scene: str | None = None
    question: str | None = None

    @property
    def plans(self) -> bool:
        return self.method is not None or self.ratio is not None


def read(query: Mapping[str, str], loaded: tuple[str, ...] = ()) -> Link | None:
    """The link in a page's address; None where there is none. `loaded`: models that are in memory. Raises BadLink."""
    said = {k: query[k].strip() for k in KEYS if query.get(k, "").strip()}
    if not said:
        return None
    try:
        return Link(
            _model(said.get("model"), loaded),
            _one_of("method", said.get("method"), METHODS),
            None if "ratio" not in said else _number("ratio", said["ratio"], 100 * MOST_RATIO) / 100,
            _protect(said.get("protect", "0")),
            _units(said.get("pin", "")),
            _units(said.get("out", "")),
            int(_number("samples", said.get("samples", str(DEFAULT_SAMPLES)), MOST_SAMPLES, least=1)),
            _one_of("balanced", said.get("balanced"), ("0", "1")) == "1",
            _one_of("repair", said.get("repair"), ("0", "1")) == "1",
            _one_of("rounds", said.get("rounds"), ("0", "1")) == "1",
            _one_of("ranking", said.get("ranking"), RANKINGS) or "layer",
            _one_of("scene", said.get("scene"), pictures.titles()),
            None if "q" not in said else check_question(said["q"]),
        )
    except BadLink:
        raise
    except LVLMError as error:
        raise BadLink(f"This link cannot be followed: {error}") from error


def write(desk, question: str) -> tuple[str, str]:
    """(the address after its "?", what it leaves out, in a sentence or "") of what lies on a desk."""
    said, left_out = {}, []
    name = desk.shared.name if desk.shared else None
    if name is not None and find(name) is None:
        left_out.append(OWN_MODEL)
    elif name is not None:
        said["model"] = name
    if desk.plan is not None:
        said |= {"method": desk.method, "ratio": f"{100 * desk.ratio:.6g}"}
    if desk.protect_first or desk.protect_last:
        said["protect"] = f"{desk.protect_first},{desk.protect_last}"
    for key, units in (("pin", desk.picking.pinned), ("out", desk.picking.forced)):
        if units:
            said[key] = ",".join(map(str, units))
    ranking = "search" if desk.searched else desk.ranking
    if desk.plan is not None and ranking != "layer":
        said["ranking"] = ranking
    if desk.plan is not None and "rounds" in desk.plan.settings:
        said["rounds"] = 1
    if desk.samples != DEFAULT_SAMPLES:
        said["samples"] = desk.samples
    if desk.balanced:
        said["balanced"] = 1
    if desk.repair:
        said["repair"] = 1
    scene = pictures.name_of(desk.image)
    if scene is not None:
        said["scene"] = scene
    elif desk.image is not None:
        left_out.append(OWN_PICTURE)
    asked = question.strip() or (desk.talk[-1].question if desk.talk else "")
    if asked:
        said["q"] = asked
    return urlencode(said), " ".join(left_out)


def follow(desk, link: Link, usual: str) -> None:
    """Lay a link's picture out, and plan as it says, once its model is there; a job may be under way then. `usual`: the
    model to open where neither the link nor the desk has one. Raises LVLMError while long work is under way."""
    name = link.model or (desk.shared.name if desk.shared else usual)
    desk.check_free()
    if link.scene is not None:
        desk.greeted = True
        desk.show(*pictures.named(link.scene))
    if desk.shared is None or desk.shared.name != name:
        desk.open(name, then=lambda: _plan(desk, link))
    else:
        _plan(desk, link)


def _plan(desk, link: Link) -> None:
    if not link.plans:
        return
    desk.picking.budget, desk.repair = None, link.repair
    desk.picking.pinned, desk.picking.forced = link.pinned, link.forced
    ratio, searched = desk.ratio if link.ratio is None else link.ratio, link.ranking == "search"
    desk.wish(link.method or desk.method, ratio, *link.protect, "layer" if searched else link.ranking)
    desk.version += 1
    desk.picking.version += 1

    def go_on() -> None:
        if searched:
            _try(desk, picking.search)
        elif link.rounds:
            _try(desk, picking.in_rounds)

    if (link.samples, link.balanced) != (desk.samples, desk.balanced):
        desk.calibrate(link.samples, link.balanced, then=go_on)  # and plans again
    else:
        go_on()


def _try(desk, work: Callable) -> None:
    """Also at the end of a job, where nobody would hear what is raised."""
    try:
        work(desk)
    except LVLMError as error:
        desk.refuse(str(error))


def _model(name: str | None, loaded: tuple[str, ...]) -> str | None:
    """A link is no reason to download gigabytes, nor to read folders of this machine."""
    if name is None:
        return None
    entry = find(name)
    if entry is None:
        known = ", ".join(x.name for x in catalogue())
        raise BadLink(f'This link asks for a model "{name}", which is not in the catalogue: {known}.')
    if not entry.available and entry.name not in loaded:
        raise BadLink(
            f"This link asks for {entry.title}, which is not on this machine: pick it in the rail to load it."
        )
    return entry.name


def _one_of(what: str, value: str | None, known) -> str | None:
    if value is None:
        return None
    found = next((x for x in known if x.casefold() == value.casefold()), None)
    if found is None:
        raise BadLink(f'This link asks for a {what} "{value}", which there is not: choose {", ".join(known)}.')
    return found


def _number(what: str, text: str, most: float, least: float = 0) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise BadLink(f'This link asks for {what} "{text}", which is out of range: choose {least:g} to {most:g}.')
    return value


def _protect(text: str) -> tuple[int, int]:
    first, _, last = text.partition(",")
    return tuple(int(_number("protect", x or "0", 4)) for x in (first, last))


def _units(text: str) -> tuple[Unit, ...]:
    return tuple(Unit.parse(x) for x in text.split(",") if x.strip())
