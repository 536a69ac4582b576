"""Spreads work over a Ray cluster, one machine or many; the one module that knows Ray, which is optional.

Each piece of work is a task that is tried again where its process or its machine dies. Results come back by value, and
the project goes out with the work: the machines share no disk and need no more than the same environment.
"""

import logging
import os
import platform
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from evaluation.cells import Work
from evaluation.runner import CHECKED_SECONDS, TRIES, Done, compute
from lvlm import LVLMError

ROOT = Path(__file__).resolve().parent.parent
SENT = ("lvlm", "samples", "pruning", "recovery", "evaluation", "assets/models", "assets/sprites")
PATIENCE_SECONDS = 5  # with an address
STORE_BYTES = 100 * 2**20  # of the object store of a cluster started here: results are short texts
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # by itself Ray reports its use to its makers
    "RAY_task_oom_retries": str(TRIES - 1),  # by itself it tries without end where memory does not suffice
}


def on_cluster(
    todo: Sequence[Work], address: str, scratch: Path, tick: Callable[[], None], alone: bool = False
) -> Iterator[Done]:
    """Results as they come; tick() may end the run by raising.

    address: "auto" joins the cluster that runs on this machine or is named by RAY_ADDRESS, host:port another one;
        "local" starts one here for as long as this takes.
    scratch: used by "local"; elsewhere Ray keeps a folder beside its copy of the project.
    alone: a piece of work has a GPU to itself, or a whole machine where there is no GPU, instead of a core.
    Raises LVLMError without ray or a cluster, for what is wrong with a piece of work, where no machine is left that
    could do it, and, once all others are done, for work whose process died `TRIES` times.
    """
    ray = _ray()
    with _connection(ray, address):
        share = _share(ray.nodes(), alone)
        task = ray.remote(_measure).options(num_cpus=share["CPU"], num_gpus=share["GPU"], max_retries=TRIES - 1)
        folder = scratch.resolve() if address == "local" else None
        waiting, dead = {task.remote(_anywhere(x), folder, share["CPU"]): x for x in todo}, []
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=CHECKED_SECONDS)
            for ref in ready:
                work = waiting.pop(ref)
                try:
                    found = ray.get(ref)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from error
                except ray.exceptions.RayError as error:
                    dead.append((work, error))
                else:
                    yield from found
            if not ready and not any(_fits(x, share) for x in ray.nodes()):
                raise LVLMError(
                    f"No machine of the cluster has {share['CPU']} cores and {share['GPU']} GPUs for a piece of work: "
                    "please add one (ray start --address) and run it again. What is finished is kept."
                )
            tick()
    if dead:
        work, error = dead[0]
        raise LVLMError(
            f"{len(dead)} of {len(todo)} pieces of work died on the cluster, each in {TRIES} tries; what is finished "
            f"is kept. The first was {work.variant.model}, {work.variant.method} {work.variant.ratio:.0%}: "
            f"{_line(error)}. "
            "If that is for want of memory, please run it again on larger machines."
        ) from error


def _ray():
    os.environ.update(SETTINGS)
    try:
        import ray
    except ImportError as error:
        raise LVLMError(
            "A run on a cluster needs Ray: please install it (pip install -r requirements-ray.txt)."
        ) from error
    return ray


@contextmanager
def _connection(ray, address: str):
    """Connected to a cluster. On leaving, Ray ends all tasks that were sent from here, running or waiting, and the
    cluster if it was started here."""
    if ray.is_initialized():
        raise LVLMError("This process uses a Ray cluster already: please wait until that is done, or cancel it.")
    here = address == "local"
    sent = {"working_dir": f"local://{ROOT}"} if here else {"working_dir": str(ROOT), "excludes": _left_out()}
    more = {"object_store_memory": STORE_BYTES, "include_dashboard": False} if here else {}
    try:
        try:
            if not here:
                _knock(ray, address)
            ray.init(address, runtime_env=sent, log_to_driver=False, logging_level=logging.ERROR, **more)
        except Exception as error:  # Ray raises these too, plain
            raise LVLMError(
                f'No Ray cluster could be used at "{address}" ({_line(error)}): please start one (ray start --head) or '
                'choose "local".'
            ) from error
        yield
    finally:
        ray.shutdown(wait_for_processes=True)


def _knock(ray, address: str) -> None:
    """Raises OSError where nobody answers, for which Ray itself takes minutes; ValueError where that is no address."""
    host, port = ray._private.services.canonicalize_bootstrap_address_or_die(address).rsplit(":", 1)
    socket.create_connection((host.strip("[]"), int(port)), PATIENCE_SECONDS).close()


def _left_out() -> list[str]:
    """Everything in this folder but what measuring needs, in the words of a .gitignore."""
    parents = sorted({str(Path(x).parent) for x in SENT} - {"."})
    within = [f"!/{x}" for x in (*SENT, *parents) if "/" not in x]
    return ["/*", "!/.", *within, *(f"/{x}/*" for x in parents), *(f"!/{x}" for x in SENT if "/" in x)]


def _share(nodes: Sequence[dict], alone: bool) -> dict[str, int]:
    """What a piece of work takes of a machine: of ray.nodes(), the one with most cores or any GPU, if it is alone."""
    found = [x["Resources"] for x in nodes if x["Alive"]]
    if alone and any(x.get("GPU", 0) >= 1 for x in found):
        return {"CPU": 1, "GPU": 1}
    return {"CPU": int(max(x.get("CPU", 1) for x in found)) if alone else 1, "GPU": 0}


def _fits(node: dict, share: dict[str, int]) -> bool:
    return node["Alive"] and all(node["Resources"].get(x, 0) >= n for x, n in share.items())


def _anywhere(work: Work) -> Work:
    """A model in a folder by its whole path: tasks run in another folder than this process."""
    model = Path(work.variant.model)
    return replace(work, variant=replace(work.variant, model=str(model.resolve()))) if model.is_dir() else work


def _measure(work: Work, scratch: Path | None, threads: int) -> list[Done]:
    torch.set_num_threads(threads)
    try:
        return compute(work, scratch or Path("scratch").resolve())  # Ray starts tasks in its copy of the project
    except LVLMError as error:
        raise LVLMError(f"On {platform.node()}: {error}") from error


def _line(error: Exception) -> str:
    """Its first sentence."""
    return re.split(r"[.:]?\s*\n|\.\s", f"{str(error).strip() or type(error).__name__}\n")[0].rstrip(".")
