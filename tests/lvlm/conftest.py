"""A small whole checkpoint, to read and to damage."""

import shutil

import pytest

from pruning import save
from tests import tiny


@pytest.fixture(scope="session")
def harmless(tmp_path_factory):
    """A stock folder that several tests read: none of them may change it."""
    return save(tiny.model("llama"), tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(harmless, tmp_path):
    """A copy of it, to damage."""
    copy = tmp_path / "model"
    shutil.copytree(harmless, copy)
    return copy
