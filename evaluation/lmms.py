"""An LVLM as a model of lmms-eval, and lmms-eval's results as the paper's columns; nothing else here knows lmms-eval.

    .venv-lmms/bin/python -m evaluation.lmms out/pocket-30 --out results/pocket-30

lmms-eval has an environment of its own (`make lmms`; docs/evaluation-lmms.md), so nothing imports this module.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from accelerate import Accelerator
from PIL import Image
from tqdm import tqdm

from evaluation.paper import average
from lvlm import LVLMError, load

NAME = "prunoscope"
TASKS = Path(__file__).with_name("lmms_tasks")  # ours, beside lmms-eval's own

PAPER = {  # column: lmms-eval's task, its metric with the filter before it, and what makes it the paper's number
    "MMMU": ("mmmu_val", "mmmu_acc,none", 100),
    "SQA": ("scienceqa_img", "exact_match,none", 100),
    "MathVista": ("mathvista_testmini_format", "llm_as_judge_eval,none", 1),  # already in percent
    "AI2D": ("ai2d", "exact_match,flexible-extract", 100),
    "MME-C": ("mme", "mme_cognition_score,none", 1),  # 0…800
    "MME-P": ("mme", "mme_perception_score,none", 1),  # 0…2000
    "POPE": ("pope", "pope_accuracy,none", 100),
    "DocVQA": ("docvqa_val", "anls,none", 100),
    "GQA": ("gqa", "exact_match,none", 100),
}
JUDGES = {"openai": "OPENAI_API_KEY", "async_openai": "OPENAI_API_KEY", "azure": "AZURE_API_KEY"}  # $API_TYPE → key


def columns(results: Mapping[str, Mapping]) -> dict[str, float]:
    """The paper's columns that lmms-eval's "results" hold, on the paper's scales (percent; MME's sums of points).

    Raises LVLMError where there are none, or where a benchmark was run but has no score.
    """
    found = {}
    for column, (task, metric, scale) in PAPER.items():
        if task not in results:
            continue
        if metric not in results[task]:
            raise LVLMError(f"lmms-eval's results for {task} have no {metric}: please run it by the pinned lmms-eval.")
        found[column] = scale * (results[task][metric] or 0.0)  # MathVista's aggregation writes null for zero
    if not found:
        tasks = ", ".join(dict.fromkeys(task for task, *_ in PAPER.values()))
        raise LVLMError(f"These results hold none of the paper's benchmarks: please run lmms-eval on any of {tasks}.")
    return found


def read_results(path: str | os.PathLike) -> dict[str, float]:
    """The paper's columns in a results file of lmms-eval (`…_results.json`). Raises LVLMError like `columns`."""
    try:
        return columns(json.loads(Path(path).read_text(encoding="utf-8"))["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LVLMError(f"{path} is not a results file of lmms-eval: please give its …_results.json.") from error


def row(found: Mapping[str, float]) -> str:
    """Columns as a Markdown table; with AVG where all nine are there."""
    cells = {**found, "AVG": average(found)} if len(found) == len(PAPER) else found
    lines = [cells, ["---"] * len(cells), [f"{x:.2f}" for x in cells.values()]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


class Answers:
    """What lmms-eval asks of a model, answered by an LVLM: greedily, in batches of questions of similar length."""

    is_simple = True  # questions come as text and pictures, not as messages: an LVLM here sees its picture first

    def __init__(
        self,
        pretrained: str,
        batch_size: int | str = 1,
        device: str | None = None,
        quantization: str | None = None,
        longest: int = 1024,
    ):
        """pretrained, quantization: as `load` takes them. longest: tokens of an answer, whatever a task allows.

        The values come from --model_args, --batch_size and --device of lmms-eval's command line.
        """
        super().__init__()
        if device is None and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            device = Accelerator().device  # under `accelerate launch` each process has its own
        self.model = load(str(pretrained), quantization=quantization, device=device)
        self.batch_size, self.longest = int(batch_size), int(longest)

    @property
    def device(self):
        return self.model.device

    def generate_until(self, requests) -> list[str]:
        """Answers in the order of the requests, whose arguments are (text, options, visuals of, row, task, split).

        Raises LVLMError for options that are not greedy and for what is no picture.
        """
        asked = [request.args for request in requests]
        lengths = [self._new_tokens(options) for _, options, *_ in asked]
        order = sorted(range(len(asked)), key=lambda i: (lengths[i], -len(asked[i][0])))
        answers = [""] * len(asked)
        bar = tqdm(total=len(order), desc=self.model.name, disable=self.rank != 0)
        while order:
            rows = [i for i in order[: self.batch_size] if lengths[i] == lengths[order[0]]]
            prompts = []
            for text, _, visuals_of, row, task, split in (asked[i] for i in rows):
                visuals = visuals_of(self.task_dict[task][split][row])  # now, since all would not fit in memory
                prompts.append((one_picture(visuals or [], task), text))
            for i, answer in zip(rows, self.model.generate(prompts, lengths[rows[0]], len(rows))):
                answers[i] = _until(answer, asked[i][1])
            del order[: len(rows)]
            bar.update(len(rows))
        bar.close()
        return answers

    def _new_tokens(self, options: Mapping) -> int:
        if (options.get("temperature") or 0) > 0 or options.get("do_sample") or (options.get("num_beams") or 1) > 1:
            raise LVLMError(f"Answers are greedy here, but the task asks for {dict(options)}: please override them.")
        return min(int(options.get("max_new_tokens", self.longest)), self.longest)

    def loglikelihood(self, requests):
        raise LVLMError("The task compares likelihoods of given answers: please pick one whose answers are generated.")

    def generate_until_multi_round(self, requests):
        raise LVLMError("The task is a conversation of several rounds: please pick one of single questions.")


def _until(answer: str, options: Mapping) -> str:
    """Up to a task's first stop word; not to the empty line, which lmms-eval adds where a task names none."""
    for stop in options.get("until") or ():
        if stop != "\n\n":
            answer = answer.split(stop)[0]
    return answer


def one_picture(visuals: Sequence, task: str) -> Image.Image | None:
    """A question's picture; several side by side at the lowest one's height, since an LVLM here sees one.

    Raises LVLMError for film and sound.
    """
    if not all(isinstance(x, Image.Image) for x in visuals):
        raise LVLMError(f"{task} shows more than pictures: please pick a task about images.")
    if len(visuals) < 2:
        return visuals[0] if visuals else None
    height = min(x.height for x in visuals)
    scaled = [x.convert("RGB").resize((max(1, round(x.width * height / x.height)), height)) for x in visuals]
    canvas = Image.new("RGB", (sum(x.width for x in scaled), height))
    left = 0
    for picture in scaled:
        canvas.paste(picture, (left, 0))
        left += picture.width
    return canvas


def __getattr__(name: str):
    """`Model`, which lmms-eval's registry imports by name: its base class is only there with lmms-eval."""
    if name != "Model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lmms_eval.api.model import lmms

    class Model(Answers, lmms):
        pass

    return Model


def run(
    model: str, out: str | os.PathLike, tasks: Sequence[str], options: Sequence[str] = (), quantization: str = ""
) -> dict | None:
    """lmms-eval's own runner on a model: its results, which it also writes below `out`; None in helper processes.

    options: of lmms-eval's command line, such as ["--limit", "20"].
    Raises LVLMError without lmms-eval, where MathVista's judge has no key, and for what `load` refuses.
    """
    key = JUDGES.get(os.environ.get("API_TYPE", "openai").lower())
    if key and not os.environ.get(key) and any(x.startswith("mathvista") for x in tasks):
        raise LVLMError(
            f"MathVista's answers are read by a language model: please set {key}, or leave it out with --tasks."
        )
    if "," in model:
        raise LVLMError(f"lmms-eval cannot be told of a model with a comma in its name: please rename {model}.")
    if not find_spec("lmms_eval"):
        raise LVLMError("lmms-eval has its own environment: please run `make lmms`, and this by .venv-lmms/bin/python.")
    from lmms_eval.__main__ import cli_evaluate_single, parse_eval_args
    from lmms_eval.models import MODEL_REGISTRY_V2
    from lmms_eval.models.registry_v2 import ModelManifest

    MODEL_REGISTRY_V2.register_manifest(ModelManifest(NAME, simple_class_path="evaluation.lmms.Model"))
    about = f"pretrained={model}" + (f",quantization={quantization}" if quantization else "")
    words = ["--model", NAME, "--model_args", about, "--tasks", ",".join(tasks), "--include_path", str(TASKS)]
    words += ["--output_path", str(out), "--log_samples", "--batch_size", "8", *options]
    given, sys.argv = sys.argv, ["lmms_eval", *words]  # its parser reads nothing else
    try:
        return cli_evaluate_single(parse_eval_args()[1])[0]
    finally:
        sys.argv = given


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.lmms",
        description="Run the paper's benchmarks, or others of lmms-eval, on a model.",
        epilog="Other options go to lmms-eval: --batch_size 16, --limit 20, --use_cache FOLDER, --device cuda:1 …",
    )
    parser.add_argument("model", help="catalogue name, model folder or Hugging Face hub id")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where lmms-eval writes its results")
    default = ",".join(dict.fromkeys(task for task, *_ in PAPER.values()))
    parser.add_argument("--tasks", default=default, help="of lmms-eval, separated by commas (the paper's)")
    parser.add_argument("--quantization", default="", choices=["int8"], help="of the decoder, made while loading")
    given, options = parser.parse_known_args()
    try:
        results = run(given.model, given.out, given.tasks.split(","), options, given.quantization)
        if results is None:
            return 0
        from lmms_eval.utils import make_table

        print(make_table(results))
        if any(task in results["results"] for task, *_ in PAPER.values()):
            print(row(columns(results["results"])))
    except LVLMError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
