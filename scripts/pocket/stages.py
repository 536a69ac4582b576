"""The stages of a pocket model's training: which weights move, on which lessons, against which loss."""

import random
from pathlib import Path

import easy_vqa
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from samples.sample import Turn
from samples.scenes import SIGN_WORDS, Scene, draw_with_labels, make_scene
from scripts.pocket.lessons import Packer, collate, scene_lesson, text_lesson, turns_lesson
from scripts.pocket.recipes import Recipe
from scripts.pocket.sizes import IMAGE_SIZE, PATCHES, SCALE, SIDE
from scripts.pocket.symbols import (
    BACKGROUND_ROW,
    ROW,
    SIGN_ROW,
    guess_patches,
    place_vectors,
    true_patches,
    word_rows,
)
from scripts.pocket.warm import teacher


def image_features(network, images: torch.Tensor) -> torch.Tensor:
    """(B, PATCHES, WIDTH) projected features, row by row of the picture."""
    return torch.stack(list(network.get_image_features(pixel_values=images).pooler_output))


def answer_loss(decoder, embeds: torch.Tensor, batch: dict) -> tuple[torch.Tensor, dict]:
    """Cross-entropy on the answer tokens only; logits are made only where a label is."""
    hidden = decoder(
        inputs_embeds=embeds, attention_mask=batch["mask"], position_ids=batch["positions"], use_cache=False
    ).last_hidden_state
    wanted = batch["labels"][:, 1:]
    at = wanted != -100
    logits = (hidden[:, :-1][at] @ decoder.embed_tokens.weight.T).float()
    losses = F.cross_entropy(logits, wanted[at])
    return losses, {"right": (logits.argmax(1) == wanted[at]).float().mean().item()}


class EasyVQA:
    """The training split of easy-VQA: images in memory, questions by image."""

    def __init__(self):
        questions, answers, ids = easy_vqa.get_train_questions()
        paths = easy_vqa.get_train_image_paths()
        self.images = {i: Image.open(p).convert("RGB") for i, p in paths.items()}
        self.turns: dict[int, list[Turn]] = {i: [] for i in paths}
        for question, answer, i in zip(questions, answers, ids):
            self.turns[i].append(Turn(question, answer))
        self.ids = sorted(paths)

    def words(self, i: int) -> list[int]:
        """Rows of SEEN that the image shows: its shape and its colour, read off the questions' answers."""
        answers = {turn.answer for turn in self.turns[i]} - {"yes", "no"}
        return [ROW[a] for a in sorted(answers) if a in ROW]

    def foreground(self, i: int) -> np.ndarray:
        """(PATCHES,) bool: patches at least 30% covered by the shape."""
        small = np.asarray(self.images[i].resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC), np.int16)
        edge = np.median(np.concatenate([small[0], small[-1], small[:, 0], small[:, -1]]), axis=0)
        shape = np.abs(small - edge).sum(2) > 40
        size = IMAGE_SIZE // SIDE
        return shape.reshape(SIDE, size, SIDE, size).mean((1, 3)).reshape(-1) > 0.3


class Stage:
    """Common to all stages: which rate each weight has, and where the stage starts from."""

    freeze = None

    def __init__(self, recipe: Recipe, tokenizer, folder: Path):
        self.recipe, self.tokenizer, self.folder = recipe, tokenizer, folder
        self.packer = Packer(tokenizer, recipe.around)
        self.seen = word_rows(tokenizer)

    def load_start(self, network) -> None:
        """Nothing to take over: the network starts as it was drawn."""


class Decoder(Stage):
    """The decoder alone, on symbolic images: drills first, then questions with a quarter of drills kept in."""

    def __init__(self, recipe, tokenizer, folder):
        super().__init__(recipe, tokenizer, folder)
        self.places = place_vectors()

    def rates(self, name: str) -> float | None:
        return 2e-3 if "language_model" in name else None

    def freeze(self, network) -> None:
        network.model.language_model.embed_tokens.weight.grad[self.seen] = 0  # the tower aims at these

    def loss(self, network, rng: random.Random, step: int, done: float, batch_size: int | None):
        drills = 0.85 if step < 500 else max(0.25, 0.6 - done)
        size = batch_size or 24
        decoder = network.model.language_model
        table = decoder.embed_tokens.weight.detach()
        packs, images = [], []
        for _ in range(size):
            if step >= 500 and rng.random() < 0.06:
                packs.append(text_lesson(self.packer, rng))
                continue
            scene = make_scene(rng)
            packs.append(scene_lesson(self.packer, scene, rng, drills))
            images.append(guess_patches(scene, rng))
        batch = collate(packs, self.tokenizer.pad_token_id)
        features = table[self.seen[torch.from_numpy(np.stack(images))]].float() + self.places
        features = features + torch.randn_like(features) * SCALE * rng.uniform(0.1, 0.5)
        embeds = decoder.embed_tokens(batch["ids"])
        embeds[batch["ids"] == self.packer.token["<image>"]] = features.flatten(0, 1).to(embeds.dtype)
        return answer_loss(decoder, embeds, batch)


class Seeing(Stage):
    """Common to the stages that train the tower: pictures, and what each of their patches shows."""

    def __init__(self, recipe, tokenizer, folder):
        super().__init__(recipe, tokenizer, folder)
        self.places, self.easy = place_vectors(), EasyVQA()

    def scene_truth(self, scene: Scene, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """(PATCHES, words) what each patch shows, and (PATCHES,) how much it matters: objects most."""
        rows = torch.from_numpy(true_patches(labels, scene.background, scene.sign))
        weight = torch.where(rows < BACKGROUND_ROW, 1.0, torch.where(rows >= SIGN_ROW, 0.7, 0.15))
        return F.one_hot(rows, len(self.seen)).float(), weight

    def easy_picture(self, chosen: int, mirrored: bool) -> tuple[torch.Tensor, tuple]:
        """An easy-VQA image's pixels, mirrored or not (no question names a side), and what its patches show: the
        shape's name and colour where the shape is, nothing asked elsewhere.
        """
        picture, fore = self.recipe.pixels(self.easy.images[chosen]), self.easy.foreground(chosen).reshape(SIDE, SIDE)
        if mirrored:
            picture, fore = picture.flip(2), fore[:, ::-1].copy()
        truth = torch.zeros(PATCHES, len(self.seen))
        truth[:, self.easy.words(chosen)] = 0.5
        return picture, (truth, torch.from_numpy(fore.reshape(-1)).float())

    def patch_loss(
        self, network, found: torch.Tensor, truths: list, aim: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, dict]:
        """How far (B, PATCHES, WIDTH) features are from the word embeddings of what is there, and from where they
        should lie: at that embedding and their place's vector, or at the aim where one is given.
        """
        table = network.model.language_model.embed_tokens.weight.detach().float()[self.seen]
        truth, weight = torch.stack([t for t, _ in truths]), torch.stack([w for _, w in truths])
        if aim is not None:
            weight = weight.clamp(min=0.3)
        weight = weight / weight.sum()
        found = found.float()
        logits = (found - self.places) @ table.T / (SCALE**2 * table.shape[1]) * 12
        words = -(torch.log_softmax(logits, -1) * truth).sum(-1)
        aim = truth @ table + self.places if aim is None else aim
        distance = ((found - aim) ** 2).mean(-1) / SCALE**2
        top = truth.gather(-1, logits.argmax(-1, keepdim=True))[..., 0] > 0
        figures = {"distance": (distance * weight).sum().item()}
        signs = slice(SIGN_ROW, SIGN_ROW + len(SIGN_WORDS))
        for name, rows in (("kinds", slice(0, BACKGROUND_ROW)), ("signs", signs)):
            shown = truth[..., rows].sum(-1) > 0
            if shown.any():
                figures[name] = top[shown].float().mean().item()
        return ((words + distance) * weight).sum(), figures


class Tower(Seeing):
    """Vision tower and projector: each patch's feature becomes the word embedding of what is there, and its place."""

    def __init__(self, recipe, tokenizer, folder):
        super().__init__(recipe, tokenizer, folder)
        self.teacher = teacher().bfloat16() if recipe.mimics else None

    def rates(self, name: str) -> float | None:
        return 1.5e-3 if "vision_tower" in name or "projector" in name else None

    def loss(self, network, rng: random.Random, step: int, done: float, batch_size: int | None):
        images, truths = [], []
        for _ in range(batch_size or 64):
            if rng.random() < 0.1:
                picture, truth = self.easy_picture(rng.choice(self.easy.ids), rng.random() < 0.5)
                images.append(picture)
                truths.append(truth)
            else:
                scene = make_scene(rng)
                image, labels = draw_with_labels(scene)
                images.append(self.recipe.pixels(image))
                truths.append(self.scene_truth(scene, labels))
        images, aim = torch.stack(images), None
        if self.teacher is not None:
            with torch.no_grad():
                aim = image_features(self.teacher, self.recipe.as_llava_sees(images).bfloat16()).float()
        return self.patch_loss(network, image_features(network, images.bfloat16()), truths, aim)


class Together(Seeing):
    """The whole model on drawn scenes, easy-VQA and text, from the first two stages' weights; what patches show is
    still taught a little, so that the tower goes on learning kinds while the decoder learns to talk about them.
    """

    def load_start(self, network) -> None:
        """The decoder from its stage, or as the network has it where the recipe has none; the rest from the tower's."""
        own = network.state_dict()
        decoder = self.weights("decoder") if "decoder" in self.recipe.stages else own
        tower = self.weights("tower")
        of_decoder = lambda name: "language_model" in name or "lm_head" in name  # noqa: E731
        network.load_state_dict({name: (decoder if of_decoder(name) else tower)[name] for name in own})

    def weights(self, stage: str) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / f"{stage}.pt", weights_only=True)["weights"]

    def rates(self, name: str) -> float | None:
        return 1.5e-3 if "language_model" in name or "lm_head" in name else 7e-4

    def loss(self, network, rng: random.Random, step: int, done: float, batch_size: int | None):
        packs, images, truths = [], [], []
        for _ in range(batch_size or 32):
            form = rng.random()
            if form < 0.1:
                packs.append(text_lesson(self.packer, rng))
            elif form < 0.28:
                chosen = rng.choice(self.easy.ids)
                packs.append(turns_lesson(self.packer, self.easy.turns[chosen]))
                picture, truth = self.easy_picture(chosen, rng.random() < 0.5)
                images.append(picture)
                truths.append(truth)
            else:
                scene = make_scene(rng)
                packs.append(scene_lesson(self.packer, scene, rng, drills=max(0.1, 0.25 - 0.15 * done)))
                image, labels = draw_with_labels(scene)
                images.append(self.recipe.pixels(image))
                truths.append(self.scene_truth(scene, labels))
        batch = collate(packs, self.tokenizer.pad_token_id)
        features = image_features(network, torch.stack(images).bfloat16())
        decoder = network.model.language_model
        embeds = decoder.embed_tokens(batch["ids"])
        embeds[batch["ids"] == self.packer.token["<image>"]] = features.flatten(0, 1)
        answers, right = answer_loss(decoder, embeds, batch)
        patches, seen = self.patch_loss(network, features, truths)
        return answers + 0.2 * patches, {**right, **seen, "answers": answers.item()}


STAGES = {"decoder": Decoder, "tower": Tower, "together": Together}
