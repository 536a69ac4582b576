"""Where a model looks while it chooses a token: its attention weights over the picture, layer by layer, head by head.

The weights are worked out beside an ordinary forward pass, from the queries and keys that reach the attention kernel.
"""

from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from .chat import encode_prompt
from .errors import BadQuestion, UnsupportedDecoder
from .forcing import continued
from .unfit import fitting


class _Watch(TorchFunctionMode):
    """Notes what the last token attends to in each decoder layer. Of this thread alone; results stay as they are."""

    def __init__(self):
        super().__init__()
        self.layer: int | None = None  # the one that is computing
        self.found: dict[int, torch.Tensor] = {}  # layer → (heads, keys), float32

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if self.layer is not None and function is F.scaled_dot_product_attention:
            self.found[self.layer] = _last_row(*args, **kwargs)
        elif self.layer is not None and function is F.softmax:  # eager attention
            self.found[self.layer] = result[0, :, -1].float()
        return result


def _last_row(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    """(heads, keys): softmax of one row's scores, the last query's, which a causal mask lets see every key."""
    query, key = query[0, :, -1].float(), key[0].float()  # (H, D), (G, T, D)
    key = key.repeat_interleave(len(query) // len(key), dim=0)
    scores = torch.einsum("hd,htd->ht", query, key) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        row = attn_mask[0, :, -1]
        scores = scores.masked_fill(~row, -torch.inf) if row.dtype == torch.bool else scores + row.float()
    return scores.softmax(-1)


@contextmanager
def _watched(network):
    """A _Watch that knows which layer computes, by hooks that are gone at the end."""
    watch, handles = _Watch(), []

    def enter(index):
        def hook(*_):
            watch.layer = index

        return hook

    try:
        for index, layer in enumerate(network.get_decoder().layers):
            handles.append(layer.self_attn.register_forward_pre_hook(enter(index)))
            handles.append(layer.self_attn.register_forward_hook(enter(None), always_call=True))
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def attention_to_image(
    model, image, question: str, said: Sequence[int] = (), history: Sequence[tuple[str, str]] = ()
) -> tuple[np.ndarray, ...]:
    """Per layer (query heads, image tokens) float32: the weights with which the model looks at each part of the picture
    while it chooses the token after `said`.

    said: ids of the answer so far; none before its first token. A head's weights sum to at most 1: the rest is paid to
    words. Equal to what `output_attentions` gives under eager attention. The model is left as it was, but must not be
    computing for anybody else meanwhile. Raises BadQuestion without a picture, and UnsupportedDecoder where attention
    is computed by a kernel that does not show its inputs.
    """
    inputs = encode_prompt(model, image, question, history)
    inputs = continued(model, inputs, said)
    shown = inputs["input_ids"][0] == model.image_token
    if image is None or not shown.any():
        raise BadQuestion("There is no picture to look at: please choose one and ask again.")
    with _watched(model.network) as watch, fitting(model.name):
        model.network(**inputs, logits_to_keep=1)
    layers = len(model.network.get_decoder().layers)
    if len(watch.found) < layers:
        raise UnsupportedDecoder(
            f"Only {len(watch.found)} of {layers} layers show what they attend to: "
            'please load the model with attention "sdpa" or "eager".'
        )
    return tuple(watch.found[i][:, shown].cpu().numpy() for i in range(layers))


def on_image(weights: np.ndarray) -> float:
    """How much of the attention, 0…1, goes to the image. weights: (image tokens,)."""
    return float(weights.sum())


def averaged(weights: Sequence[np.ndarray], layer: int | None = None, head: int | None = None) -> np.ndarray:
    """(image tokens,): one head's weights; the mean of a layer's heads; or, without a layer, of all heads of all."""
    if layer is None:
        return np.concatenate(weights).mean(0)
    return weights[layer].mean(0) if head is None else weights[layer][head]
