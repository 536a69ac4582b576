"""The most physical memory that a piece of work took: the allocator's figure on a GPU, this process's own elsewhere."""

import ctypes
import re
import sys
from collections.abc import Callable
from pathlib import Path

import torch

CAN_MEASURE = sys.platform == "linux"  # elsewhere a process cannot ask for a fresh peak
_libc = ctypes.CDLL(None) if CAN_MEASURE else None


def resident_bytes() -> int:
    """Physical memory this process holds now."""
    return _status("VmRSS")


def peak_bytes() -> int:
    """The most physical memory this process has held since `forget_peak`, or since it started."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Give freed memory back to the system, and start `peak_bytes` afresh."""
    if hasattr(_libc, "malloc_trim"):  # glibc keeps what was freed, and would serve the next work from it unseen
        _libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def added_by(work: Callable[[], object], device: torch.device) -> int | None:
    """Bytes that `work` needs above what is held already, at its highest; None where this cannot be measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    if not CAN_MEASURE:
        return None
    forget_peak()
    before = resident_bytes()
    work()
    return max(0, peak_bytes() - before)


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) * 1024
