"""English and Simplified Chinese in the browser: Gradio translates the labels of every tab and the tour's texts there,
and the switch between the two. What is drawn from a desk comes in its visitor's language already.
"""

import json
import re

import gradio as gr
from gradio.i18n import I18nData

from ui import glossary
from ui.arrivals import Arriving
from ui.part import Part, Start
from ui.texts import LANGUAGES, labels, preferred, say, speak, tell, tour
from ui.workspace import Desk, Desks

OURS = "ui:"  # before every label's key: Gradio's page translates each value that equals a key, a choice's value, too
NAMES = ("label", "info", "placeholder", "value")  # of a component's texts
MARKER = re.compile(r'__i18n__\{"__type__": "translation_metadata", "key": ("(?:[^"\\]|\\.)*")\}')
# Gradio's settings page changes its language this way, too; its own module is the one that is loaded already.
SWITCH = """language => {
  if (!language) return;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  const core = performance.getEntriesByType("resource").map(x => x.name).find(x => /\\/core-[^\\/]*\\.js$/.test(x));
  if (core) import(core).then(module => module.changeLocale(document.documentElement.lang));
}"""


def text(key: str) -> I18nData:
    """A text of the tour for a component that shows it as it stands: the browser picks the language."""
    return I18nData(f"tour.{key}")


def static(english: str) -> str:
    """A label within HTML that stays as it was built: the browser picks the language. One in a component."""
    return str(I18nData(OURS + english))


def translations() -> gr.I18n:
    """Everything that is translated in the browser, in both languages."""
    said = {language: _texts(language) for language in LANGUAGES}
    fixed = {x: y for x, y in labels().items() if "{" not in x}  # the others are put together before they are sent
    english, chinese = ({OURS + x: y for x, y in pairs} for pairs in (zip(fixed, fixed, strict=True), fixed.items()))
    return gr.I18n(en=english | said["en"], zh=chinese | said["zh"])


def _texts(language: str) -> dict[str, str]:
    return {
        f"tour.{key}": glossary.mark(found, language) if key.endswith(".text") else found
        for key, found in tour(language).items()
    }


class Studio(Arriving):
    """Blocks whose known labels the browser translates; in the API they stand in English. Every event says all that it
    says, from its first word to its last or to its error, in the language of the desk that it is about, which is its
    first input; where there is no such desk yet, in the browser's."""

    async def process_api(self, block_fn, inputs, *given, request=None, **named):
        key = inputs[0] if inputs else None
        headers = getattr(request, "headers", {})
        speak(self.desks.language(key) or preferred(headers.get("accept-language")))
        return await super().process_api(block_fn, inputs, *given, request=request, **named)

    def get_config_file(self):
        config = super().get_config_file()
        for component in config["components"]:
            component["props"] = marked(component["props"])
        return config

    def get_api_info(self, *options, **named):
        return _plain(super().get_api_info(*options, **named))


def marked(props: dict) -> dict:
    """A component's properties with marks in the place of known labels, its choices' included."""
    known, found = labels(), dict(props)
    for name in NAMES:
        if name == "value" and "choices" in props:
            continue  # one of the choices' values, which the server knows by that
        if isinstance(props.get(name), str) and props[name] in known:
            found[name] = static(props[name])
    if isinstance(props.get("choices"), list | tuple):
        found["choices"] = [(static(x) if x in known else x, value) for x, value in props["choices"]]
    return found


def _plain(value):
    """The same with English in the place of marks."""
    if isinstance(value, dict):
        return {key: _plain(x) for key, x in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(x) for x in value)
    return MARKER.sub(lambda found: json.loads(found[1]).removeprefix(OURS), value) if isinstance(value, str) else value


def build(desks: Desks, desk_key: gr.Textbox) -> Part:
    """The switch."""
    choice = gr.Radio(
        [(name, language) for language, name in LANGUAGES.items()],
        value=None,  # the first drawing changes it, and so sets the page's language
        label="Language",
        elem_id="language",
    )
    choice.change(None, choice, None, js=SWITCH, api_visibility="private")

    def set_language(key: str, language: str):
        """Choose the language of labels, tour and glossary: en or zh."""
        desks.at(key).speak(language)

    return Part(
        [choice],
        lambda desk: [desk.language],
        [Start(choice.input, set_language, [choice])],
        state=lambda desk: desk.language,
    )


def headers(app: gr.Blocks) -> Part:
    """The headers of the tabs and of the tour's steps: Gradio translates those of opened ones alone."""
    tabs = [x for x in app.blocks.values() if isinstance(x, gr.Tab)]
    steps = [x for x in app.blocks.values() if isinstance(x, gr.Step)]
    said, numbers = [x.label for x in tabs], [x.id for x in steps]

    def draw(desk: Desk) -> list:
        return [*(gr.Tab(say(x)) for x in said), *(gr.Step(tell(f"{x}.title")) for x in numbers)]

    return Part([*tabs, *steps], draw, state=lambda desk: None)
