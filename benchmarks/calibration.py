"""Time and memory of Taylor calibration: ours, plain full gradients, and Torch-Pruning, on one random decoder.

    python -m benchmarks.calibration                  # 1.04 B parameters in bf16, LLaVA-1.5's proportions; 15 minutes
    python -m benchmarks.calibration --hidden 512 --layers 4 --rounds 1 --no-table

The plain way is what pruning scripts do: a backward pass that keeps every weight's gradient and all logits, then Σ|w·g|
by unit. Torch-Pruning (pip install torch-pruning==1.6.1) does the same through its dependency graph, whose tracing is
reported apart. Each way runs in a process of its own, on the same samples; rounds take turns, so that a busy moment
meets them all, and medians are shown. "Above the weights": the peak of resident memory less what the loaded network
holds.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.machine import machine
from benchmarks.pages import README, write_into
from lvlm.anatomy import anatomy_of
from pruning.calibration import CalibrationSettings, DecoderBatch, Scorer
from pruning.peak import added_by

ANSWER = 40  # tokens with a label; the image and the question have none


def random_decoder(hidden: int, layers: int, dtype: torch.dtype) -> LlamaForCausalLM:
    """A Llama decoder with LLaVA-1.5's proportions and random weights."""
    torch.manual_seed(0)
    config = LlamaConfig(hidden_size=hidden, intermediate_size=hidden * 43 // 16, num_hidden_layers=layers,
                         num_attention_heads=hidden // 128, vocab_size=32064)  # fmt: skip
    torch.set_default_dtype(dtype)
    made = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    return made


def sample(tokens: int, hidden: int, dtype: torch.dtype) -> DecoderBatch:
    """One sample as the decoder gets it."""
    labels = torch.randint(0, 32000, (1, tokens))
    labels[:, : tokens - ANSWER] = -100
    mask = torch.ones_like(labels, dtype=torch.bool)
    embeds = torch.randn(1, tokens, hidden).to(dtype) * 0.02
    return DecoderBatch({"inputs_embeds": embeds, "attention_mask": mask.long()}, labels, mask, mask & False)


class Plain:
    """Full gradients, then Σ|w·g| of every unit."""

    def __init__(self, network):
        self.network, self.anatomy = network, anatomy_of(network)

    def add(self, batch) -> None:
        self.network(**batch.inputs, labels=batch.labels).loss.backward()
        self.score()
        self.network.zero_grad()

    def score(self) -> None:
        for module, layer in zip(self.network.get_decoder().layers, self.anatomy.layers, strict=True):
            for cut in layer.cuts:
                weight = module.get_submodule(cut.path).weight
                sums = (weight.detach().float() * weight.grad.float()).abs_().sum(1 - cut.dim)
                sums[cut.start : cut.start + cut.width * cut.units].view(cut.units, cut.width).sum(1)


class TorchPruning(Plain):
    """The same gradients, scored group by group through Torch-Pruning's dependency graph."""

    def __init__(self, network):
        import torch_pruning

        super().__init__(network)
        short = {"input_ids": torch.ones(1, 8, dtype=torch.long), "use_cache": False}
        start = time.perf_counter()
        self.graph = torch_pruning.DependencyGraph()
        self.graph.build_dependency(network, short, output_transform=lambda found: found.logits, verbose=False)
        self.tracing = time.perf_counter() - start
        self.importance = torch_pruning.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None)
        self.out = torch_pruning.prune_linear_out_channels

    def score(self) -> None:
        for layer in self.network.get_decoder().layers:
            for linear in (layer.self_attn.q_proj, layer.self_attn.v_proj, layer.mlp.up_proj):
                units = list(range(linear.out_features))
                self.importance(self.graph.get_pruning_group(linear, self.out, units))


def ours(**settings):
    return lambda network: Scorer(network, anatomy_of(network), CalibrationSettings(**settings))


WAYS = {
    "plain full gradients": Plain,
    "Torch-Pruning": TorchPruning,
    "ours, Σ\\|w·g\\| (published)": ours(),
    "ours, Σ\\|w·g\\|, checkpointing": ours(checkpointing=True),
    "ours, \\|Σ activation·gradient\\|": ours(taylor="activations"),
}
BARS = {
    "ours, Σ\\|w·g\\| (published)": "time ≤ 1.0",
    "ours, Σ\\|w·g\\|, checkpointing": "time ≤ 1.4, peak ≤ 0.25",
    "ours, \\|Σ activation·gradient\\|": "time ≤ 0.75",
}


def one(way: str, hidden: int, layers: int, tokens: int, samples: int, dtype: str) -> dict:
    """Run one way here: seconds a sample, peak bytes above the weights, seconds to prepare."""
    kind = getattr(torch, dtype)
    WAYS[way](random_decoder(256, 1, kind)).add(sample(tokens, 256, kind))  # the libraries' own code and kernels
    network = random_decoder(hidden, layers, kind)
    torch.manual_seed(1)
    batches = [sample(tokens, hidden, kind) for _ in range(samples)]
    scorer = WAYS[way](network)
    seconds = []

    def score() -> None:
        start = time.perf_counter()
        for batch in batches:
            scorer.add(batch)
        seconds.append((time.perf_counter() - start) / samples)

    peak = added_by(score, torch.device("cpu"))
    count = sum(x.numel() for x in network.parameters())
    return {"seconds": seconds[0], "peak": peak, "parameters": count, "weights": count * kind.itemsize,
            "tracing": getattr(scorer, "tracing", 0.0)}  # fmt: skip


def table(runs: dict[str, list[dict]]) -> str:
    """Medians of every way beside the plain one."""
    lines = ["| way | s a sample | × plain | peak above the weights | × weights | bar |", "|---|---|---|---|---|---|"]
    middle = {way: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for way, rows in runs.items()}
    plain = middle["plain full gradients"]["seconds"]
    for way, found in middle.items():
        traced = f" (and {found['tracing']:.0f} s once, to trace the graph)" if found["tracing"] else ""
        lines.append(
            f"| {way} | {found['seconds']:.1f}{traced} | {found['seconds'] / plain:.2f} "
            f"| {found['peak'] / 2**20:,.0f} MiB | {found['peak'] / found['weights']:.2f} | {BARS.get(way, '')} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--layers", type=int, default=18)
    parser.add_argument("--tokens", type=int, default=640)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="run this one here, and print JSON")
    parser.add_argument("--no-table", action="store_true", help="print only")
    given = vars(parser.parse_args())
    rounds, way, print_only = (given.pop(x) for x in ("rounds", "way", "no_table"))
    if way:
        print(json.dumps(one(way, **given)))
        return
    runs: dict[str, list[dict]] = {name: [] for name in WAYS}
    for _ in range(rounds):
        for name, rows in runs.items():
            done = subprocess.run([*sys.orig_argv, "--way", name], stdout=subprocess.PIPE, text=True, check=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{name}: {rows[-1]}", flush=True)
    count = runs["plain full gradients"][0]["parameters"]
    about = (
        f"{count / 1e9:.2f} B parameters, {given['dtype']}, {given['samples']} samples of {given['tokens']} tokens, "
        f"medians of {rounds} round{'' if rounds == 1 else 's'}; {machine()}."
    )
    print(table(runs), about, sep="\n\n")
    if not print_only:
        write_into(README, "calibration", f"{table(runs)}\n\n{about}")


if __name__ == "__main__":
    main()
