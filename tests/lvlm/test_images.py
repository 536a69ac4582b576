"""Any picture a person may hand in becomes an upright RGB image, or a clear refusal."""

import io

import numpy as np
import pytest
from PIL import Image

from lvlm import BadImage, open_image


def stored(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16", "HSV"])
def test_every_mode_becomes_rgb(mode):
    """Grey, palette, print and scan formats alike."""
    image = Image.new(mode, (8, 6))
    assert open_image(image).mode == "RGB"
    assert open_image(image).size == (8, 6)


def test_transparency_is_laid_on_white():
    """Not on black, which would hide dark objects."""
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_image(stored(image, "PNG")).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0] * 256)
    assert open_image(stored(palette, "PNG", transparency=0)).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_scans_keep_their_contrast():
    """Values above 255 are scaled, not clipped to white."""
    values = np.linspace(0, 60_000, 64).astype(np.uint16).reshape(8, 8)
    found = np.asarray(open_image(stored(Image.fromarray(values), "PNG")))
    assert found.min() < 5 and found.max() > 250 and len(np.unique(found)) > 30


def test_the_first_frame_of_an_animation_counts():
    """GIF and animated PNG."""
    frames = [Image.new("RGB", (8, 8), x) for x in ("red", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        data = stored(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = open_image(data).getpixel((4, 4))
        assert red > 200 and blue < 50


def test_phone_photos_stand_upright():
    """EXIF orientation is applied."""
    image = Image.new("RGB", (8, 4), "white")
    exif = image.getexif()
    exif[0x0112] = 6
    assert open_image(stored(image, "JPEG", exif=exif)).size == (4, 8)


def test_one_pixel_is_enough():
    """1×1 stays 1×1."""
    assert open_image(stored(Image.new("RGB", (1, 1)), "PNG")).size == (1, 1)


@pytest.mark.parametrize("size", [(20_000, 40), (40, 20_000), (3_000, 3_000)])
def test_large_images_are_shrunk(size):
    """20,000 pixels wide is accepted and brought down to a working size."""
    found = open_image(stored(Image.new("L", size), "PNG"))
    assert max(found.size) == 2048 and min(found.size) >= 1


@pytest.mark.parametrize("size", [(20_001, 2), (19_000, 19_000)])
def test_gigantic_images_are_refused_undecoded(size):
    """A decompression bomb is refused from its header alone."""
    with pytest.raises(BadImage, match="shrink"):
        open_image(stored(Image.new("1", size), "PNG"))


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"not an image", b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, b"%PDF-1.4"])
def test_what_is_no_image_is_refused(data):
    """One sentence that says what to choose instead."""
    with pytest.raises(BadImage, match="choose"):
        open_image(data)


def test_a_truncated_photo_is_refused():
    """Half a file is not silently shown half grey."""
    data = stored(Image.effect_noise((200, 200), 80).convert("RGB"), "JPEG")
    with pytest.raises(BadImage, match="another file"):
        open_image(data[: len(data) // 2])


def test_missing_files_and_wrong_types_are_refused(tmp_path):
    """Paths that do not exist, folders, numbers."""
    for source in (tmp_path / "none.png", tmp_path, 7):
        with pytest.raises(BadImage):
            open_image(source)


def test_paths_bytes_and_images_are_the_same(tmp_path):
    """The three ways to hand in a picture give the same pixels."""
    image = Image.effect_noise((20, 10), 50).convert("RGB")
    image.save(tmp_path / "x.png")
    found = [
        open_image(x) for x in (image, tmp_path / "x.png", str(tmp_path / "x.png"), (tmp_path / "x.png").read_bytes())
    ]
    assert all(np.array_equal(np.asarray(x), np.asarray(image)) for x in found)
