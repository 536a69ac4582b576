"""The API and the MCP tools: every documented call is made once on the bundled model, through Gradio's own client."""

import ast
import asyncio
import zipfile
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from samples import examples
from scripts import document_api
from ui import page, picking, serving

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "How many turtles are there?"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The app on the bundled model, served from this process; its address."""
    with pytest.MonkeyPatch.context() as patch:
        for home in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.setenv(home, str(tmp_path_factory.mktemp(home)))
        patch.setattr(picking, "SEARCHED_ON", 2)
        app = page.build_app("pocket-llava")
        _, url, _ = serving.launch(app, None, prevent_thread_lock=True, quiet=True)
        yield url
        app.close()


@pytest.fixture(scope="module")
def client(server):
    found = Client(server, verbose=False, analytics_enabled=False)
    found.called = set()
    return found


@pytest.fixture(scope="module")
def call(client):
    """call(name, …) → what comes back; notes which calls were made."""

    def call(name: str, *given, **named):
        client.called.add(f"/{name}")
        return client.predict(*given, **named, api_name=f"/{name}")

    return call


@pytest.fixture(scope="module")
def workspace(call):
    return call("open_workspace")["workspace"]


def test_the_whole_way(call, workspace):
    """From a plan to a pruned, healed and 8-bit model, asked, compared, scored, hunted, kept, saved and dropped."""
    assert {"pocket-llava", "llava-1.5-7b"} <= {x["name"] for x in call("list_models")}
    seen = call("look", workspace)
    assert seen["model"] == "pocket-llava" and [x["id"] for x in seen["variants"]] == ["original"]
    assert seen["plan"]["method"] == "widthwise" and seen["job"]["state"] == "done"

    importance = call("calibrate", workspace, samples=1)
    assert len(importance["block_influence"]) == seen["layers"] == len(importance["heads"])
    planned = call("plan", workspace, "layerwise", 0.2, pin=["0"], force=["3"])
    assert 3 in planned["removed_layers"] and 0 not in planned["removed_layers"]
    assert planned["bytes"][1] < planned["bytes"][0] and planned["explained"]
    fitting = call("plan_within", workspace, unit="memory", most=0.8 * planned["bytes"][0])
    assert fitting["bytes"][1] <= 0.8 * planned["bytes"][0]
    competing = call("plan", workspace, "widthwise", 0.5, ranking="global")
    assert competing["ranking"] == "global" and competing["divergence"] is None
    searched = call("search_shares", workspace)
    assert searched["ratio"] == 0.5 and 0 <= searched["divergence"][1] <= searched["divergence"][0]
    call("plan", workspace, "widthwise", 0.5)

    shown = call("show_picture", workspace, file=handle_file(str(examples()[0].image_path)))
    assert shown["questions"] == []
    shown = call("show_picture", workspace, example=shown["examples"][1])
    assert shown["questions"]
    tried = call("try_plan", workspace, QUESTION)
    pruned = call("prune", workspace)
    assert pruned["id"] == "pruned-1" and pruned["parent"] == "original"
    assert pruned["parameters"] == call("look", workspace)["plan"]["parameters"][1]
    small = call("quantize", workspace, "pruned-1")
    recipe = {"train": "projector", "sft": 1.0, "l2": 0.0, "steps": 1, "batch": 2, "fraction": 0.005, "held_out": 2}
    [healed] = [x for x in call("heal", workspace, recipe)["variants"] if x["kind"] == "recovered"]
    assert healed["parent"] == "pruned-1" and healed["recipe"]["steps"] == 1 and healed["recipe"]["minutes"] is None

    asked = call("ask_models", workspace, QUESTION, ["original", "pruned-1", small["id"]], max_new_tokens=8, seed=3)
    assert [x["variant"] for x in asked["answers"]] == ["original", "pruned-1", small["id"]]
    assert all(x["ended"] and x["answer"] for x in asked["answers"]) and asked["seed"] == 3
    assert asked["answers"][1]["answer"].startswith(tried["answers"][1]["answer"][:3])  # masked is as good as cut
    read = call("compare_answers", workspace, "pruned-1")
    assert len(read["tokens"]) >= 1 and all(0 <= x["own"] <= 1 and x["kl"] >= 0 for x in read["tokens"])
    looked = call("see_attention", workspace, "pruned-1", 0)
    assert len(looked["weights"]["original"]) == looked["grid"]["rows"] * looked["grid"]["columns"]
    assert 0 < sum(looked["weights"]["original"]) <= 1.0001

    kept = call("keep_case", workspace, note="far off")
    assert [x["id"] for x in call("list_cases", workspace)] == [kept["id"]] and kept["note"] == "far off"
    link = call("make_link", workspace)
    assert "ratio=50" in link["query"] and "q=How+many" in link["query"] and link["left_out"] == ""
    assert "prune(original" in call("write_script", workspace)["text"]
    assert zipfile.is_zipfile(call("save", workspace, "pruned-1"))  # downloaded by the client

    assert call("rename", workspace, small["id"], "Tiny")["title"] == "Tiny"
    left = call("drop", workspace, "pruned-1")
    assert [x["id"] for x in left["variants"]] == ["original"]
    scored = call("score", workspace, per_task=1)
    assert scored[0]["kind"] == "original" and 0 <= scored[0]["average"] <= 1
    call("prune", workspace)
    caught = call("hunt", workspace, per_task=1)
    assert caught["models"] and caught["failures"] >= len(caught["worst"])
    assert call("cancel", workspace)["job"]["state"] == "done"


def test_answers_stream(client, workspace):
    """Growing answers come one after the other; the last one has ended."""
    job = client.submit(workspace, QUESTION, ["original"], api_name="/ask_models")
    steps = list(job)
    texts = [x["answers"][0]["answer"] for x in steps]
    assert steps[-1]["answers"][0]["ended"] and all(texts[-1].startswith(x) for x in texts)


def test_callers_never_share(call, workspace):
    """A name that nobody was given is refused, and a second workspace has nothing of the first one's."""
    with pytest.raises(AppError, match="no such workspace"):
        call("look", "mine")
    other = call("open_workspace")
    assert other["workspace"] != workspace and len(other["variants"]) == 1 and other["asked"] == 0


def test_files_of_the_server_are_not_pictures(server, call, workspace):
    """Only what was uploaded is opened as a picture, whatever path a caller writes."""
    inside = str(examples()[0].image_path)
    for file in ({"path": inside}, {"path": inside, "meta": {"_type": "gradio.FileData"}}):
        at = f"{server}gradio_api/call/show_picture"
        event = httpx.post(at, json={"data": [workspace, "", file]}).json()["event_id"]
        assert "event: error" in httpx.get(f"{at}/{event}", timeout=60).text
    assert call("show_picture", workspace)["questions"] != []


def test_a_mistake_is_said_in_the_librarys_words(call, workspace):
    """What a caller got wrong comes back as the sentence that the page would show."""
    with pytest.raises(AppError, match="out of range"):
        call("plan", workspace, "widthwise", 0.99)


def test_tools_over_the_real_protocol(server):
    """An MCP client sees every call as a described tool, opens a workspace and plans in it."""
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async def talk():
        async with streamablehttp_client(f"{server}gradio_api/mcp/") as (reading, writing, _):
            async with ClientSession(reading, writing) as session:
                await session.initialize()
                tools = (await session.list_tools()).tools
                opened = await session.call_tool("open_workspace", {"model": "pocket-llava"})
                here = ast.literal_eval(opened.content[0].text)["workspace"]
                planned = await session.call_tool("plan", {"workspace": here, "method": "layerwise", "ratio": 0.2})
                refused = await session.call_tool("look", {"workspace": "mine"})
                return tools, ast.literal_eval(planned.content[0].text), refused

    tools, planned, refused = asyncio.run(talk())
    assert {x.name for x in tools} == {x.__name__ for x in document_api.functions()}
    for tool in tools:
        assert tool.description and all(x.get("description") for x in tool.inputSchema["properties"].values()), (
            tool.name
        )
    assert planned["method"] == "layerwise" and planned["removed_layers"]
    assert refused.isError and "no such workspace" in refused.content[0].text


def test_every_documented_call_was_made(client):
    """None is left untried: the calls above are all that the app describes."""
    described = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(described) == client.called


def test_the_page_of_calls_is_current():
    """`python -m scripts.document_api` would change nothing."""
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == document_api.page()
