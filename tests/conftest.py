"""Settings of every test: one thread, no hub, and Ctrl-C that works."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may download a model
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell that starts the tests in the background has them ignore Ctrl-C, and some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402

torch.set_num_threads(1)  # the networks are tiny: more threads only wait for one another
