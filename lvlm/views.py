"""Which part of the picture each image token stands for: a grid over a part of it, as its processor cuts it."""

from dataclasses import dataclass
from math import isqrt

import numpy as np

WHOLE_FIRST = ("llava_next", "llava_onevision", "gemma3")  # of several views of a picture, the whole one comes first


@dataclass(frozen=True)
class Grid:
    """The tokens of the view that shows the whole picture.

    tokens: which of the picture's tokens they are, in rows from the top left. box: (left, top, right, bottom) of what
    the model sees, as fractions of the picture's sides; beyond 0…1 where it was padded.
    """

    rows: int
    columns: int
    box: tuple[float, float, float, float]
    tokens: range
    others: int  # tokens of closer views of its parts, which are not laid out here

    def of(self, weights: np.ndarray) -> np.ndarray:
        """(rows, columns) of weights (…, image tokens)."""
        shown = weights[..., self.tokens.start : self.tokens.stop]
        return shown.reshape(*weights.shape[:-1], self.rows, self.columns)

    def most(self, weights: np.ndarray) -> tuple[int, int, float]:
        """(row, column, weight) of the part with the largest of weights (image tokens,)."""
        laid = self.of(weights)
        row, column = np.unravel_index(int(laid.argmax()), laid.shape)
        return int(row), int(column), float(laid[row, column])


def grid_of(model, inputs: dict, size: tuple[int, int]) -> Grid | None:
    """How an encoded prompt's picture of `size` (width, height) lies on its tokens; None where that is not known.

    inputs: of `encode_prompt`, with one picture.
    """
    shown = (inputs["input_ids"][0] == model.image_token).cpu().numpy()
    total = int(shown.sum())
    if not total:
        return None
    cells = inputs.get("image_grid_thw")
    if cells is not None:  # as many rows and columns as the picture's shape asks for
        merged = model.processor.image_processor.merge_size
        rows, columns = int(cells[0, 1]) // merged, int(cells[0, 2]) // merged
        known = rows * columns == total
        return Grid(rows, columns, (0.0, 0.0, 1.0, 1.0), range(total), 0) if known else None
    count, start = _whole_view(model, inputs, shown)
    side = isqrt(count)
    if side * side != count:
        return None
    single = count == total
    box = _box(model.processor.image_processor, size) if single else (0.0, 0.0, 1.0, 1.0)
    return Grid(side, side, box, range(start, start + count), total - count)


def _whole_view(model, inputs: dict, shown: np.ndarray) -> tuple[int, int]:
    """(number of tokens, first of them) of the view that holds the whole picture."""
    first = model.network.config.model_type in WHOLE_FIRST
    total = int(shown.sum())
    edges = np.flatnonzero(np.diff(np.concatenate([[False], shown, [False]]).astype(int)))
    runs = (edges[1::2] - edges[::2]).tolist()
    if len(runs) > 1:  # views stand apart, between marks of their own
        count = runs[0] if first else runs[-1]
    else:
        pixels = inputs["pixel_values"]
        views = pixels.shape[1] if pixels.dim() == 5 else pixels.shape[0]
        if views > 1 and first:
            vision = model.network.config.vision_config
            count = (vision.image_size // vision.patch_size) ** 2
        else:
            count = total // views
    return count, 0 if first else total - count


def _box(images, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What a processor of one view leaves of a picture: a middle part, all of it, or all with a margin."""
    width, height = size
    sides = (1.0, 1.0)
    edge = (getattr(images, "size", None) or {}).get("shortest_edge")
    if getattr(images, "do_center_crop", False) and edge:
        scale = edge / min(width, height)
        sides = (images.crop_size["width"] / (width * scale), images.crop_size["height"] / (height * scale))
    elif getattr(images, "do_pad", False) and type(images).__name__.startswith("LlavaImageProcessor"):
        sides = (max(width, height) / width, max(width, height) / height)
    return ((1 - sides[0]) / 2, (1 - sides[1]) / 2, (1 + sides[0]) / 2, (1 + sides[1]) / 2)
