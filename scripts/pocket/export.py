"""Writes a trained pocket model as a stock Hugging Face folder: fp16 safetensors, tokenizer, processor, chat template.

python -m scripts.pocket.export            # checkpoints/together.pt → assets/models/pocket-llava
python -m scripts.pocket.export --untrained   # the first two stages' weights, before they have met
"""

import argparse
import shutil
from pathlib import Path

import torch

from scripts.pocket.network import build_network, build_processor
from scripts.pocket.stages import Together
from scripts.pocket.tokenizer import build_tokenizer
from scripts.pocket.train import CHECKPOINTS

FOLDER = Path(__file__).resolve().parents[2] / "assets/models/pocket-llava"
CURVES = "curves"


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
    for curve in sorted(CHECKPOINTS.glob("*.jsonl")):
        (given.out / CURVES).mkdir(exist_ok=True)
        shutil.copy(curve, given.out / CURVES / curve.name)
    size = sum(f.stat().st_size for f in given.out.glob("*.safetensors"))
    print(
        f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {size / 2**20:.1f} MiB → {given.out}"
    )


if __name__ == "__main__":
    main()
