"""LVLM → a Hugging Face folder that `lvlm.load` gives back bit for bit. Whole or not there, never half written."""

import json
import os
import shutil
import uuid
from pathlib import Path

from lvlm import LVLM, LVLMError
from lvlm.events import Progress, Report, silent
from lvlm.loading import HISTORY, quiet
from lvlm.reshaped import is_reshaped

SCHEMA = 1


def loads_in_transformers(model: LVLM) -> tuple[bool, str]:
    """Whether plain `from_pretrained` gives this model back, and why (not)."""
    if is_reshaped(model.network):
        return False, "no stock config describes its layers (uneven widths, or head counts that it refuses)"
    return True, "its layers are what a stock config describes"


def save(model: LVLM, folder: str | os.PathLike, report: Report = silent) -> Path:
    """Write weights (safetensors), config, processor, pruning.json and a model card; returns the folder.

    An older checkpoint in `folder` is replaced once the new one is whole; any other folder with files is refused.
    Raises LVLMError if it cannot be written.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise LVLMError(f"{folder} holds other files: please save into a new folder.")
    part = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        report(Progress("save", 0, 2, "writing the weights"))
        with quiet():
            model.network.save_pretrained(part)
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
        _replace(part, folder)
    except OSError as error:
        raise LVLMError(f"The model could not be saved in {folder} ({error}): please choose another folder.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    report(Progress("save", 2, 2, str(folder)))
    return folder


def _replace(new: Path, folder: Path) -> None:
    """Two renames: a kill in between leaves no folder, never a mixed one."""
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.old")
    if folder.exists():
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def card(model: LVLM, stock: bool, why: str) -> str:
    """A model card that can be published as it stands."""
    parts = model.parameters()
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: image-text-to-text",
        "tags: [pruned, vision-language]",
        "---",
        "",
        f"# {model.name}, pruned" if model.history else f"# {model.name}",
        "",
        f"{parts.total:,} parameters: {parts.vision:,} vision, {parts.projector:,} projector, "
        f"{parts.decoder:,} decoder.",
        "",
    ]
    for step in model.history:
        if step.get("step") == "prune":
            lines.append(
                f"* Pruned {step['method']}: {step['achieved']:.1%} of the language backbone of {step['base']} removed "
                f"({len(step['layers'])} layers left)."
            )
        else:
            lines.append(f"* {str(step.get('step', 'step')).capitalize()}.")
    lines += ["", "Plain `from_pretrained` " + ("loads it" if stock else "does not load it") + f": {why}.", ""]
    return "\n".join(lines)
