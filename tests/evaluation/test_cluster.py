"""Work on a Ray cluster: two machines played by one, and what is lost when one of them, or a process, dies: nothing.

Functions defined within a test reach the workers by value, those of a module by name.
"""

import os
import secrets
import signal
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from evaluation import cluster
from evaluation.cells import Desk, Variant
from evaluation.cluster import on_cluster
from evaluation.experiments import EXPERIMENTS, Grid
from evaluation.runner import TRIES, compute
from lvlm import BadSamples, Cancelled, LVLMError

NODE = {"num_cpus": 1, "object_store_memory": cluster.STORE_BYTES, "include_log_monitor": False}
WATCHED = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300}  # a dead machine is noticed in seconds


@pytest.fixture(scope="module")
def machines():
    """A cluster of two, each with a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)  # short, for sockets lie in it; and no other cluster is seen from here
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(16))  # else Ray writes one to the home folder
        patch.delenv("RAY_ADDRESS", raising=False)
        found = Cluster()
        try:
            found.add_node(**NODE, include_dashboard=False, no_monitor=True, _system_config=WATCHED)
            found.add_node(**NODE, temp_dir=f"{folder}/second")
            yield found
        finally:
            found.shutdown()


@pytest.fixture(scope="module")
def todo(tmp_path_factory):
    """The zero-shot experiment, small: five models."""
    desk = Desk(tmp_path_factory.mktemp("plans"))
    grid = Grid(ratios=(0.15, 0.45), per_task=2)
    return desk.work(EXPERIMENTS["zero-shot"].grid(grid), lambda key, cell: True)


@pytest.fixture(scope="module")
def expected(todo, tmp_path_factory):
    return results(done for work in todo for done in compute(work, tmp_path_factory.mktemp("scratch")))


def results(found) -> dict:
    return {(key, cell.name): {x: y for x, y in result.items() if x != "seconds"} for key, cell, result in found}


def pieces(number: int) -> list:
    """Work for functions that measure nothing, of no class that a worker would have to import."""
    return [
        SimpleNamespace(variant=SimpleNamespace(model="m", method="layerwise", ratio=i / 10)) for i in range(number)
    ]


def hurry():
    """A tick that ends what would never end."""
    left = iter(range(600))
    return lambda: next(left)


def gone(pids) -> bool:
    found = [psutil.Process(x) for x in map(int, pids) if psutil.pid_exists(x)]
    return not psutil.wait_procs(found, timeout=60)[1]


def test_a_grid_on_two_machines_comes_to_what_it_comes_to_here(machines, todo, expected, tmp_path):
    """Every result is there, once, and is the one that this process has without a cluster."""
    found = list(on_cluster(todo, "auto", tmp_path, hurry()))
    assert len(found) == len(expected) == 5
    assert results(found) == expected
    assert not ray.is_initialized()


def test_work_of_a_process_that_dies_is_tried_again_and_named(machines, tmp_path, monkeypatch):
    """All other results come first, then a sentence; the machines are sent what measuring needs and nothing else."""

    def measure(work, scratch, threads):
        if work.variant.ratio == 0.1:
            with (tmp_path / "tries").open("a") as file:
                file.write("x")
            os._exit(1)
        return [("key", None, {"sent": (os.listdir(), os.listdir("assets")), "scratch": scratch, "threads": threads})]

    monkeypatch.setattr(cluster, "_measure", measure)
    found = []
    with pytest.raises(LVLMError, match=f"^1 of 3 .* {TRIES} tries; .* layerwise 10%: The worker died .*"):
        found += on_cluster(pieces(3), "auto", tmp_path, hurry())
    assert [len(found), (tmp_path / "tries").read_text()] == [2, "x" * TRIES]
    sent = {"lvlm", "samples", "pruning", "recovery", "evaluation", "assets"}
    for _, _, about in found:
        assert (set(about["sent"][0]), set(about["sent"][1])) == (sent, {"models", "sprites"})
        assert (about["scratch"], about["threads"]) == (None, 1)


def test_a_cancelled_run_leaves_nothing_behind(machines, tmp_path, monkeypatch):
    """Raising from tick kills what runs, drops what waits and disconnects."""

    def measure(work, scratch, threads):
        (tmp_path / str(os.getpid())).touch()
        signal.pause()

    def tick(wait=hurry()):
        wait()
        if len(os.listdir(tmp_path)) == 2:
            raise Cancelled("Cancelled.")

    monkeypatch.setattr(cluster, "_measure", measure)
    with pytest.raises(Cancelled):
        list(on_cluster(pieces(4), "auto", tmp_path, tick))
    assert not ray.is_initialized()
    assert gone(os.listdir(tmp_path))
    assert len(os.listdir(tmp_path)) == 2


def test_work_that_no_machine_can_do_is_refused(machines, tmp_path, monkeypatch):
    """Instead of waiting for ever."""
    monkeypatch.setattr(cluster, "_share", lambda nodes, alone: {"CPU": 64, "GPU": 0})
    with pytest.raises(LVLMError, match="64 cores .*ray start --address"):
        list(on_cluster(pieces(1), "auto", tmp_path, hurry()))


def test_work_of_a_machine_that_dies_is_done_by_another(machines, todo, expected, tmp_path, monkeypatch):
    """A machine killed half-way, while it works, changes no result."""
    doomed = next(iter(machines.worker_nodes))
    node, gate, met = doomed.node_id, tmp_path / "gate", tmp_path / "met"
    os.mkfifo(gate)  # opening it waits for the other side: no result comes before the doomed machine is at work

    def measure(work, scratch, threads):
        if ray.get_runtime_context().get_node_id() == node:
            gate.open("w").close()
            signal.pause()
        if not met.exists():
            met.touch()
            gate.open().close()
        from evaluation.runner import compute

        return compute(work, Path("scratch").resolve())

    monkeypatch.setattr(cluster, "_measure", measure)
    with closing(on_cluster(todo, "auto", tmp_path, hurry())) as running:
        first = next(running)
        machines.remove_node(doomed, allow_graceful=False)
        found = [first, *running]
    assert len(found) == 5
    assert results(found) == expected


def test_a_cluster_of_its_own_is_ended_with_the_run(machines, tmp_path, monkeypatch):
    """ "local" works in this project's folder and in the scratch folder given. An error in a piece of work is raised as
    it was there, and no process stays."""

    def measure(work, scratch, threads):
        raise ValueError(os.getpid(), os.getppid(), Path.cwd(), scratch)

    monkeypatch.setattr(cluster, "_measure", measure)
    before = {x.pid for x in psutil.Process().children(recursive=True)}
    with pytest.raises(ValueError) as caught:
        list(on_cluster(pieces(1), "local", tmp_path, hurry()))
    worker, parent, *places = caught.value.args
    assert places == [cluster.ROOT, tmp_path.resolve()]
    assert gone([worker, parent])
    assert {x.pid for x in psutil.Process().children(recursive=True)} <= before


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    """No ray, no cluster, or one in use: a sentence each that says what to do."""

    def run():
        return list(on_cluster(pieces(1), "auto", tmp_path, hurry()))

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(LVLMError, match="refused.*ray start --head"):
        run()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with pytest.raises(LVLMError, match="already"):
        run()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LVLMError, match="requirements-ray.txt"):
        run()


def test_an_error_says_on_which_machine(monkeypatch):
    """Of many machines, the one whose files or memory are at fault."""

    def refuse(work, scratch):
        raise BadSamples("There is no such suite.")

    monkeypatch.setattr(cluster, "compute", refuse)
    monkeypatch.setattr(cluster.torch, "set_num_threads", lambda n: None)
    with pytest.raises(LVLMError, match=f"^On {cluster.platform.node()}: There is no such suite.$"):
        cluster._measure(None, None, 1)


@pytest.mark.parametrize(
    ("resources", "alone", "share"),
    [
        ([{"CPU": 4.0}, {"CPU": 8.0}], False, {"CPU": 1, "GPU": 0}),
        ([{"CPU": 4.0}, {"CPU": 8.0}], True, {"CPU": 8, "GPU": 0}),
        ([{"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}], True, {"CPU": 1, "GPU": 1}),
        ([{}, {"CPU": 2.0}], True, {"CPU": 2, "GPU": 0}),
    ],
)
def test_small_models_share_a_machine_and_others_do_not(resources, alone, share):
    """A core each; or a GPU, or all cores of the largest machine, which alone fits then."""
    nodes = [{"Alive": True, "Resources": x} for x in resources]
    assert cluster._share([*nodes, {"Alive": False, "Resources": {"CPU": 64.0}}], alone) == share
    assert [cluster._fits(x, share) for x in nodes] == [
        all(x["Resources"].get(y, 0) >= n for y, n in share.items()) for x in nodes
    ]


def test_a_model_in_a_folder_is_found_from_elsewhere(tmp_path, monkeypatch):
    """Its path is whole; names stay names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    works = [cluster._anywhere(cluster.Work(Variant(x), None, ())) for x in ("mine", "pocket-llava")]
    assert [x.variant.model for x in works] == [str(tmp_path / "mine"), "pocket-llava"]
