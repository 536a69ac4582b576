"""The adapter to lmms-eval, which is not installed here: `make test-lmms` runs it with lmms-eval itself."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from evaluation import lmms
from evaluation.paper import BENCHMARKS, average
from lvlm import LVLMError

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("lmms_results.json")  # in the format of lmms-eval 0.7.3, with the paper's figures
RESULTS = json.loads(FILE.read_text(encoding="utf-8"))["results"]


def test_a_results_file_gives_the_papers_row():
    """The nine columns are on the paper's scales and in its order: its formula gives LLaVA's printed average."""
    found = lmms.read_results(FILE)
    assert tuple(found) == BENCHMARKS
    assert found == pytest.approx(dict(zip(BENCHMARKS, (35.1, 68.67, 26.7, 54.8, 363.21, 1511.33, 86.99, 28.1, 61.98))))
    assert round(average(found), 1) == 53.7


def test_some_benchmarks_give_some_columns():
    """What was not run is not there; MathVista's null, which lmms-eval writes for no right answer, is zero."""
    mathvista = {"mathvista_testmini_format": {"llm_as_judge_eval,none": None}}
    assert lmms.columns(mathvista | {"other": {}}) == {"MathVista": 0.0}


@pytest.mark.parametrize(
    "results, why",
    [({}, "none of the paper's"), ({"pope": {"pope_f1_score,none": 0.8}}, "no pope_accuracy,none")],
)
def test_results_without_the_papers_scores_are_refused(results, why):
    """A column is never guessed from another metric."""
    with pytest.raises(LVLMError, match=why):
        lmms.columns(results)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"results": 3}'])
def test_other_files_are_refused(tmp_path, text):
    """One sentence, whatever the file holds."""
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(LVLMError, match="not a results file"):
        lmms.read_results(tmp_path / "x.json")


def test_only_all_nine_have_an_average():
    """AVG stands beside nine columns, and beside no fewer."""
    found = lmms.columns(RESULTS)
    assert lmms.row(found).splitlines()[0].endswith("| GQA | AVG |") and "53.70" in lmms.row(found)
    del found["POPE"]
    assert "AVG" not in lmms.row(found)


class Echo:
    """Stands for an LVLM: gives each question back, and remembers what it was asked together."""

    name, device = "echo", "cpu"

    def __init__(self):
        self.batches = []

    def generate(self, prompts, max_new_tokens, batch_size):
        self.batches.append((max_new_tokens, [(image.width if image else None, text) for image, text in prompts]))
        return [f"{text} STOP rest\n\nend" for _, text in prompts]


class Adapter(lmms.Answers):
    """With what lmms-eval's own base class would give it."""

    rank = 0


@pytest.fixture
def adapter(monkeypatch):
    echo = Echo()
    monkeypatch.setattr(lmms, "load", lambda name, **_: echo)
    found = Adapter("some/folder", batch_size="2")
    pictures = [None, *(Image.new("RGB", (width, 8)) for width in (1, 2, 3, 4))]
    found.task_dict = {"animals": {"test": pictures}}
    return found


def request(text, row=0, visuals_of=lambda picture: [picture] if picture else [], **options):
    return SimpleNamespace(args=(text, options, visuals_of, row, "animals", "test"))


def test_answers_come_back_in_order_whatever_the_batches(adapter):
    """Batches hold at most batch_size questions with one limit of tokens, longest first; each sees its own picture."""
    asked = [request("a", 1, max_new_tokens=9), request("bbb", 2, max_new_tokens=9), request("cc"), request("dd", 4)]
    asked.append(request("ee", 3, max_new_tokens=9))
    assert [x.split()[0] for x in adapter.generate_until(asked)] == ["a", "bbb", "cc", "dd", "ee"]
    assert adapter.model.batches == [
        (9, [(2, "bbb"), (3, "ee")]),
        (9, [(1, "a")]),
        (adapter.longest, [(None, "cc"), (4, "dd")]),
    ]


def test_a_task_cannot_ask_for_endless_answers(adapter):
    """A task's limit holds up to the adapter's own, which MathVista's 16,384 tokens exceed."""
    adapter.generate_until([request("a", max_new_tokens=16384)])
    assert adapter.model.batches[0][0] == 1024


def test_stop_words_end_an_answer(adapter):
    """Those that the task names; the empty line is lmms-eval's own addition to every task, and is none."""
    asked = [request("a", until=["\n\n"]), request("a", until=[" STOP"]), request("a")]
    assert adapter.generate_until(asked) == ["a STOP rest\n\nend", "a", "a STOP rest\n\nend"]


@pytest.mark.parametrize("options", [{"temperature": 0.7}, {"do_sample": True}, {"num_beams": 4}])
def test_answers_that_are_not_greedy_are_refused(adapter, options):
    """Before anything is asked, since another decoding would be another number."""
    with pytest.raises(LVLMError, match="greedy"):
        adapter.generate_until([request("a"), request("b", **options)])
    assert not adapter.model.batches


def test_other_kinds_of_tasks_are_refused(adapter):
    """Likelihoods, conversations and films are said not to work here."""
    for ask in (adapter.loglikelihood, adapter.generate_until_multi_round):
        with pytest.raises(LVLMError, match="please pick one"):
            ask([])
    with pytest.raises(LVLMError, match="animals shows more than pictures"):
        adapter.generate_until([request("a", visuals_of=lambda _: ["film.mp4"])])


def test_several_pictures_become_one():
    """Side by side in their order, at the lowest one's height, each in its own proportions."""
    red, blue = Image.new("RGB", (60, 40), "red"), Image.new("RGB", (10, 20), "blue")
    found = lmms.one_picture([red, blue], "animals")
    assert found.size == (40, 20)
    assert found.getpixel((29, 10)) == (255, 0, 0) and found.getpixel((30, 10)) == (0, 0, 255)
    assert lmms.one_picture([red], "animals") is red


@pytest.mark.parametrize("kind, key", [(None, "OPENAI_API_KEY"), ("azure", "AZURE_API_KEY")])
def test_mathvista_without_its_judge_is_refused(monkeypatch, tmp_path, kind, key):
    """It would score every answer that has to be read as wrong, without a word."""
    monkeypatch.delenv(key, raising=False)
    monkeypatch.delenv("API_TYPE", raising=False)
    if kind:
        monkeypatch.setenv("API_TYPE", kind)
    with pytest.raises(LVLMError, match=f"set {key}"):
        lmms.run("pocket-llava", tmp_path, ["pope", "mathvista_testmini_format"])


def test_lmms_eval_stays_in_its_corner():
    """Only the adapter, its local tasks and its check know lmms-eval, and nothing imports the adapter but that check."""
    corner = {"evaluation/lmms.py", "evaluation/lmms_tasks/utils.py", "benchmarks/lmms.py", "benchmarks/lmms_rows.py"}
    folders = ("lvlm", "samples", "pruning", "recovery", "evaluation", "ui", "benchmarks", "scripts")
    files = [x for folder in folders for x in (ROOT / folder).rglob("*.py")] + sorted(ROOT.glob("*.py"))
    for path in files:
        if path.relative_to(ROOT).as_posix() in corner:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [x.name for x in getattr(node, "names", ()) if isinstance(x, ast.alias)]
            names = [".".join(filter(None, (getattr(node, "module", None), x))) for x in names]
            assert not [x for x in names if x.startswith(("lmms_eval", "evaluation.lmms"))], path


def test_the_environment_is_pinned_and_has_no_torchvision():
    """Every line is one exact version: with --no-deps nothing else is installed."""
    lines = (ROOT / "requirements-lmms.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines]
    pins = [x for x in pins if x]
    assert all(x.count("==") == 1 for x in pins) and "torchvision" not in " ".join(pins)
