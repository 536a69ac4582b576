"""Inputs that hand on what a person gave as it is: what is wrong with it is said by the library, in its own words.

Gradio's own checks would answer first, as an error without a next step. Importing this makes Gradio write a stub
file (inputs.pyi) beside it, which git ignores.
"""

import gradio as gr


class Picture(gr.Image):
    """An image input giving the uploaded file's path, unopened; `open_image` judges it."""

    is_template = True  # drawn by Gradio's own Image

    def preprocess(self, payload):
        return payload.path if payload else None


class Dial(gr.Slider):
    """A slider whose number box may hold anything; plans and calibration judge their own ranges."""

    is_template = True

    def preprocess(self, payload):
        return payload


class Choice(gr.Radio):
    """A radio group whose choices change while the page is open: who calls the API never saw them drawn. What is no
    choice is refused by whoever takes it."""

    is_template = True

    def preprocess(self, payload):
        return payload

    def api_info(self) -> dict:
        return {"type": "string"}
