"""Serving the page: on which address, to whom, within which limits (limits.py), behind the gate (guard.py); and what is
cleared away while it is served: sessions that were left, and every file that was handed in or out.
"""

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.middleware import Middleware

from lvlm.disk import home
from lvlm.errors import LVLMError
from ui import files, heap, language, learn, limits
from ui.guard import Gate
from ui.streams import Farewell, Streams
from ui.theme import CSS, head, theme

log = logging.getLogger(__name__)
CALL = re.compile("[0-9a-f]{32}")  # what Gradio names the box of a call that has no page: after its event
OPEN = (
    "Everybody who reaches {host}:{port} can use this app, open the folders and models of this machine in it, and fill "
    "its memory: give --auth, or leave --host out to serve this machine alone."
)


def launch(
    app: gr.Blocks, port: int | None, host: str | None = None, auth: list[tuple[str, str]] | None = None, **options
):
    """Serve the page; nothing on it comes from another host.

    host: None is this machine alone, under its own names. auth: who may enter, as (user, password); Gradio's MCP
    server asks nobody for a password, so that there is none then.
    """
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    app.queue(default_concurrency_limit=None, max_size=limits.MOST_QUEUED)
    app._queue.ANALYTICS_MAX_EVENTS = 1  # of the last 10,000 it keeps who called what, for a page that is not served
    streams = Streams()
    streams.heed(app._queue)
    return app.launch(
        server_name=host or limits.HOST,
        server_port=port,
        theme=theme(),
        css_paths=[CSS, learn.CSS],
        i18n=language.translations(),
        head=head(),
        auth=auth,
        share=False,
        _frontend=False,  # else Gradio asks itself for the page, for three seconds, and gives up on a busy machine
        ssr_mode=False,
        run_history=False,
        mcp_server=not auth,
        footer_links=["api", "settings"],
        max_file_size=limits.LARGEST_UPLOAD,
        max_threads=limits.MOST_THREADS,
        state_session_capacity=limits.MOST_DESKS,
        app_kwargs={
            "middleware": [Middleware(Gate, folder=folder, local=host is None), Middleware(Farewell, streams=streams)],
            "lifespan": _sweeping(app, folder),
        },
        **options,
    )


def is_open(host: str | None) -> bool:
    """Whether others than this machine reach an address."""
    try:
        return host not in (None, "localhost") and not ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return True


def accounts(given: str) -> list[tuple[str, str]]:
    """(user, password) of "user:password", or of every line of the file "@path". Raises LVLMError."""
    lines = [given]
    if given.startswith("@"):
        try:
            lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise LVLMError(
                f"{given[1:]} cannot be read ({error}): please name a text file of user:password."
            ) from error
    found = [(user.strip(), password) for user, _, password in (x.partition(":") for x in lines if x.strip())]
    if not found or not all(user and password for user, password in found):
        raise LVLMError("Who may enter is given as user:password, or as @file with one such line a person.")
    return found


def sweep(app: gr.Blocks, folder: Path) -> None:
    """Clear the sessions that were left, and files that nobody was handed for as long."""
    app.desks.sweep()
    _clear(folder, {x for block in app.blocks.values() for x in getattr(block, "keep_in_cache", ())})
    for made in (x for kind in (files.TEXTS, "session-*") for x in home().glob(kind)):
        _clear(made)


def _clear(folder: Path, keep: set[str] = frozenset()) -> None:
    """Remove files that were neither written nor handed out (which touches them) for long, and folders left empty."""
    before = time.time() - limits.KEPT_SECONDS
    for path in sorted(folder.rglob("*"), reverse=True):  # what lies in a folder before it
        with suppress(FileNotFoundError, OSError if path.is_dir() else FileNotFoundError):
            if str(path) in keep or path.lstat().st_ctime > before:
                continue
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def _sweeping(app: gr.Blocks, folder: Path) -> Callable:
    @asynccontextmanager
    async def lifespan(server) -> AsyncIterator[None]:
        async def clear() -> None:
            while True:
                await asyncio.sleep(limits.SWEEP_SECONDS)
                try:
                    await asyncio.to_thread(sweep, app, folder)
                except Exception:  # a folder may go while it is listed: the next time will do
                    log.exception("clearing failed")

        async def tidy() -> None:
            while True:
                await asyncio.sleep(limits.TRIM_SECONDS)
                forget_delivered(app)  # here, in the server's own loop: nothing is posted meanwhile
                await asyncio.to_thread(heap.trim)

        app.begin_lean()
        tasks = [asyncio.create_task(clear()), asyncio.create_task(tidy())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    return lifespan


def forget_delivered(app: gr.Blocks) -> None:
    """Remove the letter boxes of API calls that were handed everything. Gradio keeps those of the last 2,000, read or
    not: a call that takes as long as 2,000 others would lose its own, and end with an error. A page's stays: it may be
    listened at though nothing is to come."""
    boxes, awaited = app._queue.pending_messages_per_session, app._queue.pending_event_ids_session
    under_way = app._queue.event_ids_to_events.keys()
    for name in [x for x, box in boxes.items() if CALL.fullmatch(x) and not awaited.get(x) and box.empty()]:
        del boxes[name]
    for name in awaited.keys() - boxes.keys():
        del awaited[name]
    for name, events in awaited.items():
        if events & under_way:
            boxes.move_to_end(name)  # where Gradio needs room, what nobody came for goes first


def forgetting(app: gr.Blocks) -> Callable:
    """The event of a page that was closed: what Gradio keeps of it goes at once, its desk later."""

    def forget(request: gr.Request) -> None:
        app.state_holder.session_data.pop(request.session_hash, None)
        app.state_holder.time_last_used.pop(request.session_hash, None)
        app.left(request.session_hash)

    return forget
