"""Time and memory of Taylor calibration, ours against plain full gradients, on one random decoder.

    python benchmarks/calibration.py --hidden 2048 --layers 16 --samples 2

Each way runs in its own process. "above the weights" is the peak of resident memory minus what the loaded network
takes. The plain way is what pruning scripts do: backward with every weight's gradient kept, then Σ|w·g| by unit.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
WAYS = ("plain", "weights", "weights, checkpointing", "activations")


def network(hidden: int, layers: int, dtype: str):
    """A random Llama decoder with LLaVA-1.5's proportions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 43 // 16,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 128,
        vocab_size=32064,
    )
    torch.set_default_dtype(getattr(torch, dtype))
    made = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    return made


def plain(net, anatomy, batch):
    """Σ|w·g| of every unit from full gradients; all logits, as the networks' own loss computes them."""
    net(**batch.inputs, labels=batch.labels).loss.backward()
    for module, layer in zip(net.get_decoder().layers, anatomy.layers, strict=True):
        for cut in layer.cuts:
            weight = module.get_submodule(cut.path).weight
            sums = (weight.detach().float() * weight.grad.float()).abs_().sum(1 - cut.dim)
            sums[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)
    net.zero_grad()


def one(way: str, hidden: int, layers: int, tokens: int, samples: int, dtype: str) -> dict:
    """Run one way; seconds a sample, and peak bytes above the weights."""
    import torch

    from lvlm.anatomy import anatomy_of
    from pruning.calibration import CalibrationSettings, DecoderBatch, Scorer

    net = network(hidden, layers, dtype)
    anatomy = anatomy_of(net)
    embeds = torch.randn(1, tokens, hidden, dtype=getattr(torch, dtype)) * 0.02
    labels = torch.randint(0, 32000, (1, tokens))
    labels[:, : tokens - 40] = -100  # an image, a question, and forty tokens of answer
    mask = torch.ones_like(labels, dtype=torch.bool)
    batch = DecoderBatch({"inputs_embeds": embeds, "attention_mask": mask.long()}, labels, mask, mask & False)
    base = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    scorer = None
    if way != "plain":
        settings = CalibrationSettings(taylor=way.split(",")[0], checkpointing="checkpointing" in way)
        scorer = Scorer(net, anatomy, settings)
    start = time.perf_counter()
    for _ in range(samples):
        plain(net, anatomy, batch) if scorer is None else scorer.add(batch)
    seconds = (time.perf_counter() - start) / samples
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - base
    weights = anatomy.parts.total * anatomy.itemsize
    return {"way": way, "parameters": anatomy.parts.total, "seconds": seconds, "peak": peak, "weights": weights}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=640)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--way", choices=WAYS, help="run this one here, and print JSON")
    args = parser.parse_args()
    if args.way:
        print(json.dumps(one(**vars(args))))
        return
    print("| way | s a sample | × plain | peak above the weights | × weights |\n|---|---|---|---|---|")
    first = None
    for way in WAYS:
        done = subprocess.run([*sys.orig_argv, "--way", way], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        first = first or found
        print(
            f"| {way} | {found['seconds']:.2f} | {found['seconds'] / first['seconds']:.2f} "
            f"| {found['peak'] / 2**20:,.0f} MiB | {found['peak'] / found['weights']:.2f} |",
            flush=True,
        )
    print(f"\n{first['parameters'] / 1e6:,.0f} M parameters, {args.tokens} tokens a sample, {args.dtype}.")


if __name__ == "__main__":
    main()
