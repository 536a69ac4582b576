"""Tables and other texts as files to download."""

import hashlib
import tempfile
from pathlib import Path

import gradio as gr
import pandas as pd


def written(text: str, name: str) -> str:
    """The path of a file with this text; the same text is written once."""
    folder = Path(tempfile.gettempdir()) / "prunoscope" / hashlib.sha256(text.encode()).hexdigest()[:16]
    file = folder / name
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return str(file)


def as_csv(table: pd.DataFrame, name: str) -> gr.DownloadButton:
    """The button of a table's file."""
    return gr.DownloadButton(value=written(table.to_csv(index=False), f"{name}.csv"), visible=True)
