"""Writes docs/api.md: every call of the app's API, which are its MCP tools, too, from the app itself.

python -m scripts.document_api
"""

import inspect
import typing
from pathlib import Path

from gradio.utils import get_function_description

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
HEAD = """# The API, and the MCP tools

Written by `python -m scripts.document_api` from the app itself. A running app shows the same under "Use via API".

Every call works in a workspace of the caller's own: `open_workspace` makes one and gives its name, and every other call
takes that name first. Nobody guesses it, and a name that nobody was given is refused, so two callers never share one by
accident. To work in one that is open in a browser, hand over its name, which the browser keeps in its session storage
under `prunoscope-desk`. A workspace that nobody used for an hour is cleared away.

From Python:

```python
from gradio_client import Client

app = Client("http://127.0.0.1:7860/")
here = app.predict(model="pocket-llava", api_name="/open_workspace")["workspace"]
app.predict(here, method="layerwise", ratio=0.25, api_name="/plan")
app.predict(here, api_name="/prune")
print(app.predict(here, "How many apples are there?", api_name="/ask_models")["answers"])
```

`Client.submit` gives the growing answers of `/ask_models` one after the other. For an MCP client, over streamable HTTP:

```json
{"mcpServers": {"prunoscope": {"url": "http://127.0.0.1:7860/gradio_api/mcp/"}}}
```

A tool's result comes as text, a Python literal. What a call refuses is said in a sentence, as on the page. One long job
runs on the machine at a time: a call waits for its turn. `heal` can return at once (`wait=False`): `look` then says how
far it is, and `cancel` stops it.
"""


def functions() -> list:
    """The API's functions, in order."""
    from ui.page import build_app

    app = build_app("pocket-llava")
    return [x.fn for x in app.fns.values() if x.api_visibility == "public"]


def document(function) -> str:
    """One call: what it does, its arguments and what comes back."""
    about, described, returns = get_function_description(function)
    lines = [f"## {function.__name__}", "", about, ""]
    hints = typing.get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    if parameters:
        lines += ["| argument | type | default | |", "|---|---|---|---|"]
        for x in parameters:
            default = "" if x.default is inspect.Parameter.empty else f"`{x.default!r}`"
            lines.append(f"| `{x.name}` | `{_type(hints[x.name])}` | {default} | {described[x.name]} |")
        lines.append("")
    return "\n".join([*lines, f"Gives: {' '.join(returns)}"])


def _type(hint) -> str:
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint).replace("typing.", "")


def page() -> str:
    """The whole of docs/api.md."""
    return "\n\n".join([HEAD.rstrip(), *(document(x) for x in functions())]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
