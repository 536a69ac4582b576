"""Pictures of every kind that a person may upload, and damaged ones: an upright RGB image of a bounded size, or a
sentence. Nothing is decoded before its size is known, and no other program is asked to."""

import base64
import io
import os
import struct
import zlib

import pytest
from hypothesis import strategies as st
from PIL import Image

from lvlm import open_image
from lvlm.images import WORKING_SIDE
from tests.hostile.generated import CUT, damaged, hostile

MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F", "LAB"),
    "PPM": ("1", "L", "RGB", "I;16"),
    "JPEG2000": ("L", "RGB", "RGBA", "I;16"),
}
SIZES = [(1, 1), (1, 2), (7, 5), (64, 48), (1, 3000), (3000, 1), (2049, 3), (1, 20_000), (20_000, 1), (1, 20_001)]


def stored(mode: str, size, kind: str, turned: int = 0, frames: int = 1) -> bytes:
    image = Image.new(mode, size)
    if turned:
        image.getexif()[0x0112] = turned
    more = {"exif": image.getexif()} if turned and kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    if frames > 1 and kind in ("PNG", "GIF", "WEBP", "TIFF"):
        more |= {"save_all": True, "append_images": [Image.new(mode, size, 1) for _ in range(frames - 1)]}
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def png(width: int, height: int, data: bytes = b"", depth: int = 8, colour: int = 2) -> bytes:
    """A PNG that says what it likes of its size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    """A PNG whose comment unpacks to a gigabyte."""
    whole, packed = png(4, 4, b"\0" * 52), zlib.compress(b"\0" * (1 << 26), 9)
    body = b"Comment\0\0" + packed
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    return whole[:33] + chunk * 16 + whole[33:]


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF whose canvas and frames are as large as they say, in a few bytes."""
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0\x02\x02\x44\x01\0"
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b"\x3b"


def unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


KNOWN = {
    "EPS, which Ghostscript would run": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "SVG with entities": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
    "HTML": b"<html><img src='http://127.0.0.1:9/'></html>",
    "PDF": b"%PDF-1.4\n%%EOF",
    "zip": b"PK\x03\x04" + b"\0" * 100,
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94",
    "a bomb of 2^31 a side": png(2**31 - 1, 2**31 - 1),
    "a bomb just inside the sides": png(19_000, 19_000),
    "wide and endless": png(2**31 - 1, 1),
    "no pixels": png(0, 0),
    "less data than pixels": png(500, 500, b"\0" * 10),
    "sixteen bits": png(4, 4, b"\0" * 100, depth=16),
    "a comment of a gigabyte": text_bomb(),
    "a huge animation": gif(65_535, 65_535, 100),
    "many frames": gif(16, 16, 5000),
    "nothing": b"",
    # Damaged TIFFs whose strips begin at a fraction, at which Pillow fails with a TypeError.
    "a fraction for a place": unpacked(
        "eNrz9NRi4GBgYOBmYGBkYWAEsjiBmBHKZgdiJkZmBmYgPQmImYFskDgIs0HZIN2CjKxg9gwgFoKKswGxKJQN0i+GZKY4lL0X"
        "iGWQzGQAm8cBNpNC/Q0NYNTBAACVmAgn"
    ),
    "another fraction": unpacked(
        "eNrz9NRi4GBgYOBmYGBkYWAEsjiBmBHKZgdiJkZmBmYgPQmImYFskDgIs0HZTEAsyMgDZs8AYiGoOBsQi0LZIP1iSGaKQ9l7gVgGyc"
        "wMIMEBhsMFeBIdvp8Y8YUvRP0PRsrCFwQg4cvIMIQREgAAW30I7Q=="
    ),
}


@pytest.mark.parametrize("which", KNOWN)
def test_what_is_known_to_do_harm(guard, which):
    """Bombs, programs in the guise of pictures, files that name other files: refused, or a small picture."""
    found = guard.check(lambda: open_image(KNOWN[which]))
    assert found is None or max(found.size) <= WORKING_SIDE and found.mode == "RGB"
    if which in ("EPS, which Ghostscript would run", "SVG", "a comment of a gigabyte", "a huge animation", "no pixels"):
        assert found is None


@st.composite
def whole(draw):
    kind = draw(st.sampled_from(list(MODES)))
    mode, size = draw(st.sampled_from(MODES[kind])), draw(st.sampled_from(SIZES[2:5] if kind == "WEBP" else SIZES))
    return stored(mode, size, kind, draw(st.integers(0, 9)), draw(st.integers(1, 4)))


@hostile("images", data=whole())
def test_every_kind_of_picture(guard, data):
    """Every mode, 1×1 to beyond the longest side, turned in all ways, moving: upright RGB of a bounded size."""
    found = guard.check(lambda: open_image(data))
    assert found is None or found.mode == "RGB" and 1 <= min(found.size) and max(found.size) <= WORKING_SIDE


@pytest.mark.parametrize("turned", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_stand_upright(turned, kind):
    """All eight ways in which a camera may say that it was held."""
    image = Image.new("RGB", (48, 32), "red")
    image.paste("blue", (0, 0, 24, 16))  # the corner that says which way is up
    image.getexif()[0x0112] = turned
    file = io.BytesIO()
    image.save(file, kind, exif=image.getexif())
    found = open_image(file.getvalue())
    assert found.size == ((48, 32) if turned < 5 else (32, 48))
    right, down = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (0, 1), 5: (0, 0), 6: (1, 0), 7: (1, 1), 8: (0, 1)}[turned]
    width, height = found.size
    corner = found.getpixel((width - 5 if right else 4, height - 5 if down else 4))
    assert corner[2] > 200 > 60 > corner[0]


SMALL = [stored(mode, (9, 7), kind, 6) for kind, modes in MODES.items() for mode in modes]


@hostile("damaged images", data=st.sampled_from(SMALL), cuts=st.lists(CUT, min_size=1, max_size=4))
def test_damaged_pictures(guard, data, cuts):
    """Cut short, with other bits, with bytes put in: a picture that can be used, or a sentence."""

    def use():
        found = open_image(damaged(data, cuts))
        assert found.mode == "RGB" and max(found.size) <= WORKING_SIDE
        return found.tobytes()

    guard.check(use)


def test_pictures_that_are_no_files(guard):
    """A pipe nobody writes to, a folder, a device, a name no system has: refused at once."""
    os.mkfifo(guard.workspace / "pipe.png")
    for source in (guard.workspace / "pipe.png", guard.workspace, "/dev/zero", "x\0.png", "\ud800.png", "a" * 5000):
        assert guard.check(lambda x=source: open_image(x)) is None
