"""Visual-instruction data: one Sample type, its readers, the bundled scenes and examples."""

from samples.examples import Example, examples
from samples.readers import TASKS, load_samples
from samples.sample import Sample, Turn

__all__ = ["TASKS", "Example", "Sample", "Turn", "examples", "load_samples"]
