"""Healing runs on disk, so that one whose process was killed can be gone on with: what a run heals and how, beside the
library's own checkpoints. A run is locked while somebody works on it, and its folder goes when it has ended.
"""

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lvlm.disk import whole
from lvlm.errors import LVLMError
from lvlm.events import LossPoint
from pruning import Plan
from recovery import Recipe

log = logging.getLogger(__name__)
ABOUT, LOCK, CHECKPOINTS, TEACHER = "run.json", "lock", "checkpoints", "teacher"
ABANDONED = 24 * 3600  # seconds after which a run that was killed before its first checkpoint is cleared away


def home() -> Path:
    """Where runs are kept: in the user's cache, as XDG_CACHE_HOME says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "prunoscope" / "healing"


@dataclass(frozen=True)
class Run:
    """What is healed (the model with this digest, cut by this plan), and how."""

    folder: Path
    digest: str
    plan: Plan
    recipe: Recipe
    data: str
    repair: int = 0  # samples that what was cut was refitted on first

    @classmethod
    def begin(cls, digest: str, plan: Plan, recipe: Recipe, data: str, repair: int = 0) -> "Run":
        """A new one in a folder of its own. Raises NotWritten."""
        folder = home() / uuid.uuid4().hex[:12]
        about = {"digest": digest, "plan": plan.to_json(), "recipe": recipe.recorded(), "data": data}
        about["repair"] = repair
        with whole(folder, "The healing run", "set XDG_CACHE_HOME to another folder") as part:
            part.mkdir()
            (part / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        return cls(folder, digest, plan, recipe, data, repair)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While this run is worked on. Raises LVLMError if it is elsewhere."""
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=1)  # a page that looks for runs holds it for a moment
        except Timeout as error:
            raise LVLMError("This run is being worked on in another window: please wait for its end.") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def free(self) -> bool:
        """Whether nobody works on it: a killed process does not."""
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        lock.release()
        return True

    def points(self) -> list[LossPoint]:
        """The curve up to the last checkpoint; empty before the first one."""
        states = sorted((self.folder / CHECKPOINTS).glob("step-*/state.json"))
        if not states:
            return []
        state = json.loads(states[-1].read_text(encoding="utf-8"))
        return [LossPoint(step, state["total"], losses, held, 0.0, 0.0) for step, losses, held in state["curve"]]

    def remove(self) -> None:
        """It has ended, or nobody wants it."""
        shutil.rmtree(self.folder, ignore_errors=True)


def unfinished(digest: str) -> Run | None:
    """The newest run of a model that has checkpoints and that nobody works on."""
    if not home().is_dir():
        return None
    for folder in sorted(home().glob("[!.]*"), key=lambda x: -x.stat().st_mtime):
        run = _read(folder)
        if run is None or not run.free:
            continue
        begun = bool(run.points())
        if begun and run.digest == digest:
            return run
        if not begun and time.time() - folder.stat().st_mtime > ABANDONED:
            run.remove()
    return None


def _read(folder: Path) -> Run | None:
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        plan, recipe = Plan.from_json(about["plan"]), Recipe.from_dict(about["recipe"])
        return Run(folder, about["digest"], plan, recipe, about["data"], about.get("repair", 0))
    except (OSError, ValueError, KeyError, TypeError, LVLMError) as error:
        log.warning("%s holds no healing run that can be read: %s", folder, error)
        return None
