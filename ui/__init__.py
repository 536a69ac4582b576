"""The browser app: one reader of the library, never the place where work happens.

`build_app` makes the page; everything it shows comes from `lvlm`, `samples` and `pruning`.
"""

__all__ = ["build_app"]


def build_app(model: str = "pocket-llava"):
    """The Gradio page, opening `model`. Imported late: `import ui` alone must not pull in gradio."""
    from ui.page import build_app as build

    return build(model)
