"""When memory runs out in spite of all estimates: what the allocators of several libraries raise, as one sentence."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .errors import LVLMError, NotEnoughMemory

SAID = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "new thread")


def ran_out(error: BaseException) -> bool:
    """Whether an error says that memory ran out (torch's own allocator on the CPU raises a plain RuntimeError)."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(x in str(error).lower() for x in SAID)


@contextmanager
def enough_memory(what: str) -> Iterator[None]:
    """Around a step, or as its decorator: memory that runs out meanwhile becomes NotEnoughMemory.

    what: the subject of its sentence, such as "Pruning".
    """
    try:
        yield
    except LVLMError:
        raise
    except Exception as error:
        if not ran_out(error):
            raise
        raise NotEnoughMemory(
            f"{what} ran out of memory, and nothing was changed: please free some, choose a smaller model, or take a "
            "machine with more."
        ) from error
