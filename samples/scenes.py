"""Scenes: one to six everyday objects on a background, some with a sign. `make_scene` decides what is where (plain
data, from a seed), `draw` paints it at any size. Questions about a scene are in `questions.py`.
"""

import math
import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

from samples.sprites import kinds, sprite

GRID = 3  # objects stand in the cells of a 3×3 grid
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
BACKGROUNDS = ("grass", "sand", "snow", "night", "sky", "brick", "wood", "water")
SIGN_WORDS = (  # none of them names a kind: a word on a sign is not the thing
    "stop go open closed exit sale shop cafe hotel bank school park zoo food milk tea cake help hello"
    " slow danger north south east west push pull hot cold new free wet left right love music art"
).split()
TRAIN_STYLES = ("fluent-3d", "fluent-flat", "noto")
UNSEEN_STYLE = "twemoji"  # never in training: the hard test
CANVAS = 192  # pixels a side, as the readers draw a scene


@dataclass(frozen=True)
class Thing:
    """One object in a scene; lengths are fractions of the canvas."""

    kind: int  # index into kinds()
    cell: int  # 0…8, reading order
    style: str
    size: float
    dx: float  # from the middle of the cell
    dy: float
    angle: float  # degrees
    flipped: bool
    light: float  # brightness factor


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]  # in reading order of their cells
    background: int  # index into BACKGROUNDS
    texture: int  # seed of the background's texture
    sign: str | None = None
    sign_row: int = 0  # the grid row that the sign takes up whole


def make_scene(rng: random.Random, style: str | None = None) -> Scene:
    """A random scene. `style`: draw every object in it; otherwise one of the training styles for each scene."""
    sign = rng.choice(SIGN_WORDS) if rng.random() < 0.2 else None
    sign_row = rng.randrange(GRID)
    cells = [c for c in range(GRID * GRID) if sign is None or c // GRID != sign_row]
    count = rng.randint(1, 6 if sign is None else 4)
    chosen = _choose_kinds(rng, count)
    scene_style = style or rng.choice(TRAIN_STYLES)
    things = []
    for kind, cell in zip(chosen, sorted(rng.sample(cells, count))):
        size = rng.uniform(0.24, 0.33)
        slack = max(0.0, (1 / GRID - size) / 2 + 0.015)
        things.append(
            Thing(
                kind,
                cell,
                scene_style,
                size,
                rng.uniform(-slack, slack),
                rng.uniform(-slack, slack),
                rng.uniform(-12, 12),
                rng.random() < 0.5,
                rng.uniform(0.85, 1.12),
            )  # fmt: skip
        )
    return Scene(tuple(things), rng.randrange(len(BACKGROUNDS)), rng.randrange(1 << 30), sign, sign_row)


def _choose_kinds(rng: random.Random, count: int) -> list[int]:
    """Kinds for `count` objects: in half of the scenes some kind comes several times, so that counting has a point."""
    total = len(kinds())
    if count == 1 or rng.random() < 0.4:
        return [rng.randrange(total) for _ in range(count)]
    repeated = rng.randint(2, count)
    main = rng.randrange(total)
    rest = [rng.randrange(total) for _ in range(count - repeated)]
    chosen = [main] * repeated + rest
    rng.shuffle(chosen)
    return chosen


# -- painting ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)  # the font that Pillow itself carries: the same everywhere


_COLOURS = {  # two colours that a background moves between
    "grass": ((86, 152, 66), (128, 188, 92)),
    "sand": ((222, 196, 140), (240, 220, 172)),
    "snow": ((228, 236, 244), (250, 252, 255)),
    "night": ((14, 18, 46), (38, 44, 84)),
    "sky": ((120, 182, 236), (196, 226, 250)),
    "brick": ((156, 74, 58), (186, 100, 78)),
    "wood": ((140, 98, 60), (172, 126, 84)),
    "water": ((24, 104, 148), (52, 146, 178)),
}


def _paint_background(name: str, texture: int, size: int) -> Image.Image:
    noise = np.random.default_rng(texture)
    low, high = (np.array(c, np.float32) for c in _COLOURS[name])
    y, x = np.mgrid[0:48, 0:48].astype(np.float32) / 48
    phase = noise.uniform(0, 6.3)
    coarse = np.asarray(Image.fromarray(noise.random((6, 6), np.float32)).resize((48, 48), Image.Resampling.BICUBIC))
    mix = 0.6 * coarse + 0.2 * noise.random((48, 48), np.float32)
    if name == "sky":
        mix = 0.25 * mix + 0.75 * y
    elif name == "water":
        mix = 0.5 * mix + 0.3 * (1 + np.sin(40 * y + 3 * np.sin(9 * x + phase))) / 2
    elif name == "wood":
        mix = 0.4 * mix + 0.5 * (np.floor(6 * x + phase) % 2) * 0.6 + 0.1 * np.sin(60 * x)
    elif name == "brick":
        row = np.floor(8 * y + phase)
        joint = ((8 * y + phase) % 1 < 0.16) | ((4 * x + 0.5 * (row % 2)) % 1 < 0.08)
        mix = np.where(joint, 1.9, 0.7 * mix)
    shade = noise.uniform(0.9, 1.08)
    pixels = (low + (high - low) * mix[..., None]) * shade
    if name == "night":
        stars = noise.random((48, 48)) < 0.012
        pixels[stars] = 210
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _paint_sign(image: Image.Image, scene: Scene) -> None:
    size, noise = image.width, random.Random(scene.texture)
    cell = size / GRID
    top, left = scene.sign_row * cell + 0.1 * cell, 0.05 * size
    pen = ImageDraw.Draw(image)
    board, ink = noise.choice((((255, 255, 255), (20, 20, 20)), ((180, 24, 30), (255, 255, 255)),
                               ((20, 84, 44), (255, 255, 255)), ((250, 210, 40), (20, 20, 20))))  # fmt: skip
    box = (left, top, size - left, top + 0.8 * cell)
    pen.rounded_rectangle(box, radius=0.1 * cell, fill=board, outline=ink, width=max(1, size // 96))
    font = _font(round(0.62 * cell))
    while pen.textlength(scene.sign.upper(), font=font) > 0.84 * size:
        font = _font(round(font.size) - 1)
    pen.text((size / 2, top + 0.4 * cell), scene.sign.upper(), fill=ink, font=font, anchor="mm")


def _stamp(thing: Thing, size: int) -> tuple[Image.Image, tuple[int, int]]:
    """The object's RGBA drawing at its size, and where its top left corner goes."""
    side = max(4, round(thing.size * size))
    stamp = sprite(kinds()[thing.kind].row, thing.style).resize((side, side), Image.Resampling.BICUBIC)
    if thing.flipped:
        stamp = stamp.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if thing.angle:
        stamp = stamp.rotate(thing.angle, Image.Resampling.BICUBIC)
    alpha = stamp.getchannel("A")
    stamp = ImageEnhance.Brightness(stamp.convert("RGB")).enhance(thing.light)
    stamp.putalpha(alpha)
    row, column = divmod(thing.cell, GRID)
    x = ((column + 0.5) / GRID + thing.dx) * size - side / 2
    y = ((row + 0.5) / GRID + thing.dy) * size - side / 2
    return stamp, (math.floor(x), math.floor(y))


def draw(scene: Scene, size: int = CANVAS) -> Image.Image:
    """The scene as an RGB image of `size`×`size` pixels; the same scene and size give the same pixels."""
    return draw_with_labels(scene, size)[0]


def draw_with_labels(scene: Scene, size: int = CANVAS) -> tuple[Image.Image, np.ndarray]:
    """The image and (size, size) int16 labels: −1 background, −2 sign, else the kind of the object seen at a pixel."""
    image = _paint_background(BACKGROUNDS[scene.background], scene.texture, size)
    labels = np.full((size, size), -1, np.int16)
    if scene.sign:
        _paint_sign(image, scene)
        cell = size / GRID
        labels[
            round((scene.sign_row + 0.1) * cell) : round((scene.sign_row + 0.9) * cell),
            round(0.05 * size) : round(0.95 * size),
        ] = -2
    for thing in scene.things:
        stamp, (x, y) = _stamp(thing, size)
        image.paste(stamp, (x, y), stamp)
        seen = np.asarray(stamp.getchannel("A")) > 96
        top, left = max(0, y), max(0, x)
        seen = seen[top - y : size - y, left - x : size - x]
        labels[top : top + seen.shape[0], left : left + seen.shape[1]][seen] = thing.kind
    return image, labels
