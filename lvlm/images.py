"""Whatever a person hands in as a picture or a question → something the model can take, or a clear refusal."""

import io
import os
import struct
import warnings
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import BadImage, BadQuestion
from .files import line

LONGEST_SIDE = 20_000  # pixels; longer images are refused before they are decoded
MOST_PIXELS = 200_000_000  # 600 MB as RGB; guards against decompression bombs with short sides
LONGEST_QUESTION = 100_000  # characters; longer ones fit no context, and are refused before they are cut into tokens
# What is decoded at all; Pillow knows forty more, some by running other programs (EPS by Ghostscript).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
# What Pillow's decoders raise for damaged files: they count with whatever stands in them.
DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError,
    RuntimeError, struct.error,
)  # fmt: skip
WORKING_SIDE = 2_048  # larger images are shrunk to this: no vision tower here looks closer


def open_image(source: str | os.PathLike | bytes | Image.Image) -> Image.Image:
    """A path, file bytes or PIL image as an upright RGB image with sides ≤ 2048.

    Animations give their first frame; transparency is laid on white; CMYK, palette and grey become RGB.
    Raises BadImage for what is no image, is truncated, or exceeds 20,000 pixels a side.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limits are checked below, and other damage is raised or harmless
            image = _opened(source)
            width, height = image.size
            if max(width, height) > LONGEST_SIDE or width * height > MOST_PIXELS:
                raise BadImage(f"The image is {width}×{height} pixels: please shrink it below {LONGEST_SIDE} a side.")
            image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))  # JPEG only: decodes at a fraction of the size
            if hasattr(image, "seek"):
                image.seek(0)
            image.load()
            image = ImageOps.exif_transpose(image)
            return _rgb(_shrunk(image))
    except BadImage:
        raise
    except FileNotFoundError as error:
        raise BadImage(f"There is no image file at {source}: please check the path.") from error
    except UnidentifiedImageError as error:
        raise BadImage("This file is not an image: please choose a PNG, JPEG, WebP or GIF file.") from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"The image has far too many pixels: please shrink it below {LONGEST_SIDE} a side.") from error
    except DAMAGED as error:
        raise BadImage(f"The image cannot be read ({line(error)}): please choose another file.") from error


def _opened(source) -> Image.Image:
    if isinstance(source, Image.Image):
        return source
    if isinstance(source, bytes | bytearray):
        return Image.open(io.BytesIO(source), formats=FORMATS)
    if not isinstance(source, str | os.PathLike):
        raise BadImage(f"Expected a path, bytes or a PIL image, not {type(source).__name__}: please pass one of those.")
    if Path(source).exists() and not Path(source).is_file():
        raise BadImage(f"{Path(source).name} is not a file: please choose an image.")  # a pipe would wait for ever
    return Image.open(Path(source), formats=FORMATS)


def _shrunk(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest <= WORKING_SIDE:
        return image
    size = tuple(max(1, round(side * WORKING_SIDE / longest)) for side in image.size)
    if image.mode in ("P", "1"):  # palette indices must not be averaged
        image = image.convert("RGBA")
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith(("I", "F")):  # 16/32-bit scans: convert("RGB") would clip everything to white
        low, high = image.convert("F").getextrema()
        scale = 255.0 / (high - low) if high > low else 0.0
        image = image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
    return image.convert("RGB")


def check_question(text: str, tokens: int | None = None, context: int | None = None) -> str:
    """The question without surrounding white space.

    tokens, context: length of the whole prompt and what the model can take, where already known.
    Raises BadQuestion if it is no text, empty or too long, or the prompt leaves no room for an answer.
    """
    if not isinstance(text, str | None):
        raise BadQuestion(f"A question is a text, not {type(text).__name__}: please type one.")
    text = (text or "").strip()
    if not text:
        raise BadQuestion("The question is empty: please type one.")
    if len(text) > LONGEST_QUESTION:
        raise BadQuestion(
            f"The question is too long: it has {len(text):,} characters, and {LONGEST_QUESTION:,} are the most. "
            "Please shorten it."
        )
    if tokens is not None and context is not None and tokens >= context:
        raise BadQuestion(
            f"The question is too long: with the image it takes {tokens} tokens, "
            f"and this model's context holds {context}. Please shorten it."
        )
    return text
