"""What a model is asked: fixed held-out questions, the same for every model and in every process."""

from lvlm.errors import BadSamples
from samples import TASKS, Sample, load_samples

PER_TASK = 200
SUITES = ("scenes", "scenes-unseen-style", "easy-vqa")


def suite_samples(suite: str, per_task: int = PER_TASK, seed: int = 0) -> list[Sample]:
    """The questions of a suite: `per_task` for every task of the scenes; four times as many of easy-VQA's test split.

    Raises BadSamples for an unknown suite.
    """
    if suite == "easy-vqa":
        return load_samples("easy-vqa", split="test", n=4 * per_task, seed=seed)
    if suite in ("scenes", "scenes-unseen-style"):
        unseen = suite != "scenes"
        tasks = [task for task in TASKS if not (unseen and task == "knowledge")]  # knowledge has no style
        split = "unseen-style" if unseen else "test"
        return load_samples("scenes", split=split, n=per_task * len(tasks), seed=seed, tasks=tasks)
    raise BadSamples(f'There is no suite called "{suite}": choose from {", ".join(SUITES)}.')
