"""The bundled scenes as a task of lmms-eval: how its data are found and its answers scored (see scenes.yaml)."""

from datasets import Dataset, DatasetDict
from lmms_eval.api.task import ConfigurableTask

from evaluation import SUITES, Record, questions


class Scenes(ConfigurableTask):
    """A suite of ours, with a metric for each of its tasks. metadata: suite, per_task and seed, as `evaluate` takes."""

    def __init__(self, config: dict):
        config.pop("class")
        tasks = SUITES[config["metadata"]["suite"]].tasks
        config["metric_list"] = [{"metric": x.name, "aggregation": "mean", "higher_is_better": True} for x in tasks]
        config["doc_to_visual"] = self._visuals
        super().__init__(config=config)

    def download(self, dataset_kwargs=None) -> None:
        """Draws the questions; nothing is downloaded. Pictures stay out of the table, where PNG would slow them."""
        about = self.config.metadata
        asked = questions(about["suite"], about["per_task"], about["seed"], True)
        self.pictures = {x.id: x.image for _, x in asked}
        rows = [{"id": x.id, "task": task, "question": x.question, "answer": x.answer} for task, x in asked]
        self.dataset = self.dataset_no_image = DatasetDict(test=Dataset.from_list(rows))

    def _visuals(self, row: dict) -> list:
        picture = self.pictures[row["id"]]
        return [] if picture is None else [picture]


def score(row: dict, answers: list[str]) -> dict[str, float]:
    """Exact match, as the metric of the row's task."""
    record = Record(row["id"], row["task"], row["question"], row["answer"], answers[0])
    return {row["task"]: float(record.right)}
