"""The app on tiny models, served from the test's own process, and requests sent exactly as they are written."""

import http.client
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import gradio as gr
import pytest

from tests import tiny
from tests.ui.conftest import chatty
from ui import desk as desk_module
from ui import page, serving
from ui.shelf import Shelf
from ui.workspace import Desks

PATIENCE = 120  # seconds; generous, for machines with other things to do


@dataclass
class Served:
    """A running app."""

    url: str  # ends with "/"
    app: gr.Blocks
    desks: Desks
    folder: Path  # that files are served from

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, str]:
        """(status, text) of a request whose path is sent letter by letter."""
        connection = self.connect()
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def begin(self, name: str, **given) -> str:
        """The id of an API call under way."""
        status, text = self.send("POST", f"/gradio_api/call/v2/{name}", json.dumps(given).encode(), content_type=JSON)
        assert status == 200, text
        return json.loads(text)["event_id"]

    def call(self, name: str, **given):
        """What comes of it at last: a value, or a sentence where it is refused."""
        _, text = self.send("GET", f"/gradio_api/call/{name}/{self.begin(name, **given)}")
        kind, data = text.strip().rsplit("event: ", 1)[1].split("\ndata: ", 1)
        said = json.loads(data)
        return said[0] if kind == "complete" else said["error"]

    def upload(self, name: str, content: bytes) -> str:
        """Where it lies on the server."""
        form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n--x--\r\n'
        status, text = self.send(
            "POST",
            "/gradio_api/upload",
            form % (name.encode(), content),
            content_type="multipart/form-data; boundary=x",
        )
        assert status == 200, text
        return json.loads(text)[0]


JSON = "application/json"


def picture(path: str) -> dict:
    """An uploaded file as a call takes it."""
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def until(condition, what) -> None:
    """Wait for a condition, looking again and again, up to a deadline."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.01)


@contextmanager
def serve(scratch: Path, **options):
    """The app on tiny models, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        desks = Desks(Shelf(lambda name, report: chatty(seed=len(name))))
        patch.setattr(desk_module, "load_samples", lambda reader, n, **options: tiny.samples(n))
        patch.setattr(page, "Desks", lambda shelf: desks)
        patch.setenv("XDG_CACHE_HOME", str(scratch))
        patch.setenv("XDG_DATA_HOME", str(scratch / "data"))
        patch.setenv("GRADIO_TEMP_DIR", str(scratch / "served"))
        app = page.build_app("one")
        _, url, _ = serving.launch(app, None, prevent_thread_lock=True, quiet=True, **options)
        try:
            yield Served(url, app, desks, scratch / "served")
        finally:
            app.close()
