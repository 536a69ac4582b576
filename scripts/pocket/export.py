"""Writes a trained pocket model as a stock Hugging Face folder: fp16 safetensors, tokenizer, processor, chat template.

python -m scripts.pocket.export --model pocket-bunny   # checkpoints/pocket-bunny → assets/models/pocket-bunny
python -m scripts.pocket.export --untrained            # pocket-llava's first stages' weights, before they have met
"""

import argparse
import shutil
from pathlib import Path

from scripts.pocket.card import card
from scripts.pocket.network import build_network
from scripts.pocket.recipes import RECIPES
from scripts.pocket.stages import Together
from scripts.pocket.tokenizer import build_tokenizer
from scripts.pocket.train import CHECKPOINTS

MODELS = Path(__file__).resolve().parents[2] / "assets/models"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", choices=RECIPES, default="pocket-llava")
    options.add_argument("--untrained", action="store_true")
    options.add_argument("--out", type=Path, default=None)
    given = options.parse_args()
    recipe, folder = RECIPES[given.model], CHECKPOINTS / given.model
    out = given.out or MODELS / recipe.name
    tokenizer = build_tokenizer(recipe.extra_tokens)
    network = build_network(recipe, tokenizer)
    stage = Together(recipe, tokenizer, folder)
    if given.untrained:
        stage.load_start(network)
    else:
        network.load_state_dict(stage.weights("together"))
    out.mkdir(parents=True, exist_ok=True)
    network.half().save_pretrained(out)
    recipe.processor(tokenizer).save_pretrained(out)
    (out / "curves").mkdir(exist_ok=True)
    for name in recipe.stages:
        shutil.copy(folder / f"{name}.jsonl", out / "curves")
    (out / "README.md").write_text(card(recipe, network, len(tokenizer), folder), encoding="utf-8")
    shutil.copy(MODELS / "pocket-llava/LICENSE", out / "LICENSE")
    size = sum(f.stat().st_size for f in out.glob("*.safetensors"))
    print(f"{sum(p.numel() for p in network.parameters()) / 1e6:.2f} M parameters, {size / 2**20:.1f} MiB → {out}")


if __name__ == "__main__":
    main()
