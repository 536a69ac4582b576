"""What a model can do, measured on held-out questions."""

from evaluation.scoring import Record, Report, evaluate, normalised
from evaluation.suites import PER_TASK, SUITES, suite_samples

__all__ = ["PER_TASK", "SUITES", "Record", "Report", "evaluate", "normalised", "suite_samples"]
