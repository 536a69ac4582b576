"""The server towards those who mean it no good: no file of the machine, no other session's, no other address is reached
through it, and every limit is told in a sentence."""

import asyncio
import gc
import hashlib
import http.client
import io
import json
import os
import re
import signal
import socket
import sys
import weakref
import zlib
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from PIL import Image

from app import main
from lvlm.errors import LVLMError
from tests.ui.served import JSON, picture, serve, until
from ui import guard, jobs, limits, serving, told, workspace

MARK = "kept-from-everybody"  # what the files hold that nobody is to read
ROOT = Path(__file__).resolve().parents[2]
_reached = None  # a list while it is watched which addresses this process turns to


def _watch(event: str, given: tuple) -> None:
    if _reached is not None and event in ("socket.connect", "socket.getaddrinfo"):
        _reached.append(given[1] if event == "socket.connect" else given[:2])


sys.addaudithook(_watch)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def served(scratch):
    with serve(scratch) as found:
        yield found


@pytest.fixture(scope="module")
def mine(served):
    """A workspace with a pruned model."""
    name = served.call("open_workspace", model="one")["workspace"]
    served.call("prune", workspace=name)
    return name


@pytest.fixture
def outgoing(served):
    """Where else this process turned to: (host, port) of each."""
    global _reached
    port = int(served.url.rsplit(":", 1)[1].strip("/"))
    _reached = []
    yield lambda: [x for x in _reached if not (isinstance(x, tuple) and port in x)]
    _reached = None


def png(size: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(out, "PNG")
    return out.getvalue()


def wicked(secret: Path, served, scratch: Path) -> list[str]:
    """Paths of requests, letter by letter, that would read `secret` or a file of the machine if anything let them."""
    up = os.path.relpath(secret, served.folder)
    links = scratch / "served" / "links"
    links.mkdir(parents=True, exist_ok=True)
    for name, to in (("file.txt", secret), ("folder", secret.parent), ("round", links / "round")):
        if not (links / name).is_symlink():
            (links / name).symlink_to(to)
    names = [
        *(str(secret), f"/{secret}", f"//{secret}", f"/.{secret}", f"{secret}/", f"{secret}%00.png", f"{secret}\\"),
        *(f"{served.folder}/{up}", f"{served.folder}/./{up}", f"{served.folder}//{up}", up, f"./{up}"),
        *(str(links / "file.txt"), str(links / "folder" / secret.name), str(links / "round"), str(links)),
        *("/etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "/proc/self/cwd/app.py", "/proc/self/fd/0"),
        *(str(ROOT / "app.py"), "app.py", "./app.py", "ui/limits.py", "..", ".", "", "~/.bashrc", "C:\\boot.ini"),
        *(f"file://{secret}", f"FILE:{secret}", f"local:{secret}", "\\\\host\\share\\x", f"{served.folder}"),
        *("../" * 12 + str(secret)[1:], "..\\" * 12 + "etc\\passwd", "....//" * 12 + "etc/passwd"),
        *("..;/" * 12 + "etc/passwd", "%c0%ae%c0%ae/" * 12 + "etc/passwd", "／etc／passwd"),
    ]
    ways = [lambda x: quote(x, safe="/%"), lambda x: quote(x, safe=""), lambda x: quote(quote(x, safe=""), safe="")]
    ways.append(lambda x: quote(x, safe="").replace(".", "%2e"))
    routes = ["/gradio_api/file=", "/gradio_api/file/", "/file=", "/file/", "/static/", "/assets/", "/svelte/"]
    found = [f"{route}{way(name)}" for route in routes for name in names for way in ways]
    other = [
        *("/gradio_api/proxy={}", "/proxy={}", "/gradio_api/stream/{}", "/gradio_api/stream/a/b/1/playlist-file?x={}"),
        *("/gradio_api/custom_component/{}/client/component/x.js", "/gradio_api/custom_component/a/client/{}/x"),
        *("/gradio_api/deep_link?session_hash={}", "/?deep_link={}", "/config?deep_link={}", "/{}"),
        *("/gradio_api/run-history/records/{}", "/gradio_api/upload_progress?upload_id={}", "/pwa_icon/{}"),
        *("/gradio_api/vibe-code?path={}", "/gradio_api/mcp/{}", "/gradio_api/heartbeat/../file={}", "/monitoring/{}"),
        *("/gradio_api/component_server/{}", "/gradio_api/process_recording/{}", "/gradio_api/dev/reload?x={}"),
    ]
    found += [
        x.format(quote(name, safe="")) for x in other for name in (str(secret), up, "/etc/passwd", "../../app.py")
    ]
    return list(dict.fromkeys(found))


def test_no_path_leads_out_of_the_served_folder(served, scratch):
    """Over a thousand traversals (encoded once, twice, not at all; absolute, dotted, through links, with null bytes; on
    every route that takes a name) read no file of the machine, and none is answered by a stack trace."""
    secret = scratch / "private" / "secret.txt"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text(MARK)
    paths = wicked(secret, served, scratch)
    assert len(paths) > 1000
    leaks, connection = [], served.connect()
    for path in paths:
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
        except (ConnectionError, http.client.HTTPException):  # one that was idle for seconds, on a busy machine
            connection.close()
            connection.request("GET", path)
            answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        told_much = any(x in text for x in (MARK, "root:", '"""Starts the browser app', "PATH=", "Traceback"))
        if told_much or answer.status >= 500 or ("file=" in path and answer.status == 200):
            leaks.append((answer.status, path, text[:80]))
    connection.close()
    assert leaks == []
    inside = served.upload("mine.txt", b"mine")  # the gate is no wall
    assert served.send("GET", f"/gradio_api/file={inside}") == (200, "mine")


def test_an_upload_is_found_by_its_name_alone(served):
    """The address of what somebody handed in tells nothing of it and follows from nothing that others know: neither
    from its content nor from a listing."""
    where = Path(served.upload("mine.png", png()))
    assert where.is_relative_to(served.folder) and len(where.parent.name) == 64
    assert where.parent.name != hashlib.sha256(png()).hexdigest()
    for guess in (where.parent, where.parent.parent, where.with_name("other.png"), served.folder):
        assert served.send("GET", f"/gradio_api/file={guess}")[0] == 403


def test_a_call_opens_no_file_that_was_not_uploaded(served, mine):
    """A path of the machine handed over as a picture is refused, in whatever shape, and the answer names no path."""
    example = str(ROOT / "assets" / "examples" / "turtles-on-sand.jpg")
    assert Path(example).is_file()
    for given in (
        picture(example),
        {"path": example},
        {"path": example, "meta": {"_type": "gradio.FileData"}, "is_stream": True},
        {"path": f"{served.folder}/../../..{example}", "meta": {"_type": "gradio.FileData"}},
        {"path": None, "url": f"file://{example}", "meta": {"_type": "gradio.FileData"}},
    ):
        said = served.call("show_picture", workspace=mine, file=given)
        assert isinstance(said, str) and example not in said and "upload" in said, given
    assert served.call("look", workspace=mine)["model"] == "one"


def test_nothing_is_fetched_for_anybody(served, mine, outgoing):
    """Whatever address a caller names, by whichever way, this server turns to none: no look-up, no connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        hosts = ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "2130706433", "127.1", "169.254.169.254", "example.com"]
        addresses = [f"{x}://{host}:{port}/x.png" for x in ("http", "https") for host in [*hosts, "huggingface.co"]]
        for address in addresses:
            for route in ("/gradio_api/file=", "/gradio_api/proxy=", "/proxy=", "/file="):
                assert served.send("GET", f"{route}{address}")[0] in (403, 404)
            assert served.call("show_picture", workspace=mine, file=picture(address)) == guard.FETCH
        body = b'{"bucket_id": "a/b", "token": "x"}'
        for path in ("/gradio_api/run-history/connect", "/gradio_api/run-history/buckets", "/gradio_api/runs"):
            assert served.send("POST", path, body, content_type=JSON, authorization="Bearer x")[0] == 404
        assert outgoing() == []


def test_only_this_machines_own_names_are_answered_to(served):
    """On loopback a request under another name, as a page of the web sends it that had its own name point here, is
    refused; localhost and its numbers are not."""
    for host in ("evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.0.9:80", "localhost.evil"):
        assert served.send("GET", "/config", Host=host)[0] == 403, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:9", "[::1]:80", "app.localhost", "127.8.8.8"):
        assert served.send("GET", "/config", Host=host)[0] == 200, host


def test_large_requests_are_refused_before_they_are_read(served):
    """Uploads and messages above their limits end with a sentence, whether their size is announced or not."""
    for path, size in (
        ("/gradio_api/upload", limits.LARGEST_UPLOAD),
        ("/gradio_api/queue/join", limits.LARGEST_MESSAGE),
    ):
        connection = served.connect()
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", str(size + 2 * 2**20))
        connection.endheaders()  # and not a byte of it
        answer = connection.getresponse()
        assert answer.status == 413 and "too large" in answer.read().decode()
        connection.close()
    chunks = (b"x" * 2**20 for _ in range(limits.LARGEST_MESSAGE // 2**20 + 1))
    status, text = served.send("POST", "/gradio_api/queue/join", chunks, content_type=JSON)
    assert status == 413 and "4 MB" in text


def test_every_limit_is_told_in_a_sentence(served, mine, monkeypatch):
    """Pixels, the question's length, tokens, the line for the machine, events and visitors: who meets a limit reads
    what it is and what to do."""
    head = b"IHDR" + (30_000).to_bytes(4, "big") + png()[20:29]  # says that it is 30,000 pixels wide
    wide = png()[:12] + head + zlib.crc32(head).to_bytes(4, "big") + png()[33:]

    def refused(name: str, *, of: str, **given) -> None:
        said = served.call(name, **given)
        assert isinstance(said, str) and re.search(of, said), said
        assert said.endswith(".") and ": please" in said.lower() or "choose" in said or "Please" in said, said

    refused("show_picture", workspace=mine, file=picture(served.upload("wide.png", wide)), of="30000")
    refused("ask_models", workspace=mine, question="x" * (limits.LONGEST_QUESTION + 1), of="too long")
    refused("ask_models", workspace=mine, question="How many?", max_new_tokens=limits.LONGEST_ANSWER + 1, of="512")
    refused("ask_models", workspace=mine, question="How many?", temperature=9.9, of="1.5")
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "MOST_IN_LINE", 0)
        refused("calibrate", workspace=mine, samples=2, of="in line")
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "MOST_DESKS", 1)
        refused("open_workspace", model="one", of="visitors")
    with monkeypatch.context() as patch:
        patch.setattr(served.app._queue, "max_size", 0)
        body = b'{"data": []}'
        status, text = served.send("POST", "/gradio_api/call/list_models", body, content_type=JSON)
        assert status == 503 and "Queue is full" in text
    assert served.call("look", workspace=mine)["model"] == "one"


def test_what_goes_wrong_inside_is_not_told_outside(served, monkeypatch):
    """An error of ours becomes one sentence; its text, with paths in it, goes to the log alone."""

    def broken():
        raise RuntimeError(f"cannot read /home/{MARK}")

    monkeypatch.setattr(told, "models", broken)
    assert served.call("list_models") == guard.WRONG


def test_a_session_that_was_left_leaves_nothing(served, monkeypatch):
    """After its time its models, its pictures, what it uploaded and what it saved are gone from memory and disk; one
    that is still looked at keeps all, and the page its own pictures."""
    name = served.call("open_workspace", model="another")["workspace"]
    kept = served.call("open_workspace", model="one")["workspace"]
    uploaded = Path(served.upload("own.png", png(9)))
    served.call("show_picture", workspace=name, file=picture(str(uploaded)))
    served.call("prune", workspace=name)
    handed = served.call("save", workspace=name, variant="pruned-1")["path"]
    desk = served.desks.peek(name)
    packed = desk.pruned.file
    gone = [weakref.ref(x) for x in (desk, desk.model.network, desk.pruned.model.network, desk.image)]
    assert packed.is_file() and Path(handed).is_file() and uploaded.is_file()
    serving.sweep(served.app, served.folder)
    assert packed.is_file() and uploaded.is_file() and gone[0]() is not None
    gallery = [Path(x) for block in served.app.blocks.values() for x in block.keep_in_cache]

    monkeypatch.setattr(limits, "KEPT_SECONDS", -60)
    desk.seen -= 100_000
    del desk
    serving.sweep(served.app, served.folder)
    gc.collect()
    assert [x() for x in gone] == [None] * 4
    assert not packed.exists() and not uploaded.exists() and not Path(handed).exists()
    assert "no such workspace" in served.call("look", workspace=name)
    assert served.call("look", workspace=kept)["model"] == "one" and "another" not in served.desks.shelf.names
    assert gallery and all(x.is_file() for x in gallery)


def test_clearing_goes_on_after_it_failed(tmp_path, monkeypatch):
    """A folder that goes while it is listed ends one clearing, not all that would follow."""
    cleared, app = [], SimpleNamespace(begin_lean=lambda: None)

    def sweep(*given):
        cleared.append(given)
        if len(cleared) == 1:
            raise FileNotFoundError("gone meanwhile")

    async def serving_for_a_while():
        async with serving._sweeping(app, tmp_path)(None):
            while len(cleared) < 2:
                await asyncio.sleep(0)

    monkeypatch.setattr(serving, "sweep", sweep)
    monkeypatch.setattr(limits, "SWEEP_SECONDS", 0)
    asyncio.run(asyncio.wait_for(serving_for_a_while(), 60))
    assert cleared == 2 * [(app, tmp_path)]


def test_a_page_that_closes_is_forgotten(served):
    """What Gradio keeps of a page goes when its connection ends."""
    held = served.app.state_holder.session_data
    connection = served.connect()
    connection.request("GET", "/gradio_api/heartbeat/leaving")
    answer = connection.getresponse()
    assert answer.fp.readline()  # alive
    body = b'{"data": [], "session_hash": "leaving", "fn_index": 0}'
    assert served.send("POST", "/gradio_api/queue/join", body, content_type=JSON)[0] == 200
    until(lambda: "leaving" in held, "the session begins")
    connection.close()
    answer.close()
    until(lambda: "leaving" not in held, "the session ends")


def test_a_call_outlasts_any_number_of_others(served):
    """Who is answered for longer than as many calls as Gradio keeps in mind hears the whole answer, and of those that
    were heard nothing stays; a result that nobody came for yet is still there, and so is a page's own box."""
    name = served.call("open_workspace", model="one")["workspace"]
    queue = served.app._queue
    boxes, awaited = queue.pending_messages_per_session, queue.pending_event_ids_session
    boxes.clear(), awaited.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "max_size", 4)
        long = served.begin("ask_models", workspace=name, question="how many apples?", max_new_tokens=300)
        for _ in range(6):
            assert served.call("list_models")
            serving.forget_delivered(served.app)
        unread = served.begin("list_models")
        _, heard = served.send("GET", f"/gradio_api/call/ask_models/{long}")
        serving.forget_delivered(served.app)
        assert "event: complete" in heard and json.loads(heard.strip().rsplit("data: ", 1)[1])[0]["answers"][0]["ended"]
        assert unread in boxes and long not in boxes and len(boxes) < 4
        _, heard = served.send("GET", f"/gradio_api/call/list_models/{unread}")
        assert "event: complete" in heard
    page = {"data": [], "session_hash": "listens", "fn_index": 0}
    assert served.send("POST", "/gradio_api/queue/join", json.dumps(page).encode(), content_type=JSON)[0] == 200
    assert "process_completed" in served.send("GET", "/gradio_api/queue/data?session_hash=listens")[1]
    serving.forget_delivered(served.app)
    assert list(boxes) == ["listens"] == list(awaited)


def test_who_may_enter(tmp_path):
    """Accounts come from the command line or a file; with them nobody else reads, calls or uploads anything, the page
    tells no password, and there are no MCP tools, which would ask for none."""
    file = tmp_path / "who"
    file.write_text("ada:one:two\n\ngrace: three\n")
    assert serving.accounts(f"@{file}") == [("ada", "one:two"), ("grace", " three")]
    for wrong in ("ada", "ada:", ":x", f"@{tmp_path}/none", f"@{tmp_path}"):
        with pytest.raises(LVLMError, match="user:password"):
            serving.accounts(wrong)
    with serve(tmp_path, auth=[("ada", "open-sesame")]) as served:
        page = served.send("GET", "/")
        assert page[0] == 200 and "auth_required" in page[1] and "open-sesame" not in page[1]
        assert "desk-key" not in page[1]  # none of the app
        body = b'{"data": []}'
        for method, path in (
            ("GET", "/config"),
            ("GET", "/gradio_api/info"),
            ("GET", "/gradio_api/openapi.json"),
            ("POST", "/gradio_api/call/list_models"),
            ("POST", "/gradio_api/run/list_models"),
            ("POST", "/gradio_api/queue/join"),
            ("POST", "/gradio_api/upload"),
            ("GET", "/gradio_api/queue/data?session_hash=x"),
        ):
            assert served.send(method, path, body, content_type=JSON)[0] == 401, path
        inside = served.folder / "x.txt"
        inside.write_text("x")
        assert served.send("GET", f"/gradio_api/file={inside}")[0] == 401
        assert served.send("POST", "/gradio_api/mcp/", body, content_type=JSON)[0] in (404, 405)
        form = "application/x-www-form-urlencoded"
        assert served.send("POST", "/login", b"username=ada&password=wrong", content_type=form)[0] == 400
        assert served.send("POST", "/login", b"username=ada&password=open-sesame", content_type=form)[0] == 200


def test_an_open_address_is_warned_of(monkeypatch, capsys):
    """The app is on loopback unless told otherwise, and one that others reach without a password is told so."""
    assert [serving.is_open(x) for x in (None, "localhost", "127.0.0.1", "::1")] == [False] * 4
    assert [serving.is_open(x) for x in ("0.0.0.0", "::", "192.168.1.2", "box.example")] == [True] * 4
    assert "--auth" in serving.OPEN and limits.HOST == "127.0.0.1"
    monkeypatch.setattr(sys, "argv", ["app.py", "--auth", "nobody"])
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED"):
        monkeypatch.setenv(name, "")
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "user:password" in capsys.readouterr().err
