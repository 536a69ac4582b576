"""The command line: the same files as the library, words for people, JSON for programs, and exit codes."""

import ast
import json
import signal
import subprocess
import sys
import threading
from typing import get_args

import pytest
from typer.testing import CliRunner

import cli
import lvlm
from evaluation import SUITES
from evaluation.runner import compute
from lvlm import catalogue, load, memory
from lvlm.catalogue import find
from lvlm.chat import ChatStream
from pruning import (
    CalibrationSettings,
    Plan,
    Repair,
    Scores,
    Search,
    Unit,
    calibrate,
    make_plan,
    prune,
    published_plan,
    save,
    search_plan,
)
from pruning.plan import METHODS
from pruning.solver import METRICS
from samples import load_samples
from scripts import document_cli
from tests import tiny
from tests.test_layers import ROOT, imports


def run(*words, code=0, **options):
    """The result of a command, which must end with this exit code and never with a traceback."""
    result = CliRunner().invoke(cli.app, [str(x) for x in words], **options)
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def answered(*words, **options):
    """What a command prints with --json; nothing else may be printed."""
    result = run(*words, "--json", **options)
    assert result.stderr == ""
    return json.loads(result.stdout, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def refused(*words, **options):
    """The one sentence that a command refuses with."""
    result = run(*words, code=1, **options)
    assert result.stdout == "" and result.stderr.count("\n") == 1
    return result.stderr.strip()


@pytest.fixture(scope="module")
def tiny_model():
    return tiny.model("llama-gqa")


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return save(tiny_model, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A LLaVA instruction file with two short samples that fit a tiny model's context."""
    where = tmp_path_factory.mktemp("data")
    tiny.picture().save(where / "a.png")
    entries = [
        {"id": i, "image": "a.png", "conversations": [{"from": "human", "value": x}, {"from": "gpt", "value": "two"}]}
        for i, x in enumerate(("how many?", "dogs?"))
    ]
    (where / "data.json").write_text(json.dumps(entries))
    return where / "data.json"


@pytest.fixture(scope="module")
def scores(tiny_model, tmp_path_factory):
    return tiny.scores(tiny_model).save(tmp_path_factory.mktemp("scores") / "scores.safetensors")


# --- the way through ---


def test_the_whole_way_without_a_browser(folder, data, tmp_path):
    """calibrate → plan → prune → measure → quantize → chat, each reading the file that the one before wrote."""
    scores, plan, small, int8 = (tmp_path / x for x in ("scores.safetensors", "plan.json", "small", "int8"))
    said = run("calibrate", folder, "--data", data, "--samples", 2, "--out", scores).stdout
    assert "4 layers" in said and str(scores) in said
    assert "backbone" in run("plan", scores, "--ratio", 0.2, "--out", plan).stdout
    assert str(small) in run("prune", folder, plan, "--out", small).stdout
    counted = run("measure", small, "--repeats", 1, "--new-tokens", 2).stdout
    assert "tokens/s" in counted and "parameters" in counted
    assert "before" in run("quantize", small, "--out", int8).stdout
    answer = run("chat", int8, "--image", data.parent / "a.png", "how many?", "--max-new-tokens", 4).stdout
    assert [x["step"] for x in load(int8).history] == ["prune", "quantize"]
    image = data.parent / "a.png"
    assert answer == "".join(load(int8).chat(image, "how many?", max_new_tokens=4)) + "\n"


def test_calibrate_and_plan_write_what_the_library_would(folder, data, tmp_path):
    """The scores file holds the same numbers, the plan keeps the same units, as the library's own calls."""
    out = tmp_path / "deep" / "scores"
    told = answered("calibrate", folder, "--data", data, "--samples", 1, "--seed", 3, "--style", "paper", "--out", out)
    wanted = calibrate(load(folder), load_samples(data, n=1, seed=3), CalibrationSettings("paper"), seed=3)
    found = Scores.load(out)
    assert told["block_influence"] == found.block_influence.tolist() == wanted.block_influence.tolist()
    assert found.sample_ids == wanted.sample_ids and found.settings == wanted.settings
    assert told["digest"] == load(folder).digest() and told["file"] == str(out)


PLANS = {
    "--ratio 0.1": {"ratio": 0.1},
    "--method layerwise --ratio 0.2 --contiguous": {"method": "layerwise", "ratio": 0.2, "contiguous": True},
    "--method both --ratio 0.4 --depth-share 0.7": {"method": "both", "ratio": 0.4, "depth_share": 0.7},
    "--budget 50000": {"budget": 50000.0},
    "--ratio 0.2 --metric flops --ranking global": {"ratio": 0.2, "metric": "flops", "ranking": "global"},
    "--ratio 0.1 --protect 1 --protect 2 --round-to 8": {"ratio": 0.1, "protect": (1, 2), "round_to": 8},
    "--ratio 0.2 --pin 1 --pin 2.1 --drop 0.1": {
        "ratio": 0.2,
        "pinned": [Unit(1), Unit(2, 1)],
        "forced": [Unit(0, 1)],
    },  # fmt: skip
    "--ratio 0.1 --protect-first 1 --protect-last 2": {"ratio": 0.1, "protect_first": 1, "protect_last": 2},
}


@pytest.mark.parametrize("words", PLANS)
def test_every_option_of_plan_reaches_the_library(words, scores, tmp_path):
    """The plan file is the library's plan, to the byte."""
    run("plan", scores, *words.split(), "--out", tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text().strip() == make_plan(Scores.load(scores), **PLANS[words]).to_json()


def test_the_published_plan(scores, tmp_path):
    """--published is the paper's share of each layer, and goes with no other choice."""
    run("plan", scores, "--published", 0.4, "--out", tmp_path / "plan.json")
    assert (tmp_path / "plan.json").read_text().strip() == published_plan(Scores.load(scores), 0.4).to_json()
    run("plan", scores, "--published", 0.4, "--ratio", 0.3, "--out", tmp_path / "other.json", code=2)
    assert not (tmp_path / "other.json").exists()


def test_prune_writes_what_the_library_would(tiny_model, folder, scores, tmp_path):
    """The folder holds the library's pruned model, and the JSON describes it."""
    plan = make_plan(Scores.load(scores), ratio=0.2)
    (tmp_path / "plan.json").write_text(plan.to_json())
    told = answered("prune", folder, tmp_path / "plan.json", "--out", tmp_path / "small")
    wanted = prune(tiny_model, plan)
    assert told["digest"] == wanted.digest() == load(tmp_path / "small").digest()
    assert sum(told["parameters"].values()) == plan.cost.after.parameters.total
    assert told["loads_in_transformers"] is True or told["because"]


def test_search_and_repair_do_what_the_library_does(folder, data, scores, tmp_path):
    """`search` writes the plan of `search_plan`, `prune --repair` the model of `prune` with a Repair."""
    model, found, plan = load(folder), load_samples(data, n=2), tmp_path / "found.json"
    answered("search", folder, scores, "--data", data, "--samples", 2, "--moves", 3, "--ratio", 0.2, "--out", plan)
    made = Plan.from_json(plan.read_text())
    wanted = search_plan(model, Scores.load(scores), found, 0.2, Search(moves=3))
    assert json.loads(made.to_json()) == json.loads(wanted.to_json())
    told = answered("prune", folder, plan, "--repair", 2, "--data", data, "--out", tmp_path / "whole")
    assert told["digest"] == prune(model, made, Repair(), found).digest() != prune(model, made).digest()


def test_json_of_the_other_verbs(folder, scores, tmp_path):
    """plan, quantize, measure and chat print one JSON value that says what happened."""
    told = answered("plan", scores, "--ratio", 0.2, "--out", tmp_path / "plan.json")
    plan = Plan.from_json((tmp_path / "plan.json").read_text())
    assert told["achieved"] == plan.achieved and told["explanation"] == plan.explain()
    assert told["cost"]["after"] == plan.cost.after.to_dict()
    assert answered("quantize", folder, "--out", tmp_path / "int8")["bytes"] < load(folder).bytes()
    counted = answered("measure", folder, "--counted")
    assert counted["first_token_s"] is None and counted["bytes"] == load(folder).bytes()
    assert answered("measure", folder, "--repeats", 1, "--new-tokens", 2)["tokens_per_s"] > 0
    told = answered("chat", folder, "what?", "--max-new-tokens", 3, "--temperature", 1, "--seed", 5)
    stream = load(folder).chat(None, "what?", max_new_tokens=3, temperature=1, seed=5)
    assert told["answer"] == "".join(stream) and told["new_tokens"] == stream.stats.new_tokens and not told["stopped"]


def test_json_knows_no_nan(capsys):
    """A number that is none becomes null: strict readers refuse NaN."""
    cli.show(True, {"loss": float("nan"), "more": [1.5, float("inf")]}, "")
    assert json.loads(capsys.readouterr().out) == {"loss": None, "more": [1.5, None]}


def test_models_lists_the_catalogue(monkeypatch, tmp_path):
    """Every entry with its sizes and what fits now; one whose files are not here is listed without them."""
    monkeypatch.setenv(memory.OVERRIDE, "14")
    told = answered("models")
    assert [x["name"] for x in told] == [x.name for x in catalogue()]
    big = next(x for x in told if x["name"] == "llava-1.5-7b")
    assert sum(big["parameters"].values()) == 7_063_427_072 and big["download_bytes"] == 2 * 7_063_427_072
    assert big["memory_bytes"] == {x: memory.need(find("llava-1.5-7b").shapes, x, 2).total for x in memory.STEPS}
    assert big["fits"] == {x: size <= 14 * 2**30 for x, size in big["memory_bytes"].items()}
    assert big["fits"]["chat"] and not big["fits"]["calibrate"]
    gone = lvlm.Entry("gone", "Gone", "llama", str(tmp_path), "MIT", str(tmp_path / "config.json"), bundled=True)
    monkeypatch.setattr("lvlm.catalogue", lambda: (find("llava-1.5-7b"), gone))
    rows = run("models").stdout.splitlines()
    assert len(rows) == 4 and rows[1].split()[:5] == ["llava-1.5-7b", "7.06B", "304M", "21.0M", "6.74B"]
    assert " chat calibrate  " in rows[1] and "Llama 2" in rows[1]
    assert rows[2].split()[:3] == ["gone", "?", "?"] and "14.0 GiB" in rows[3]


def test_evaluate_scores_each_task(folder, data, monkeypatch):
    """The library's report, as a table and as JSON with every answer."""
    asked = lambda suite, n, seed, images: [("instruction", x) for x in load_samples(data, n=n, seed=seed)]  # noqa: E731
    monkeypatch.setattr("evaluation.scoring.questions", asked)
    told = answered("evaluate", folder, "--per-task", 2, "--batch-size", 1, "--suite", "easy-vqa", "--seed", 4)
    assert (told["suite"], told["seed"], told["scores"]) == ("easy-vqa", 4, {"instruction": told["average"]})
    assert [x["id"] for x in told["records"]] == [x.id for x in load_samples(data, n=2, seed=4)]
    assert run("evaluate", folder, "--per-task", 2).stdout.split() == ["instruction", "0.0%", "average", "0.0%"]


def test_experiments_of_one_run_share_what_they_make(tmp_path, monkeypatch):
    """Two experiments that ask the same models make each once; each has its tables."""
    made = []

    def serially(todo, scratch, workers, tick):
        made.extend(todo)
        return (x for work in todo for x in compute(work, scratch))

    monkeypatch.setattr("evaluation.runner._in_processes", serially)
    some = "--ratio", 0.3, "--per-task", 2, "--store", tmp_path / "store", "--tables", tmp_path
    told = answered("experiment", "zero-shot", "modality", *some)
    assert [len(x.cells) for x in made] == [2, 2, 2]  # the original and both methods, with images and without
    assert {x["images"] for x in told["modality"]} == {True, False}
    for name in ("zero-shot", "modality"):
        assert len((tmp_path / f"{name}.csv").read_text().splitlines()) == len(told[name]) + 1
        assert (tmp_path / f"{name}-cells.csv").exists()


# --- refusals ---


def test_what_a_person_causes_is_one_sentence(folder, scores, data, tmp_path):
    """Every verb: exit code 1, one line on stderr that says what to do, nothing on stdout."""
    plan, other = tmp_path / "plan.json", tmp_path / "other"
    plan.write_text(make_plan(Scores.load(scores), ratio=0.2).to_json())
    save(tiny.model("llama-gqa", seed=1), other)
    (tmp_path / "wrong").write_bytes(b"\xff\xfe nonsense")
    out = "--out", tmp_path / "new"
    assert "no model or folder called nowhere" in refused("measure", "nowhere")
    assert "no model or folder called nowhere" in refused("calibrate", "nowhere", "--samples", 1, *out)
    assert "only 2" in refused("calibrate", folder, "--data", data, *out)
    assert 'no data called "x"' in refused("calibrate", folder, "--data", "x", *out)
    assert "no scores file" in refused("plan", tmp_path / "none", *out)
    assert "is not a scores file" in refused("plan", plan, *out)
    assert "cannot be removed" in refused("plan", scores, "--ratio", 0.99, *out)
    assert "hold no 'random' importance" in refused("plan", scores, "--importance", "random", *out)
    assert "no readable plan file" in refused("prune", folder, tmp_path / "none", *out)
    assert "no readable plan file" in refused("prune", folder, tmp_path, *out)
    assert "not a plan" in refused("prune", folder, tmp_path / "wrong", *out)
    assert "made for" in refused("prune", other, plan, *out)
    assert "question is empty" in refused("chat", "nowhere", " ")
    assert "no image file" in refused("chat", "nowhere", "what?", "--image", tmp_path / "none.png")
    assert "not an image" in refused("chat", "nowhere", "what?", "--image", plan)
    assert "no model or folder" in refused("evaluate", "nowhere", "--per-task", 1, "--json")
    assert not (tmp_path / "new").exists()


def test_nothing_is_replaced_unasked(folder, scores, tmp_path, monkeypatch):
    """What lies at --out stays, to the byte, and no model is loaded to find out; --force replaces it."""
    plan, model = tmp_path / "plan.json", tmp_path / "model"
    plan.write_text("mine")
    (model / "sub").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr("lvlm.load", lambda *_, **__: pytest.fail("loaded"))
        for words in (("calibrate", folder), ("plan", scores)):
            assert "--force" in refused(*words, "--out", plan)
            assert "is a folder" in refused(*words, "--out", model, "--force")
        for words in (("prune", folder, plan), ("quantize", folder)):
            assert "--force" in refused(*words, "--out", model)
            assert "is a file" in refused(*words, "--out", plan, "--force")
    assert plan.read_text() == "mine" and [x.name for x in model.iterdir()] == ["sub"]
    run("plan", scores, "--ratio", 0.2, "--out", plan, "--force")
    assert "holds other files" in refused("prune", folder, plan, "--out", model, "--force")
    (model / "sub").rmdir()
    run("prune", folder, plan, "--out", model)  # an empty folder holds nothing to lose
    before = load(model).digest()
    run("plan", scores, "--ratio", 0.4, "--out", plan, "--force")
    run("prune", folder, plan, "--out", model, "--force")
    assert load(model).digest() != before


def test_a_place_that_cannot_be_written_is_a_sentence(scores, tmp_path):
    """A file where a folder should be: exit code 1, no traceback."""
    (tmp_path / "file").write_text("")
    assert "could not be written" in refused("plan", scores, "--out", tmp_path / "file" / "plan.json")


@pytest.mark.parametrize(
    "words",
    (
        ["unknown"],
        ["plan"],
        ["plan", "x"],
        ["plan", "x", "--out", "y", "--method", "diagonal"],
        ["plan", "x", "--out", "y", "--ratio", "0.3", "--budget", "5"],
        ["calibrate", "x", "--out", "y", "--samples", "0"],
        ["measure", "x", "--repeats", "0"],
        ["evaluate", "x", "--suite", "nothing"],
        ["chat", "x"],
    ),
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_2(words):
    """A command that cannot be understood says so on stderr and starts nothing."""
    result = run(*words, code=2)
    assert result.stdout == "" and "Usage" in result.stderr


def test_other_errors_keep_their_traceback(monkeypatch):
    """Only what a person can cause is put into a sentence: a bug is not swallowed."""
    monkeypatch.setattr("lvlm.load", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(cli.app, ["measure", "x"], catch_exceptions=False)


# --- Ctrl-C and progress ---


@pytest.mark.parametrize("as_json", (False, True))
def test_ctrl_c_stops_a_chat_cleanly(folder, monkeypatch, as_json):
    """The answer so far is shown, the generation thread has ended, and the exit code is 130."""
    pieces = []
    following = ChatStream.__next__

    def interrupted(stream):
        if len(pieces) == 2:
            pieces.append(None)
            signal.raise_signal(signal.SIGINT)
        pieces.append(following(stream))
        return pieces[-1]

    monkeypatch.setattr(ChatStream, "__next__", interrupted)
    result = run("chat", folder, "what?", "--max-new-tokens", 80, *["--json"] * as_json, code=130)
    shown = json.loads(result.stdout)["answer"] if as_json else result.stdout.removesuffix("\n")
    assert shown == "".join(pieces[:2])
    assert not as_json or json.loads(result.stdout)["stopped"] is True
    assert not [x for x in threading.enumerate() if "ChatStream" in str(getattr(x, "_target", ""))]


def test_ctrl_c_leaves_no_half_written_file(folder, data, tmp_path, monkeypatch):
    """Stopped while calibrating: exit code 130, no traceback, nothing at --out."""
    monkeypatch.setattr("pruning.calibration.Scorer.add", lambda *_: signal.raise_signal(signal.SIGINT))
    run("calibrate", folder, "--data", data, "--samples", 1, "--out", tmp_path / "scores", code=130)
    assert not list(tmp_path.iterdir())


def test_progress_is_drawn_for_a_person_only(folder, tmp_path):
    """Bars of each stage on stderr of a terminal; none with --json or into a file; never on stdout."""
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}
    drawn = run("measure", folder, "--repeats", 1, "--new-tokens", 2, env=terminal)
    assert "load" in drawn.stderr and "measure" in drawn.stderr and "3/3" in drawn.stderr
    assert "\x1b" not in drawn.stdout
    assert run("measure", folder, "--repeats", 1, "--new-tokens", 2).stderr == ""
    answered("measure", folder, "--repeats", 1, "--new-tokens", 2, env=terminal)


# --- words and manners ---


def test_help_needs_no_torch():
    """--help answers at once: nothing heavy is imported for it."""
    code = "import sys, cli; sys.argv = ['cli.py', 'plan', '--help']\ntry: cli.app()\nexcept SystemExit: pass\n"
    code += "print([x for x in ('torch', 'transformers', 'numpy', 'PIL') if x in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--ratio" in done.stdout and done.stdout.rstrip().endswith("[]")


def test_choices_are_the_librarys(folder, data):
    """The words that options accept, which cli.py repeats, are those that the library knows."""

    def words(choice):
        return set(get_args(get_args(choice)[0]))

    assert words(cli.Method) == set(METHODS) and words(cli.Metric) == set(METRICS) and words(cli.Suite) == set(SUITES)
    assert words(cli.Unit) == set(
        calibrate(load(folder), load_samples(data, n=1), CalibrationSettings(balanced=True)).importance
    )
    for style in words(cli.Style):
        for taylor in words(cli.Taylor):
            CalibrationSettings(style, taylor)
    for ranking in words(cli.Ranking):
        make_plan(tiny.scores(tiny.model()), ratio=0.1, ranking=ranking)


def test_the_documentation_is_current():
    """docs/cli.md is what the commands say of themselves now; `python -m scripts.document_cli` rewrites it."""
    assert document_cli.FILE.read_text(encoding="utf-8") == document_cli.document()


def test_the_command_line_stands_beside_the_browser():
    """cli.py imports the library and neither the browser app nor what draws it; it stays readable."""
    text = (ROOT / "cli.py").read_text(encoding="utf-8")
    assert not set(imports(ROOT / "cli.py")) & {"ui", "app", "gradio", "plotly", "scripts", "tests"}
    assert (
        ast.get_docstring(ast.parse(text)) and len(text.splitlines()) < 400 and max(map(len, text.splitlines())) <= 120
    )
