"""English and Chinese: the same sentences with the same fields, nothing of one language on a page in the other."""

import ast
import asyncio
import json
import os
import re
import string
from collections.abc import Iterator

import gradio as gr
import pytest

from lvlm.errors import LVLMError
from ui import language, page, part, rail, texts
from ui.texts import ASSETS, LANGUAGES, retell, say, speak
from tests.ui.conftest import wait

TABLES = ("zh.json", "zh.library.json", "zh.errors.json")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
ENGLISH = re.compile(r"[A-Za-z]{3,}")
TAGS = re.compile(r'<span lang="\w+".*?</span>|<[^>]*>')  # and a term's meanings, which are there in both languages
# Names and units that are the same in both languages.
SAME = re.compile(
    r"LoRA|SFT|RKL|LLM|MLP|int8|[kMGT]?FLOPs|[KMGT]iB|AVG|PNG|SVG|CSV|JSONL?|HTML|Hub|zip|load\(\)|docs/[\w.]+|LLaVA|"
    r"InternVL|Bunny|Pocket|Mini|Chat|Prunoscope|easy-VQA|[Pp]ocket-\w+|PIL|English|Wilson|Bradley|Terry|Taylor|Llama|"
    r"\w+/[\w./-]+|Apache[\w.-]*|MIT|gate|down|softmax|IDEFICS\w*|Smol\w*|Qwen\w*|Instruct|Vicuna\w*|Phi\w*|hf|"
    r"Community|Licence|License|"
    r"SQA|GQA|POPE|MME|DocVQA|MathVista|AI2D|MMMU"
)

SHOWN = ("html", "markdown", "button", "downloadbutton")  # components whose value is read


def fields(text: str) -> tuple[set[str], set[str]]:
    """(all that a sentence names, what of it is more than the choice of a plural's word)."""
    found = [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name]
    return {name for name, _ in found}, {name for name, spec in found if "|" not in spec}


@pytest.mark.parametrize("table", TABLES)
def test_both_languages_have_the_same_fields(table):
    """A sentence is there in both languages and names the same fields; plurals are English's alone."""
    known = json.loads((ASSETS / "i18n" / table).read_text(encoding="utf-8"))
    assert known
    for english, chinese in known.items():
        assert english.strip() and chinese.strip() and not CHINESE.search(english), english
        every, needed = fields(english)
        if table == "zh.json":
            assert needed <= fields(chinese)[0] <= every, english
        else:  # verbs that only agree in number may go
            assert fields(chinese)[0] <= every, english


def literals(call: ast.Call) -> list[str]:
    """The texts that a call of say may be given: one, or those of an `a if x else b`."""
    given = call.args[0] if call.args else None
    sides = [given.body, given.orelse] if isinstance(given, ast.IfExp) else [given]
    return [x.value for x in sides if isinstance(x, ast.Constant) and isinstance(x.value, str)]


def test_whatever_is_said_is_there_in_chinese():
    """Every text that the code hands to `say` or `static` stands in the table."""
    said = {}
    for file in (ASSETS.parent / "ui").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("say", "static"):
                said |= dict.fromkeys(literals(node), file.name)
    assert len(said) > 250
    missing = {x: y for x, y in said.items() if x not in texts.labels()}
    assert not missing, missing


def sentences(*folders: str) -> Iterator[tuple[str, list[str], bool]]:
    """(file, each sentence of a text in the code with a NUL for every field, whether an error is raised with it)."""
    for file in sorted(x for folder in folders for x in ASSETS.parent.glob(f"{folder}/**/*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        raised = {id(x.exc.args[-1]) for x in ast.walk(tree)
                  if isinstance(x, ast.Raise) and isinstance(x.exc, ast.Call) and x.exc.args}  # fmt: skip
        for node in ast.walk(tree):
            parts = node.values if isinstance(node, ast.JoinedStr) else [node]
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                text = "".join(x.value if isinstance(x, ast.Constant) else "\0" for x in parts)
                yield f"{file.parent.name}/{file.name}", texts._ENDS.split(text), id(node) in raised


def test_what_an_error_says_in_chinese_is_what_the_code_says():
    """Every English sentence of the errors' table stands in the code still, fields for fields: none was reworded
    without its Chinese."""
    known = json.loads((ASSETS / "i18n/zh.errors.json").read_text(encoding="utf-8"))
    left_over = {re.sub(r"\{\w+\}", "\0", x) for x in known} - {os.strerror(x) for x in range(1, 40)}
    for _, said, _ in sentences("ui", "lvlm", "samples", "pruning", "recovery", "evaluation"):
        left_over -= set(said)
        for holed in (x for x in said if len(re.sub(r"\W", "", x)) > 5 and "\0" in x):
            fits = re.compile(re.escape(holed).replace("\0", ".+").replace("\\x00", ".+"))
            left_over = {x for x in left_over if not fits.fullmatch(x)}
    assert not left_over


def test_every_error_of_the_app_is_there_in_chinese():
    """What a visitor of the page got wrong is said in Chinese, whatever stands in its fields. Not those of the API and
    the command line."""
    speak("zh")
    apart = re.compile(r"endpoints/|serving\.py")
    for file, said, raised in sentences("ui"):
        if raised and not apart.search(file):
            for one in (x for x in said if x.strip("\0")):
                assert any(CHINESE.search(retell(one.replace("\0", held))) for held in ("7", "7%")), (file, one)


def test_whatever_a_job_is_doing_has_a_word():
    """Every stage that the library reports is worded on the page, in both languages."""
    speak("zh")
    for folder in ("ui", "lvlm", "samples", "pruning", "recovery", "evaluation"):
        for file in (ASSETS.parent / folder).glob("**/*.py"):
            for stage in re.findall(r'Progress\(\s*"([^"]+)"', file.read_text(encoding="utf-8")):
                assert stage in rail.STAGES and CHINESE.search(say(rail.STAGES[stage])), (file.name, stage)


def test_a_plural_has_its_own_word():
    """One of something is worded otherwise than several, and Chinese needs no plural."""
    text = "<b>{n:,}</b> {n:case|cases}."
    assert (say(text, n=1), say(text, n=1234)) == ("<b>1</b> case.", "<b>1,234</b> cases.")
    speak("zh")
    assert say(text, n=1234) == "<b>1,234</b> 个案例。"


@pytest.mark.parametrize(
    "english, chinese",
    [
        ("Pruned 30% widthwise", "宽度剪枝 30%"),
        ("Pruned 29.7% layerwise, 8-bit", "层剪枝 29.7%，8 位"),
        ("Save “Pruned 30% widthwise”", "保存“宽度剪枝 30%”"),
        ("my own name", "my own name"),
        ("Layers 0–1 are kept whole. Nothing known.", "第 0–1 层完整保留。Nothing known."),
    ],
)
def test_what_was_made_in_english_is_told_again(english, chinese):
    """Names, titles and errors that the library made come in Chinese, nested ones too; a person's name stays."""
    assert retell(english) == english
    speak("zh")
    assert retell(english) == chinese


def test_every_label_of_the_page_is_marked_for_the_browser():
    """Whatever stands on the page as it was built is in the table, or the same in both languages."""
    app = page.build_app("pocket-llava")
    missing = set()
    for component in gr.Blocks.get_config_file(app)["components"]:
        props = component["props"]
        if props.get("elem_id") == "picker":
            continue  # names of models; drawn anew on arrival
        found = [props.get(x) for x in ("label", "info", "placeholder")]
        found += [props.get("value")] if component["type"] in SHOWN else []
        found += [x[0] for x in props.get("choices") or ()]
        for text in (x for x in found if isinstance(x, str) and "__i18n__" not in x and x not in texts.labels()):
            if props.get("visible") not in (False, "hidden") and left(text, ENGLISH):
                missing.add(text)
    assert not missing
    assert "i18n" not in json.dumps(app.get_api_info(), default=str)


def left(text: str, letters: re.Pattern) -> str:
    """What of a text as it is read is in these letters."""
    return " ".join(letters.findall(SAME.sub("", TAGS.sub(" ", re.sub(r"%\{.*?\}", "", text)))))


def read(component, value) -> list[str]:
    """The texts that somebody reads of what a part draws: HTML, labels, choices, a figure's words, column heads."""
    shown = component.get_block_name() in SHOWN
    if isinstance(value, str):
        return [value] if shown else []
    if hasattr(value, "to_plotly_json"):
        drawn = value.to_plotly_json()
        axes = [x.get("title", {}).get("text") for k, x in drawn["layout"].items() if "axis" in k]
        hovers = [y for x in drawn["data"] for y in (x.get("hovertext") or [x.get("hovertemplate", "")])]
        return [x for x in (*axes, *hovers, *(x.get("name") for x in drawn["data"])) if x]
    if hasattr(value, "columns"):
        return list(value.columns)
    given = getattr(value, "_constructor_args", [{}])[0]
    told = [given.get(x) for x in ("label", "info", "placeholder", *(["value"] if shown else []))]
    return [x for x in (*told, *(x[0] for x in given.get("choices") or ())) if isinstance(x, str)]


def test_nothing_of_the_other_language_is_drawn(desks, monkeypatch):
    """All that rail, Prune, Heal and Measure say of a pruned model comes in the visitor's language, and at once in the
    other one after the switch."""
    parts, init = [], part.Part.__init__
    monkeypatch.setattr(page, "Desks", lambda shelf: desks)
    monkeypatch.setattr(part.Part, "__init__", lambda self, *a, **b: (init(self, *a, **b), parts.append(self))[0])
    page.build_app("pocket-one")
    desk = desks.at("a")
    desk.speak("zh")
    wait(desk.open("pocket-one"))
    wait(desk.prune())
    desk.measuring.opened = desk.keeping.opened = True
    for language in reversed(LANGUAGES):
        desk.speak(language)
        other, found = {"en": CHINESE, "zh": ENGLISH}[language], []
        for one in parts:
            for component, value in zip(one.outputs, one.draw(desk), strict=True):
                if component.elem_id in ("language", "picker") or "tour-news" in (component.elem_classes or []):
                    continue
                found += [(component.elem_id, left(x, other)) for x in read(component, value) if left(x, other)]
        assert not found, found


def test_no_value_is_taken_for_a_label():
    """What a choice sends back is no key of a translation, though it may read like a label: the page translates both."""
    keys = set(language.translations().translations_dict["zh"])
    assert "Neuron" in texts.labels() and not keys & {"heads", "scenes", "Neuron"}


def test_an_event_speaks_one_language_to_its_end(desks):
    """What an event yields late, and the error that ends it, come in the language of its desk; without a desk in the
    browser's."""
    with language.Studio() as app:
        app.desks = desks
        box = gr.Textbox()

        def grow(key: str):
            yield say("Cancel")
            yield say("Cancel")
            raise LVLMError("The question is empty: please type one.")

        box.submit(grow, box, box)
    desks.at("a").speak("zh")

    async def heard(key: str, header: str) -> list[str]:
        found, iterator, request = [], None, gr.Request(headers={"accept-language": header})
        while True:
            try:
                step = await app.process_api(0, [key], request=request, iterator=iterator)
            except gr.Error as error:
                return [*found, error.message]
            iterator = step["iterator"]
            found += step["data"]

    assert asyncio.run(heard("a", "en")) == ["取消", "取消", "问题是空的：请输入。"]
    assert asyncio.run(heard("b", "zh-CN,zh")) == ["取消", "取消", "问题是空的：请输入。"]
    assert asyncio.run(heard("b", "")) == ["Cancel", "Cancel", "The question is empty: please type one."]
