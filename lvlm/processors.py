"""The processor of a stock folder: tokenizer, pixels by the PIL backend, chat template; for images, never for videos.

Knows what is peculiar to processor classes. What a folder says of videos is kept and saved again, not used: the
classes that read videos want torchvision, and nobody here shows a model a video.
"""

from functools import cache
from pathlib import Path

from transformers import PROCESSOR_MAPPING, AutoImageProcessor, AutoTokenizer, ProcessorMixin
from transformers.models.auto.processing_auto import processor_class_from_name
from transformers.models.internvl.processing_internvl import InternVLProcessor as StockInternVLProcessor

from .errors import BrokenCheckpoint, LVLMError
from .files import line, quiet, read_json
from .shortage import ran_out
from .unfit import check_tokenizer

SETTINGS, PIXELS, VIDEOS = "processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"
NAMING = (SETTINGS, PIXELS, "tokenizer_config.json")  # where a folder may name its processor class, in this order
ATTRIBUTES = ("image_processor", "tokenizer", "video_processor")  # what a processor may be made of
# Prompt formats that a model's authors describe and its folders do not hold.
UNWRITTEN = {
    "PaliGemmaProcessor": (  # which itself writes the start token and a line break, behind image and prompt
        "{% for m in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% for c in m['content'] %}"
        "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
}


class VideoSettings(dict):
    """In a video processor's place: what a folder says about videos. What it does not say is None."""

    def __getattr__(self, name: str):
        if name.startswith("__"):  # copy and pickle probe for their own
            raise AttributeError(name)
        return self.get(name)


@cache
def for_images(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """The stock class, taking VideoSettings for its video processor. It keeps the stock name, and the stock files."""
    if "video_processor" not in stock.get_attributes():
        return stock

    def check_argument_for_proper_class(self, name, argument):
        if name == "video_processor" and isinstance(argument, VideoSettings):
            return VideoSettings
        return stock.check_argument_for_proper_class(self, name, argument)

    def to_dict(self) -> dict:
        return {k: v for k, v in stock.to_dict(self).items() if k != "video_processor" or v}

    fields = {"check_argument_for_proper_class": check_argument_for_proper_class, "to_dict": to_dict}
    return type(stock.__name__, (stock,), {**fields, "__module__": stock.__module__, "__doc__": stock.__doc__})


class InternVLProcessor(for_images(StockInternVLProcessor)):
    """The stock processor for tokenizers without a video token too. system_text replaces the chat template's own."""

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        video_processor=None,
        image_seq_length: int = 256,
        system_text: str | None = None,
        chat_template=None,
        **kwargs,
    ):
        videos = VideoSettings() if video_processor is None else video_processor
        ProcessorMixin.__init__(self, image_processor, tokenizer, videos, chat_template=chat_template)
        self.image_seq_length = image_seq_length
        self.system_text = system_text
        self.start_image_token = tokenizer.start_image_token
        self.end_image_token = tokenizer.end_image_token
        self.start_image_token_id = tokenizer.convert_tokens_to_ids(self.start_image_token)
        self.end_image_token_id = tokenizer.convert_tokens_to_ids(self.end_image_token)
        self.image_token = tokenizer.context_image_token
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token = getattr(tokenizer, "video_token", None)

    def __call__(self, images=None, text=None, **kwargs):
        """Tokens and tiles: an image of n tiles takes n × image_seq_length image tokens, between two marks."""
        inputs = ProcessorMixin.__call__(self, images=images, text=text, **kwargs)
        inputs.pop("num_patches", None)
        return inputs

    def apply_chat_template(self, conversation, chat_template=None, **kwargs):
        if self.system_text is not None:
            kwargs["system_text"] = self.system_text
        return super().apply_chat_template(conversation, chat_template, **kwargs)


OURS = {"InternVLProcessor": InternVLProcessor}


def read_processor(folder: Path, config) -> ProcessorMixin:
    """The processor of a folder in a stock layout; config: the network's.

    The PIL backend, because a folder does not record which backend made its model's pixels.
    Raises BrokenCheckpoint, naming the package if one is missing.
    """
    try:
        check_tokenizer(folder)
        with quiet():
            cls = _class(folder, config)
            missing = [x for x in cls.get_attributes() if x not in ATTRIBUTES]
            if missing:
                raise BrokenCheckpoint(f"{folder.name} wants a {missing[0]}: only images and text are understood here.")
            made = {
                "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False),
                "tokenizer": AutoTokenizer.from_pretrained(folder, trust_remote_code=False),
                "video_processor": VideoSettings(_videos(folder)),
            }
            settings, _ = cls.get_processor_dict(folder)
            processor = cls.from_args_and_dict([made[x] for x in cls.get_attributes()], settings)
    except ImportError as error:
        raise BrokenCheckpoint(
            f"The processor of {folder.name} needs a package that is not installed: {_sentence(error)} "
            "Please install it."
        ) from error
    except LVLMError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exceptions
        if ran_out(error):
            raise
        raise BrokenCheckpoint(
            f"{folder.name} has no usable processor (tokenizer, image processor; {line(error)}): "
            "please download it again."
        ) from error
    if not processor.chat_template:
        processor.chat_template = UNWRITTEN.get(cls.__name__)
    return processor


def _class(folder: Path, config) -> type[ProcessorMixin]:
    """The class that a folder names, or else the one that goes with its config."""
    files = (read_json(folder / x) for x in NAMING if (folder / x).exists())
    name = next((x for file in files if (x := file.get("processor_class"))), "")
    stock = processor_class_from_name(str(name)) or PROCESSOR_MAPPING.get(type(config), None)
    if stock is None:
        raise BrokenCheckpoint(f"{folder.name} does not say which processor it has: add its {SETTINGS}.")
    return OURS.get(stock.__name__) or for_images(stock)


def _videos(folder: Path) -> dict:
    """Where transformers looks for them: saved with the rest, in a file of their own, or shared with images."""
    together = read_json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
    if "video_processor" in together or "image_processor" in together:
        found = together.get("video_processor", {})
    else:
        file = next((folder / x for x in (VIDEOS, PIXELS) if (folder / x).exists()), None)
        found = read_json(file) if file else {}
    only_images = ("image_processor_type", "processor_class", "auto_map")
    return {k: v for k, v in found.items() if k not in only_images} if isinstance(found, dict) else {}


def _sentence(error: BaseException) -> str:
    """The first sentence of a library's long advice."""
    return line(error).split(". ")[0].rstrip(".") + "."
