"""Packs the sprites that the scenes are drawn from into one atlas, from the unpacked npm packages that hold them.

    npm pack @lobehub/fluent-emoji-3d@1.1.0 @lobehub/fluent-emoji-flat@1.1.0 \
             emoji-datasource-google@16 emoji-datasource-twitter@16 emojibase-data@17
    # unpack each .tgz into FOLDER/<name without .tgz>, then
    pip install cairosvg && python scripts/pack_sprites.py FOLDER

Only this script needs the packages: whoever runs Prunoscope reads `assets/sprites/sprites.webp` (one row a kind, one
column a style, 64×64 RGBA cells) and `assets/sprites/kinds.json`.
"""

import csv
import io
import json
import sys
from pathlib import Path

from PIL import Image

CELL = 64
ROOT = Path(__file__).resolve().parent.parent
STYLES = {  # style: (package folder, path of one drawing below it)
    "fluent-3d": ("lobehub-fluent-emoji-3d-1.1.0", "package/assets/{code}.webp"),
    "fluent-flat": ("lobehub-fluent-emoji-flat-1.1.0", "package/assets/{code}.svg"),
    "noto": ("emoji-datasource-google-16.0.0", "package/img/google/64/{code}.png"),
    "twemoji": ("emoji-datasource-twitter-16.0.0", "package/img/twitter/64/{code}.png"),
}


def drawing(folder: Path, style: str, code: str) -> Image.Image:
    """One kind's drawing in one style, trimmed to what is visible and fitted into a CELL×CELL RGBA square."""
    package, pattern = STYLES[style]
    # packages disagree on whether the variation selector belongs to a file's name
    names = [code, code.replace("-fe0f", ""), f"{code}-fe0f"]
    path = next((p for name in names if (p := folder / package / pattern.format(code=name)).exists()), None)
    if path is None:
        raise FileNotFoundError(f"{style} has no drawing of {code}")
    if path.suffix == ".svg":
        import cairosvg

        image = Image.open(io.BytesIO(cairosvg.svg2png(url=str(path), output_width=256, output_height=256)))
    else:
        image = Image.open(path)
    image = image.convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda a: 255 * (a > 24)).getbbox())
    scale = (CELL - 2) / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(image, ((CELL - image.width) // 2, (CELL - image.height) // 2))
    return cell


def main(folder: Path) -> None:
    data = json.loads((folder / "emojibase-data-17.0.0/package/en/data.json").read_text())
    groups = json.loads((folder / "emojibase-data-17.0.0/package/meta/groups.json").read_text())
    by_label = {entry["label"]: entry for entry in data}
    kinds = list(csv.DictReader(open(ROOT / "scripts/kinds.csv", newline="")))
    atlas = Image.new("RGBA", (CELL * len(STYLES), CELL * len(kinds)))
    for row, kind in enumerate(kinds):
        entry = by_label[kind.pop("label")]
        kind["code"] = entry["hexcode"]
        kind["group"] = groups["subgroups"][str(entry["subgroup"])]
        for column, style in enumerate(STYLES):
            atlas.paste(drawing(folder, style, entry["hexcode"].lower()), (CELL * column, CELL * row))
    out = ROOT / "assets/sprites"
    out.mkdir(parents=True, exist_ok=True)
    atlas.save(out / "sprites.webp", lossless=True, quality=100, method=6)
    table = {"cell": CELL, "styles": list(STYLES), "kinds": kinds}
    (out / "kinds.json").write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(kinds)} kinds in {len(STYLES)} styles: {(out / 'sprites.webp').stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
