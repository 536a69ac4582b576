"""Taking a session along: a link that restores it, a script that replays it. In the rail, under the models at hand."""

from urllib.parse import parse_qsl

import gradio as gr

from lvlm.errors import LVLMError
from ui import links, replay, words
from ui.links import KEYS
from ui.texts import retell, say
from ui.workspace import Desks

__all__ = ["KEYS", "arrive", "build"]

COPIED = "The link is copied: it opens this model with this plan."
COPIED_ALL = "The link is copied: it opens this model with this plan and question."
WRITTEN = "The script does again what this session did: run it in the project's folder."


def build(desks: Desks, desk_key: gr.Textbox) -> gr.HTML:
    """Two buttons, and where it is said what came of the last press, or of the link that the page came by."""
    with gr.Row(elem_id="sharing", elem_classes="tight"):
        copy = gr.Button("Copy link", size="sm", min_width=90, elem_id="copy-link")
        script = gr.DownloadButton("Save as script", size="sm", min_width=90, elem_id="save-script")
    said = gr.HTML(elem_id="shared")
    typed, address = gr.Textbox(visible=False), gr.Textbox(visible=False)
    file = gr.File(visible="hidden", elem_id="script-file")

    def link(key: str, question: str) -> tuple[str, str]:
        """The address of this model, plan and question, to be copied."""
        query, left_out = links.write(desks.at(key), question or "")
        said = say(COPIED_ALL if "q=" in query else COPIED)
        return query, words.notice(f"{said} {retell(left_out)}".strip())

    def write(key: str) -> tuple:
        """This session as a script."""
        try:
            return str(replay.save(desks.at(key))), words.notice(say(WRITTEN))
        except LVLMError as error:
            return None, words.notice(str(error), "error")

    hidden = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    copy.click(
        link, [desk_key, typed], [address, said], js="(key, typed) => [key, prunoscope.typed()]", **hidden
    ).success(None, address, None, js="query => prunoscope.copyLink(query)", api_visibility="private")
    script.click(write, desk_key, [file, said], **hidden).success(
        None, file, None, js="file => prunoscope.save(file.orig_name, file.url)", api_visibility="private"
    )
    return said


def arrive(desks: Desks, key: str, address: str | None, usual: str) -> tuple[str, str]:
    """Follow the link in a page's address ("?…"), if there is one: (what is said of it, the question to lay out)."""
    try:
        link = links.read(dict(parse_qsl((address or "").removeprefix("?"))), tuple(desks.shelf.names))
        if link is None or not key:
            return "", ""
        links.follow(desks.at(key), link, usual)
    except LVLMError as error:
        return words.notice(str(error), "error"), ""
    return "", link.question or ""
