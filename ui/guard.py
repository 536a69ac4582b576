"""What stands between the network and the app: which requests are answered at all, how large they may be, and that a
person or program which met a limit or a mistake reads a sentence, never a stack trace or a path of this machine.

Gradio serves far more than this app uses (a proxy, a fetcher of web addresses, histories on another host): what is not
listed here is not there.
"""

import ipaddress
import json
import logging
import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
from gradio.exceptions import InvalidPathError
from gradio_client.utils import is_http_url_like, traverse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvlm.errors import LVLMError
from ui.limits import LARGEST_MESSAGE, LARGEST_UPLOAD
from ui.texts import preferred, retell, speak

log = logging.getLogger(__name__)
API = "/gradio_api"
OURS = re.compile(  # of the page, the login, Gradio's own clients, and MCP
    r"/(login|logout|config|theme\.css|favicon\.ico|manifest\.json|robots\.txt|pwa_icon(/\d+)?)?/?"
    r"|/(assets|static|svelte)/.+"
    rf"|{API}/(info|openapi\.json|app_id|startup-events|theme\.css|user|login_check|reset|cancel|upload"
    r"|upload_progress|queue/(join|data|status)|heartbeat/[^/]+|(run|api)/[^/]+|call/(v2/)?[^/]+(/[^/]+)?|mcp(/.*)?"
    r"|file=.+)/?",
    re.DOTALL,
)
UPLOAD, FILE = f"{API}/upload", f"{API}/file="
LONGEST_NAME = 255  # bytes, of a file or folder on any disk
MARGIN = 2**20  # bytes of a form around an upload
STRANGE = (
    "This server answers to this machine only, under names such as localhost: start it with --host 127.0.0.1 if what "
    "passes requests on to it gives it another name."
)
WRONG = "Something went wrong on the server, and its log says what: please try again, or reload the page."
NOT_UPLOADED = "This is no file that was uploaded here: please upload it first."
FETCH = "Nothing is fetched from other addresses here: please upload the file itself."


class _NothingKept(dict):
    """What Gradio writes of a session for deep links, which there are none of here: every component's configuration
    and last value, over 1 MiB a page and an API call, for as long as the server runs."""

    def __contains__(self, key) -> bool:
        return True

    def __getitem__(self, key) -> dict:
        return {}

    def __setitem__(self, key, value) -> None:
        pass


NOTHING_KEPT = _NothingKept()


class Guarded(gr.Blocks):
    """Blocks whose events say what went wrong in the library's words, and fetch nothing for a caller."""

    async def process_api(self, *given, state=None, **named):
        if state is not None:
            state.config_values = NOTHING_KEPT
        try:
            return await super().process_api(*given, state=state, **named)
        except gr.Error:
            raise
        except LVLMError as error:
            raise gr.Error(retell(str(error)), print_exception=False) from error
        except InvalidPathError as error:
            raise gr.Error(retell(NOT_UPLOADED), print_exception=False) from error
        except Exception as error:
            if isinstance(error, StopIteration | StopAsyncIteration):  # how an iterator that was cancelled ends
                raise
            log.exception("an event failed")
            raise gr.Error(retell(WRONG), print_exception=False) from error

    def validate_inputs(self, block_fn, inputs) -> None:
        if len(inputs) < len(block_fn.inputs):
            raise LVLMError(
                f"This call takes {len(block_fn.inputs)} values: please give all, as docs/api.md names them."
            )
        super().validate_inputs(block_fn, inputs)

    def begin_lean(self) -> None:
        """Let no session begin with a configuration of every component; once the server has begun."""
        self.state_holder.blocks = SimpleNamespace(default_config=self.default_config, blocks={})

    async def preprocess_data(self, block_fn, inputs, *given, **named):
        traverse(inputs, _refuse, lambda x: isinstance(x, dict) and is_http_url_like(str(x.get("path"))))
        return await super().preprocess_data(block_fn, inputs, *given, **named)


def _refuse(file: dict):
    raise LVLMError(FETCH)


class Gate:
    """ASGI: lets through what the app is for. `folder`: where files are served from. `local`: only this machine's own
    names are answered to, so that no page of the web reaches a server on loopback under a name of its own."""

    def __init__(self, app: ASGIApp, folder: Path, local: bool):
        self.app, self.folder, self.local = app, folder.resolve(), local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        speak(preferred(_header(scope, b"accept-language")))
        largest = LARGEST_UPLOAD + MARGIN if scope["path"].rstrip("/") == UPLOAD else LARGEST_MESSAGE
        body = Body(receive, send, largest)
        refusal = self.refusal(scope) or body.refusal(_header(scope, b"content-length"))
        if refusal is None:
            await self.app(scope, body.receive, body.send)
        else:
            await _say(send, *refusal)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """(status, sentence) where a request is not answered."""
        if self.local and not is_local(_header(scope, b"host")):
            return 403, STRANGE
        path = scope["path"]
        longest = max(len(x.encode()) for x in path.split("/"))
        if not OURS.fullmatch(path) or not path.isprintable() or longest > LONGEST_NAME:
            return 404, "There is nothing here."
        if path.startswith(FILE) and not self.serves(path.removeprefix(FILE)):
            return 403, "There is no such file here, or it was cleared: please make it again."
        return None

    def serves(self, name: str) -> bool:
        """Whether a path, decoded once as Gradio takes it, is a file in the folder, whatever links and dots it has."""
        try:
            file = Path(name).resolve(strict=True)
        except (OSError, ValueError, RuntimeError):  # not there, no path, links in a circle
            return False
        return Path(name).is_absolute() and file.is_file() and file.is_relative_to(self.folder)


class Body:
    """A request's body, counted as it arrives: one that grows too large ends with a sentence."""

    def __init__(self, receive: Receive, send: Send, largest: int):
        self._receive, self._send, self.largest = receive, send, largest
        self.size, self.said = 0, False

    def refusal(self, announced: str) -> tuple[int, str] | None:
        size = int(announced) if announced.isdecimal() else self.size
        if size <= self.largest:
            return None
        return 413, f"This is too large: {self.largest / 2**20:.0f} MB are the most that are taken at once."

    async def receive(self) -> Message:
        message = await self._receive()
        self.size += len(message.get("body", b""))
        if self.size > self.largest:
            return {"type": "http.disconnect"}  # whoever reads it gives up
        return message

    async def send(self, message: Message) -> None:
        refusal = self.refusal("")
        if refusal is None:
            await self._send(message)
        elif not self.said:
            self.said = True
            await _say(self._send, *refusal)


def is_local(host: str) -> bool:
    """Whether a request's Host is a name that only this machine gives itself; without one, no browser asked."""
    name = host.rsplit(":", 1)[0] if re.search(r":\d+$", host) else host
    name = name.strip("[]").lower().rstrip(".")
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


async def _say(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": retell(sentence)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
