"""Chat templates, which are programs that come with a checkpoint: read for what they reach for, and tried apart first.

transformers runs them in Jinja's sandbox. Here one that reaches out of it, or takes no end of time, memory or text for
a short conversation, is refused before it is used. The trial is a process of its own, with limits the system enforces.
"""

import json
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import jinja2
from jinja2 import meta, nodes

from .errors import BrokenCheckpoint, UnsafeCheckpoint
from .files import line
from .trial import environment

TRIAL = Path(__file__).with_name("trial.py")
SECONDS = 60  # of waiting for the trial, which takes a fifth of one; its processor time is limited by itself


def check_templates(processor, folder: str) -> None:
    """Raise UnsafeCheckpoint or BrokenCheckpoint for a chat template that must not be used."""
    special = tuple(sorted((k, str(v)) for k, v in processor.tokenizer.special_tokens_map.items()))
    for found in (processor.chat_template, processor.tokenizer.chat_template):
        for text in found.values() if isinstance(found, dict) else [found]:
            if text and not isinstance(text, str):
                raise BrokenCheckpoint(f"The chat template of {folder} is no text: please download it again.")
            if text:
                check_template(text, special, folder)


@cache
def check_template(text: str, special: tuple, folder: str) -> None:
    """special: (name, token) pairs that a template may write."""
    refused = f"The chat template of {folder}"
    try:
        tree = environment().parse(text)
    except (jinja2.TemplateSyntaxError, RecursionError) as error:
        raise BrokenCheckpoint(f"{refused} is not a template ({line(error)}): please download it again.") from error
    if list(meta.find_referenced_templates(tree)):  # None stands for a name that is only computed
        raise UnsafeCheckpoint(f"{refused} reads other files: please use one that stands by itself.")
    names = [x.attr for x in tree.find_all(nodes.Getattr)] + [x.name for x in tree.find_all(nodes.Name)]
    names += [x.arg.value for x in tree.find_all(nodes.Getitem) if isinstance(x.arg, nodes.Const)]
    filters = [*tree.find_all(nodes.Filter)]  # of which some take an attribute's name
    given = [x for f in filters for x in (*f.args, *(k.value for k in f.kwargs))]
    names += [x.value for x in given if isinstance(x, nodes.Const)]
    names += ["attr filter"] * any(x.name == "attr" for x in filters)
    inner = next((x for x in names if str(x).startswith(("__", "attr filter"))), None)
    if inner:
        raise UnsafeCheckpoint(f"{refused} reaches into Python itself ({inner}): please use one that only writes text.")
    why = _trial(text, special)
    if why:
        raise UnsafeCheckpoint(f"{refused} {why}: please use one that only writes a conversation.")


def _trial(text: str, special: tuple) -> str | None:
    """What is wrong with a template, found out by rendering short conversations in another process."""
    asked = json.dumps({"template": text, "special": dict(special)})
    words = [sys.executable, "-I", str(TRIAL)]
    try:
        done = subprocess.run(words, check=False, input=asked, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return "does not end"
    if done.returncode in (-signal.SIGPROF, -signal.SIGXCPU):
        return "does not end"
    if done.returncode:
        return "takes no end of memory"
    return json.loads(done.stdout)
