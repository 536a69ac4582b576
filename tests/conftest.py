"""Settings of every test: one thread, no hub."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may download a model
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch  # noqa: E402

torch.set_num_threads(1)  # the networks are tiny: more threads only wait for one another
