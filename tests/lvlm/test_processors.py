"""Processors of today's folders, without the packages that only videos need."""

import copy
import json

import pytest

from lvlm import BrokenCheckpoint, load
from lvlm.processors import VideoSettings
from pruning import save
from tests import checkpoints, tiny


@pytest.fixture
def folder(tmp_path):
    return checkpoints.make("qwen3_vl", tmp_path)


def rewrite(path, **entries):
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **entries}))


def test_video_settings_are_kept_and_not_used(folder, tmp_path):
    """A saved folder has them where transformers looks for them; code that they name is not named again."""
    rewrite(folder / "video_preprocessor_config.json", auto_map={"AutoVideoProcessor": "evil.V"})
    wanted = json.loads((folder / "video_preprocessor_config.json").read_text())
    del wanted["auto_map"]
    once = save(load(folder), tmp_path / "once")
    twice = save(load(once), tmp_path / "twice")
    for saved in (once, twice):
        settings = json.loads((saved / "processor_config.json").read_text())
        assert settings["video_processor"] == wanted
        assert settings["processor_class"] == "Qwen3VLProcessor"


def test_images_may_share_their_settings_with_videos(folder):
    """As transformers reads folders that have no file for videos; none at all is fine too."""
    (folder / "video_preprocessor_config.json").unlink()
    settings = load(folder).processor.video_processor
    assert settings.merge_size == 2 and settings.num_frames is None and "image_processor_type" not in settings
    assert copy.deepcopy(settings) == settings and isinstance(settings, VideoSettings)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "internvl3", "llava_onevision"])
def test_the_class_may_be_named_anywhere_or_nowhere(name, tmp_path):
    """In the processor's file, the pixels' file, the tokenizer's, or by the config alone."""
    folder = checkpoints.make(name, tmp_path)
    wanted = type(load(folder).processor)
    files = [folder / x for x in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")]
    for file in files:
        if file.exists():
            data = json.loads(file.read_text())
            data.pop("processor_class", None)
            file.write_text(json.dumps(data))
    for file in (None, *files):
        if file:
            rewrite(file, processor_class=wanted.__name__)
        assert type(load(folder).processor) is wanted


def test_a_template_may_stand_in_a_file_of_its_own(folder):
    """chat_template.jinja, as newer repositories have it."""
    text = json.loads((folder / "chat_template.json").read_text())["chat_template"]
    (folder / "chat_template.json").unlink()
    assert not load(folder).processor.chat_template
    (folder / "chat_template.jinja").write_text(text)
    assert load(folder).processor.chat_template == text


def test_paligemma_has_a_prompt_format_that_its_folders_do_not_hold(tmp_path):
    """Image, question, line break, answer; and earlier turns stand before the question."""
    model = load(checkpoints.make("paligemma", tmp_path))
    again = load(save(model, tmp_path / "saved"))
    for x in (model, again):
        ids = x.encode(tiny.samples(2)[:1], answers=False).inputs["input_ids"][0]
        text = x.processor.tokenizer.decode(ids[(ids != x.image_token)])
        assert text == "<bos>what is at\n"
    stream = model.chat(tiny.picture(), "and now ?", history=[("before ?", "yes")], max_new_tokens=1)
    list(stream)
    assert stream.stats.prompt_tokens == 16 + len("<bos>") - 4 + len("before ?\nyes\nand now ?\n")


@pytest.mark.parametrize(
    ("entries", "word"),
    [
        ({"processor_class": "PixtralProcessor"}, "not installed: PixtralProcessor requires the Torchvision library"),
        ({"processor_class": "Gemma3nProcessor"}, "wants a feature_extractor"),
    ],
)
def test_what_cannot_be_used_is_named(folder, entries, word):
    """The missing package, or the part beyond images and text."""
    rewrite(folder / "preprocessor_config.json", **entries)
    with pytest.raises(BrokenCheckpoint, match=word):
        load(folder)


def test_a_folder_without_pixels_is_refused(folder):
    """In one sentence."""
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(BrokenCheckpoint, match="no usable processor") as error:
        load(folder)
    assert "\n" not in str(error.value)
