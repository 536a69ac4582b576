"""What a model can do, measured on held-out questions; and the paper's experiments, which compare variants so."""

from evaluation.scoring import Record, Report, evaluate, normalised, questions
from evaluation.suites import NINE, PER_TASK, SUITES, Suite, Task

__all__ = ["NINE", "PER_TASK", "SUITES", "Record", "Report", "Suite", "Task", "evaluate", "normalised", "questions"]
