"""Draws the gallery's example scenes, larger than the readers do, and writes questions that fit them.

    python -m scripts.make_examples

Scenes come from a seed of their own: none was in the training data. The last one is in the unseen art style.
"""

import json
import random
from pathlib import Path

from samples.examples import FOLDER
from samples.questions import ASKERS
from samples.scenes import UNSEEN_STYLE, draw, make_scene

SIZE = 384  # pixels a side
PICTURES = (  # title, seed, style, tasks of its questions
    ("Turtles on sand", 11, None, ("count", "presence", "what-is-where", "describe", "arithmetic")),
    ("A word on a sign", 2, None, ("reading", "count", "where-is", "describe")),
    ("Ties to count", 5, None, ("count", "arithmetic", "presence", "listing")),
    ("Left, right, above", 8, None, ("relation", "where-is", "general", "what-is-where")),
    ("Multiple choice", 23, None, ("choice", "choice-where", "presence", "perception")),
    ("What kind of thing?", 31, None, ("cognition", "arithmetic", "describe", "presence")),
    ("Up in the sky", 42, None, ("perception", "describe", "count", "where-is")),
    ("An art style it never saw", 54, UNSEEN_STYLE, ("describe", "presence", "what-is-where", "count")),
)


def capitalised(question: str) -> str:
    return question[0].upper() + question[1:]


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = []
    for title, seed, style, tasks in PICTURES:
        rng, attempt = random.Random(f"example {seed}"), None
        while attempt is None:
            scene = make_scene(rng, style=style)
            turns = [(task, ASKERS[task](scene, rng)) for task in tasks]
            if len(scene.things) >= 4 - 2 * ("reading" in tasks) and all(turn for _, turn in turns):
                attempt = turns
        name = f"{title.lower().replace(',', '').replace('?', '').replace(' ', '-')}.jpg"
        draw(scene, SIZE).save(FOLDER / name, quality=92)
        table.append(
            {"image": name, "title": title, "questions": [(t, capitalised(turn.question)) for t, turn in attempt]}
        )
    (FOLDER / "examples.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(f"{len(table)} examples, {sum(f.stat().st_size for f in Path(FOLDER).glob('*.jpg')) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
