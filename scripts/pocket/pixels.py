"""Pictures → the numbers that a model's image processor makes of them, without its overhead."""

import numpy as np
import torch
from PIL import Image

from scripts.pocket.sizes import IMAGE_SIZE


def pixels(image: Image.Image, mean: list[float], std: list[float]) -> torch.Tensor:
    """(3, IMAGE_SIZE, IMAGE_SIZE) of a square image, normalised by channel."""
    small = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (mean, std))
    return (torch.from_numpy(np.array(small)).permute(2, 0, 1) / 255 - mean) / std
