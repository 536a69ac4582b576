"""Where image tokens lie on the picture: checked against the pixels that the family's own processor makes."""

import numpy as np
import pytest
from PIL import Image

from lvlm import load
from lvlm.chat import encode_prompt
from lvlm.views import grid_of
from tests import checkpoints, tiny

WIDE, TALL = (60, 40), (36, 60)
GRIDS = {  # rows and columns of the whole picture, for a wide one and a tall one
    "internvl3": {WIDE: (2, 2), TALL: (2, 2)},
    "smolvlm": {WIDE: (2, 2), TALL: (2, 2)},
    "idefics3": {WIDE: (2, 2), TALL: (2, 2)},
    "llava_next": {WIDE: (4, 4), TALL: (4, 4)},
    "llava_onevision": {WIDE: (4, 4), TALL: (4, 4)},
    "gemma3": {WIDE: (2, 2), TALL: (2, 2)},
    "paligemma": {WIDE: (4, 4), TALL: (4, 4)},
    "aya_vision": {WIDE: (2, 2), TALL: (2, 2)},
    "qwen2_vl": {WIDE: (4, 6), TALL: (8, 4)},
    "qwen3_vl": {WIDE: (4, 6), TALL: (8, 4)},
}


def picture(size):
    """A smooth ramp in each colour: any crop or margin shows in it."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return Image.fromarray((255 * np.stack([x, y, (x + y) / 2], -1)).astype(np.uint8))


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("family", [*GRIDS])
def test_the_whole_view_of_every_family(family, size, tmp_path):
    """Rows and columns as the processor makes them; tokens of closer views are counted apart."""
    model = load(checkpoints.make(family, tmp_path))
    inputs = encode_prompt(model, picture(size), "what?")
    grid = grid_of(model, inputs, size)
    total = int((inputs["input_ids"] == model.image_token).sum())
    assert (grid.rows, grid.columns) == GRIDS[family][size]
    assert len(grid.tokens) == grid.rows * grid.columns and len(grid.tokens) + grid.others == total
    assert grid.of(np.ones((3, 2, total))).shape == (3, 2, grid.rows, grid.columns)
    weights = np.zeros(total)
    weights[grid.tokens[grid.columns + 1]] = 0.5
    assert grid.most(weights) == (1, 1, 0.5)
    assert grid.tokens.start == 0 or grid.tokens.stop == total


@pytest.mark.parametrize("size", [WIDE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("name", ["cropped", "padded"])
def test_the_box_is_what_the_model_sees(name, size, tmp_path):
    """The picture cut to the box and shrunk is what the processor hands to the vision tower."""
    model = tiny.model()
    images = model.processor.image_processor
    if name == "padded":
        from transformers import LlavaImageProcessorPil

        images = LlavaImageProcessorPil(do_pad=True, do_center_crop=False, size={"height": 28, "width": 28})
        model.processor.image_processor = images
    inputs = encode_prompt(model, picture(size), "what?")
    grid = grid_of(model, inputs, size)
    assert (grid.rows, grid.columns) == (2, 2)
    (left, top, right, bottom), (w, h) = grid.box, size
    seen = picture(size).crop([round(x) for x in (left * w, top * h, right * w, bottom * h)]).resize((28, 28))
    pixels = inputs["pixel_values"][0].permute(1, 2, 0).numpy() * images.image_std + images.image_mean
    inside = np.array(Image.new("L", size, 255).crop([round(x) for x in (left * w, top * h, right * w, bottom * h)]))
    inside = np.array(Image.fromarray(inside).resize((28, 28))) == 255  # not the margin
    assert inside.mean() > 0.4
    assert np.abs(pixels - np.array(seen) / 255)[inside].max() < 0.08


def test_words_alone_have_no_grid():
    """Without a picture there is nothing to lay out."""
    model = tiny.model()
    assert grid_of(model, encode_prompt(model, None, "what?"), (1, 1)) is None
