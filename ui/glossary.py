"""The field's terms, explained where they stand: on hover and on focus, in both languages. Text in, HTML out."""

import json
import re
from functools import lru_cache
from html import escape
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "assets"
# What is left alone: formulas, tags and what links, code and headings hold.
UNTOUCHED = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|<(a|code|h\d|summary)\b.*?</\1>|<[^>]+>|&\w+;", re.DOTALL)


@lru_cache(maxsize=2)
def terms(language: str) -> dict[str, dict]:
    """Name → {"term": as it stands in texts, "also": other forms, "says": what it means}."""
    return json.loads((ASSETS / f"glossary.{language}.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=2)
def _pattern(language: str) -> tuple[re.Pattern, dict[str, str]]:
    """What finds a term, the longest first, and which it is."""
    names = {form.lower(): name for name, x in terms(language).items() for form in (x["term"], *x["also"])}
    forms = "|".join(re.escape(x) for x in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])" if language == "en" else forms, re.IGNORECASE), names


def mark(html: str, language: str = "en", most: int = 4) -> str:
    """HTML (or Markdown) with its first `most` terms explained, each once; formulas, tags and links stay."""
    pattern, names = _pattern(language)
    seen: set[str] = set()

    def explain(found: re.Match) -> str:
        name = names[found[0].lower()]
        if name in seen or len(seen) >= most:
            return found[0]
        seen.add(name)
        return _explained(found[0], name)

    parts, end = [], 0
    for part in UNTOUCHED.finditer(html):
        parts += [pattern.sub(explain, html[end : part.start()]), part[0]]
        end = part.end()
    return "".join([*parts, pattern.sub(explain, html[end:])])


def _explained(text: str, name: str) -> str:
    """The term with its meaning beside it in both languages; the style sheet shows one of them, on hover or focus."""
    said = "".join(
        f'<span lang="{language}"><b>{escape(terms(language)[name]["term"])}</b> '
        f"{escape(terms(language)[name]['says'])}</span>"
        for language in ("en", "zh")
    )
    return f'<span class="term" tabindex="0">{text}<span class="tip" role="tooltip">{said}</span></span>'
