"""Readers of visual-instruction data: the bundled scenes, easy-VQA, and LLaVA's instruction JSON with its images.

All are seeded: the same reader, split, number and seed give the same samples in every process.
"""

import random
from collections.abc import Container, Sequence
from functools import lru_cache
from pathlib import Path

from lvlm.errors import BadImage, BadSamples
from lvlm.files import inside, line
from lvlm.images import open_image
from lvlm.plain import parsed
from samples.questions import ASKERS, knowledge
from samples.sample import Sample, Turn
from samples.scenes import UNSEEN_STYLE, draw, make_scene

TASKS = (*ASKERS, "knowledge")  # of the scenes
MOST_ENTRIES = 1 << 32  # bytes of an instruction file; the largest published one takes a quarter
TRAINING_TURNS = 6  # a training sample talks several turns about one image, as LLaVA's instruction data does


def load_samples(
    reader: str | Path,
    split: str = "train",
    n: int | None = None,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
    images: str | Path | None = None,
    pictures: Container[int] | None = None,
) -> list[Sample]:
    """`n` samples of a reader.

    reader: "scenes" (splits train, test, unseen-style; endless, so n is needed), "easy-vqa" (splits train, test),
        or the path of a LLaVA instruction file: a JSON list of {"id", "image", "conversations": [{"from", "value"}]}.
    n: how many, chosen by the seed; None for all that there are, in the data's own order.
    tasks: only these of the scenes' TASKS, in turn.
    images: folder that the instruction file's image names are relative to; the file's own folder by default.
    pictures: places of the samples whose built-in images are wanted, for reading words alone is much quicker; None:
        all. The other samples have none.
    Raises BadSamples.
    """
    if n is not None and n < 1:
        raise BadSamples(f"{n} samples were asked for: please choose at least one.")
    if reader == "scenes":
        return _scenes(split, n, seed, tasks, pictures)
    if reader == "easy-vqa":
        return _easy_vqa(split, n, seed, pictures)
    if str(reader).endswith(".json"):
        return _instructions(Path(reader), Path(images) if images else None, n, seed)
    raise BadSamples(f'There is no data called "{reader}": choose scenes, easy-vqa, or a LLaVA instruction .json file.')


# -- scenes ------------------------------------------------------------------------------------------------------------


def _scenes(
    split: str, n: int | None, seed: int, tasks: Sequence[str] | None, pictures: Container[int] | None
) -> list[Sample]:
    if split not in ("train", "test", "unseen-style"):
        raise BadSamples(f'The scenes have no split "{split}": choose train, test or unseen-style.')
    if n is None:
        raise BadSamples("Scenes are drawn without end: please say how many samples you want.")
    unknown = set(tasks or ()) - set(TASKS)
    if unknown:
        raise BadSamples(f"The scenes have no task {sorted(unknown)[0]!r}: choose from {', '.join(TASKS)}.")
    return [_scene(split, i, seed, tuple(tasks or TASKS), pictures is None or i in pictures) for i in range(n)]


def _scene(split: str, index: int, seed: int, tasks: tuple[str, ...], drawn: bool) -> Sample:
    """The index-th sample. Tasks take turns; a training sample about an image also asks about five other things."""
    rng = random.Random(f"scenes {split} {seed} {index}")
    task, name = tasks[index % len(tasks)], f"scenes/{split}/{seed}/{index}"
    wanted = 1 if split != "train" else TRAINING_TURNS
    if task == "knowledge":
        facts = {turn.question: turn for turn in (knowledge(rng, split) for _ in range(wanted))}
        return Sample(name, None, tuple(facts.values()), task)
    while True:
        scene = make_scene(rng, style=UNSEEN_STYLE if split == "unseen-style" else None)
        last = ASKERS[task](scene, rng)
        if last is not None:
            break  # not every scene has a sign to read, or two things to compare
    turns: dict[str, Turn] = {}
    while len(turns) < wanted - 1:
        turn = ASKERS[rng.choice(tuple(ASKERS))](scene, rng)
        if turn is not None and turn.question != last.question:
            turns[turn.question] = turn
    return Sample(name, draw(scene) if drawn else None, (*turns.values(), last), task)


# -- easy-VQA ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _easy_vqa_table(split: str) -> list[tuple[str, str, str]]:
    """(question, answer, image path) of every question of a split."""
    import easy_vqa  # imported here: it is small, but only this reader needs it

    ask, where = {
        "train": (easy_vqa.get_train_questions, easy_vqa.get_train_image_paths),
        "test": (easy_vqa.get_test_questions, easy_vqa.get_test_image_paths),
    }[split]
    questions, answers, ids = ask()
    paths = where()
    return [(q, answer, paths[i]) for q, answer, i in zip(questions, answers, ids)]


def _easy_vqa(split: str, n: int | None, seed: int, pictures: Container[int] | None) -> list[Sample]:
    if split not in ("train", "test"):
        raise BadSamples(f'easy-VQA has no split "{split}": choose train or test.')
    table = _easy_vqa_table(split)
    found = []
    for i, index in enumerate(_chosen(len(table), n, seed)):
        question, answer, path = table[index]
        image = open_image(path) if pictures is None or i in pictures else None
        found.append(Sample(f"easy-vqa/{split}/{index}", image, (Turn(question, answer),), "easy-vqa"))
    return found


def _chosen(total: int, n: int | None, seed: int) -> list[int]:
    if n is None:
        return list(range(total))
    if n > total:
        raise BadSamples(f"{n} samples were asked for, but there are only {total}.")
    return random.Random(seed).sample(range(total), n)


# -- LLaVA's instruction JSON ------------------------------------------------------------------------------------------


def _instructions(path: Path, images: Path | None, n: int | None, seed: int) -> list[Sample]:
    try:
        if not path.is_file():
            raise BadSamples(f"There is no file {path}: please check the path.")
        entries = parsed(path.read_bytes(), MOST_ENTRIES)
    except (OSError, ValueError) as error:
        raise BadSamples(f"{path.name} is not readable JSON ({line(error)}): please check the file.") from error
    if not isinstance(entries, list) or not entries:
        raise BadSamples(f"{path.name} should hold a JSON list of conversations, as LLaVA's instruction data does.")
    folder = images or path.parent
    return [_conversation(path, index, entries[index], folder) for index in _chosen(len(entries), n, seed)]


def _conversation(path: Path, index: int, entry: dict, folder: Path) -> Sample:
    where = f"Entry {index} of {path.name}"
    said = entry.get("conversations") if isinstance(entry, dict) else None
    if not isinstance(said, list) or len(said) < 2 or len(said) % 2:
        raise BadSamples(f'{where} needs "conversations": pairs of a "human" question and a "gpt" answer.')
    turns = []
    for human, model in zip(said[::2], said[1::2]):
        if not _is_from(human, "human") or not _is_from(model, "gpt"):
            raise BadSamples(f'{where} should alternate "human" and "gpt", each with a text "value".')
        turns.append(Turn(human["value"].replace("<image>", "").strip(), model["value"].strip()))
    if not all(turn.question and turn.answer for turn in turns):
        raise BadSamples(f"{where} has an empty question or answer: remove it or fill it in.")
    image = None
    if entry.get("image"):
        image = _image(where, entry["image"], folder)
    return Sample(f"{path.name}/{entry.get('id', index)}", image, tuple(turns), "instruction")


def _image(where: str, name: object, folder: Path):
    """Of the folder, and of nowhere else: the file may come from anybody."""
    try:
        if not isinstance(name, str) or not inside(folder / name, folder):
            raise BadSamples(
                f"{where} names an image {name!r} that is not in {folder.name}: please put it there, or say in which "
                "folder the images are."
            )
        return open_image(folder / name)
    except ValueError as error:
        raise BadSamples(f"{where} names an image {name!r}, which no file can be called: please correct it.") from error
    except BadImage as error:
        raise BadSamples(f"{where} names an image that cannot be opened: {error}") from error


def _is_from(part: object, who: str) -> bool:
    return isinstance(part, dict) and part.get("from") == who and isinstance(part.get("value"), str)
