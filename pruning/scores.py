"""Every importance number of one model, per layer: plain arrays that are small, saved as one file, and reused."""

import json
import os
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from lvlm import Anatomy, BadPlan, LVLMError
from lvlm.disk import whole
from lvlm.files import header, line
from lvlm.plain import parsed, typed

from .cost import Workload

SCHEMA = 1
BLOCK = ("block_influence", "block_influence_image", "block_influence_text")


@dataclass(frozen=True, eq=False)
class Importance:
    """One measure of units, fp64, higher matters more. heads: per layer (groups,), neurons: per layer (neurons,)."""

    heads: tuple[np.ndarray, ...]
    neurons: tuple[np.ndarray, ...]

    @cached_property
    def order(self) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
        """Per layer the units, least important first; sorted once, so that a plan costs milliseconds."""
        return tuple(tuple(np.argsort(x, kind="stable") for x in part) for part in (self.heads, self.neurons))

    @property
    def neuron_means(self) -> np.ndarray:
        """(L,): the mean over each layer's neurons."""
        return np.array([x.mean() for x in self.neurons])

    def balanced(self, other: "Importance") -> "Importance":
        """Two measures weighed alike: each as its share of all that it gives, added up. A measure of nothing but zeros
        (a model shown no image) counts nothing."""

        def shares(x: Importance) -> tuple[list[np.ndarray], list[np.ndarray]]:
            total = sum(float(v.sum()) for part in (x.heads, x.neurons) for v in part) or 1.0
            return [v / total for v in x.heads], [v / total for v in x.neurons]

        mine, theirs = shares(self), shares(other)
        return Importance(*(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in zip(mine, theirs)))


@dataclass(frozen=True, eq=False)
class RankCorrelation:
    """Spearman's ρ between two measures, (L,) each, NaN where a layer has but one unit."""

    heads: np.ndarray
    neurons: np.ndarray

    @property
    def of_neurons(self) -> float:
        """Mean over the layers that have several neurons."""
        return float(np.nanmean(self.neurons))


@dataclass(frozen=True, eq=False)
class Scores:
    """What `calibrate` found. L layers; block influences (L,); see Importance for the rest.

    block_influence_image and _text are the same over image tokens and text tokens alone (NaN where there are none).
    """

    model: str
    digest: str
    anatomy: Anatomy
    workload: Workload
    block_influence: np.ndarray
    block_influence_image: np.ndarray
    block_influence_text: np.ndarray
    importance: dict[str, Importance]
    sample_ids: tuple[str, ...] = ()
    seed: int = 0
    loss: float = float("nan")  # mean cross-entropy on answer tokens
    settings: dict = field(default_factory=dict)
    versions: dict = field(default_factory=dict)

    @property
    def heads(self) -> tuple[np.ndarray, ...]:
        """Taylor importance (Eq. 4) of every key/value group, per layer."""
        return self.importance["taylor"].heads

    @property
    def neurons(self) -> tuple[np.ndarray, ...]:
        """Taylor importance (Eq. 4) of every MLP neuron, per layer."""
        return self.importance["taylor"].neurons

    def rank_correlation(self, first: str, second: str) -> RankCorrelation:
        """How alike two of the measures order each layer's units. Raises BadPlan for one that these scores lack."""
        for name in (first, second):
            if name not in self.importance:
                raise BadPlan(f"These scores hold no {name!r} importance, only {', '.join(self.importance)}.")

        def correlations(part: str) -> np.ndarray:
            pairs = zip(getattr(self.importance[first], part), getattr(self.importance[second], part), strict=True)
            return np.array([pd.DataFrame({0: a, 1: b}).corr("spearman").loc[0, 1] for a, b in pairs])

        return RankCorrelation(correlations("heads"), correlations("neurons"))

    def save(self, path: str | os.PathLike) -> Path:
        """One safetensors file, whole or not there. Raises NotWritten."""
        path = Path(path)
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in BLOCK}
        for kind, found in self.importance.items():
            for part in ("heads", "neurons"):
                for layer, values in enumerate(getattr(found, part)):
                    arrays[f"{kind}.{part}.{layer:04d}"] = np.ascontiguousarray(values)
        about = {
            "schema": SCHEMA,
            "model": self.model,
            "digest": self.digest,
            "anatomy": self.anatomy.to_dict(),
            "workload": asdict(self.workload),
            "sample_ids": list(self.sample_ids),
            "seed": self.seed,
            "loss": self.loss,
            "settings": self.settings,
            "versions": self.versions,
        }
        with whole(path, "The scores") as part:
            save_file(arrays, part, metadata={"prunoscope": json.dumps(about)})
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Scores":
        """Raises BadPlan for a file that holds no scores."""
        try:
            if not Path(path).is_file():
                raise BadPlan(f"There is no scores file {path}: please calibrate first.")
            header(Path(path))  # which says that the file is as long as it should be
            with safe_open(path, framework="np") as file:
                about = parsed((file.metadata() or {})["prunoscope"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            if about.pop("schema") != SCHEMA:
                raise BadPlan(f"{Path(path).name} was written by another version: please calibrate again.")
            return _put_together(about, arrays)
        except BadPlan:
            raise
        except (SafetensorError, LVLMError, LookupError, ValueError, TypeError, AttributeError, OSError) as error:
            raise BadPlan(f"{Path(path).name} is not a scores file ({line(error)}): please calibrate again.") from error


def _put_together(about: dict, arrays: dict[str, np.ndarray]) -> Scores:
    """Raise ValueError, TypeError or KeyError unless there is a number for everything that the anatomy has."""
    anatomy = Anatomy.from_dict(about.pop("anatomy"))
    loss = about.pop("loss")  # NaN where there is none
    if not isinstance(loss, float):
        raise ValueError("its loss is no number")
    wanted = {"heads": [x.groups for x in anatomy.layers], "neurons": [x.neurons for x in anatomy.layers]}
    importance = {}
    for kind in sorted({x.split(".")[0] for x in arrays} - {*BLOCK}):
        parts = [
            tuple(_numbers(arrays.pop(f"{kind}.{part}.{i:04d}"), n) for i, n in enumerate(counts))
            for part, counts in wanted.items()
        ]
        importance[kind] = Importance(*parts)
    blocks = {x: _numbers(arrays.pop(x), len(anatomy.layers), x != BLOCK[0]) for x in BLOCK}
    if arrays or not importance:
        raise ValueError("it holds other arrays than scores")
    return replace(typed(Scores, {**about, **blocks, "anatomy": anatomy, "importance": importance}), loss=loss)


def _numbers(array: np.ndarray, count: int, maybe_none: bool = False) -> np.ndarray:
    """An array (count,) of numbers; maybe_none: NaN says that there was nothing to measure."""
    if array.shape != (count,) or array.dtype.kind != "f" or not (maybe_none or np.isfinite(array).all()):
        raise ValueError("it does not have a number for everything in the model")
    return array
