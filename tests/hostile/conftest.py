"""A workspace with secrets beside it, and a guard over it that counts what it is given."""

import faulthandler
import json
import tempfile

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.conftest import TRIED
from tests.hostile.guard import CASES, WHOLE, Guard, little_memory


def pytest_configure(config):
    config.addinivalue_line("markers", "tries(name): tries as many bad inputs as guard.CASES says for this name")


@pytest.fixture
def guard(tmp_path, monkeypatch, request, record_property):
    """A Guard. At the end: as many inputs as the table says, some of which worked, and nothing was seen outside."""
    found = Guard(tmp_path)
    (found.outside / "secret.json").write_text(json.dumps({"model_type": "llava", "secret": 1}))
    (found.outside / "secret.jinja").write_text("secret")
    Image.new("RGB", (8, 8)).save(found.outside / "secret.png")
    save_file({"secret": np.zeros(4, np.float32)}, found.outside / "secret.safetensors")
    scratch = found.workspace / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    # As for a person with a network: nothing may even be looked for there.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    found.forget()
    faulthandler.dump_traceback_later(WHOLE, exit=True)  # a library that waits hears of no timer
    with little_memory():
        yield found
    faulthandler.cancel_dump_traceback_later()
    found.close()
    mark = request.node.get_closest_marker("tries")
    record_property(TRIED, found.tried)
    if mark:
        assert found.tried >= CASES[mark.args[0]], f"only {found.tried} inputs were tried"
        assert found.worked, "not one input worked: these are no near misses"
        assert found.worked < found.tried, "every input worked: nothing hostile was tried"
