"""What the server imports before children are forked from it: everything, so that none of them takes its time."""

import torch

from evaluation.scoring import questions
from tests.faults import deeds, work  # noqa: F401 - for the children

torch.set_num_threads(1)
deeds.models()
questions("scenes", 1, 1, True)  # drawn once
