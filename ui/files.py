"""Tables as files to download."""

import hashlib
import tempfile
from pathlib import Path

import gradio as gr
import pandas as pd


def as_csv(table: pd.DataFrame, name: str) -> gr.DownloadButton:
    """The button of a table's file; the same table is written once."""
    text = table.to_csv(index=False)
    folder = Path(tempfile.gettempdir()) / "prunoscope" / hashlib.sha256(text.encode()).hexdigest()[:16]
    file = folder / f"{name}.csv"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return gr.DownloadButton(value=str(file), visible=True)
