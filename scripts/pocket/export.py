"""Writes a trained pocket model as a stock Hugging Face folder: fp16 safetensors, tokenizer, processor, chat template.

python -m scripts.pocket.export            # checkpoints/together.pt → assets/models/pocket-llava
python -m scripts.pocket.export --untrained   # the first two stages' weights, before they have met
"""

import argparse
import json
import shutil
from pathlib import Path

import torch

from scripts.pocket.network import build_network, build_processor
from scripts.pocket.stages import STAGES, Together
from scripts.pocket.tokenizer import build_tokenizer
from scripts.pocket.train import CHECKPOINTS

FOLDER = Path(__file__).resolve().parents[2] / "assets/models/pocket-llava"
CARD = Path(__file__).with_name("card.md")
POINTS = 12  # of a curve that the model card shows


def curve_table(path: Path) -> str:
    """Some points of a training curve, as a table under its stage's name."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [rows[i] for i in sorted({*range(0, len(rows), max(1, len(rows) // POINTS)), len(rows) - 1})]
    keys = [key for key in rows[0] if key not in ("seconds", "distance")]
    lines = [f"**{path.stem}**", "", "| minutes | " + " | ".join(keys) + " |", "|---" * (len(keys) + 1) + "|"]
    for row in rows:
        cells = [f"{row[key]:,}" if key == "step" else f"{row.get(key, float('nan')):.3f}" for key in keys]
        lines.append(f"| {row['seconds'] / 60:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def write_card(folder: Path) -> None:
    """The model card with today's curves; its score tables are filled by benchmarks.zero_shot."""
    curves = "\n".join(curve_table(CHECKPOINTS / f"{stage}.jsonl") for stage in STAGES)
    start, end = "<!-- curves -->\n", "<!-- /curves -->"
    (folder / "README.md").write_text(CARD.read_text(encoding="utf-8").replace(start + end, start + curves + end))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--untrained", action="store_true")
    options.add_argument("--out", type=Path, default=FOLDER)
    given = options.parse_args()
    tokenizer = build_tokenizer()
    network = build_network(tokenizer)
    if given.untrained:
        Together(tokenizer, CHECKPOINTS).load_start(network)
    else:
        network.load_state_dict(torch.load(CHECKPOINTS / "together.pt", weights_only=True)["weights"])
    given.out.mkdir(parents=True, exist_ok=True)
    network.half().save_pretrained(given.out)
    build_processor(tokenizer).save_pretrained(given.out)
    (given.out / "curves").mkdir(exist_ok=True)
    for stage in STAGES:
        shutil.copy(CHECKPOINTS / f"{stage}.jsonl", given.out / "curves")
    write_card(given.out)
    size = sum(f.stat().st_size for f in given.out.glob("*.safetensors"))
    print(
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {size / 2**20:.1f} MiB → {given.out}"
    )


if __name__ == "__main__":
    main()
