"""The authors' own checkpoint layouts → stock transformers classes. No code of a checkpoint ever runs.

`layouts` is the table of what is called how, `configs` what their config.json means, `weights` streams tensors,
`processors` knows their pixels and prompts.
"""

from .layouts import LAYOUTS, Layout, recognise
from .reading import read

__all__ = ["LAYOUTS", "Layout", "read", "recognise"]
