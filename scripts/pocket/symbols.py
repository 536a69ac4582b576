"""Images as the decoder would see them if the tower were perfect: for every patch the word embedding of what is there.

It lets the decoder learn its look-ups before there is a tower to speak of, and tells the tower what to aim at.
"""

import random

import numpy as np
import torch

from samples.scenes import BACKGROUNDS, GRID, SIGN_WORDS, Scene
from samples.sprites import kinds
from scripts.pocket.sizes import PATCHES, SCALE, SIDE, WIDTH

COLOURS = "teal green gray blue yellow brown red black".split()
SHAPES = "circle rectangle triangle".split()
SEEN = [kind.name for kind in kinds()] + list(BACKGROUNDS) + list(SIGN_WORDS) + COLOURS + SHAPES  # the tower's words
ROW = {word: row for row, word in enumerate(SEEN)}
BACKGROUND_ROW, SIGN_ROW = len(kinds()), len(kinds()) + len(BACKGROUNDS)


def place_vectors() -> torch.Tensor:
    """(PATCHES, WIDTH) fixed vectors that tell the patches apart, as learnt positions would."""
    draw = torch.Generator().manual_seed(7)
    rows, columns = (torch.randn(SIDE, WIDTH, generator=draw) for _ in range(2))
    own = torch.randn(PATCHES, WIDTH, generator=draw)
    grid = (rows[:, None] + columns[None]).reshape(PATCHES, WIDTH) + 0.5 * own
    return grid / grid.norm(dim=1, keepdim=True) * WIDTH**0.5 * SCALE * 0.7


def word_rows(tokenizer) -> torch.Tensor:
    """The token id of every word in SEEN."""
    return torch.tensor([tokenizer(word, add_special_tokens=False).input_ids[0] for word in SEEN])


def guess_patches(scene: Scene, rng: random.Random, noise: float = 0.04) -> np.ndarray:
    """(PATCHES,) rows of SEEN: what a good but imperfect tower would say of each patch."""
    rows = np.full((SIDE, SIDE), BACKGROUND_ROW + scene.background)
    step = SIDE / GRID
    if scene.sign:
        rows[round(scene.sign_row * step) : round((scene.sign_row + 1) * step)] = SIGN_ROW + SIGN_WORDS.index(
            scene.sign
        )
    for thing in scene.things:
        named = rng.randrange(len(kinds())) if rng.random() < 0.01 else thing.kind
        row, column = divmod(thing.cell, GRID)
        y, x = ((row + 0.5) / GRID + thing.dy) * SIDE, ((column + 0.5) / GRID + thing.dx) * SIDE
        half = thing.size * SIDE / 2
        for i in range(max(0, int(y - half)), min(SIDE, int(y + half) + 1)):
            for j in range(max(0, int(x - half)), min(SIDE, int(x + half) + 1)):
                covered = max(0, min(i + 1, y + half) - max(i, y - half)) * max(
                    0, min(j + 1, x + half) - max(j, x - half)
                )
                if covered > rng.uniform(0.3, 0.5) and rng.random() > noise:
                    rows[i, j] = named
    return rows.reshape(-1)


def true_patches(labels: np.ndarray, background: int, sign: str | None) -> np.ndarray:
    """(PATCHES,) rows of SEEN from the (size, size) labels of a drawn scene: the thing that fills ≥ 30% of a patch."""
    size = labels.shape[0] // SIDE
    blocks = labels.reshape(SIDE, size, SIDE, size).transpose(0, 2, 1, 3).reshape(PATCHES, -1)
    rows = np.full(PATCHES, BACKGROUND_ROW + background)
    for i, block in enumerate(blocks):
        seen = block[block != -1]
        if seen.size >= 0.3 * block.size:
            top = np.bincount(seen + 2).argmax() - 2
            rows[i] = SIGN_ROW + SIGN_WORDS.index(sign) if top == -2 else top
    return rows
