"""A small random model for the app's own tests: as deep as it needs to be, never ending its answers by itself."""

import threading
from contextlib import contextmanager

import pytest
import torch

from lvlm import memory
from tests import tiny
from ui import desk as desk_module
from ui import healing, jobs, making, picking, texts, workspace


def chatty(seed: int = 0, layers: int = 4):
    """A tiny LVLM with room for long answers, whose end-of-text never wins: only a limit or Stop ends it."""
    model = tiny.model(seed=seed, layers=layers)
    config = model.network.config.get_text_config()
    config.max_position_embeddings = 4096
    with torch.no_grad():
        model.network.lm_head.weight[model.processor.tokenizer.eos_token_id] = 0
    return model


@pytest.fixture(autouse=True)
def in_english():
    """A test begins in English, whatever the one before it spoke."""
    texts.speak("en")


@pytest.fixture(autouse=True)
def no_budget():
    """A page that was built holds its models to its budget; the next test is free of it."""
    yield
    memory.keep_within(None)


@pytest.fixture
def desks(monkeypatch, tmp_path):
    """Desks whose shelf makes tiny models; "broken" cannot be loaded. Healing learns from twelve samples."""
    from lvlm import UnknownModel

    def load(name, report):
        if name == "broken":
            raise UnknownModel("There is no model broken: choose another.")
        return chatty(seed=len(name))

    monkeypatch.setattr(desk_module, "load_samples", lambda reader, n, **options: tiny.samples(n))
    monkeypatch.setattr(making, "load_samples", lambda reader, n, **options: tiny.samples(n))
    monkeypatch.setattr(picking, "load_samples", lambda reader, n, **options: tiny.samples(n))
    monkeypatch.setattr(healing, "read", lambda data, recipe: tiny.samples(12))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return workspace.Desks(workspace.Shelf(load))


@contextmanager
def machine_held():
    """Somebody else computes, and lets nobody pass."""
    held, go = threading.Event(), threading.Event()

    def hold():
        with jobs.TURNS.turn(threading.Event()):
            held.set()
            go.wait(300)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(300)
    try:
        yield
    finally:
        go.set()
        holder.join()


def wait(job):
    """The job, ended."""
    job.thread.join(300)  # generous, for machines with other things to do
    assert not job.busy
    return job
