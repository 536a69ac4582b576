"""Sizes that the three pocket models share."""

WIDTH, NEURONS, LAYERS, HEADS, CONTEXT = 192, 512, 12, 6, 1024  # of the decoder; a plain MLP has half as many again
IMAGE_SIZE, PATCH, TOWER_LAYERS = 96, 16, 6
SIDE = IMAGE_SIZE // PATCH
PATCHES = SIDE * SIDE  # image tokens
SCALE = 0.07  # standard deviation of a word embedding: its norm is then about one
