"""Which example picture lies on a desk: links and scripts name it, where a person's own picture has no name."""

import hashlib
from functools import cache

from lvlm.images import open_image
from samples import examples


def titles() -> list[str]:
    """Of every example picture, in the gallery's order."""
    return list(dict.fromkeys(x.title for x in examples()))


def named(title: str):
    """(the picture (PIL), questions that fit it) of this title, whatever its case; None where there is none."""
    found = [x for x in examples() if x.title.casefold() == title.strip().casefold()]
    return (open_image(found[0].image_path), tuple(x.question for x in found)) if found else None


def name_of(image) -> str | None:
    """The title of an example picture; None for no picture and for a person's own."""
    return None if image is None else _known().get(_fingerprint(image))


@cache
def _known() -> dict[str, str]:
    return {_fingerprint(open_image(x.image_path)): x.title for x in examples()}


def _fingerprint(image) -> str:
    return hashlib.sha256(f"{image.mode} {image.size}".encode() + image.tobytes()).hexdigest()
