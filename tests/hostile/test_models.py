"""Models that somebody else made: their configurations, tokenizers, processors, chat templates and histories, made
hostile. Each loads and answers, or is refused in a sentence; nothing in them runs, and nobody is asked for more."""

import json
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lvlm import LVLM, UnknownModel, load
from lvlm.history import FILE, read_past
from lvlm.originals import reading
from lvlm.originals.configs import TOWERS
from lvlm.templates import check_template
from pruning import make_plan, prune, save
from pruning.checkpoint import card
from pruning.lineage import descent
from recovery.mapping import layer_map
from recovery.recipe import removed
from tests import tiny
from tests.hostile.generated import OUT, WORDS, hostile, texts
from tests.lvlm.originals import NAMES, TOWER, copy_of, reconfigure


def answers(model) -> bool:
    """That it can be used: asked, described, and known by its weights."""
    said = "".join(model.chat(tiny.picture(), "what?", max_new_tokens=1))
    return isinstance(said, str) and bool(model.digest()) and bool(card(model, True, "because").encode())


@cache
def saved() -> dict[str, bytes]:
    """The files of a harmless model, which the generated ones start from."""
    with tempfile.TemporaryDirectory() as place:
        folder = save(tiny.model("llama", layers=1), Path(place) / "tiny")
        return {x.name: x.read_bytes() for x in folder.iterdir()}


@cache
def original(name: str) -> dict[str, dict]:
    """The JSON files of a checkpoint in an original layout."""
    with tempfile.TemporaryDirectory() as place:
        return {x.name: json.loads(x.read_bytes()) for x in copy_of(name, Path(place)).glob("*.json")}


def changed(good: dict, *files: str):
    """(name, bytes) of one of these files, made from good ones."""
    return st.one_of(*(st.tuples(st.just(x), texts(good[x])) for x in files))


def tried(guard, folder: Path, file: str, text: bytes):
    """The outcome of loading a folder with another text in one of its files, which is put back."""
    before = (folder / file).read_bytes() if (folder / file).exists() else None
    (folder / file).write_bytes(text)
    try:
        return guard.check(lambda: answers(load(folder)))
    finally:
        (folder / file).unlink() if before is None else (folder / file).write_bytes(before)


def stock(guard) -> Path:
    folder = guard.workspace / "model"
    if not folder.exists():
        folder.mkdir()
        for name, data in saved().items():
            (folder / name).write_bytes(data)
    return folder


HARMLESS = {x: json.loads(data) for x, data in saved().items() if x.endswith(".json")}
HARMLESS |= {
    "preprocessor_config.json": HARMLESS["processor_config.json"]["image_processor"],
    "special_tokens_map.json": {"bos_token": "<s>", "eos_token": {"content": "</s>"}},
    "chat_template.json": {"chat_template": tiny.TEMPLATE},
}


@hostile("config.json", made=changed(HARMLESS, "config.json", "config.json", "config.json", "generation_config.json"))
def test_configurations(guard, made):
    """Types, depths, sizes that no memory holds, code, kernels, other models."""
    tried(guard, stock(guard), *made)


READERS = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")


@hostile("tokenizers and processors", made=changed(HARMLESS, *READERS, "special_tokens_map.json", "chat_template.json"))
def test_tokenizers_and_processors(guard, made):
    """What cuts text and pictures into numbers: in Python, in Rust, and in whatever class a file names."""
    tried(guard, stock(guard), *made)


@hostile(
    "original layouts",
    made=st.one_of(
        *(st.tuples(st.just(x), changed(original(x), "config.json", "config.json", *original(x))) for x in NAMES)
    ),
)
def test_original_layouts(guard, made):
    """The authors' own files: config.json above all, tokenizers, and what a folder inside says of its eyes."""
    name, (file, text) = made
    if not (guard.workspace / name).exists():
        copy_of(name, guard.workspace)
    tried(guard, guard.workspace / name, file, text)


# Inputs that once ended in something else than a sentence: file, what in it is changed.
ONCE = (
    ("config.json", {"model_type": []}),
    ("config.json", {"image_token_index": 7}),
    ("config.json", {"vision_feature_select_strategy": "file:///etc/passwd"}),
    ("generation_config.json", {"bos_token_id": 1e308}),
    ("generation_config.json", {"bos_token_id": 10**30}),
    ("processor_config.json", {"num_additional_image_tokens": -1}),
    ("processor_config.json", {"image_processor__rescale_factor": {}}),
    ("processor_config.json", {"image_processor__size": {"shortest_edge": 1e308}}),
    ("chat_template.json", {"chat_template": {"x": ["{{ 7 }}"]}}),
    ("chat_template.json", {"chat_template": {"x": "{{ 7 }}"}}),
    ("tokenizer.json", {"added_tokens": ...}),
    ("tokenizer.json", {"model__vocab": None}),
    ("tokenizer.json", {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}),
    ("tokenizer.json", {"pre_tokenizer": {"type": "FixedLength", "length": 0}}),
    ("tokenizer.json", {"post_processor__single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}]}),
    ("tokenizer_config.json", {"model_max_length": "x"}),
    (FILE, {"name": None, "history": None}),
    (FILE, {"name": "\ud800"}),
    (FILE, {"dtype": "load"}),
    (FILE, {"history": [{"step": "repair"}]}),
)


def test_what_once_failed(guard):
    """Each is refused, or what is wrong in it is not used."""
    for file, entries in ONCE:
        folder = stock(guard)
        if file == "chat_template.json":
            (folder / "chat_template.jinja").unlink()
        reconfigure(folder, file, **entries)
        guard.check(lambda at=folder: answers(load(at)))
        shutil.rmtree(folder)
    assert guard.worked < len(ONCE) / 2


KNOWN = tuple(x["hub"] for x in TOWERS.values())


@hostile(
    "vision towers",
    whole=st.booleans(),
    tower=st.one_of(
        st.sampled_from(["vision_tower", "/home/x/vision_tower"]),
        st.sampled_from(
            [
                *KNOWN,
                *OUT,
                *WORDS,
                "evil/model",
                "evil/clip-vit-large-patch14-336",
                "evil/model@main",
                ".",
            ]
        ),
        st.from_regex(r"[a-z]{1,4}/[a-z0-9.-]{1,8}", fullmatch=True),
        st.builds(lambda a, x: f"{a}/{x}", st.text(max_size=4), st.sampled_from(KNOWN)),
    ),
)
def test_vision_towers(guard, monkeypatch, whole, tower):
    """Whatever a configuration names for its eyes, from the network come the few that the table knows, or none."""
    asked = []

    def download(repo, *args, **options):
        asked.append(repo)
        raise UnknownModel("The network is not there: please try again.")

    monkeypatch.setattr(reading, "download", download)
    folder = guard.workspace / ("whole" if whole else "blind")
    if not folder.exists():
        copy_of("llava", guard.workspace).rename(folder)
        if not whole:
            shutil.rmtree(folder / "vision_tower")
            weights = load_file(folder / "model.safetensors")
            save_file({k: v for k, v in weights.items() if not k.startswith(TOWER)}, folder / "model.safetensors")
    reconfigure(folder, mm_vision_tower=tower)
    guard.check(lambda: load(folder))
    assert set(asked) <= {*KNOWN} and not (whole and asked)


DENSE = tiny.model("llama-gqa")


def _pruned() -> tuple[LVLM, dict]:
    """Cut twice, and what is written about that."""
    once = prune(DENSE, make_plan(tiny.scores(DENSE), "layerwise", 0.3))
    twice = prune(once, make_plan(tiny.scores(once), "widthwise", 0.3))
    repaired = {"step": "repair", "samples": 4, "error_before": 0.5, "error_after": 0.1}
    recovered = {"step": "recover", "steps": 3, "planned": 3, "recipe": {"train": "lora"}, "held_out": None}
    came = {"step": "load", "source": "somebody/model", "revision": "abc"}
    history = json.loads(json.dumps([came, *twice.history, repaired, recovered]))
    return twice, HARMLESS[FILE] | {"history": history}


PRUNED, PAST = _pruned()


@hostile("pruning.json", text=texts(PAST, PAST, HARMLESS[FILE]))
def test_histories(guard, text):
    """What was done to a model, as the file beside it says: written into a card, followed back, and gone on from."""
    (guard.workspace / FILE).write_bytes(text)

    def use():
        past = read_past(guard.workspace)
        past.check_leads_to(PRUNED.network, "model")
        model = LVLM(PRUNED.network, None, past.name or "model", past.steps)
        assert card(model, True, "because").encode() and 0 <= removed(model) <= 1
        if any(x["step"] == "prune" for x in past.steps):
            assert len(descent(model)) == len(layer_map(model, DENSE)) == len(model.anatomy.layers)
        return model

    guard.check(use)


def test_a_history_comes_with_its_model(guard):
    """Loading reads it like that, and refuses what does not lead to the weights."""
    folder = stock(guard)
    assert guard.check(lambda: load(folder)).name == "tiny-llama"
    for history in (7, [None], [{}], PAST["history"]):
        reconfigure(folder, FILE, history=history)
        assert guard.check(lambda: load(folder)) is None


# --- chat templates ---

EVIL = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ messages.__class__ }}",
    "{{ messages|attr('__class__') }}",
    "{{ messages|map(attribute='__class__')|list }}",
    "{{ messages[0]['__class__'] }}",
    "{{ '{0.__class__}'.format(messages) }}",
    "{{ '%s' % messages.__len__ }}",
    "{{ ('{0.__cl' ~ 'ass__}').format(1) }}",
    "{{ messages|groupby('__class__') }}",
    "{{ messages|sort(attribute='__doc__') }}",
    "{{ messages|selectattr('__class__')|list }}",
    "{{ lipsum.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace.__init__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__code__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% from 'x' import y %}",
    "{% set x = messages.append(1) %}{{ x }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ 'x' * 10**10 }}",
    "{{ 9**9**9 }}",
    "{{ [0] * 10**10 }}",
    "{{ 'x'.ljust(10**10) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ '{:>9999999999}'.format(1) }}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ messages|tojson(indent=10**9) }}",
    "{{ 'x'|center(10**10) }}",
    "{{ lipsum(n=10**6) }}",
    "{{ 'a'|wordwrap(1)|indent(10**9) }}",
    "{{ messages|batch(10**10)|list }}",
    "{{ range(10**7)|list|string }}",
    "{{ ('a' ~ 'b')|replace('', 'x' * 10**6) }}",
    "{% if",
    "{{",
    "{% endfor %}",
    "{{ x.y.z }}",
    "{% break %}",
    "{{ 1 / 0 }}",
    "{{ raise_exception('no') }}",
    "{% generation %}x{% endgeneration %}",
    "{{ messages | unknown }}",
    "{% call(x) y() %}{% endcall %}",
    "{{ {}[[]] }}",
    "{% autoescape true %}{% endautoescape %}",
    "{{ (" * 300,
    "{% if x %}" * 500,
    "{{ debug() }}",
    "{% debug %}",
    "{{ config }}",
    "{{ request.application }}",
    "{% set messages = none %}{{ messages[0] }}",
    "{{ ''.join(['_','_','class','_','_']) }}",
    "{{ messages|pprint|length }}",
    "{{ '\\x5f\\x5fclass\\x5f\\x5f' }}",
    "{{ messages['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ ''|format(__import__('os')) }}",
    "{{ __builtins__ }}",
)
GLUE = (
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ m['content'] }}",
    "{% if add_generation_prompt %}",
    "{% endif %}",
)


@hostile(
    "chat templates",
    text=st.one_of(
        st.sampled_from([x for x in EVIL if "__" in x]).map(lambda x: tiny.TEMPLATE + x),
        st.lists(st.sampled_from(EVIL + GLUE), min_size=2, max_size=4).map("".join),
        st.text(alphabet="{}%#_ .|()[]'xm1-", min_size=3, max_size=40),
        st.builds(lambda at, x: tiny.TEMPLATE[:at] + x + tiny.TEMPLATE[at:], st.integers(0, 300), st.text(max_size=4)),
    ),
)
def test_templates(guard, text):
    """Programs that come with a model: those that reach out of their sandbox or take no end of anything are refused."""
    guard.check(lambda: check_template(text, (("eos_token", "</s>"),), "model") or True)


def test_templates_that_are_known_to_do_harm(guard):
    """Each by itself is refused, or writes a little text about nothing but the conversation."""
    for text in EVIL:
        found = guard.check(lambda x=text: check_template(x, (("eos_token", "</s>"),), "model") or True)
        if found or "__" in text:  # the sandbox is a second wall behind the refusal: nothing gets past it either
            assert not re.search("<class|<function|<built|<module|<code|bound method|root:|uid=", said(text)), text


def said(text: str) -> str:
    """What transformers itself writes by a template; nothing where its sandbox stops it."""
    talk = [{"role": "user", "content": [{"type": "text", "text": "what ?"}]}]
    try:
        return tiny.tokenizer().apply_chat_template(talk, chat_template=text, tokenize=False)
    except Exception:  # whatever a template raises
        return ""
