"""Image + question → streamed text that can be stopped, and batches of greedy answers."""

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from .encoding import encode_texts, prompt_text
from .errors import BadQuestion
from .events import Progress, Report
from .images import check_question, open_image
from .unfit import fitting, unbroken


@dataclass(frozen=True)
class ChatStats:
    """Times are wall clock seconds; the first token's includes the image and the whole prompt."""

    prompt_tokens: int
    new_tokens: int
    first_token_s: float
    tokens_per_s: float  # after the first token
    stopped: bool  # by the person, before the model had finished


class _Stop(StoppingCriteria):
    def __init__(self, *events: threading.Event):
        self.events = events

    def __call__(self, input_ids, scores, **kwargs):
        stopped = any(x.is_set() for x in self.events)
        return torch.full((input_ids.shape[0],), stopped, device=input_ids.device, dtype=torch.bool)


class _Gumbel(LogitsProcessor):
    """Sampling as greedy search over logits/temperature + Gumbel noise: the same distribution, and a generator of
    its own, where `generate(do_sample=True)` would use and disturb the process-wide one."""

    def __init__(self, temperature: float, seed: int):
        self.temperature, self.generator = temperature, torch.Generator().manual_seed(seed)

    def __call__(self, input_ids, scores):
        uniform = torch.rand(scores.shape, generator=self.generator, dtype=torch.float64).clamp_(1e-300, 1 - 1e-16)
        return scores.float() / self.temperature - torch.log(-torch.log(uniform)).float().to(scores.device)


class _Closed(Exception):
    """Ends a generation at once."""


class _TokenQueue:
    """The streamer that `generate` writes token ids into; its first call is the prompt. It returns when the next token
    is wanted: between two of them nothing is computed."""

    def __init__(self, closed: threading.Event):
        self.closed, self.queue = closed, queue.SimpleQueue()
        self.wanted = threading.Semaphore(0)
        self.prompt_seen = False

    def put(self, value):
        if self.prompt_seen:
            self.queue.put((time.perf_counter(), int(value.flatten()[-1])))
            self.wanted.acquire()
        if self.closed.is_set():
            raise _Closed
        self.prompt_seen = True

    def end(self):
        pass  # the thread itself says when it has ended, also when it failed


def _speak(network, options: dict) -> None:
    """Generate, in a thread that knows nothing of the stream it serves: one that nobody holds can go, and ends it."""
    error = None
    try:
        with torch.no_grad():
            network.generate(**options)
    except BaseException as found:  # noqa: BLE001 - handed over to the consumer, which raises it
        error = found
    finally:
        options["streamer"].queue.put(error)


class ChatStream(Iterator[str]):
    """Pieces of one answer. Ends when the model has finished, `stop` is set, or `close()` is called.

    A token is computed when it is asked for: the machine is free while nobody does. `stats` is None until the stream
    has ended; by then its thread has ended too.
    """

    def __init__(self, model, image, question, history, *, max_new_tokens, temperature, seed, stop):
        check_question(question)
        if temperature < 0 or max_new_tokens < 1:
            raise BadQuestion("Temperature must be ≥ 0 and the answer at least one token long.")
        inputs = encode_prompt(model, image, question, history)
        self.prompt_tokens = inputs["input_ids"].shape[1]
        self.stats: ChatStats | None = None
        self._name, self._tokenizer = model.name, model.processor.tokenizer
        self._closed = threading.Event()
        self._user_stop = stop or threading.Event()
        self._ids: list[int] = []
        self._sent = ""
        self._times: list[float] = []
        self._tokens = _TokenQueue(self._closed)
        self._asked = True  # for the first token
        self._error: BaseException | None = None
        options = {
            **inputs,
            "max_new_tokens": min(max_new_tokens, model.context - self.prompt_tokens),
            "stopping_criteria": StoppingCriteriaList([_Stop(self._closed, self._user_stop)]),
            "streamer": self._tokens,
            **_greedy(model),
        }
        if temperature > 0:
            options["logits_processor"] = LogitsProcessorList([_Gumbel(temperature, seed)])
        self._start = time.perf_counter()
        self._thread = threading.Thread(target=_speak, args=(model.network, options), daemon=True)
        self._thread.start()

    @property
    def tokens(self) -> tuple[int, ...]:
        """Ids of the tokens said so far, the end mark included."""
        return tuple(self._ids)

    def advance(self) -> None:
        """Begin to compute the next token without waiting for it, so that several streams do so side by side."""
        if not self._asked:
            self._asked = True
            self._tokens.wanted.release()

    def __next__(self) -> str:
        while self.stats is None:
            self.advance()
            item = self._tokens.queue.get()
            self._asked = False
            if not isinstance(item, tuple):
                self._tokens.queue.put(item)  # for whoever else waits, in close()
                self._error = item
                return self._finish()
            self._times.append(item[0])
            self._ids.append(item[1])
            piece = self._new_text()
            if piece:
                return piece
        raise StopIteration

    def _new_text(self, last: bool = False) -> str:
        """Text that the ids so far add; held back while it may still change (half a character, half a word mark)."""
        with unbroken(self._tokenizer.name_or_path):
            text = self._tokenizer.decode(self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text = text.lstrip()
        if not last and text.endswith("\ufffd"):
            return ""
        piece, self._sent = text[len(self._sent) :], text
        return piece

    def _finish(self) -> str:
        self._thread.join()
        n, first = len(self._times), self._times[0] if self._times else time.perf_counter()
        rate = (n - 1) / (self._times[-1] - first) if n > 1 else 0.0
        stopped = self._closed.is_set() or self._user_stop.is_set()
        self.stats = ChatStats(self.prompt_tokens, n, first - self._start, rate, stopped)
        if self._error is not None and not self._closed.is_set():
            with fitting(self._name):
                raise self._error
        piece = self._new_text(last=True)
        if piece:
            return piece
        raise StopIteration

    def close(self) -> None:
        """End the generation now and wait for its thread; safe to call at any time, from any thread."""
        self._closed.set()
        self._tokens.wanted.release()
        self._thread.join()
        for _ in self:  # to its end, which counts what was said
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if hasattr(self, "_thread"):
            self._closed.set()  # a dropped stream stops computing; nobody is left to wait for it
            self._tokens.wanted.release()


def encode_prompt(model, image, question: str, history: Sequence[tuple[str, str]] = ()) -> dict:
    """What the network is given before the answer's first token: tensors of one row, on the model's device.

    Raises BadQuestion for an empty question and for one that leaves no room, BadImage for what cannot be opened.
    """
    image = None if image is None else open_image(image)
    text = prompt_text(model.processor, [*history, (check_question(question), None)], image, ask=True)
    inputs = encode_texts(model.processor, [text], [image], side="left")
    check_question(question, inputs["input_ids"].shape[1], model.context)
    return _on_device(inputs, model)


def _on_device(inputs: dict, model) -> dict:
    dtype = model.dtype
    return {k: v.to(model.device, dtype if v.is_floating_point() else v.dtype) for k, v in inputs.items()}


def _greedy(model) -> dict:
    """Greedy whatever the checkpoint's generation config says; its sampling fields would only warn."""
    tokenizer = model.processor.tokenizer
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return {"do_sample": False, "num_beams": 1, "pad_token_id": pad, "temperature": None, "top_p": None, "top_k": None}


def generate(model, prompts: Sequence[tuple], *, max_new_tokens: int, batch_size: int, report: Report) -> list[str]:
    """Greedy answers, in the order of the prompts. Batches hold prompts of similar length, longest first.

    Prompts with and without images are not mixed: one would be mostly padding, and Phi-3 chooses its rotary factors by
    the longest prompt of a batch.
    """
    texts = []
    for image, question in prompts:
        texts.append(prompt_text(model.processor, [(check_question(question), None)], image, ask=True))
    order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
    answers, done = [""] * len(texts), 0
    batches = [*_batches(order, [x is None for x, _ in prompts], batch_size)]

    def prepare(rows: list[int]):
        images = [None if prompts[i][0] is None else open_image(prompts[i][0]) for i in rows]
        return encode_texts(model.processor, [texts[i] for i in rows], images, side="left")

    # Pictures are prepared by one core: the other works on the last batch meanwhile. The tokenizer, which takes no two
    # calls at once, is left alone until then.
    with ThreadPoolExecutor(1) as ahead:
        prepared = ahead.submit(prepare, batches[0]) if batches else None
        for place, rows in enumerate(batches):
            inputs = _on_device(prepared.result(), model)
            prepared = ahead.submit(prepare, batches[place + 1]) if place + 1 < len(batches) else None
            tokens = inputs["input_ids"].shape[1]
            check_question(prompts[rows[0]][1], tokens, model.context)
            room = min(max_new_tokens, model.context - tokens)
            with torch.no_grad():
                with fitting(model.name):
                    found = model.network.generate(**inputs, max_new_tokens=room, **_greedy(model))[:, tokens:]
            if prepared is not None:
                wait([prepared])
            with unbroken(model.name):
                decoded = model.processor.tokenizer.batch_decode(
                    found, skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
            for i, text in zip(rows, decoded):
                answers[i] = text.strip()
            done += len(rows)
            report(Progress("answer", done, len(order), f"{done} of {len(order)} questions"))
    return answers


def _batches(order: Sequence[int], kinds: Sequence[bool], size: int) -> Iterator[list[int]]:
    for kind in (False, True):
        rows = [i for i in order if kinds[i] == kind]
        yield from (rows[start : start + size] for start in range(0, len(rows), size))
