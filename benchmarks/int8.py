"""Bytes of weights in 16 and in 8 bits, of the paper's models dense and pruned layerwise: its Table 7.

    python -m benchmarks.int8                  # counted from the exact shapes; seconds
    python -m benchmarks.int8 --measure        # and LLaVA-shaped random weights really quantized, 1.04 B; a minute

Counted: decoder linears take one byte a weight and a four-byte scale a row; everything else keeps two bytes. The
measured row is a random network of LLaVA's proportions: its weights' bytes, and resident memory, before and after.
"""

import argparse
import gc
import json

import torch

from benchmarks.calibration import random_decoder
from benchmarks.machine import machine
from benchmarks.pages import README, write_into
from lvlm import LVLM
from lvlm.anatomy import Anatomy, anatomy_of
from lvlm.catalogue import CONFIGS, network_on_meta
from pruning import quantize
from pruning.peak import forget_peak, resident_bytes

MODELS = {"llava-1.5-7b": "LLaVA-1.5 7B", "bunny-v1.0-3b": "Bunny 3B", "mini-internvl-4b": "Mini-InternVL 4B"}
REMOVED = {"0%": 0, "15%": 5, "30%": 10}  # of 32 layers, as the paper removes them
PRINTED = {"0%": "13.2 → 7.5 (0.57)", "15%": "11.3 → 6.5 (0.58)", "30%": "9.4 → 5.4 (0.57)"}  # its Table 7, LLaVA


def counted(anatomy: Anatomy, layers: int) -> tuple[int, int]:
    """Bytes in 16 and in 8 bits with only so many of the layers."""
    kept = anatomy.kept(range(layers), [x.groups for x in anatomy.layers], [x.neurons for x in anatomy.layers])
    linears = [x for layer in kept.layers for x in layer.linears]
    weights, rows = sum(x.rows * x.columns for x in linears), sum(x.rows for x in linears)
    half = 2 * kept.parts.total
    return half, half - weights + 4 * rows


def measured() -> str:
    """The table's last row."""
    network = random_decoder(2048, 18, torch.float16)
    model = LVLM(network, None, "random")
    before = model.bytes()
    forget_peak()
    start = resident_bytes()
    small = quantize(model)
    after = small.bytes()
    del model, network
    gc.collect()
    forget_peak()
    forms = f"{before / 2**30:.2f} | {after / 2**30:.2f} | {after / before:.3f}"
    return f"| random, 1.04 B, measured (resident memory {(resident_bytes() - start) / 2**30:+.2f} GiB) | | {forms} | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true")
    given = parser.parse_args()
    lines = [
        "| model | layers removed | fp16, GiB | int8, GiB | int8 ÷ fp16 | the paper |",
        "|---|---|---|---|---|---|",
    ]
    for name, title in MODELS.items():
        anatomy = anatomy_of(network_on_meta(json.loads((CONFIGS / f"{name}.json").read_text())))
        for share, gone in REMOVED.items():
            half, byte = counted(anatomy, len(anatomy.layers) - gone)
            printed = PRINTED[share] if name.startswith("llava") else ""
            sizes = f"{half / 2**30:.2f} | {byte / 2**30:.2f} | {byte / half:.3f}"
            lines.append(f"| {title} | {gone} ({share}) | {sizes} | {printed} |")
    if given.measure:
        lines.append(measured())
    write_into(README, "int8", "\n".join(lines) + f"\n\n{machine()}.")
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
