"""Why controls cannot be pressed: drawn unseen beside them, and made their tooltips by page.js. Knows desks, and
nothing of Gradio.
"""

from ui import words
from ui.texts import retell, say


def why(reasons: dict[str, str]) -> str:
    """Element id of a button → a sentence; "" where it can be pressed."""
    return "".join(f'<span hidden data-why="{id}">{words.escape(text)}</span>' for id, text in reasons.items())


def waits(desk) -> str:
    """What everything waits for that needs the model and takes a while: "" if nothing."""
    if desk.busy and desk.plan is not None:
        return say("“{title}” is under way: please wait for its end, or cancel it.", title=retell(desk.job.title))
    return loading(desk)


def loading(desk) -> str:
    """The same for what needs the model alone."""
    return "" if desk.plan is not None else say("The model is still loading.")
