"""The left of the Chat tab: the picture that is asked about, one's own or an example's, and questions that fit it."""

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from lvlm.errors import LVLMError
from lvlm.images import open_image
from samples import examples
from ui.inputs import Picture
from ui.workspace import Desk, Desks

EVERY = "all"
TASKS = {  # what a question tries, in plain words
    "count": "Counting",
    "presence": "Is it there?",
    "what-is-where": "What is where?",
    "where-is": "Where is it?",
    "relation": "Above, left, right",
    "choice": "Multiple choice",
    "choice-where": "Multiple choice, places",
    "reading": "Reading a sign",
    "arithmetic": "Counting kinds together",
    "listing": "Listing everything",
    "describe": "Describing",
    "general": "What is beside it?",
    "perception": "Background",
    "cognition": "Kinds of things",
}
OWN = ("Describe the image.", "How many objects are there?", "What is the background?", "List the objects.")


@dataclass(frozen=True)
class Scene:
    """An example picture and (task, question) pairs about it."""

    path: str
    title: str
    asked: tuple[tuple[str, str], ...]

    def questions(self, task: str) -> tuple[str, ...]:
        """Those of a task, or all."""
        return tuple(question for kind, question in self.asked if task in (EVERY, kind))


def scenes(task: str = EVERY) -> list[Scene]:
    """Every example picture with a question of a task, in the gallery's order."""
    found: dict[str, Scene] = {}
    for example in examples():
        path, asked = str(example.image_path), (example.task, example.question)
        before = found.get(path, Scene(path, example.title, ()))
        found[path] = Scene(path, example.title, (*before.asked, asked))
    return [x for x in found.values() if x.questions(task)]


def task_choices() -> list[tuple[str, str]]:
    """(words, task) of every task that an example tries."""
    tasks = dict.fromkeys(x.task for x in examples())
    return [("Every task", EVERY), *((TASKS.get(x, x.replace("-", " ").capitalize()), x) for x in tasks)]


def first_scene(desk: Desk) -> None:
    """Lay the first example on a desk that has seen none."""
    if desk.image is None and not desk.greeted:
        desk.greeted = True
        scene = scenes()[0]
        desk.show(open_image(scene.path), scene.questions(EVERY))


class Scenes:
    """Picture, gallery and questions; `outputs` in the order that `draw` fills them."""

    def __init__(self):
        self.picture = Picture(
            label="The picture that is asked about",
            show_label=False,
            type="filepath",
            sources=["upload", "webcam", "clipboard"],
            height=280,
            buttons=["fullscreen"],
            elem_id="picture",
        )
        self.task = gr.Dropdown(
            task_choices(), value=EVERY, label="Examples that try", elem_id="task", filterable=False
        )
        self.gallery = gr.Gallery(
            _pictures(EVERY),
            columns=4,
            height="auto",
            label="Example pictures",
            show_label=False,
            allow_preview=False,
            interactive=False,
            buttons=[],
            elem_id="gallery",
            object_fit="cover",
        )
        self.questions = gr.Dataset(
            components=["textbox"],
            samples=[],
            label="Ask about it",
            elem_id="questions",
            type="values",
            samples_per_page=12,
        )
        self.outputs = [self.picture, self.questions]

    def draw(self, desk: Desk) -> list:
        return [desk.image, gr.Dataset(samples=[[x] for x in desk.questions])]

    def wire(self, desks: Desks, desk_key: gr.Textbox, outputs: list, draw: Callable[[Desk, str], list]) -> None:
        """draw(desk, note): the values of `outputs` after another picture was laid out."""

        def sort(key: str, task: str):
            """Show the examples that try one thing."""
            return gr.Gallery(_pictures(task))

        def pick(key: str, task: str, choice: gr.SelectData):
            """Lay an example scene on the table."""
            desk, scene = desks.at(key), scenes(task)[choice.index]
            desk.show(open_image(scene.path), scene.questions(task))
            return draw(desk, "")

        def upload(key: str, path: str | None):
            """Take a person's own picture; one that cannot be read leaves the old one in place."""
            desk = desks.at(key)
            try:
                desk.show(open_image(path) if path else None, OWN)
            except LVLMError as error:
                return draw(desk, str(error))
            return draw(desk, "")

        quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        self.task.input(sort, [desk_key, self.task], self.gallery, **quiet)
        self.gallery.select(pick, [desk_key, self.task], outputs, **quiet)
        self.picture.input(
            upload,
            [desk_key, self.picture],
            outputs,
            show_progress="hidden",
            concurrency_limit=None,
            api_name="upload_picture",
        )


def _pictures(task: str) -> list[tuple[str, str]]:
    return [(x.path, x.title) for x in scenes(task)]
