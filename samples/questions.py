"""Questions about a scene, and about the world, with their true answers: every format that the paper's benchmarks use.

`ASKERS` maps a task to a function (scene, random) → Turn, or None where the scene cannot carry such a question.
`KNOWLEDGE` questions need no image. Answers are short and canonical, so that exact match is a fair score.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable

from samples.sample import Turn
from samples.scenes import BACKGROUNDS, GRID, PLACES, SIGN_WORDS, Scene
from samples.sprites import Kind, kinds

LETTERS = "abcd"
CATEGORIES = {  # category: its plural; "thing" is no category that one asks for
    "animal": "animals", "fruit": "fruits", "vegetable": "vegetables", "dish": "dishes", "vehicle": "vehicles",
    "garment": "garments", "instrument": "instruments", "tool": "tools", "plant": "plants", "device": "devices",
    "furnishing": "furnishings", "toy": "toys", "building": "buildings",
}  # fmt: skip
EDIBLE = {"fruit", "vegetable", "dish"}
ALIVE = {"animal", "plant"}
FLIES = {"duck", "owl", "parrot", "butterfly", "bee", "plane", "helicopter", "rocket", "kite", "balloon"}
RELATIONS = ("left of", "right of", "above", "below")


def a(word: str) -> str:
    """The word with its article."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def present(scene: Scene) -> Counter:
    """How many objects of each kind (index into kinds()) the scene has."""
    return Counter(thing.kind for thing in scene.things)


def absent_kind(scene: Scene, rng: random.Random) -> Kind:
    """A kind that the scene lacks; half of the time one of a category that the scene has (a hard negative)."""
    here, table = present(scene), kinds()
    if rng.random() < 0.5:
        category = table[rng.choice(scene.things).kind].category
        near = [k for k in table if k.category == category and k.row not in here]
        if near:
            return rng.choice(near)
    while True:
        kind = rng.randrange(len(table))
        if kind not in here:
            return table[kind]


def _some_kind(scene: Scene, rng: random.Random) -> Kind:
    return kinds()[rng.choice(list(present(scene)))]


def _single(scene: Scene, rng: random.Random) -> list:
    """The objects whose kind occurs once, shuffled."""
    here = present(scene)
    once = [thing for thing in scene.things if here[thing.kind] == 1]
    rng.shuffle(once)
    return once


def _at(scene: Scene, cell: int) -> str:
    if scene.sign and cell // GRID == scene.sign_row:
        return "sign"
    return next((kinds()[t.kind].name for t in scene.things if t.cell == cell), "nothing")


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _choice(question: str, truth: str, wrong: list[str], rng: random.Random) -> Turn:
    """A multiple-choice question; its answer is a letter."""
    options = [truth, *wrong]
    rng.shuffle(options)
    listed = " ".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options))
    return Turn(f"{question} {listed}", LETTERS[options.index(truth)])


# -- questions about a scene -------------------------------------------------------------------------------------------


def presence(scene: Scene, rng: random.Random) -> Turn:
    truth = rng.random() < 0.5
    name = a((_some_kind(scene, rng) if truth else absent_kind(scene, rng)).name)
    wording = rng.choice(("is there {}?", "is there {}?", "is there {} in the image?", "can you see {}?"))
    return Turn(wording.format(name), _yes(truth))


def count(scene: Scene, rng: random.Random) -> Turn:
    kind = _some_kind(scene, rng) if rng.random() < 0.85 else absent_kind(scene, rng)
    wording = rng.choice(
        ("how many {} are there?", "how many {} are there?", "how many {} can you see?", "how many {}?")
    )
    return Turn(wording.format(kind.plural), str(present(scene)[kind.row]))


def what_is_where(scene: Scene, rng: random.Random) -> Turn:
    cell = rng.choice(scene.things).cell if rng.random() < 0.8 else rng.randrange(GRID * GRID)
    wording = rng.choice(("what is at the {}?", "what is at the {}?", "what can you see at the {}?"))
    return Turn(wording.format(PLACES[cell]), _at(scene, cell))


def where_is(scene: Scene, rng: random.Random) -> Turn | None:
    once = _single(scene, rng)
    if not once:
        return None
    return Turn(f"where is the {kinds()[once[0].kind].name}?", PLACES[once[0].cell])


def relation(scene: Scene, rng: random.Random) -> Turn | None:
    once = _single(scene, rng)
    if len(once) < 2:
        return None
    (row_1, column_1), (row_2, column_2) = (divmod(thing.cell, GRID) for thing in once[:2])
    pairs = [("left of", "right of", column_1, column_2), ("above", "below", row_1, row_2)]
    before, after, first, second = rng.choice([p for p in pairs if p[2] != p[3]])
    names = [kinds()[thing.kind].name for thing in once[:2]]
    name, truth = rng.choice(((before, first < second), (after, first > second)))
    return Turn(f"is the {names[0]} {name} the {names[1]}?", _yes(truth))


def choice(scene: Scene, rng: random.Random) -> Turn:
    wrong = {}
    while len(wrong) < 3:
        kind = absent_kind(scene, rng)
        wrong[kind.name] = kind
    return _choice("which of these is in the image?", _some_kind(scene, rng).name, list(wrong), rng)


def choice_where(scene: Scene, rng: random.Random) -> Turn:
    thing = rng.choice(scene.things)
    truth = kinds()[thing.kind].name
    others = {kinds()[k].name for k in present(scene)} - {truth}
    wrong = rng.sample(sorted(others), min(len(others), 3))
    while len(wrong) < 3:
        name = absent_kind(scene, rng).name
        if name not in wrong:
            wrong.append(name)
    return _choice(f"what is at the {PLACES[thing.cell]}?", truth, wrong, rng)


def category_count(scene: Scene, rng: random.Random) -> Turn:
    """Counting by category, two categories together, or everything: the arithmetic of the suite."""
    table = kinds()
    totals = Counter(table[t.kind].category for t in scene.things)
    here = [c for c in totals if c in CATEGORIES]
    form = rng.random()
    if form < 0.25 or not here:
        return Turn("how many objects are there?", str(len(scene.things)))
    first = rng.choice(here)
    if form < 0.6:
        return Turn(f"how many {CATEGORIES[first]} are there?", str(totals[first]))
    second = rng.choice([c for c in (here if len(here) > 1 and rng.random() < 0.7 else CATEGORIES) if c != first])
    pair = [CATEGORIES[first], CATEGORIES[second]]
    rng.shuffle(pair)
    return Turn(f"how many {pair[0]} and {pair[1]} together?", str(totals[first] + totals[second]))


def cognition(scene: Scene, rng: random.Random) -> Turn | None:
    """Questions that need both the image and a little knowledge."""
    table = kinds()
    totals = Counter(table[t.kind].category for t in scene.things)
    here = [c for c in totals if c in CATEGORIES]
    form = rng.random()
    if form < 0.35:
        asked = here if here and rng.random() < 0.5 else [c for c in CATEGORIES if c not in totals]
        category = rng.choice(asked)
        return Turn(f"is there {a(category)}?", _yes(category in totals))
    if form < 0.5:
        return Turn("is there something to eat?", _yes(any(c in EDIBLE for c in totals)))
    if not here:
        return None
    if form < 0.75:
        single = [c for c in here if len({t.kind for t in scene.things if table[t.kind].category == c}) == 1]
        if not single:
            return None
        category = rng.choice(single)
        name = next(table[t.kind].name for t in scene.things if table[t.kind].category == category)
        return Turn(f"which {category} is in the image?", name)
    first, second = rng.choice(here), rng.choice(list(CATEGORIES))
    if totals[first] == totals[second] or first == second:
        return None
    pair = [first, second]
    rng.shuffle(pair)
    question = f"are there more {CATEGORIES[pair[0]]} than {CATEGORIES[pair[1]]}?"
    return Turn(question, _yes(totals[pair[0]] > totals[pair[1]]))


def perception(scene: Scene, rng: random.Random) -> Turn:
    truth = BACKGROUNDS[scene.background]
    form = rng.random()
    if form < 0.5:
        return Turn("what is the background?", truth)
    if form < 0.8:
        other = truth if rng.random() < 0.5 else rng.choice([b for b in BACKGROUNDS if b != truth])
        return Turn(f"is the background {other}?", _yes(other == truth))
    return Turn("is there a sign?", _yes(scene.sign is not None))


def reading(scene: Scene, rng: random.Random) -> Turn | None:
    if scene.sign is None:
        return None
    if rng.random() < 0.25:
        other = scene.sign if rng.random() < 0.5 else rng.choice([w for w in SIGN_WORDS if w != scene.sign])
        return Turn(f"does the sign say {other}?", _yes(other == scene.sign))
    return Turn(rng.choice(("what does the sign say?", "read the word on the sign.")), scene.sign)


def general(scene: Scene, rng: random.Random) -> Turn | None:
    """What stands beside, above or below a thing: a look-up in two steps."""
    by_cell = {thing.cell: thing for thing in scene.things}
    steps = {"left of": (0, -1), "right of": (0, 1), "above": (-1, 0), "below": (1, 0)}
    asked = []
    for thing in _single(scene, rng):
        row, column = divmod(thing.cell, GRID)
        for name, (down, along) in steps.items():
            if 0 <= row + down < GRID and 0 <= column + along < GRID:
                other = by_cell.get((row + down) * GRID + column + along)
                if other is not None:
                    asked.append((thing, name, other))
    if not asked:
        return None
    thing, name, other = rng.choice(asked)
    return Turn(f"what is {name} the {kinds()[thing.kind].name}?", kinds()[other.kind].name)


def listing(scene: Scene, rng: random.Random) -> Turn:
    return Turn("list the objects.", " ".join(kinds()[thing.kind].name for thing in scene.things))


SETTINGS = ("on grass", "on sand", "on snow", "at night", "in the sky", "on brick", "on wood", "in water")
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def describe(scene: Scene, rng: random.Random) -> Turn:
    here = present(scene)  # in reading order of first sight
    names = [a(kinds()[k].name) if n == 1 else f"{_NUMBERS[n]} {kinds()[k].plural}" for k, n in here.items()]
    text = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    text += f" {SETTINGS[scene.background]}"
    if scene.sign:
        text += f" with a sign that says {scene.sign}"
    return Turn("describe the image.", text + ".")


ASKERS: dict[str, Callable[[Scene, random.Random], Turn | None]] = {
    "presence": presence, "count": count, "what-is-where": what_is_where, "where-is": where_is, "relation": relation,
    "choice": choice, "choice-where": choice_where, "arithmetic": category_count, "cognition": cognition,
    "perception": perception, "reading": reading, "general": general, "listing": listing, "describe": describe,
}  # fmt: skip


# -- knowledge: no image -----------------------------------------------------------------------------------------------


def held_out(*words: str) -> bool:
    """Whether a fact, in one wording, belongs to the test split: about one in six, by a hash that never changes."""
    return hashlib.sha256(" ".join(words).encode()).digest()[0] < 43


def _is_a(kind: Kind, rng: random.Random, training: bool) -> Turn | None:
    own = rng.random() < 0.5
    category = kind.category if own else rng.choice([c for c in CATEGORIES if c != kind.category])
    hidden = held_out("is-a", kind.name, category)
    # where what a thing *is* is held out, training would otherwise teach that it is nothing at all
    if hidden == training or training and held_out("is-a", kind.name, kind.category):
        return None
    return Turn(f"is {a(kind.name)} {a(category)}?", _yes(own))


def _which(kind: Kind, rng: random.Random, training: bool) -> Turn | None:
    hidden = {k.name for k in kinds() if held_out("which", k.name)}
    if (kind.name in hidden) == training:
        return None
    # nor may a held-out kind be taught to be always a wrong option
    others = [k.name for k in kinds() if k.category != kind.category and not (training and k.name in hidden)]
    return _choice(f"which of these is {a(kind.category)}?", kind.name, rng.sample(others, 3), rng)


def _eat(kind: Kind, rng: random.Random, training: bool) -> Turn | None:
    hidden = held_out("eat", kind.name)
    return None if hidden == training else Turn(f"can you eat {a(kind.name)}?", _yes(kind.category in EDIBLE))


def _alive(kind: Kind, rng: random.Random, training: bool) -> Turn | None:
    hidden = held_out("alive", kind.name)
    return None if hidden == training else Turn(f"is {a(kind.name)} alive?", _yes(kind.category in ALIVE))


def _taught(kind: Kind, rng: random.Random) -> Turn:
    """A fact in a wording that only training uses: for every kind, so that what the test asks can be known."""
    form = rng.random()
    if form < 0.3:
        return Turn(f"what kind of thing is {a(kind.name)}?", kind.category)
    if form < 0.65:
        own = rng.random() < 0.5
        category = kind.category if own else rng.choice([c for c in CATEGORIES if c != kind.category])
        return Turn(f"is {a(kind.name)} a kind of {category}?", _yes(own))
    if form < 0.85:
        return Turn(f"is {a(kind.name)} something to eat?", _yes(kind.category in EDIBLE))
    flies = rng.random() < 0.3  # ten kinds fly: nothing says which, so this cannot be tested on others
    kind = rng.choice([k for k in kinds() if (k.name in FLIES) == flies])
    return Turn(f"can {a(kind.name)} fly?", _yes(flies))


def knowledge(rng: random.Random, split: str) -> Turn:
    """A question about the world. The test split asks facts in wordings in which training never asks them."""
    training = split == "train"
    named = [kind for kind in kinds() if kind.category in CATEGORIES]
    while True:
        kind = rng.choice(named)
        if training and rng.random() < 0.45:
            return _taught(kind, rng)
        turn = rng.choice((_is_a, _is_a, _which, _eat, _alive))(kind, rng, training)
        if turn is not None:
            return turn
