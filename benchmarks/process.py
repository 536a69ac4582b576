"""What one process used: its resident memory now and at its highest, and the machine it ran on."""

import os
import platform
import re
from pathlib import Path

import torch


def resident_bytes() -> int:
    """Physical memory this process holds now."""
    return _status("VmRSS")


def forget_peak() -> None:
    """Start `peak_bytes` afresh (Linux: /proc/self/clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The most physical memory this process held since it started, or since `forget_peak`."""
    return _status("VmHWM")


def _status(field: str) -> int:
    line = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(line[1]) * 1024


def machine() -> str:
    """One line for a benchmark's table."""
    return f"{os.cpu_count()} CPU cores, {torch.get_num_threads()} threads, torch {torch.__version__}, Python {platform.python_version()}"
