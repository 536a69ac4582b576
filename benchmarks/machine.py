"""What a benchmark's figures were taken on, in one line."""

import os
import platform

import torch


def machine() -> str:
    """ "2 CPU cores, 2 threads, torch 2.13.0+cpu, Python 3.11.7"."""
    return (
        f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
