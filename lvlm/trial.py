"""A process that renders one chat template with hard limits on time and memory, and says what it tried to do.

Run as a script by templates.py: the template comes on stdin, a JSON string or null goes to stdout. Imports Jinja alone.
"""

import json
import resource
import signal
import sys

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock
from jinja2.sandbox import ImmutableSandboxedEnvironment

CPU_SECONDS = 0.5  # a hundred times what a conversation takes
MEMORY = 512 << 20
MOST_TEXT = 1 << 18  # characters written for a conversation of a hundred
IMAGE = {"type": "image"}


def conversations() -> list[list[dict]]:
    """With an image and without, to be answered and answered, one turn and two."""
    ask = {"role": "user", "content": [IMAGE, {"type": "text", "text": "What is to be seen?"}]}
    say = {"role": "assistant", "content": [{"type": "text", "text": "An apple."}]}
    again = {"role": "user", "content": [{"type": "text", "text": "How many?"}]}
    return [[ask], [again], [ask, say], [ask, say, again, say]]


class Generation(Extension):
    """The {% generation %} block of chat templates, which only marks what it holds."""

    tags = {"generation"}

    def parse(self, parser):
        start = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return CallBlock(self.call_method("_inside"), [], [], body).set_lineno(start)

    def _inside(self, caller) -> str:
        return caller()


def environment() -> ImmutableSandboxedEnvironment:
    """The sandbox that chat templates are written for, as transformers documents it."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    made.filters["tojson"] = lambda x, **options: json.dumps(x, ensure_ascii=False)
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = lambda form: "1 January 2026"
    return made


def _raise(message) -> None:
    raise jinja2.TemplateError(str(message))


def trial(template: str, special: dict) -> str | None:
    """What is wrong with a template, in words that go on "The chat template … "; None if nothing is."""
    made = environment().from_string(template)
    for messages in conversations():
        for ask in (True, False):
            try:
                text = made.render(messages=messages, add_generation_prompt=ask, **special)
            except jinja2.sandbox.SecurityError as error:
                return f"tries to leave its sandbox ({error})"
            except (MemoryError, OverflowError):
                return "takes no end of memory"
            except RecursionError:
                return "does not end"
            except Exception:  # noqa: S112 - a conversation that it does not take; that is told where one is asked
                continue
            if len(text) > MOST_TEXT:
                return f"writes {len(text):,} characters for a short conversation"
    return None


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    json.dump(trial(asked["template"], asked["special"]), sys.stdout)
