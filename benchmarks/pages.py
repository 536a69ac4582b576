"""Tables of benchmarks in the pages that show them: between `<!-- name -->` and `<!-- /name -->`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


def write_into(page: Path, name: str, table: str) -> None:
    """Replaces what stands between a page's marks of this name. Raises ValueError if it has none."""
    text = page.read_text(encoding="utf-8")
    marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    if not marks.search(text):
        raise ValueError(f"{page.name} has no <!-- {name} --> … <!-- /{name} -->.")
    page.write_text(marks.sub(lambda found: f"{found[1]}{table}\n{found[2]}", text), encoding="utf-8")
