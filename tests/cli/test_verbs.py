"""The command line's verbs: the same files as the library, and JSON for programs."""

import json

import pytest

import lvlm
from evaluation.runner import compute
from lvlm import catalogue, load, memory
from lvlm.catalogue import find
from pruning import (
    CalibrationSettings,
    Plan,
    Repair,
    Scores,
    Search,
    Unit,
    calibrate,
    make_plan,
    plan_in_rounds,
    prune,
    published_plan,
    search_plan,
)
from samples import load_samples
from terminal.console import show
from tests.cli.commands import answered, run


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


ROUNDS = {
    "--ratio 0.2 --ranking global --rounds 2": ((0.2, 2), {"ranking": "global"}),
    "--method both --ratio 0.4 --rounds 3 --repair --pin 2.1 --protect-first 1 --depth-share 0.7": (
        (0.4, 3),
        {"method": "both", "repair": Repair(), "pinned": [Unit(2, 1)], "protect_first": 1, "depth_share": 0.7},
    ),
    "--budget 180000 --metric bytes --rounds 2 --round-to 4 --drop 0.1": (
        (0.3, 2),
        {"budget": 180000.0, "metric": "bytes", "round_to": 4, "forced": [Unit(0, 1)]},
    ),
    "--importance balanced --ratio 0.2 --rounds 2 --seed 3": (
        (0.2, 2),
        {"importance": "balanced", "settings": CalibrationSettings(balanced=True), "seed": 3},
    ),
}


@pytest.mark.parametrize("words", ROUNDS)
def test_every_option_of_rounds_reaches_the_library(words, folder, data, tmp_path):
    """`rounds` writes the plan of `plan_in_rounds`; without a model there, or with two targets, nothing."""
    plan, (given, wishes) = tmp_path / "plan.json", ROUNDS[words]
    told = answered("rounds", folder, "--data", data, "--samples", 2, *words.split(), "--out", plan)
    wanted = plan_in_rounds(load(folder), load_samples(data, n=2, seed=wishes.get("seed", 0)), *given, **wishes)
    assert plan.read_text().strip() == wanted.to_json()
    assert told["achieved"] == wanted.achieved and f"{given[1]} rounds" in told["explanation"]
    run("rounds", folder, "--ratio", 0.2, "--budget", 180000, "--out", tmp_path / "other.json", code=2)
    assert not (tmp_path / "other.json").exists()


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
    show(True, {"loss": float("nan"), "more": [1.5, float("inf")]}, "")
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
