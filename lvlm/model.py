"""LVLM: a network with its processor, and what was done to it. Dense, pruned, recovered and int8 are all this."""

import hashlib
import threading
from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from .anatomy import Anatomy, Parts, anatomy_of, parts_of
from .chat import ChatStream, generate
from .encoding import Batch, encode_samples
from .events import Report, silent


class LVLM:
    """A vision-language model that can be asked, measured, pruned and saved.

    network: a transformers model with `get_decoder()`, in evaluation mode.
    processor: its LlavaProcessor or the like (tokenizer, image processor, chat template); None if only scored.
    history: what was done to it, oldest first, as JSON-ready dicts with a "step" key.
    """

    def __init__(self, network: PreTrainedModel, processor, name: str, history: Sequence[dict] = ()):
        self.network = network.eval()
        self.processor = processor
        self.name = name
        self.history = tuple(history)
        self._anatomy: Anatomy | None = None
        self._digest: str | None = None

    def __repr__(self) -> str:
        parts = self.parameters()
        return f"LVLM({self.name!r}, {parts.total / 1e6:,.1f}M parameters, {len(self.anatomy.layers)} layers)"

    @property
    def anatomy(self) -> Anatomy:
        """Raises UnsupportedDecoder where the decoder cannot be described; chatting does not need it."""
        if self._anatomy is None:
            self._anatomy = anatomy_of(self.network)
        return self._anatomy

    @property
    def device(self) -> torch.device:
        return self.network.get_input_embeddings().weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the embeddings and activations; an int8 model computes in this type around its int8 products."""
        return self.network.get_input_embeddings().weight.dtype

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may take together."""
        return int(getattr(self.network.config.get_text_config(), "max_position_embeddings", 1 << 20))

    @property
    def image_token(self) -> int | None:
        """Id of the tokens that stand for images in a prompt."""
        config = self.network.config
        return getattr(config, "image_token_id", getattr(config, "image_token_index", None))

    def parameters(self) -> Parts:
        return parts_of(self.network)

    def bytes(self) -> int:
        """Of all weights as stored in memory, int8 scales included, tied weights once."""
        tensors = {id(x): x for x in self.network.state_dict(keep_vars=True).values()}
        buffers = {id(x) for x in self.network.buffers()}
        return sum(x.numel() * x.element_size() for i, x in tensors.items() if i not in buffers and x.dim())

    def digest(self) -> str:
        """SHA-256 of names, types, shapes and bits of every weight (first 16 hex digits); computed once."""
        if self._digest is None:
            self._digest = weights_digest(self.network)
        return self._digest

    def encode(self, samples, answers: bool = True) -> Batch:
        """Samples as one right-padded batch on this model's device. See encoding.encode_samples."""
        batch = encode_samples(self.processor, samples, self.image_token, answers=answers)
        return batch.to(self.device, self.dtype)

    def chat(
        self,
        image,
        question: str,
        *,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int = 0,
        stop: threading.Event | None = None,
        history: Sequence[tuple[str, str]] = (),
    ) -> ChatStream:
        """Ask about an image (or None): an iterator over pieces of the answer, with `.stats` when it has ended.

        history: earlier (question, answer) pairs about the same image. temperature 0 is greedy.
        Raises BadImage and BadQuestion at once, before anything is computed. Setting `stop`, or closing the
        iterator, ends the generation thread.
        """
        return ChatStream(
            self, image, question, history, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, stop=stop
        )

    def generate(self, prompts, max_new_tokens: int = 64, batch_size: int = 16, report: Report = silent) -> list[str]:
        """Greedy answers to (image or None, question) prompts, in left-padded batches of similar length.

        report is told after each batch; raising from it ends the call.
        """
        return generate(self, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size, report=report)

    def then(self, network: PreTrainedModel, step: dict) -> "LVLM":
        """The LVLM that `step` made of this one."""
        return LVLM(network, self.processor, self.name, (*self.history, step))


def weights_digest(network: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().contiguous().cpu().flatten()
        digest.update(memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else b"")
    return digest.hexdigest()[:16]
