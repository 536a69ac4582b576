"""Chat: streamed, stoppable, reproducible; questions and images checked before anything is computed."""

import threading
import time

import pytest
import torch

from lvlm import BadImage, BadQuestion, Cancelled
from lvlm.chat import ChatStream
from tests import tiny


@pytest.fixture(scope="module")
def model():
    return tiny.model("llama-gqa")


def generation_threads():
    return [x for x in threading.enumerate() if "_speak" in x.name]


def test_streamed_pieces_add_up_to_the_batched_answer(model):
    """What chat streams is what generate returns, and the statistics count it."""
    stream = model.chat(tiny.picture(), "how many apples?", max_new_tokens=12)
    text = "".join(stream)
    assert text.strip() == model.generate([(tiny.picture(), "how many apples?")], max_new_tokens=12)[0]
    assert stream.stats.new_tokens <= 12 and not stream.stats.stopped
    assert stream.stats.prompt_tokens > tiny.IMAGE_TOKENS and stream.stats.first_token_s > 0
    assert not generation_threads()


@pytest.mark.parametrize("image", [None, tiny.picture()])
def test_with_and_without_an_image(model, image):
    """Text-only questions work on the same model."""
    assert isinstance("".join(model.chat(image, "what?", max_new_tokens=4)), str)


def test_batches_answer_like_single_questions(model):
    """Left padding and mixing with text-only prompts change no greedy answer."""
    prompts = [(tiny.picture(1), "how many?"), (None, "what is at the top left?"), (tiny.picture(2), "a")]
    together = model.generate(prompts, max_new_tokens=6, batch_size=3)
    assert together == [model.generate([x], max_new_tokens=6)[0] for x in prompts]


def test_stop_ends_the_generation_thread(model):
    """Setting the event ends generation within a token, and says so."""
    stop = threading.Event()
    stream = model.chat(tiny.picture(), "what?", max_new_tokens=90, stop=stop)
    next(stream)
    stop.set()
    list(stream)
    assert stream.stats.stopped and stream.stats.new_tokens < 90
    assert not generation_threads()


def test_closing_the_stream_ends_the_generation_thread(model):
    """So does closing it, even from another thread, and leaving a with block."""
    stream = model.chat(tiny.picture(), "what?", max_new_tokens=90)
    next(stream)
    stream.close()
    assert stream.stats.stopped and not generation_threads()
    with model.chat(tiny.picture(), "what?", max_new_tokens=90) as other:
        pass
    assert other.stats is not None and not generation_threads()
    assert list(other) == []


def test_a_dropped_stream_stops_computing(model):
    """Nobody listens any more: its thread ends by itself."""
    stream = model.chat(tiny.picture(), "what?", max_new_tokens=90)
    next(stream)
    del stream
    deadline = time.time() + 5
    while generation_threads() and time.time() < deadline:
        time.sleep(0.01)
    assert not generation_threads()


def test_errors_in_the_thread_reach_the_consumer(model, monkeypatch):
    """What fails inside generation is raised where the text is read."""

    def fail(*args, **kwargs):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(model.network, "generate", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        list(model.chat(tiny.picture(), "what?"))
    assert not generation_threads()


def test_two_streams_run_side_by_side(model):
    """Both panes of the app at once: each gives what it gives alone."""
    other = tiny.model("llama-gqa", seed=3)
    alone = ["".join(x.chat(tiny.picture(), "what?", max_new_tokens=20)) for x in (model, other)]
    streams = [x.chat(tiny.picture(), "what?", max_new_tokens=20) for x in (model, other)]
    assert ["".join(x) for x in streams] == alone


def test_nothing_is_computed_that_nobody_asked_for(model):
    """Between two tokens the machine is free, for hooks and gradients too; asked ahead, a stream computes meanwhile
    and says what it says alone."""
    alone = "".join(model.chat(tiny.picture(), "what?", max_new_tokens=6))
    passes = []
    hook = model.network.get_decoder().register_forward_pre_hook(lambda *_: passes.append(None))
    other = tiny.model("llama-gqa", seed=3)
    with model.chat(tiny.picture(), "what?", max_new_tokens=6) as stream:
        said, before = next(stream), len(passes)
        assert "".join(other.chat(None, "how many?", max_new_tokens=20)) and len(passes) == before
        stream.advance()
        while stream._tokens.queue.empty():
            pass
        assert len(passes) == before + 1
        said += "".join(stream)
    hook.remove()
    assert said == alone


def test_sampling_is_reproducible_and_leaves_the_global_generator_alone(model):
    """A seed fixes the answer; other seeds differ; torch's own generator is untouched."""
    state = torch.get_rng_state()

    def ask(seed):
        return "".join(model.chat(tiny.picture(), "what?", max_new_tokens=20, temperature=2.0, seed=seed))

    assert ask(1) == ask(1)
    assert len({ask(x) for x in range(5)}) > 1
    assert torch.equal(state, torch.get_rng_state())


def test_gumbel_sampling_follows_the_softmax():
    """Greedy over perturbed logits draws with softmax probabilities."""
    from lvlm.chat import _Gumbel

    logits = torch.tensor([[0.0, 1.0, 2.0]])
    draw = _Gumbel(temperature=0.5, seed=0)
    counts = torch.bincount(draw(None, logits.expand(20000, -1)).argmax(-1), minlength=3) / 20000
    assert torch.allclose(counts, torch.softmax(logits[0] / 0.5, -1), atol=0.01)


class Fixed(ChatStream):
    """A stream fed with given token ids instead of a network's."""

    def __init__(self, tokenizer, ids):
        self._tokenizer, self._ids, self._sent, self.ids = tokenizer, [], "", ids

    def pieces(self):
        for token in self.ids:
            self._ids.append(token)
            yield self._new_text()
        yield self._new_text(last=True)


@pytest.mark.parametrize("text", ["naïve café ☕", "你好,世界", "🐕‍🦺 dog", "  leading", "a  b\n\nc", "x .y"])
def test_pieces_never_split_a_character(text):
    """Byte tokens of one character are held back until it is whole."""
    tokenizer = tiny.tokenizer()
    pieces = list(Fixed(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"]).pieces())
    assert "".join(pieces) == text.lstrip()
    assert not any("\ufffd" in x for x in pieces)


@pytest.mark.parametrize("question", ["", "   ", "\n", None])
def test_an_empty_question_is_refused(model, question):
    """At once, with a sentence."""
    with pytest.raises(BadQuestion, match="empty"):
        model.chat(tiny.picture(), question)


def test_a_ten_thousand_word_question_is_refused_with_the_limit(model):
    """The sentence names the model's context."""
    with pytest.raises(BadQuestion, match="128"):
        model.chat(tiny.picture(), "word " * 10_000)
    with pytest.raises(BadQuestion, match="128"):
        model.generate([(None, "word " * 10_000)])
    assert not generation_threads()


def test_a_bad_image_is_refused_before_anything_runs(model):
    """The image is opened before the thread starts."""
    with pytest.raises(BadImage):
        model.chat(b"no image", "what?")
    assert not generation_threads()


def test_answers_end_inside_the_context(model):
    """However long an answer is asked for, prompt and answer fit the context."""
    stream = model.chat(None, "what?" * 15, max_new_tokens=10_000)
    list(stream)
    assert stream.stats.prompt_tokens + stream.stats.new_tokens <= model.context


def test_the_image_marker_in_a_question_is_only_text(model):
    """A person who types <image> gets an answer, not a crash."""
    "".join(model.chat(tiny.picture(), "what is <image> here?", max_new_tokens=3))
    "".join(model.chat(None, "<image>?", max_new_tokens=3))


def test_earlier_turns_are_part_of_the_prompt(model):
    """History makes the prompt longer; the image stands before the first question."""
    plain = model.chat(tiny.picture(), "and dogs?", max_new_tokens=2)
    longer = model.chat(tiny.picture(), "and dogs?", max_new_tokens=2, history=[("apples?", "two")])
    list(plain), list(longer)
    assert longer.stats.prompt_tokens > plain.stats.prompt_tokens


def test_chat_prints_no_warnings(model, capfd, recwarn):
    """Nothing on the terminal, no Python warnings."""
    list(model.chat(tiny.picture(), "what?", max_new_tokens=3))
    list(model.chat(None, "what?", max_new_tokens=3, temperature=1.0))
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


def test_batches_report_and_can_be_cancelled(model):
    """A listener hears how many questions are done; raising from it ends the call."""
    heard = []
    model.generate([(None, "what?")] * 5, max_new_tokens=2, batch_size=2, report=heard.append)
    assert [(x.done, x.total) for x in heard] == [(2, 5), (4, 5), (5, 5)]

    def stop(event):
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        model.generate([(None, "what?")] * 5, max_new_tokens=2, batch_size=2, report=stop)
