"""What memory.need estimates for each step against what the step took, on the bundled model and on a mid-size random one.

    python -m benchmarks.memory          # a minute; writes memory.md

Each step runs in a process of its own, which imports and runs a toy model first. Taken is the highest anonymous
resident memory (Linux: RssAnon, looked at every millisecond) above what the process held before the step. Pages of mapped weight
files do not count, since the kernel gives them up when asked, nor does freed memory that glibc would keep for itself.
"""

import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image

from benchmarks.machine import machine
from lvlm import LVLM, catalogue, load, memory
from lvlm.catalogue import network_on_meta
from pruning import CalibrationSettings, calibrate, make_plan, prune, quantize, save
from samples import Sample, Turn

LOG = Path(__file__).with_suffix(".md")
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "262144", "OMP_NUM_THREADS": "1"}  # what is freed goes back at once
STEPS = ("load", "chat", "calibrate", "calibrate-checkpointing", "prune", "quantize")
MIDDLE = {  # 117 M parameters: wide enough that weights and activations stand out from the interpreter's own memory
    "model_type": "llava",
    "text_config": {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2752, "num_hidden_layers": 8,
        "num_attention_heads": 16, "vocab_size": 2048, "tie_word_embeddings": False, "max_position_embeddings": 2048,
    },
    "vision_config": {
        "model_type": "clip_vision_model", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
        "num_attention_heads": 4, "image_size": 96, "patch_size": 16,
    },
    "image_seq_length": 36, "tie_word_embeddings": False,
}  # fmt: skip
WORDS = "A long answer about apples, dogs and cats, and where each of them is to be seen in this picture. "


@contextmanager
def taken():
    """A list that will hold the highest anonymous memory above the present, in bytes."""
    found, over = [], threading.Event()
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would serve the step unseen
    before = _anonymous()

    def look():
        highest = 0
        while not over.wait(0.001):
            highest = max(highest, _anonymous())
        found.append(max(highest, _anonymous()) - before)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        over.set()
        watcher.join()


def _anonymous() -> int:
    return int(re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024


def write_middle(folder: Path) -> None:
    """MIDDLE with random fp32 weights, and pocket-llava's words and pixels."""
    bundled = load("pocket-llava")
    words = bundled.processor.tokenizer
    config = {**MIDDLE, "image_token_index": words.convert_tokens_to_ids("<image>")}
    config["text_config"] |= {f"{x}_token_id": getattr(words, f"{x}_token_id") for x in ("bos", "eos", "pad")}
    network = network_on_meta(config).to_empty(device="cpu")
    for module in network.modules():
        if hasattr(module, "inv_freq"):
            module.inv_freq = 1.0 / 10000.0 ** (torch.arange(0, 64, 2) / 64)
        if hasattr(module, "position_ids"):
            module.position_ids = torch.arange(module.position_ids.shape[-1])[None]
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.normal_(0, 0.02)
    save(LVLM(network, bundled.processor, "middle"), folder)


def samples(repeats: int) -> list[Sample]:
    return [Sample("a", Image.new("RGB", (96, 96), "teal"), (Turn("What is this?", WORDS * repeats),), "memory")]


def run(folder: str, step: str, repeats: int) -> dict:
    """One step: estimated and taken bytes. What comes before it is done, once small, outside of what is watched."""
    torch.set_num_threads(1)
    toy = load("pocket-llava")
    scores = calibrate(toy, samples(1))
    prune(toy, make_plan(scores, ratio=0.3))
    "".join(toy.chat(None, "Is an apple a fruit?"))
    if step == "load":
        with taken() as found:
            model = load(folder)
        return {"estimated": memory.need(memory.Shapes.of(model.network), "load", 4).total, "taken": found[0]}
    model = load(folder)
    [sample] = samples(repeats)
    question = sample.turns[0].question + " " + WORDS * repeats
    tokens = model.encode([sample]).mask.numel()
    if step == "chat":
        with taken() as found:
            "".join(model.chat(sample.image, question))
    elif step.startswith("calibrate"):
        settings = CalibrationSettings(checkpointing="checkpointing" in step)
        with taken() as found:
            calibrate(model, [sample], settings)
    elif step == "prune":
        plan = make_plan(calibrate(model, samples(1)), ratio=0.05)
        with taken() as found:
            prune(model, plan)
    else:
        quantize(toy)
        with taken() as found:
            quantize(model)
    needed = memory.need(memory.Shapes.of(model.network), step, 4, tokens=tokens)
    return {"estimated": needed.extra, "taken": found[0], "tokens": tokens}


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        write_middle(Path(scratch) / "middle")
        for name, folder, repeats in (
            ("pocket-llava", catalogue()[0].source, 8),
            ("117 M random", f"{scratch}/middle", 24),
        ):
            for step in STEPS:
                words = [sys.executable, "-m", "benchmarks.memory", folder, step, str(repeats)]
                done = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | ALLOCATOR)
                found = json.loads(done.stdout.splitlines()[-1])
                rows.append((name, step, found))
                print(name, step, found, flush=True)
    lines = ["# Memory: estimated and taken", "", f"{machine()}; fp32; `python -m benchmarks.memory`.", ""]
    lines += ["| model | step | tokens | estimated | taken | estimated ÷ taken |", "|---|---|---|---|---|---|"]
    for name, step, found in rows:
        estimated, used = found["estimated"], found["taken"]
        lines.append(
            f"| {name} | {step} | {found.get('tokens', '')} | {memory.gib(estimated)} | {memory.gib(used)} | "
            f"{estimated / used:.2f} |"
        )
    LOG.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
    else:
        main()
