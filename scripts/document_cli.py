"""Writes docs/cli.md: the help of every command, as the command line itself would print it.

python -m scripts.document_cli
"""

from pathlib import Path

import typer
from typer.cli import get_docs_for_click

import cli

FILE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
NOTE = "<!-- Written by `python -m scripts.document_cli` from the commands' own help: change it there. -->\n\n"
WHOLE_WAY = """## The whole way

```console
$ python cli.py calibrate pocket-llava --samples 10 --out out/scores.safetensors
$ python cli.py plan out/scores.safetensors --method widthwise --ratio 0.3 --out out/plan.json
$ python cli.py prune pocket-llava out/plan.json --out out/pocket-30
$ python cli.py recover out/pocket-30 --teacher pocket-llava --samples 4000 --set minutes=10 --out out/healed-30
$ python cli.py measure out/healed-30
$ python cli.py quantize out/healed-30 --out out/healed-30-int8
$ python cli.py chat out/healed-30 --image assets/examples/turtles-on-sand.jpg "How many turtles are there?"
$ python cli.py evaluate out/healed-30 --suite scenes --per-task 50
```
"""


def document() -> str:
    """The help of all commands as Markdown."""
    group = typer.main.get_command(cli.app)
    context = typer.Context(group, info_name=group.name)
    text = get_docs_for_click(obj=group, ctx=context, name="python cli.py", title="The command line")
    return f"{NOTE}{text.strip()}\n\n{WHOLE_WAY}"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(document(), encoding="utf-8")
