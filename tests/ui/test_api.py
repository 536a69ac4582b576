"""The API and the MCP tools: every documented call is made once on the bundled model, through Gradio's own client."""

import ast
import asyncio
import zipfile
from pathlib import Path

import gradio as gr
import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from evaluation import hunt
from evaluation.cases import Case, Said
from lvlm.events import LossPoint
from samples import examples
from scripts import document_api
from tests.ui import made_up
from ui import api, casefile, healing, measuring, page, picking, serving

ROOT = Path(__file__).resolve().parents[2]
QUESTION = "How many turtles are there?"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The app on the bundled model, served from this process; its address."""
    with pytest.MonkeyPatch.context() as patch:
        for home in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
            patch.setenv(home, str(tmp_path_factory.mktemp(home)))
        patch.setattr(picking, "SEARCHED_ON", 2)
        patch.setattr(measuring, "RESULTS", tmp_path_factory.mktemp("results"))
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
    with pytest.raises(AppError, match="No plan"):
        call("compare_plans", workspace)
    call("keep_plan", workspace)
    searched = call("search_shares", workspace)
    assert searched["ratio"] == 0.5 and 0 <= searched["divergence"][1] <= searched["divergence"][0]
    assert call("plan_in_rounds", workspace)["rounds"] == 4
    now = call("plan", workspace, "widthwise", 0.5)
    plans = call("compare_plans", workspace)
    assert 0 < plans["agree"] < 1 and [plans[x]["ranking"] for x in ("kept", "now")] == ["global", "layer"]
    assert plans["now"]["forecast"]["parameters"] == now["parameters"][1] and plans["removed_by_both"] > 0
    call("keep_plan", workspace)  # in its place
    assert call("compare_plans", workspace)["agree"] == 1
    call("keep_plan", workspace, False)
    with pytest.raises(AppError, match="No plan"):
        call("compare_plans", workspace)

    shown = call("show_picture", workspace, file=handle_file(str(examples()[0].image_path)))
    assert shown["questions"] == []
    shown = call("show_picture", workspace, example=shown["examples"][1])
    assert shown["questions"]
    tried = call("try_plan", workspace, QUESTION)
    layer = call("try_plan", workspace, QUESTION, unit="2")
    assert [x["title"] for x in layer["answers"]] == ["Original", "Without layer 2"]
    with pytest.raises(AppError, match="There is no head 0 of layer 99"):
        call("try_plan", workspace, QUESTION, unit="99.0")
    pruned = call("prune", workspace)
    assert pruned["id"] == "pruned-1" and pruned["parent"] == "original"
    assert pruned["parameters"] == call("look", workspace)["plan"]["parameters"][1]
    small = call("quantize", workspace, "pruned-1")
    [healed] = [x for x in call("heal", workspace, RECIPE | {"steps": 1})["variants"] if x["kind"] == "recovered"]
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
    every = call("list_answers", workspace)
    assert len(every) == 9 and sum(x["Original: right"] for x in every) == round(9 * scored[0]["average"])
    assert len(call("list_answers", workspace, task=every[0]["task"], most=5)) == 1
    assert call("list_answers", workspace, which="lost") == []
    call("prune", workspace)
    caught = call("hunt", workspace, per_task=1)
    assert caught["models"] and caught["failures"] >= len(caught["worst"])
    assert call("cancel", workspace)["job"]["state"] == "done"


@pytest.fixture(scope="module")
def pruned(call):
    """A workspace with the original and a model that half was cut from, both asked the same."""
    here = call("open_workspace")["workspace"]
    call("plan", here, "widthwise", 0.5)
    call("prune", here)
    call("show_picture", here, example=call("show_picture", here)["examples"][0])
    call("ask_models", here, QUESTION, max_new_tokens=8)
    return here


RECIPE = {"train": "projector", "sft": 1.0, "l2": 0.0, "batch": 2, "fraction": 0.005, "held_out": 2}


def test_healing_that_does_not_go_to_its_end(call, pruned, monkeypatch):
    """One is ended early and keeps its best; one that was cut short is found, gone on with, or discarded."""
    with pytest.raises(AppError, match="Nothing is healed"):
        call("finish_healing", pruned)
    assert call("unfinished_healing", pruned) == []
    for name in ("resume_unfinished", "discard_unfinished"):
        with pytest.raises(AppError, match="no unfinished run"):
            call(name, pruned)
    with pytest.raises(AppError, match="was not pruned"):
        call("heal", pruned, variant="original")
    with pytest.raises(AppError, match="choose advised, strongest"):
        call("heal", pruned, choice="magic")
    call("heal", pruned, RECIPE | {"steps": 100_000}, wait=False, choice="strongest", variant="pruned-1")
    healed = call("finish_healing", pruned)["variants"][-1]
    assert healed["id"] == "recovered-1" and healed["recipe"]["kl"] == 1.0 and healed["parent"] == "pruned-1"

    def dying(*given, **options):
        *most, report = given

        def listen(event):
            report(event)
            if isinstance(event, LossPoint) and event.step == 2:
                raise MemoryError

        return real(*most, listen, **options)

    real = healing.recover
    for end in ("resume_unfinished", "discard_unfinished"):
        monkeypatch.setattr(healing, "recover", dying)
        with pytest.raises(AppError, match="ran out of memory"):
            call("heal", pruned, RECIPE | {"steps": 3})
        monkeypatch.setattr(healing, "recover", real)
        [run] = call("unfinished_healing", pruned)
        assert (run["step"], run["of"], run["method"]) == (1, 3, "widthwise") and run["recipe"]["steps"] == 3
        left = call(end, pruned)
        assert call("unfinished_healing", pruned) == []
        assert left == [] if end.startswith("discard") else left["variants"][-1]["id"] == "recovered-2"
    call("drop", pruned, "recovered-1")
    call("drop", pruned, "recovered-2")


@pytest.fixture
def at_once(monkeypatch):
    """What an experiment or a hunt lacks is made up, instead of measured for minutes."""

    def run(cells, store, scratch, report):
        for x in cells:
            store.put(x.name, x, made_up.result(x))
        store.note((x, x.name) for x in cells)

    for module in (measuring, hunt):
        monkeypatch.setattr(module, "run", run)


def test_cases(call, pruned, at_once):
    """An answer and a failure are kept, found, judged and exported; opened again, the answers are the same; deleted,
    there is no such case."""
    kept = call("keep_case", pruned)["id"]
    assert len(call("hunt", pruned, "layerwise", per_task=1, steps="fine")["models"]) == 12
    caught = call("hunt", pruned, "widthwise", per_task=1, most=1)
    task, place = caught["worst"][0]["task"], caught["worst"][0]["place"]
    assert len(caught["worst"]) == 1 < caught["failures"] and len(caught["models"]) == 4
    of_task = call("hunt", pruned, "widthwise", per_task=1, task=task)
    assert {x["task"] for x in of_task["worst"]} == {task} and of_task["failures"] < caught["failures"]
    failure = call("keep_failure", pruned, place)
    assert failure["verdict"] == "fails" and len(failure["answers"]) == 5 and failure["breaks_at"] > 0
    with pytest.raises(AppError, match="kept already"):
        call("keep_failure", pruned, place)

    judged = call("judge_case", pruned, kept, "worse", ["miscount"], "one too many")
    assert (judged["verdict"], judged["tags"], judged["note"]) == ("worse", ["miscount"], "one too many")
    for which in ({"task": task}, {"verdict": "fails"}, {"text": failure["question"]}):
        assert [x["id"] for x in call("list_cases", pruned, **which)] == [failure["id"]]
    with pytest.raises(AppError, match="no share"):
        call("list_cases", pruned, removed="most")
    assert [x["id"] for x in call("list_cases", pruned, tag="miscount", removed="30 to 50%")] == [kept]
    table, lines, drawn = (Path(call("export_cases", pruned, x)).read_text() for x in ("csv", "jsonl", "html"))
    assert table.count("\n") == 2 and lines.count("\n") == 1 and kept in table and kept in lines  # one passes
    assert "data:image/png" in drawn and "one too many" in drawn

    again = call("reopen_case", pruned, kept)
    assert again["same"] and [x["now"] for x in again["answers"]] == [x["then"] for x in again["answers"]]
    call("list_cases", pruned)
    assert [x["id"] for x in call("delete_case", pruned, kept)] == [failure["id"]]
    for name in ("reopen_case", "delete_case", "judge_case"):
        with pytest.raises(AppError, match="no case"):
            call(name, pruned, kept)


@pytest.mark.parametrize("one_user", (False, True))
def test_who_lists_which_cases(desks, one_user):
    """Those of another workspace stand in the list where the app was started for one user alone."""
    case = Case("how many?", (Said("original", "original", "Original", "two"),), "one", "digest")
    casefile.book().keep(case, "another")
    desks.at("a")
    with gr.Blocks() as app:
        api.build(desks, "one", one_user)
    [list_cases] = [x.fn for x in app.fns.values() if x.api_name == "list_cases"]
    assert [x["id"] for x in asyncio.run(list_cases("a"))] == [case.id] * one_user


def test_blind_votes(call, pruned):
    """Names come after the vote, which is cast once; the score has an interval."""
    with pytest.raises(AppError, match="no answers to judge"):
        call("vote", pruned, "left")
    assert call("vote_score", pruned) == []
    pair = call("next_pair", pruned)
    assert set(pair["answers"]) == {"left", "right"} and pair["names"] is pair["truth"] is None
    assert Path(pair["picture"]).read_bytes().startswith(b"\x89PNG")
    voted = call("vote", pruned, "left")
    assert voted["question"] == pair["question"] and "Original" in voted["names"].values() and voted["truth"]
    with pytest.raises(AppError, match="judged already"):
        call("vote", pruned, "right")
    score = {x["title"]: x for x in call("vote_score", pruned)}
    preferred = score[voted["names"]["left"]]
    assert preferred["won"] == 1 and 0 <= preferred["interval"][0] < preferred["interval"][1] <= 1
    own = call("next_pair", pruned, "own", "What is this?", ["original", "pruned-1"])
    assert own["question"] == "What is this?" and own["truth"] is None


def test_experiments_and_advice(call, pruned, at_once):
    """What ships is given without a run; the rest is measured; a goal leads to ways with evidence, one to a plan."""
    known = {x["name"]: x for x in call("list_experiments", pruned)}
    assert known["zero-shot"]["complete"] and "Table 2" in known["zero-shot"]["paper"]
    found = call("experiment_results", pruned, "zero-shot")
    assert found["measured"] == found["of"] == len(found["rows"]) and "%" in found["finding"]
    assert found["rows"][0]["method"] == "dense" and found["claims"]
    missing = call("experiment_results", pruned, "zero-shot", per_task=2)
    assert missing["measured"] == 0 < missing["of"] and missing["rows"] == []
    made = call("run_experiment", pruned, "zero-shot", per_task=2)
    assert made["measured"] == made["of"] == missing["of"] and made["rows"]
    every, lost = (call("list_answers", pruned, "experiment", "widthwise 60%", which=x) for x in ("all", "lost"))
    assert 0 < len(lost) < len(every) == 18
    assert lost == [x for x in every if x["Original: right"] and not x["widthwise 60%: right"]]
    with pytest.raises(AppError, match="no experiment"):
        call("run_experiment", pruned, "magic")

    advice = call("advise", pruned, memory=0.7, kept=0.9, int8=False)
    best = advice["ways"][0]
    assert best["memory"] <= 0.7 and best["kept"] > 0 and best["evidence"][0]["points"]
    planned = call("take_advice", pruned)
    assert (planned["method"], planned["ratio"]) == (best["method"], best["ratio"])
    assert call("advise", pruned, memory=0.01)["ways"] == []
    with pytest.raises(AppError, match="another goal"):
        call("take_advice", pruned)


def test_answers_stream(client, workspace):
    """Growing answers come one after the other; the last one has ended."""
    job = client.submit(workspace, QUESTION, ["original"], api_name="/ask_models")
    steps = list(job)
    texts = [x["answers"][0]["answer"] for x in steps]
    assert steps[-1]["answers"][0]["ended"] and all(texts[-1].startswith(x) for x in texts)


def test_a_question_is_asked_again_and_taken_back(client, call, workspace):
    """Above temperature 0 the next seed, or any, in the place of the last answers; taken back, they are gone."""
    while call("look", workspace)["asked"]:
        call("take_back", workspace)
    for name in ("take_back", "ask_again"):
        with pytest.raises(AppError, match="ask a question first"):
            call(name, workspace)
    first = call("ask_models", workspace, QUESTION, ["original"], max_new_tokens=12, temperature=1.5, seed=3)
    again = list(client.submit(workspace, api_name="/ask_again"))
    assert again[-1]["seed"] == 4 and again[-1]["question"] == QUESTION and again[-1]["answers"][0]["ended"]
    with pytest.raises(AppError, match="no seed"):
        call("ask_again", workspace, 2**40)
    assert call("ask_again", workspace, 3)["answers"][0]["answer"] == first["answers"][0]["answer"]
    assert call("look", workspace)["asked"] == 1
    assert call("take_back", workspace)["seed"] == 3 and call("look", workspace)["asked"] == 0


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
