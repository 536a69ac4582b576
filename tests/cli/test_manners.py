"""How the command line behaves: refusals in one sentence, exit codes, Ctrl-C, progress, help."""

import json
import signal
import subprocess
import sys
import threading
from typing import get_args

import pytest
from typer.testing import CliRunner

import cli
from evaluation import SUITES
from lvlm import load
from lvlm.chat import ChatStream
from pruning import CalibrationSettings, Scores, calibrate, make_plan, save
from pruning.plan import METHODS
from pruning.solver import METRICS
from samples import load_samples
from scripts import document_cli
from terminal import choosing, options
from tests import tiny
from tests.cli.commands import answered, refused, run
from tests.test_layers import ROOT, imports

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
    """The words that options accept, which terminal/ repeats, are those that the library knows."""

    def words(choice):
        return set(get_args(get_args(choice)[0]))

    assert words(choosing.Method) == set(METHODS)
    assert words(choosing.Metric) == set(METRICS)
    assert words(options.Suite) == set(SUITES)
    assert words(options.Unit) == set(
        calibrate(load(folder), load_samples(data, n=1), CalibrationSettings(balanced=True)).importance
    )
    for style in words(options.Style):
        for taylor in words(options.Taylor):
            CalibrationSettings(style, taylor)
    for ranking in words(choosing.Ranking):
        make_plan(tiny.scores(tiny.model()), ratio=0.1, ranking=ranking)


def test_the_documentation_is_current():
    """docs/cli.md is what the commands say of themselves now; `python -m scripts.document_cli` rewrites it."""
    assert document_cli.FILE.read_text(encoding="utf-8") == document_cli.document()


def test_the_command_line_stands_beside_the_browser():
    """cli.py gathers the verbs of terminal/, which tests/test_layers.py keeps to the library and readable."""
    assert set(imports(ROOT / "cli.py")) == {"terminal"}
