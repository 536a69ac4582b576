"""Keeps the memory that was freed from staying with this process: glibc gives every few threads an arena of their own
to allocate from, and an arena gives back only what is free at its end. With a thread an answer, a third of what the
app held after five minutes of thirty visitors was such leavings (484 of 1,318 MiB, and ever more).
"""

import ctypes
import gc
import platform
from functools import cache

ARENAS = 2  # instead of eight a core
_M_ARENA_MAX = -8  # malloc.h


@cache
def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is this one: others have no arenas."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def bound() -> bool:
    """Let all threads share a few arenas; to be called before there are many. Whether it could be done."""
    library = _glibc()
    return library is not None and library.mallopt(_M_ARENA_MAX, ARENAS) == 1


def begin() -> None:
    """The start of the app: nearly all that it makes stays, and to look for garbage meanwhile is a sixth of it."""
    bound()
    gc.disable()


def settle() -> None:
    """The start is over: look for garbage again, but not in what there is now, the page and its libraries: half a
    million objects that stay, and for whose sake Python would look for any only after a quarter as many were added."""
    gc.collect()
    gc.freeze()
    gc.enable()


def trim() -> None:
    """Let go of networks that nobody has (every calibration leaves a copy, in a circle of references), then give every
    whole page that is free back to the system."""
    gc.collect()
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)
