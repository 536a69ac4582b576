"""LVLM → a Hugging Face folder that `lvlm.load` gives back bit for bit. Whole or not there, never half written."""

import json
import os
import zipfile
from pathlib import Path

from lvlm import LVLM, LVLMError
from lvlm.disk import whole
from lvlm.events import Progress, Report, silent
from lvlm.files import quiet
from lvlm.history import FILE as HISTORY
from lvlm.reshaped import KEY, is_reshaped
from lvlm.shortage import enough_memory

from .explain import ranges

SCHEMA = 1
SHARD = "5GB"  # what a file of weights holds at most


def loads_in_transformers(model: LVLM) -> tuple[bool, str]:
    """Whether plain `from_pretrained` gives this model back, and why (not)."""
    if is_reshaped(model.network):
        if "deepstack" in getattr(model.network.config.get_text_config(), KEY, {}):
            return (
                False,
                "image features join its layers at other places than in the stock class, which would not notice",
            )
        return False, "no stock config describes its layers (uneven widths, or head counts that it refuses)"
    return True, "its layers are what a stock config describes"


@enough_memory("Saving")
def save(model: LVLM, folder: str | os.PathLike, report: Report = silent) -> Path:
    """Write weights (safetensors), config, processor, pruning.json and a model card; returns the folder.

    An older checkpoint in `folder` is replaced once the new one is whole; any other folder with files is refused.
    Raises NotWritten if the disk does not take it.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise LVLMError(f"{folder} holds other files: please save into a new folder.")
    with whole(folder, "The model") as part:
        report(Progress("save", 0, 2, "writing the weights"))
        with quiet():
            model.network.save_pretrained(part, max_shard_size=SHARD)
            if model.processor is not None:
                model.processor.save_pretrained(part)
        stock, why = loads_in_transformers(model)
        about = {
            "schema": SCHEMA,
            "name": model.name,
            "digest": model.digest(),
            "dtype": str(model.dtype).removeprefix("torch."),
            "parameters": model.parameters().total,
            "loads_in_transformers": stock,
            "because": why,
            "history": list(model.history),
        }
        (part / HISTORY).write_text(json.dumps(about, indent=1) + "\n")
        (part / "README.md").write_text(card(model, stock, why))
        report(Progress("save", 1, 2, "moving it into place"))
    report(Progress("save", 2, 2, str(folder)))
    return folder


def pack(model: LVLM, file: str | os.PathLike, report: Report = silent) -> Path:
    """`save` into a zip file, as one folder that is called like the file; returns the file.

    Nothing is compressed: weights hardly would be. Raises NotWritten if the disk does not take it.
    """
    file = Path(file).expanduser().absolute()
    with whole(file, "The model") as part:
        folder = save(model, part.with_name(".tmp") / file.stem, report)  # which goes with the part
        with zipfile.ZipFile(part, "w") as packed:
            for x in sorted(folder.rglob("*")):
                packed.write(x, x.relative_to(folder.parent))
    return file


def card(model: LVLM, stock: bool, why: str) -> str:
    """A model card that can be published as it stands: what this is, what was done to it, and how to load it."""
    parts = model.parameters()
    did = [x.get("step") for x in model.history]
    words = {"prune": "pruned", "repair": "repaired", "recover": "recovered", "quantize": "in 8 bits"}
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "tags: [vision-language, structured-pruning]",
        "---",
        "",
        f"# {', '.join([model.name, *(words.get(x, str(x)) for x in dict.fromkeys(did) if x != 'load')])}",
        "",
        f"{parts.total:,} parameters: {parts.vision:,} vision, {parts.projector:,} projector, "
        f"{parts.decoder:,} decoder; weights {str(model.dtype).removeprefix('torch.')}, "
        f"{model.bytes() / 2**20:,.1f} MiB, digest {model.digest()}.",
        "",
        *(line for step in model.history for line in _told(step)),
        *([""] if did else []),
        f"`pruning.json` beside this file holds every step in full. The licence is that of {model.name}.",
        "",
        "## Loading it",
        "",
        "Plain `from_pretrained` " + ("loads it" if stock else "does not load it") + f": {why}. Prunoscope does:",
        "",
        "```python",
        "from lvlm import load",
        'model = load("this/folder")',
        'print(*model.chat("photo.jpg", "What is to be seen?"), sep="")',
        "```",
        "",
    ]
    return "\n".join(lines)


def _told(step: dict) -> list[str]:
    """One list item about a step of a model's history."""
    if step.get("step") == "repair":
        error = " → ".join(f"{step[x]:.1%}" for x in ("error_before", "error_after"))
        return [f"* Repaired by least squares on {step['samples']} samples: held-out error of the last layer {error}."]
    if step.get("step") != "prune":
        facts = ", ".join(f"{k} {v}" for k, v in step.items() if k != "step" and isinstance(v, str | int | float))
        return [f"* {str(step.get('step', 'step')).capitalize()}" + (f": {facts}." if facts else ".")]
    settings = step["settings"]
    samples, dense = len(settings.get("sample_ids") or ()), step["dense_shape"]
    loss = (settings.get("scores") or {}).get("loss")
    removed = [i for i in range(len(dense)) if i not in set(step["layers"])]
    heads = sum(dense[i][0] - len(h) for i, h in zip(step["layers"], step["heads"]))
    neurons = sum(dense[i][1] - len(n) for i, n in zip(step["layers"], step["neurons"]))
    gone = [f"{len(removed)} layers ({ranges(removed)})"] if removed else []
    gone += [f"{heads:,} key/value groups"] if heads else []
    gone += [f"{neurons:,} MLP neurons"] if neurons else []
    return [
        f"* Pruned {step['method']}: {step['achieved']:.1%} of the language backbone of {step['base']} removed"
        + (f" ({', '.join(gone)})" if gone else "")
        + f", by importance on {samples} calibration samples (seed {settings.get('seed')}"
        + (")." if loss is None else f", mean loss {loss:.3g}).")
    ]
