"""Writing that is whole or not there, folders that end with their process, and what a disk refuses in one sentence.

Whatever is under way is locked: what a killed process left behind, the next one that writes there clears away.
"""

import errno
import glob
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from multiprocessing.util import Finalize
from pathlib import Path

from filelock import FileLock, Timeout

from .errors import LVLMError, NotWritten

NEW, OLD, LOCK = "new", "old", "lock"  # in a part: what is written, what it replaces, and who is at it
PART = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part")
RUST = re.compile(r"\(os error (\d+)\)")  # where libraries written in Rust tell an OSError's number
HOME = "prunoscope-"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
INSTEAD = "choose another place"


@contextmanager
def refusals(what: str, path: str | os.PathLike, instead: str = INSTEAD) -> Iterator[None]:
    """What the disk refuses meanwhile, of OSErrors and of what Rust libraries make of them, as NotWritten.

    what: the subject of its sentence. instead: what a person can do about it, other than to free space.
    """
    try:
        yield
    except LVLMError:
        raise
    except Exception as error:
        told = RUST.search(str(error))
        if not told and not isinstance(error, OSError):
            raise
        number = int(told[1]) if told else error.errno
        reason = os.strerror(number) if number else " ".join(str(error).split())
        remedy = f"free some space there, or {instead}" if number in FULL else instead
        raise NotWritten(f"{what} could not be written to {path} ({reason}): please {remedy}.") from error


# --- whole or not there ---


@contextmanager
def whole(path: str | os.PathLike, what: str, instead: str = INSTEAD) -> Iterator[Path]:
    """Where to make a file or folder that moves to `path` once the block ends, and is gone if that raises.

    Killed at any moment, `path` is as before, or new and whole: there is one instant without a folder that is being
    replaced, from which `settle` leads on. Raises NotWritten, for which what and instead are as in `refusals`.
    """
    path = Path(path)
    with refusals(what, path, instead):
        path.parent.mkdir(parents=True, exist_ok=True)
        settle(path.parent)
        place, lock = _part(path)
        try:
            yield place / NEW
            _flush(place / NEW)
            if path.is_dir():
                os.rename(path, place / OLD)
            os.replace(place / NEW, path)
        except BaseException:
            if (place / OLD).exists():
                os.rename(place / OLD, path)
            raise
        finally:
            shutil.rmtree(place, ignore_errors=True)
            lock.release()


def settle(folder: Path, name: str = "") -> None:
    """Clear away what killed processes left half written in a folder: all of it, or of one name only. What one had
    written whole, and was about to put into another's place, is put there."""
    for place in folder.glob(f".{glob.escape(name) or '*'}.*.part"):
        told = PART.fullmatch(place.name)
        if told and _only_ours(place):
            with _abandoned(place) as dead:
                if dead:
                    _finish(place, folder / told[1])


def _part(path: Path) -> tuple[Path, FileLock]:
    """A new folder beside a path, locked."""
    while True:
        place = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
        place.mkdir()
        if lock := _locked(place):
            return place, lock


def _locked(place: Path) -> FileLock | None:
    """The lock of a folder just made; None if it was cleared away before it could be locked."""
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=0)
    except (FileNotFoundError, Timeout):
        return None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return lock


def _finish(place: Path, path: Path) -> None:
    """Remove a part. Where `path` was moved away for it, the new one is whole, and takes its place."""
    if (place / OLD).exists() and not path.exists():
        os.rename(place / NEW, path)
    shutil.rmtree(place, ignore_errors=True)


def _only_ours(place: Path) -> bool:
    """Whether a folder holds nothing else than a part would (safetensors writes to .tmp… first)."""
    try:
        return all(x in (NEW, OLD, LOCK) or x.startswith(".tmp") for x in os.listdir(place))
    except OSError:  # gone meanwhile, no folder, or another user's
        return False


@contextmanager
def _abandoned(place: Path) -> Iterator[bool]:
    """Whether nobody is at a folder any more; locked meanwhile. Another user's is left alone."""
    lock = FileLock(place / LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _flush(path: Path) -> None:
    """Have the disk take what was written, which some refuse only now."""
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())


# --- what ends with its process ---


def home() -> Path:
    """This process's own folder, for what is not to outlive it. Raises NotWritten."""
    with refusals("Temporary files", tempfile.gettempdir()):
        return _home(os.getpid(), tempfile.gettempdir())


def workplace(prefix: str) -> Path:
    """A new empty folder there. Raises NotWritten."""
    with refusals("Temporary files", home()):
        return Path(tempfile.mkdtemp(prefix=prefix, dir=home()))


@lru_cache(maxsize=8)
def _home(process: int, root: str) -> Path:
    """Those of killed processes are removed first."""
    for other in Path(root).glob(f"{HOME}*"):
        if other.is_dir() and other.stat().st_uid == os.getuid() and (other / LOCK).exists():
            with _abandoned(other) as dead:
                if dead:
                    shutil.rmtree(other, ignore_errors=True)
    while True:
        home = Path(tempfile.mkdtemp(prefix=HOME, dir=root))
        if lock := _locked(home):
            # of multiprocessing, whose processes run no atexit; it ends after all that might still write there
            Finalize(None, _leave, (home, lock), exitpriority=-100)
            return home


def _leave(home: Path, lock: FileLock) -> None:
    shutil.rmtree(home, ignore_errors=True)
    lock.release()
