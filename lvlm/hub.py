"""The files of a Hugging Face hub repository, from the cache or the network; what the hub refuses becomes a sentence.

A snapshot's folder is named after its commit: what was loaded is known, and can be pinned, to the commit.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, get_token, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from .errors import LVLMError, UnknownModel
from .files import line

TEXTS = ("*.json", "*.jinja", "*.txt", "*.model")  # never *.bin or *.py: what could run is not even downloaded
WEIGHTS = ("*.safetensors",)


def split(name: str) -> tuple[str, str | None]:
    """ "org/name@revision" → the repository and its branch, tag or commit."""
    repo, _, revision = name.partition("@")
    return repo, revision or None


def download(repo: str, revision: str | None = None, wanted=TEXTS + WEIGHTS) -> Path:
    """The folder of one commit of a repository, as far as `wanted`, from the cache where the network has none.

    Raises UnknownModel where the repository is out of reach, LVLMError where it cannot be written down.
    """
    page = f"https://huggingface.co/{repo}"
    try:
        with _bars_for_people():
            return Path(snapshot_download(repo, revision=revision, allow_patterns=list(wanted)))
    except HFValidationError as error:
        raise UnknownModel(f"{repo} is not a hub id (organisation/name): please check its spelling.") from error
    except RevisionNotFoundError as error:
        raise UnknownModel(
            f"{repo} has no revision {revision}: please pick a branch, tag or commit of {page}/commits."
        ) from error
    except DisabledRepoError as error:
        raise UnknownModel(f"The Hugging Face hub has disabled {repo}: please pick another model.") from error
    except GatedRepoError as error:
        what = "try again once access is granted" if get_token() else "log in with `hf auth login`"
        raise UnknownModel(
            f"{repo} is only open to people who accepted its licence: please do so at {page}, and {what}."
        ) from error
    except RepositoryNotFoundError as error:
        what = "log in as somebody who may read it" if get_token() else "log in with `hf auth login`"
        raise UnknownModel(
            f"The Hugging Face hub has no model {repo}, or it is private: please check the name, or {what}."
        ) from error
    except HfHubHTTPError as error:
        raise _http(repo, error) from error
    except LocalEntryNotFoundError as error:
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _http(repo, error.__cause__) from error
        if isinstance(try_to_load_from_cache(repo, "config.json", revision=revision), str):
            raise UnknownModel(
                f"Only a part of {repo} is on this machine: please {_connect()}, so that the rest is downloaded."
            ) from error
        raise UnknownModel(f"{repo} is not on this machine: please {_connect()}, or give a local folder.") from error
    except OSError as error:
        raise LVLMError(f"{repo} could not be downloaded ({line(error)}): please make room or try again.") from error
    except Exception as error:  # the client passes on many kinds of broken connections, none of them ours to tell apart
        raise UnknownModel(
            f"{repo} could not be downloaded ({type(error).__name__}): "
            "please check the network, or give a local folder."
        ) from error


@contextmanager
def _bars_for_people() -> Iterator[None]:
    """The client's progress bars where somebody looks at a terminal, and nowhere else."""
    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _connect() -> str:
    return "unset HF_HUB_OFFLINE to allow the network" if constants.HF_HUB_OFFLINE else "check the network"


def _http(repo: str, error: HfHubHTTPError) -> UnknownModel:
    status = error.response.status_code
    if status in (401, 403):
        return UnknownModel(
            f"The Hugging Face hub does not accept the token that is stored here for {repo} ({status}): "
            "please log in again with `hf auth login`, with a token that may read it."
        )
    return UnknownModel(f"The Hugging Face hub answers {status} for {repo}: please try again later.")
