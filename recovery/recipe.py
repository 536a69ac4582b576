"""How a pruned model is healed, as plain data: what trains, against which losses, on how much data and how long."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lvlm import LVLM
from lvlm.catalogue import find
from lvlm.plain import MOST_NUMBER, parsed
from pruning import Plan

from .errors import BadRecipe

TRAIN = ("projector", "lora", "full")
ARITHMETIC = ("repaired", "paper")
TOKENS = ("text", "answers", "all")
PRECISIONS = ("float32", "bfloat16")
ABOVE_ZERO = ("temperature", "rank", "alpha", "learning_rate", "epochs", "batch", "fraction", "held_out", "steps",
              "minutes", "micro_batch")  # fmt: skip
TERMS = ("sft", "kl", "rkl", "l2")

# LoRA as published for the paper's three models; "pocket" is ours. Rank 128 of 4096 is 1/32, of pocket's 192 it is 2/3.
PRESETS = {
    "llava": {"rank": 128, "alpha": 256, "dropout": 0.05, "learning_rate": 2e-5},
    "bunny": {"rank": 64, "alpha": 16, "dropout": 0.05, "learning_rate": 5e-5},
    "internvl": {"rank": 16, "alpha": 32, "dropout": 0.05, "learning_rate": 4e-5},
    "pocket": {"rank": 32, "alpha": 64, "dropout": 0.0, "learning_rate": 1e-3, "batch": 16},
}
PRESET_OF = {
    "llava-1.5-7b": "llava",
    "bunny-v1.0-3b": "bunny",
    "mini-internvl-4b": "internvl",
    "pocket-llava": "pocket",
    "pocket-bunny": "pocket",
    "pocket-internvl": "pocket",
}
PROJECTOR_ENOUGH, WIDTH_BETTER, FEW_SAMPLES_ENOUGH = 0.20, 0.40, 0.50  # ratios at which the paper's advice changes
FEW = 0.05  # of the data


@dataclass(frozen=True)
class Advice:
    """One stretch of the paper's decision chart, `start` to `end` of the backbone's parameters: which pruning heals
    better there, what trains, and against which losses."""

    start: float
    end: float
    method: str
    train: str
    losses: tuple[str, ...]


# Up to and with 20%; then below 40%; then all above. From 20 to 40% the paper names layerwise pruning with SFT + L2 and
# not what trains: above "around 15%" its section 4.3 wants the decoder trained too, so LoRA trains from 20% on.
CHART = (
    Advice(0.0, PROJECTOR_ENOUGH, "layerwise", "projector", ("sft",)),
    Advice(PROJECTOR_ENOUGH, WIDTH_BETTER, "layerwise", "lora", ("sft", "l2")),
    Advice(WIDTH_BETTER, 1.0, "widthwise", "lora", ("sft", "l2")),
)


@dataclass(frozen=True)
class Recipe:
    """How to heal. The vision tower is always frozen.

    train: "projector" alone, "lora" (projector and low-rank changes of every linear of the decoder's layers, merged in
        the end), or "full" (projector and all of the decoder).
    sft, kl, rkl, l2: weights of Eq. 9's terms; those but sft need the teacher. 0 leaves a term out.
    temperature: of both KL divergences, which are multiplied by its square so that their gradients keep their size.
    l2_layers: whose outputs Eq. 8 compares: "last" (after the final norm, as published), "all", or every k-th counted
        from the last. l2_tokens: of "text" (questions and answers), "answers", or "all" but padding.
    arithmetic: "repaired": every term is a mean over tokens that matter, Eq. 8 relative to the teacher's squared norm.
        "paper": as the authors' code computes them (see `published`): KL is a sum over every position, with images and
        padding, and Eq. 8 the mean squared error over them all.
    learning_rate: at its peak: it rises over the first `warmup` share of the steps and falls as a cosine.
    epochs, steps, minutes: how long; the last one given counts. Minutes become steps by the pace of a few trial steps.
    batch: samples an update; micro_batch: samples that go through at once (None: all), which saves memory.
    fraction: of the samples, chosen by the seed. held_out: of those, at most so many (and a tenth) are never trained on
        and say which weights were best.
    precision: of matrix products, with fp32 weights, in a model of fp32; one of 16 bits always computes in bf16.
    checkpointing: recompute each layer in backward: less memory, more time.
    checkpoints: folder for what a killed run resumes from. cache: folder for the teacher's outputs, which are then
        computed once, before the first step, however many epochs follow.
    """

    train: str = "lora"
    sft: float = 1.0
    kl: float = 0.0
    rkl: float = 0.0
    l2: float = 1.0
    temperature: float = 2.0
    l2_layers: str | int = "last"
    l2_tokens: str = "text"
    arithmetic: str = "repaired"
    rank: int = 128
    alpha: int = 256
    dropout: float = 0.05
    learning_rate: float = 2e-5
    warmup: float = 0.03
    epochs: float = 1.0
    steps: int | None = None
    minutes: float | None = None
    batch: int = 32
    micro_batch: int | None = None
    fraction: float = 1.0
    held_out: int = 64
    seed: int = 0
    precision: str = "float32"
    checkpointing: bool = False
    checkpoints: str | None = None
    cache: str | None = None

    def __post_init__(self):
        for name, known in (("train", TRAIN), ("arithmetic", ARITHMETIC), ("l2_tokens", TOKENS),
                            ("precision", PRECISIONS)):  # fmt: skip
            if getattr(self, name) not in known:
                raise BadRecipe(f"There is no {name} {getattr(self, name)!r}: choose {', '.join(known)}.")
        for x in fields(self):
            value = getattr(self, x.name)
            number = x.name in ABOVE_ZERO or isinstance(x.default, int | float)
            if not number or (value is None and x.default is None):
                continue
            if type(value) not in (int, float, bool) or not -MOST_NUMBER <= value <= MOST_NUMBER:  # nor NaN
                raise BadRecipe(f"{x.name} is {value!r}: please give a number.")
            if x.type in (int, int | None) and value != int(value):
                raise BadRecipe(f"{x.name} is {value!r}: please give a whole number.")
        if not isinstance(self.checkpointing, bool):
            raise BadRecipe(f"checkpointing is {self.checkpointing!r}: please give true or false.")
        for name in ("checkpoints", "cache"):
            if not isinstance(getattr(self, name), str | None):
                raise BadRecipe(f"{name} is {getattr(self, name)!r}: please give the name of a folder.")
        every = self.l2_layers if isinstance(self.l2_layers, int) else {"last": 1, "all": 1}.get(self.l2_layers, 0)
        if every < 1:
            raise BadRecipe(f"l2_layers is {self.l2_layers!r}: choose last, all, or a number k for every k-th layer.")
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise BadRecipe("Every loss has a weight of at least 0, and one of them must be above: sft, kl, rkl or l2.")
        for name in ABOVE_ZERO:
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise BadRecipe(f"{name} is {getattr(self, name)!r}: please choose one above 0.")
        for name, most in (("dropout", 0.9), ("warmup", 1.0), ("fraction", 1.0)):
            if not 0 <= getattr(self, name) <= most:
                raise BadRecipe(f"{name} is {getattr(self, name)!r}: please choose one from 0 to {most:g}.")

    @property
    def weights(self) -> dict[str, float]:
        """Eq. 9's coefficients, of all four terms."""
        return {x: getattr(self, x) for x in TERMS}

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms in use."""
        return tuple(x for x in TERMS if getattr(self, x))

    @property
    def needs_teacher(self) -> bool:
        return self.terms != ("sft",)

    def to_dict(self) -> dict:
        return asdict(self)

    def recorded(self) -> dict:
        """What a model's history keeps: everything but where this machine put its files."""
        return {k: v for k, v in asdict(self).items() if k not in ("checkpoints", "cache")}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, data: dict) -> "Recipe":
        """Raises BadRecipe for what is no recipe."""
        unknown = sorted(set(data) - {x.name for x in fields(cls)})
        if unknown:
            raise BadRecipe(f"A recipe has no {unknown[0]!r}: it has {', '.join(x.name for x in fields(cls))}.")
        try:
            return cls(**data)
        except TypeError as error:
            raise BadRecipe(f"This recipe holds a value of the wrong kind ({error}): please correct it.") from error

    @classmethod
    def from_json(cls, text: str) -> "Recipe":
        """Raises BadRecipe for what is no recipe."""
        try:
            data = parsed(text)
        except ValueError as error:
            raise BadRecipe(
                "This is not a recipe: it should be a JSON object, as `Recipe().to_json()` writes."
            ) from error
        if not isinstance(data, dict):
            raise BadRecipe("This is not a recipe: it should be a JSON object, as `Recipe().to_json()` writes.")
        return cls.from_dict(data)


def preset(model: str) -> dict:
    """LoRA's rank, alpha and dropout and the learning rate for a model by name; LLaVA's where it is not known."""
    entry = find(model)
    return PRESETS[PRESET_OF.get(entry.name if entry else model, "llava")]


def published(term: str, model: str, share: float = 0.5) -> Recipe:
    """What the authors' code does with one distillation term: share·KD + (1 − share)·CE, T = 2, one epoch, LoRA."""
    if term not in TERMS[1:]:
        raise BadRecipe(f"There is no distillation term {term!r}: choose {', '.join(TERMS[1:])}.")
    weights = {x: 0.0 for x in TERMS} | {"sft": 1 - share, term: share}
    return Recipe(arithmetic="paper", **weights, **preset(model))


def advise(plan: Plan) -> Recipe:
    """The paper's takeaways (sections 4.2.2 to 4.5) as a decision chart, by the share of the backbone that goes."""
    return advised(asked(plan), plan.model)


def advice(ratio: float) -> Advice:
    """Where a ratio sits on the chart."""
    return CHART[0 if ratio <= PROJECTOR_ENOUGH else 1 if ratio < WIDTH_BETTER else 2]


def advised(ratio: float, model: str) -> Recipe:
    """The chart as a recipe: up to 20% the projector alone; above, LoRA and SFT + L2; 5% of the data below 50%."""
    found = advice(ratio)
    few = FEW if ratio < FEW_SAMPLES_ENOUGH else 1.0
    weights = {x: float(x in found.losses) for x in TERMS}
    return Recipe(train=found.train, fraction=few, **weights, **preset(model))


def removed(model: LVLM) -> float:
    """The share of the backbone that a model's history says it has lost, through every cut."""
    left = 1.0
    for step in model.history:
        left *= 1 - step["achieved"] if step.get("step") == "prune" else 1
    return 1 - left


def recipe_for(model: LVLM, file: Path | None, changes: Sequence[str], seed: int) -> Recipe:
    """A recipe file, or the paper's advice for a pruned model, with "name=value" changes. Raises BadRecipe."""
    try:
        found = advised(removed(model), model.name) if file is None else Recipe.from_json(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(
            f"There is no readable recipe file {file}: please write one with `Recipe().to_json()`."
        ) from error
    data = found.to_dict() | ({"seed": seed} if file is None else {})
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise BadRecipe(f"{change!r} changes nothing: please write it as name=value.")
        try:
            data[name] = json.loads(value)
        except ValueError:
            data[name] = value  # a word
    return Recipe.from_dict(data)


def asked(plan: Plan) -> float:
    """The ratio of the backbone's parameters that a plan is about: the one asked for, if it was one of those."""
    by_parameters = plan.ratio is not None and plan.settings.get("metric") == "parameters"
    return plan.ratio if by_parameters else plan.achieved


def explain(plan: Plan) -> str:
    """Why `advise` says what it says, in sentences."""
    ratio = asked(plan)
    found = advice(ratio)
    trained = (
        "Projector and, by LoRA, decoder learn from the answers (SFT) and from the original's last hidden state (L2), "
        "the paper's best combination at every ratio."
    )
    said = {
        CHART[0]: f"At {ratio:.0%} (up to {PROJECTOR_ENOUGH:.0%}) the paper heals the projector alone, on the answers "
        "(SFT): what is lost is mostly how image and text fit together.",
        CHART[1]: f"At {ratio:.0%} (above {PROJECTOR_ENOUGH:.0%}, below {WIDTH_BETTER:.0%}) the projector alone is no "
        f"longer enough. {trained} The paper names the losses here and not what trains; that the decoder must learn "
        "too follows from its section 4.3.",
        CHART[2]: f"At {ratio:.0%} ({WIDTH_BETTER:.0%} and above) the paper trains the decoder too. {trained}",
    }[found]
    if plan.method != found.method:
        said += f" It finds {found.method} pruning to heal better at this ratio than {plan.method}."
    few = ratio < FEW_SAMPLES_ENOUGH
    return said + (" Below 50%, 5% of the data is enough." if few else " From 50% on it takes all of the data.")
