"""What a vision-language model is: loading one, asking it, and knowing its decoder's layers, heads and neurons."""

from .anatomy import Anatomy, Cut, Layer, Linear, Parts
from .catalogue import Entry, catalogue
from .chat import ChatStats, ChatStream
from .encoding import Batch
from .errors import (
    BadImage,
    BadPlan,
    BadQuestion,
    BadSamples,
    BrokenCheckpoint,
    Cancelled,
    LVLMError,
    NotAnLVLM,
    NotEnoughMemory,
    NotFinite,
    NotWritten,
    UnknownModel,
    UnsafeCheckpoint,
    UnsupportedDecoder,
)
from .events import Event, LayerScored, LossPoint, Progress, Report, SampleScored, silent
from .images import check_question, open_image
from .loading import load
from .model import LVLM

__all__ = [
    "LVLM",
    "Anatomy",
    "BadImage",
    "BadPlan",
    "BadQuestion",
    "BadSamples",
    "Batch",
    "BrokenCheckpoint",
    "Cancelled",
    "ChatStats",
    "ChatStream",
    "Cut",
    "Entry",
    "Event",
    "LVLMError",
    "Layer",
    "LayerScored",
    "Linear",
    "LossPoint",
    "NotAnLVLM",
    "NotEnoughMemory",
    "NotFinite",
    "NotWritten",
    "Parts",
    "Progress",
    "Report",
    "SampleScored",
    "UnknownModel",
    "UnsafeCheckpoint",
    "UnsupportedDecoder",
    "catalogue",
    "check_question",
    "load",
    "open_image",
    "silent",
]
