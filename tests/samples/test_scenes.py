"""Scenes and sprites: what is drawn is what the scene says."""

import random

import numpy as np
import pytest

from samples.scenes import GRID, PLACES, TRAIN_STYLES, UNSEEN_STYLE, draw, draw_with_labels, make_scene
from samples.sprites import kinds, sprite, styles


def scenes(n, **options):
    return [make_scene(random.Random(seed), **options) for seed in range(n)]


def test_there_are_a_hundred_kinds_with_names_of_their_own():
    """At least 100 kinds of object; no two share a name, and each has a visible drawing in every style."""
    table = kinds()
    assert len(table) >= 100
    assert len({kind.name for kind in table}) == len(table)
    for kind in table:
        for style in styles():
            alpha = np.asarray(sprite(kind.row, style))[..., 3]
            assert (alpha > 128).mean() > 0.04, (kind.name, style)


def test_no_training_scene_shows_the_unseen_style():
    """The style of the hard test never occurs in a scene that is drawn without asking for it."""
    assert UNSEEN_STYLE in styles() and UNSEEN_STYLE not in TRAIN_STYLES
    assert {thing.style for scene in scenes(200) for thing in scene.things} == set(TRAIN_STYLES)
    assert {t.style for scene in scenes(20, style=UNSEEN_STYLE) for t in scene.things} == {UNSEEN_STYLE}


def test_scenes_hold_one_to_six_things_in_cells_of_their_own():
    """Every number of objects from 1 to 6 occurs, no two share a cell, and none stands on the sign."""
    found = scenes(300)
    assert {len(scene.things) for scene in found} == set(range(1, 7))
    for scene in found:
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells))
        if scene.sign:
            assert all(cell // GRID != scene.sign_row for cell in cells)


def test_the_same_seed_draws_the_same_pixels():
    """A scene is a function of its seed, and its picture of the scene and the size."""
    first, second = make_scene(random.Random(5)), make_scene(random.Random(5))
    assert first == second
    assert draw(first).tobytes() == draw(second).tobytes()
    assert draw(first).tobytes() != draw(make_scene(random.Random(6))).tobytes()


@pytest.mark.parametrize("size", [64, 96, 192, 384])
def test_every_object_is_seen_in_its_cell(size):
    """At any size, the labels show each object's kind near the middle of the cell that the scene gives it."""
    for scene in scenes(25):
        image, labels = draw_with_labels(scene, size)
        assert image.size == (size, size) and image.mode == "RGB" and labels.shape == (size, size)
        for thing in scene.things:
            row, column = divmod(thing.cell, GRID)
            cell = labels[
                row * size // GRID : (row + 1) * size // GRID, column * size // GRID : (column + 1) * size // GRID
            ]
            assert (cell == thing.kind).mean() > 0.08, (kinds()[thing.kind].name, PLACES[thing.cell])
