"""Chat templates: programs from a checkpoint, which may write a conversation and nothing else."""

import pytest

from lvlm import BrokenCheckpoint, LVLMError, UnsafeCheckpoint, load
from lvlm.templates import check_template
from tests import tiny
from tests.lvlm.originals import reconfigure

TEMPLATES = {
    "classes": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "classes by item": "{{ ''['__class__']['__mro__'] }}",
    "classes by filter": "{{ ''|attr('__class__') }}",
    "classes by format": "{{ '{0.__class__.__mro__}'.format(1) }}",
    "classes in a branch": "{% if messages|length > 99 %}{{ messages.__class__ }}{% endif %}hello",
    "globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "an include": "{% include '/etc/passwd' %}",
    "a computed include": "{% include messages[0]['role'] %}",
    "an import": "{% import 'os' as os %}",
    "a base": "{% extends 'x' %}",
    "a change": "{% set _ = messages.append(messages[0]) %}",
    "loops in loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "a huge range": "{% for a in range(10**12) %}x{% endfor %}",
    "a huge word": "{{ 'a' * 10**10 }}",
    "padding": "{{ 'a'.ljust(10000000000) }}",
    "doubling": "{% set n = namespace(x='aaaa') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "no end of text": "{% for a in range(99999) %}xxxxxxxxx{% endfor %}",
}


@pytest.mark.parametrize("which", TEMPLATES)
def test_hostile_templates_are_refused(which):
    """Reaching out of the sandbox, reading files, or taking no end of time, memory or text."""
    with pytest.raises(UnsafeCheckpoint, match="The chat template of x"):
        check_template(TEMPLATES[which], (), "x")


@pytest.mark.parametrize("text", ["{% for x %}", "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{% generation %}"])
def test_templates_that_are_none_are_refused(text):
    """With what the template language says."""
    with pytest.raises(BrokenCheckpoint, match="is not a template"):
        check_template(text, (), "x")


def test_what_templates_may_do_stays_allowed():
    """Everything that chat templates are documented to use, and refusing a conversation in their own words."""
    for text in (
        tiny.TEMPLATE,
        "{% generation %}{{ messages[0]['content'] }}{% endgeneration %}{{ strftime_now('%d %b') }}",
        "{% for m in messages[::-1] %}{% if loop.first %}{% continue %}{% endif %}{{ m | tojson(indent=2) }}{% endfor %}",
        "{% set n = namespace(x=0) %}{% macro say(x) %}{{ x.split('a')[-1].strip() }}{% endmacro %}{{ say('banana') }}",
        "{{ raise_exception('Only system messages, please.') }}",
        "{% if tools is defined %}{{ tools }}{% endif %}{{ bos_token }}{{ messages[0].content.split('</think>')[-1] }}",
    ):
        check_template(text, (("bos_token", "<s>"),), "x")


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "chat_template.json"])
def test_templates_are_checked_wherever_they_stand(place, folder):
    """In a file of their own, in the tokenizer's settings, or in the older JSON file."""
    text = TEMPLATES["globals"]
    (folder / "chat_template.jinja").unlink()
    if place.endswith(".jinja"):
        (folder / place).write_text(text)
    else:
        reconfigure(folder, place, chat_template=text)
    with pytest.raises(UnsafeCheckpoint, match="chat template of model"):
        load(folder)


def test_a_template_that_fails_while_chatting_is_a_sentence(folder):
    """One that behaved at first, and does not take this conversation."""
    text = "{% if 'apple' in messages[0]['content'][-1]['text'] %}{{ raise_exception('No fruit.') }}{% endif %}hello"
    (folder / "chat_template.jinja").write_text(text)
    model = load(folder)
    assert model.chat(None, "what?", max_new_tokens=1)
    with pytest.raises(LVLMError, match="No fruit"):
        model.chat(None, "an apple?")
