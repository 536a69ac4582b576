"""The pair that recovery is about: a model, and what pruning left of it."""

import pytest

from pruning import make_plan, prune
from tests import tiny


@pytest.fixture(scope="module")
def dense():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def pruned(dense):
    return prune(dense, make_plan(tiny.scores(dense), "both", 0.4))
