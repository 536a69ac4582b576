"""The app's own API, which is also its set of MCP tools: every verb of the page as a typed, documented function.

A caller works in a workspace of its own, which `open_workspace` names; nobody guesses the name, and a name that nobody
was given is refused, so that two callers never share by accident. The page's own events are left out.
"""

import gradio as gr

from ui import casefile
from ui.endpoints import advising, healing, judging, keeping, paper, pruning, talking, voting, workspaces
from ui.workspace import Desk, Desks


def build(desks: Desks, usual: str, one_user: bool = False) -> set[str]:
    """Offer all of it inside a `gr.Blocks`, ahead of anything else there, so that no event of the page has the name.
    Gives the names. `usual`: the model of who names none. one_user: all cases and votes are everybody's."""

    def whose(desk: Desk) -> str | None:
        return None if one_user else casefile.owner(desk)

    found = [
        *workspaces.endpoints(desks, usual),
        *pruning.endpoints(desks),
        *healing.endpoints(desks),
        *talking.endpoints(desks),
        *judging.endpoints(desks),
        *keeping.endpoints(desks, whose),
        *voting.endpoints(desks, whose),
        *paper.endpoints(desks),
        *advising.endpoints(desks),
    ]
    for function in found:
        gr.api(function, api_name=function.__name__, concurrency_limit=None)
    return {x.__name__ for x in found}


def only_these(app: gr.Blocks, names: set[str]) -> None:
    """Leave every other event of the app out of the API's description and tools: it draws a page."""
    for event in app.fns.values():
        if event.api_visibility == "public" and event.api_name not in names:
            event.api_visibility = "undocumented"
