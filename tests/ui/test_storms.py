"""Visitors who hurry, change their minds or vanish: what they began ends, and nothing of it stays behind."""

import gc
import json
import threading

import pytest

from lvlm import LVLM
from tests.ui.served import JSON, serve, until
from ui import jobs

QUESTION = "how many apples?"
STAYS = ("threads", "desks")  # of what a census counts


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("served")) as found:
        yield found


@pytest.fixture
def workspace(served):
    name = served.call("open_workspace", model="one")["workspace"]
    served.call("plan", workspace=name, method="widthwise", ratio=0.3)
    return name


def census(served) -> dict:
    """What there is of everything that a visitor can leave behind, but models."""
    app = served.app
    pools = ("AnyIO", "asyncio_", "ThreadPool")  # whose threads wait for whatever comes next
    return {
        "threads": sum(not x.name.startswith(pools) for x in threading.enumerate()),
        "in line": len(jobs.TURNS._line) + (jobs.TURNS._holder is not None),
        "busy": sum(x.busy or (x.answering is not None and x.answering.busy) for x in served.desks._all()),
        "generators": len(app.app.iterators),
        "events": len(app._queue.event_ids_to_events),
        "desks": len(served.desks._all()),
    }


def at_rest(served) -> dict:
    """The same, once nothing is under way."""
    until(lambda: not any(count for what, count in census(served).items() if what not in STAYS), "nothing is under way")
    return census(served)


def everything_ends(served, before: dict) -> None:
    """Wait until there is no more of anything than there was."""
    until(
        lambda: all(count <= before[what] for what, count in census(served).items()),
        lambda: f"{before} became {census(served)}",
    )


def models() -> int:
    gc.collect()
    return sum(type(x) is LVLM for x in gc.get_objects())


def at_once(works: list) -> list:
    """What each gives, all begun together."""
    found, gate = [None] * len(works), threading.Barrier(len(works))

    def run(place: int, work) -> None:
        gate.wait()
        found[place] = work()

    threads = [threading.Thread(target=run, args=(i, x)) for i, x in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_a_storm_of_cancels(served, workspace):
    """Twelve times calibrations, cuts and answers begin together with a cancel: everything ends, the model and its
    plan are whole, and no thread, place in line, generator or model is left."""
    before, held = at_rest(served), models()
    known = served.call("look", workspace=workspace)
    works = []
    for n in range(12):
        works += [
            lambda n=n: served.call("calibrate", workspace=workspace, samples=3 + n % 3),
            lambda: served.call("ask_models", workspace=workspace, question=QUESTION, max_new_tokens=400),
            lambda: served.call("cancel", workspace=workspace),
        ]
    for start in range(0, len(works), 9):
        at_once(works[start : start + 9])
    served.call("cancel", workspace=workspace)
    everything_ends(served, before)
    assert models() == held
    after = served.call("look", workspace=workspace)
    assert after["variants"] == known["variants"] and after["plan"]["method"] == "widthwise"
    said = served.call("ask_models", workspace=workspace, question=QUESTION, max_new_tokens=2)
    assert said["answers"][0]["ended"]


def test_double_clicks(served, workspace):
    """Two presses at once ask once, cut once and store once; the second reads why, or gets the same."""
    desk, before, held = served.desks.peek(workspace), at_rest(served), models()
    cut = at_once([lambda: served.call("prune", workspace=workspace)] * 2)
    assert [x.id for x in desk.variants] == ["original", "pruned-1"]
    assert {x["id"] if isinstance(x, dict) else "told" for x in cut} <= {"pruned-1", "told"}
    at_once([lambda: served.call("quantize", workspace=workspace, variant="pruned-1")] * 2)
    assert [x.id for x in desk.variants] == ["original", "pruned-1", "int8-1"]
    for _ in range(4):
        talked = len(desk.talk)
        asking = dict(workspace=workspace, question=QUESTION, variants=["original"], max_new_tokens=24)
        said = at_once([lambda: served.call("ask_models", **asking)] * 3)
        answered = [x for x in said if isinstance(x, dict)]
        assert len(desk.talk) - talked == len(answered) >= 1
        assert all(x["answers"][0]["ended"] for x in answered)
        assert all("still being answered" in x for x in said if isinstance(x, str))
    everything_ends(served, before)
    assert models() == held + 2


def test_tabs_closed_in_mid_answer(served):
    """Visitors whose connection breaks while an answer streams leave no generator, event or thread; the answer that
    nobody hears any more ends early, and who stayed hears the whole of theirs."""
    names = [served.call("open_workspace", model="one")["workspace"] for _ in range(5)]
    before, held = at_rest(served), models()
    streams = []
    for name in names:
        event = served.begin("ask_models", workspace=name, question=QUESTION, max_new_tokens=400)
        connection = served.connect()
        connection.request("GET", f"/gradio_api/call/ask_models/{event}")
        streams.append((connection, connection.getresponse()))
    for _, answer in streams:
        while not answer.readline().startswith(b"event: generating"):
            pass
    stayed = streams.pop()
    for connection, answer in streams:
        answer.close()
        connection.close()
    last = stayed[1].read().decode().strip().rsplit("data: ", 1)[1]
    whole = json.loads(last)[0]["answers"][0]
    stayed[0].close()
    everything_ends(served, before)
    assert models() == held
    assert whole["ended"] and whole["tokens"] == 400
    told = [served.desks.peek(name).talk[-1].answers["original"].stats for name in names[:-1]]
    assert all(x.stopped and x.new_tokens < 400 for x in told)


def test_pages_closed_in_mid_answer(served):
    """Browser tabs that close while answers stream leave no session, generator, event or thread; the answers go on to
    their ends, for whoever comes back."""
    names = [served.call("open_workspace", model="one")["workspace"] for _ in range(4)]
    before, held = at_rest(served), models()
    event = next(number for number, x in served.app.fns.items() if x.api_name == "ask")
    tabs = []
    for name in names:
        alive, heard, page = served.connect(), served.connect(), f"page-of-{name}"
        alive.request("GET", f"/gradio_api/heartbeat/{page}")
        tabs.append((alive, alive.getresponse(), heard))
        assert tabs[-1][1].readline()
        asked = {"data": [name, QUESTION, 400, 0, 0], "session_hash": page, "fn_index": event}
        assert served.send("POST", "/gradio_api/queue/join", json.dumps(asked).encode(), content_type=JSON)[0] == 200
        heard.request("GET", f"/gradio_api/queue/data?session_hash={page}")
        stream = heard.getresponse()
        while b"process_generating" not in stream.readline():
            pass
        tabs[-1] += (stream,)
    assert sum(name.startswith("page-of-") for name in served.app.state_holder.session_data) == len(names)
    for alive, beat, heard, stream in tabs:
        for x in (beat, stream, alive, heard):
            x.close()
    everything_ends(served, before)
    until(lambda: not [x for x in served.app.state_holder.session_data if x.startswith("page-of-")], "pages are gone")
    assert models() == held
    said = [served.desks.peek(name).talk[-1].answers["original"].stats for name in names]
    assert [(x.new_tokens, x.stopped) for x in said] == [(400, False)] * len(names)
