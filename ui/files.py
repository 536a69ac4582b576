"""Tables, other texts and pictures as files to download."""

import hashlib
import time

import gradio as gr
import pandas as pd

from lvlm.disk import home, whole
from ui.limits import KEPT_SECONDS

TEXTS = "texts"  # where they lie in this process's own folder


def written(content: str | bytes, name: str) -> str:
    """The path of a file with this in it; the same is written once. Raises NotWritten."""
    data = content.encode() if isinstance(content, str) else content
    file = home() / TEXTS / hashlib.sha256(data).hexdigest()[:16] / name
    if not file.exists():
        with whole(file, "The file") as part:
            part.write_bytes(data)
    return str(file)


def age() -> int:
    """Moves twice while a file is kept: what is drawn again when it does hands out no file that was cleared."""
    return int(2 * time.monotonic() / KEPT_SECONDS)


def as_csv(table: pd.DataFrame, name: str) -> gr.DownloadButton:
    """The button of a table's file."""
    return gr.DownloadButton(value=written(table.to_csv(index=False), f"{name}.csv"), visible=True)
