"""What can go wrong because of a person's choice or file. Each message is one sentence and says what to do next."""

MOST_SAID = 700  # characters; a sentence that quotes more than that is cut in the middle, for its advice ends it


class LVLMError(Exception):
    """Base of every error whose text may be shown to a person as it stands: one line of printable characters, whatever
    names and values of somebody's file it quotes."""

    def __init__(self, text: object = ""):
        words = " ".join(str(text).split())
        words = "".join(x if x.isprintable() else "\N{REPLACEMENT CHARACTER}" for x in words)
        half = MOST_SAID // 2
        super().__init__(words if len(words) <= MOST_SAID else f"{words[:half]} … {words[-half:]}")


class UnknownModel(LVLMError):
    """No catalogue entry, folder or hub model has this name."""


class NotAnLVLM(LVLMError):
    """The folder holds something else than a vision-language model."""


class BrokenCheckpoint(LVLMError):
    """A file is missing, truncated or does not fit the model that its config describes."""


class UnsafeCheckpoint(LVLMError):
    """Loading it would execute code from the checkpoint (pickle files, remote code)."""


class NotEnoughMemory(LVLMError):
    """A step would take more memory than is free; said before it is taken."""


class NotWritten(LVLMError):
    """The disk does not take a file: it is full, or read-only, or belongs to somebody else. What was there is left."""


class NotFinite(LVLMError):
    """Weights or activations are NaN or infinite; the text names the first such tensor."""


class UnsupportedDecoder(LVLMError):
    """The language decoder has a part which cannot be described as layers of heads and neurons."""


class BadImage(LVLMError):
    """Not a readable image, or one too large to open safely."""


class BadQuestion(LVLMError):
    """An empty question, or one that does not fit the model's context."""


class BadSamples(LVLMError):
    """Samples that cannot be calibrated, trained or evaluated on."""


class BadPlan(LVLMError):
    """A plan that cannot be made, or that was made for another model."""


class Cancelled(LVLMError):
    """Raised from a report callback to stop a long call; not a failure."""
