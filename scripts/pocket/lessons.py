"""What the pocket models learn from: turns and drills about scenes, packed so that each sees the image and itself.

A sequence is `<s><user><image>…` (with a model's own marks around the image) followed by many turns. Each turn attends
to the image and to itself only, at the positions that it would have alone, so that one pass over an image teaches
twenty first questions; a few sequences are ordinary conversations instead.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from samples.questions import ASKERS, absent_kind, knowledge, present
from samples.sample import Turn
from samples.scenes import GRID, PLACES, Scene
from samples.sprites import kinds
from scripts.pocket.sizes import PATCHES
from scripts.pocket.tokenizer import ASSISTANT, BOS, EOS, IMAGE, USER

SHARES = {  # how often each task is asked
    "presence": 4, "count": 8, "what-is-where": 4, "where-is": 6, "relation": 5, "choice": 2.5, "choice-where": 2.5,
    "arithmetic": 6, "cognition": 4, "perception": 1.5, "reading": 2, "general": 4, "listing": 1, "describe": 1,
}  # fmt: skip
LENGTH = 240  # tokens a sequence, about


@dataclass
class Packed:
    """One sequence under construction. Labels are the token itself where it is to be predicted, −100 elsewhere."""

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)  # 0: the shared beginning; k: the k-th turn
    positions: list[int] = field(default_factory=list)


class Packer:
    """Turns text into packed sequences. Whole words go through a table, which is much faster than the tokenizer.

    around: the tokens before and after the image.
    """

    def __init__(self, tokenizer, around: tuple[Sequence[str], Sequence[str]] = ((), ())):
        self.tokenizer = tokenizer
        self.token = {name: tokenizer.convert_tokens_to_ids(name) for name in (BOS, EOS, IMAGE, USER, ASSISTANT)}
        before, after = (tokenizer.convert_tokens_to_ids(list(marks)) for marks in around)
        self.image = before + [self.token[IMAGE]] * PATCHES + after
        self.words: dict[str, int] = {}

    def encode(self, text: str) -> list[int]:
        ids = []
        for piece in re.findall(r"\s?[^\s\w]|\w+", text):
            if piece not in self.words:
                # punctuation sticks to the word before it; a word carries the space before it
                found = self.tokenizer(
                    f"a{piece}" if not piece[-1].isalnum() else piece, add_special_tokens=False
                ).input_ids
                self.words[piece] = found[-1]
            ids.append(self.words[piece])
        return ids

    def start(self, image: bool) -> Packed:
        ids = [self.token[BOS], self.token[USER]] + (self.image if image else [])
        return Packed(ids, [-100] * len(ids), [0] * len(ids), list(range(len(ids))))

    def add(self, pack: Packed, turn: Turn, isolated: bool, only: set[int] | None = None) -> None:
        """Appends a turn; `only`: which words of the answer to predict (a drill), otherwise all of it and its end."""
        question, answer = self.encode(turn.question), self.encode(turn.answer)
        first = pack.groups[-1] == 0
        begin = [] if isolated or first else [self.token[USER]]
        ids = begin + question + [self.token[ASSISTANT]] + answer + [self.token[EOS]]
        labels = [-100] * (len(ids) - len(answer) - 1) + answer + [self.token[EOS]]
        if only is not None:
            labels = [label if i - (len(ids) - len(answer) - 1) in only else -100 for i, label in enumerate(labels)]
        start = pack.groups.count(0) if isolated else len(pack.ids)
        group = pack.groups[-1] + 1 if isolated else 1
        pack.ids += ids
        pack.labels += labels
        pack.groups += [group] * len(ids)
        pack.positions += range(start, start + len(ids))


def drill(scene: Scene, rng: random.Random, probes: int = 12) -> tuple[Turn, set[int]]:
    """Rapid-fire probes, one word or place each: (turn, which words of its answer are to be predicted)."""
    table, here = kinds(), present(scene)
    words, asked = [], set()

    def probe(key: str, value: str) -> None:
        words.extend(key.split())
        asked.update(range(len(words), len(words) + len(value.split())))
        words.extend(value.split())

    form = rng.choice(("at", "count", "count", "where", "where", "see"))
    if form == "at":
        by_cell = {thing.cell: table[thing.kind].name for thing in scene.things}
        for cell in rng.sample(range(GRID * GRID), GRID * GRID):
            sign = scene.sign and cell // GRID == scene.sign_row
            probe(PLACES[cell], "sign" if sign else by_cell.get(cell, "nothing"))
    else:
        inside = [table[k] for k in here if form != "where" or here[k] == 1]
        asked_kinds = rng.sample(inside, min(len(inside), probes // 2))
        taken = {kind.row for kind in asked_kinds}
        while len(taken) < len(asked_kinds) + probes // 2:
            kind = absent_kind(scene, rng)
            if kind.row not in taken:
                taken.add(kind.row)
        both = asked_kinds + [table[k] for k in taken if table[k] not in asked_kinds]
        rng.shuffle(both)
        cells = {thing.kind: thing.cell for thing in scene.things}
        for kind in both:
            number = here[kind.row]
            if form == "count":
                probe(kind.plural if rng.random() < 0.6 else kind.name, str(number))
            elif form == "see":
                probe(kind.name, "yes" if number else "no")
            else:
                probe(kind.name, PLACES[cells[kind.row]] if number else "nothing")
    return Turn(form, " ".join(words)), asked


def scene_lesson(packer: Packer, scene: Scene, rng: random.Random, drills: float) -> Packed:
    """A packed sequence about one scene; `drills`: the share of turns that are drills."""
    pack, isolated = packer.start(image=True), rng.random() < 0.85
    tasks, shares = list(SHARES), list(SHARES.values())
    asked = set()
    while len(pack.ids) < LENGTH - 12:
        if rng.random() < drills * 0.3:  # a drill is about three times as long as a question
            turn, only = drill(scene, rng)
            packer.add(pack, turn, isolated, only)
            continue
        turn = knowledge(rng, "train") if rng.random() < 0.04 else ASKERS[rng.choices(tasks, shares)[0]](scene, rng)
        if turn is not None and turn.question not in asked:
            asked.add(turn.question)
            packer.add(pack, turn, isolated)
    return pack


def text_lesson(packer: Packer, rng: random.Random) -> Packed:
    pack = packer.start(image=False)
    while len(pack.ids) < LENGTH - 12:
        packer.add(pack, knowledge(rng, "train"), isolated=True)
    return pack


def turns_lesson(packer: Packer, turns: list[Turn]) -> Packed:
    pack = packer.start(image=True)
    for turn in turns:
        packer.add(pack, turn, isolated=True)
    return pack


def collate(packs: list[Packed], pad: int) -> dict[str, torch.Tensor]:
    """ids, labels, positions (B, T) and the attention mask (B, 1, T, T): causal, and own turn or shared beginning."""
    length = -(-max(len(p.ids) for p in packs) // 8) * 8
    table = np.zeros((4, len(packs), length), np.int64)
    table[0], table[1], table[2] = pad, -100, -1
    for row, pack in enumerate(packs):
        for k, values in enumerate((pack.ids, pack.labels, pack.groups, pack.positions)):
            table[k, row, : len(values)] = values
    ids, labels, groups, positions = torch.from_numpy(table)
    same = groups[:, :, None] == groups[:, None, :]
    mask = (same | (groups[:, None, :] == 0)) & torch.ones(length, length, dtype=torch.bool).tril()
    return {"ids": ids, "labels": labels, "positions": positions, "mask": mask[:, None]}
