"""LLaVA-1.5-7B's exact shapes with random bf16 weights, the whole way on this machine, with times and peaks of memory.

    python -m benchmarks.seven_b SCRATCH       # about half an hour on two cores; SCRATCH takes 45 GB of disk

A checkpoint is written first (shards of 2 GB, pocket-llava's words, CLIP's 336-pixel preprocessing), then each step
runs in a process of its own, from files to files as the command line does: chat (load, 20 tokens, save) and prune
(load, calibrate on 10 samples of about 640 tokens, plan both ways, cut both ways, answer). The log is seven_b.md.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from benchmarks.machine import machine
from lvlm import load
from lvlm.catalogue import CONFIGS, find, network_on_meta
from lvlm.model import weights_digest
from pruning import CalibrationSettings, calibrate, make_plan, measure, prune, save
from pruning.peak import forget_peak, peak_bytes
from samples import Sample, load_samples

LOG = Path(__file__).with_suffix(".md")
SHARD = 2 << 30  # bytes
SAMPLES = 10
QUESTION = "What is to be seen?"


def write_checkpoint(folder: Path) -> None:
    """A folder in the hub's layout, one shard in memory at a time."""
    folder.mkdir(parents=True)
    words = PreTrainedTokenizerFast.from_pretrained(find("pocket-llava").source)
    template = (Path(find("pocket-llava").source) / "chat_template.jinja").read_text(encoding="utf-8")
    pixels = CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    LlavaProcessor(pixels, words, patch_size=14, vision_feature_select_strategy="default", chat_template=template,
                   image_token="<image>", num_additional_image_tokens=1).save_pretrained(folder)  # fmt: skip
    config = json.loads((CONFIGS / "llava-1.5-7b.json").read_text())
    config["image_token_index"] = words.convert_tokens_to_ids("<image>")
    config["text_config"] |= {f"{x}_token_id": getattr(words, f"{x}_token_id") for x in ("bos", "eos", "pad")}
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    torch.manual_seed(0)
    shard, size, where = {}, 0, {}

    def flush() -> None:
        nonlocal shard, size
        name = f"model-{len(set(where.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, name))
        shard, size = {}, 0

    for name, meant in network_on_meta(config).named_parameters():
        made = torch.empty(meant.shape, dtype=torch.bfloat16)
        if made.dim() > 1:
            made.normal_(0, made[0].numel() ** -0.5)
        else:
            made.fill_(0.0 if name.endswith("bias") else 1.0)
        shard[name], size = made, size + made.nbytes
        if size >= SHARD:
            flush()
    flush()
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


class Log:
    """Rows of a table: what was done, how long it took, and the most memory the process has held meanwhile."""

    def __init__(self, file: Path):
        self.file, self.rows = file, []

    def __call__(self, what: str, work):
        forget_peak()
        start = time.perf_counter()
        found = work()
        note = found if isinstance(found, str) else ""
        self.rows.append([what, time.perf_counter() - start, peak_bytes() / 2**30, note])
        self.file.write_text(json.dumps(self.rows))
        print(*self.rows[-1], flush=True)
        return found


def picture() -> Sample:
    return load_samples("scenes", n=1)[0]


def answer(model, tokens: int) -> str:
    """The answer's speed: its words mean nothing."""
    stream = model.chat(picture().image, QUESTION, max_new_tokens=tokens)
    list(stream)
    found = stream.stats
    return (
        f"{found.new_tokens} tokens after {found.prompt_tokens}, first in {found.first_token_s:.1f} s, "
        f"then {found.tokens_per_s:.2f}/s"
    )


def chat(folder: Path, log: Log) -> None:
    model = log("load", lambda: load(folder, dtype="bfloat16"))
    log("chat", lambda: answer(model, 20))
    log("save", lambda: save(model, folder.with_name("saved")))


def whole_way(folder: Path, log: Log) -> None:
    model = log("load", lambda: load(folder, dtype="bfloat16"))
    before = model.digest()
    samples = [long_sample(x) for x in load_samples("scenes", n=SAMPLES)]
    lengths = [int(model.encode([x]).mask.sum()) for x in samples]
    settings = CalibrationSettings(checkpointing=True)
    scores = log(f"calibrate, {SAMPLES} samples of {min(lengths)}–{max(lengths)} tokens, Σ|w·g|, checkpointing",
                 lambda: calibrate(model, samples, settings))  # fmt: skip
    scores.save(folder.with_name("scores.safetensors"))
    for method in ("layerwise", "widthwise"):
        plan = log(f"plan {method} 30%", lambda: make_plan(scores, method=method, ratio=0.30))  # noqa: B023
        pruned = log(f"prune {method}", lambda: prune(model, plan))  # noqa: B023
        log(f"count: {pruned.parameters().total / 1e9:.2f} B left", lambda: measure(pruned, timed=False))  # noqa: B023
        if method == "layerwise":
            log(f"chat, {method}", lambda: answer(pruned, 5))  # noqa: B023
    if weights_digest(model.network) != before:  # from the bytes, again
        raise AssertionError("pruning touched the original")
    model = None  # its weights and the cut ones are 22 GiB together: no room for an answer
    log("chat, widthwise, the original let go", lambda: answer(pruned, 5))


def long_sample(sample: Sample) -> Sample:
    """The sample with turns enough for about 640 tokens with its image."""
    return Sample(sample.id, sample.image, (sample.turns * 9)[:9], sample.task)


STEPS = {"chat": chat, "prune": whole_way}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--only", choices=STEPS, nargs="+", default=list(STEPS))
    given = parser.parse_args()
    folder = given.scratch / "llava-7b-shaped"
    if given.step:
        STEPS[given.step](folder, Log(given.scratch / f"{given.step}.json"))
        return
    if not folder.exists():
        write_checkpoint(folder)
    for step in given.only:
        subprocess.run([*sys.orig_argv, "--step", step], check=True)
    size = sum(x.stat().st_size for x in folder.glob("*.safetensors")) / 2**30
    lines = [
        f"# {__doc__.splitlines()[0]}",
        "",
        f"`python -m benchmarks.seven_b SCRATCH`: weights {size:.2f} GiB; {machine()}.",
    ]
    for step in STEPS:
        lines += ["", f"## {step}", "", "| step | s | peak of resident memory, GiB | |", "|---|---|---|---|"]
        for what, seconds, peak, note in json.loads((given.scratch / f"{step}.json").read_text()):
            lines.append(f"| {what.replace('|', chr(92) + '|')} | {seconds:.1f} | {peak:.2f} | {note} |")
    LOG.write_text("\n".join(lines) + "\n")
    print(LOG.read_text())


if __name__ == "__main__":
    main()
