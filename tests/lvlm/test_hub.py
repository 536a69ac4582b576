"""The hub, played by a function that answers the client's requests: cached, offline, unreachable, private, pinned."""

import hashlib
import json
import re
import shutil
from functools import partial

import httpx2
import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from lvlm import BrokenCheckpoint, LVLMError, NotEnoughMemory, UnknownModel, load, memory
from lvlm.hub import split
from pruning import save

REPO = "somebody/tiny"
COMMIT, OLDER = "a" * 40, "b" * 40


@pytest.fixture(scope="module")
def folder(harmless):
    return harmless


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's client, no token, and a network that nobody may use yet."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    serve(lambda request: pytest.fail(f"asked the network for {request.url}"))
    yield tmp_path / "cache"
    serve(lambda request: httpx2.Response(500))
    huggingface_hub.close_session()


def serve(answer) -> None:
    """From now on the client's requests are answered by this function of them."""

    def unless_offline(request):
        if constants.HF_HUB_OFFLINE:  # as the client's own session does
            raise OfflineModeIsEnabled("offline")
        return answer(request)

    huggingface_hub.close_session()
    huggingface_hub.set_client_factory(lambda: httpx2.Client(transport=httpx2.MockTransport(unless_offline)))


class Hub:
    """One public repository with two commits; the older one has a file more. `asked` holds the paths of requests."""

    def __init__(self, folder):
        self.files = {x.name: x.read_bytes() for x in folder.iterdir()}
        self.files |= {"evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle"}
        self.asked = []

    def __call__(self, request):
        path = request.url.path
        self.asked.append(path)
        if match := re.fullmatch(rf"/api/models/{REPO}/revision/(.+)", path):
            commit = {"main": COMMIT, "older": OLDER, COMMIT: COMMIT, OLDER: OLDER}.get(match[1])
            if not commit:
                return httpx2.Response(404, headers={"X-Error-Code": "RevisionNotFound"})
            return httpx2.Response(200, json={"id": REPO, "sha": commit, "siblings": []})
        if re.fullmatch(rf"/api/models/{REPO}/tree/\w+", path):
            entries = [{"type": "file", "path": k, "size": len(v), "oid": _id(v)} for k, v in self.files.items()]
            return httpx2.Response(200, json=entries)
        if match := re.fullmatch(rf"/{REPO}/resolve/(\w+)/(.+)", path):
            data = self.files[match[2]]
            headers = {"ETag": f'"{_id(data)}"', "X-Repo-Commit": match[1], "Content-Length": str(len(data))}
            return httpx2.Response(200, headers=headers, content=b"" if request.method == "HEAD" else data)
        return httpx2.Response(404, headers={"X-Error-Code": "RepoNotFound"})


def _id(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def refuse(status: int, code: str | None = None):
    """A hub that answers every request so."""
    return lambda request: httpx2.Response(status, headers={"X-Error-Code": code} if code else {}, request=request)


def unreachable(request):
    raise httpx2.ConnectError("Name or service not known")


def fill_by_hand(cache, folder, commit=COMMIT, without=()):
    """What the client leaves behind: files under their hashes, linked from a folder named after the commit."""
    repo = cache / "models--somebody--tiny"
    snapshot = repo / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repo / "blobs").mkdir(exist_ok=True)
    (repo / "refs").mkdir(exist_ok=True)
    (repo / "refs" / "main").write_text(commit)
    for file in folder.iterdir():
        if file.name not in without:
            blob = repo / "blobs" / _id(file.read_bytes())
            shutil.copyfile(file, blob)
            (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")


# --- from the cache ---


@pytest.mark.parametrize("network", ["switched off", "broken", "down", "logged out"])
def test_cached_files_need_no_network(cache, folder, network, monkeypatch):
    """What was downloaded once loads again, whatever is wrong with the network."""
    fill_by_hand(cache, folder)
    if network == "switched off":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    serve({"switched off": unreachable, "broken": unreachable, "down": refuse(503), "logged out": refuse(401)}[network])
    model = load(REPO)
    assert model.digest() == load(folder).digest() and model.name == "tiny-llama"


def test_a_cache_without_weights_asks_for_the_network(cache, folder, monkeypatch):
    """A download that was interrupted is not taken for a broken model."""
    fill_by_hand(cache, folder, without=("model.safetensors",))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises((UnknownModel, BrokenCheckpoint), match="download"):
        load(REPO)


def test_an_interrupted_download_goes_on(cache, folder, monkeypatch):
    """The client knows what a snapshot lacks: offline that is said, online it is fetched."""
    hub = Hub(folder)
    serve(hub)
    load(REPO)
    next((cache / "models--somebody--tiny" / "snapshots" / COMMIT).glob("*.safetensors")).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnknownModel, match="Only a part of somebody/tiny.*HF_HUB_OFFLINE"):
        load(REPO)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert load(REPO).digest() == load(folder).digest()


# --- from the network ---


def test_a_hub_model_is_downloaded_without_what_could_run(cache, folder):
    """Weights, JSON and text come; Python files and pickles are not even fetched. The config comes first."""
    hub = Hub(folder)
    serve(hub)
    model = load(REPO)
    assert model.digest() == load(folder).digest()
    fetched = [x.rpartition("/")[2] for x in hub.asked if "/resolve/" in x]
    assert "model.safetensors" in fetched and not {"evil.py", "pytorch_model.bin"} & {*fetched}
    assert fetched.index("config.json") < fetched.index("model.safetensors")


def test_what_cannot_be_loaded_is_not_downloaded(cache, folder, tmp_path, monkeypatch):
    """A model too large for this machine, or that asks to run code, costs a config, not gigabytes."""
    hub = Hub(folder)
    serve(hub)
    monkeypatch.setenv(memory.OVERRIDE, "0.0001")
    with pytest.raises(NotEnoughMemory, match=REPO):
        load(REPO)
    hub.files["config.json"] = json.dumps({**json.loads(hub.files["config.json"]), "auto_map": {}}).encode()
    with pytest.raises(LVLMError, match="auto_map"):
        load(f"{REPO}@older")
    assert not [x for x in hub.asked if x.endswith(".safetensors")]


@pytest.mark.parametrize("how", ["argument", "name", "commit"])
def test_revisions_can_be_pinned_and_are_recorded(cache, folder, tmp_path, how):
    """The commit, not the branch, stands in the model's history, and in the file beside what is saved."""
    serve(Hub(folder))
    ask = {"argument": partial(load, REPO, revision="older"), "name": partial(load, f"{REPO}@older")}
    model = ask.get(how, partial(load, REPO, revision=OLDER))()
    came = {"step": "load", "source": REPO, "revision": OLDER}
    assert model.history == (came,)
    saved = save(model, tmp_path / "saved")
    assert json.loads((saved / "pruning.json").read_text())["history"] == [came]
    assert load(saved).history == (came,)
    card = (saved / "README.md").read_text()
    assert f"# {model.name}\n" in card and OLDER in card


def test_two_revisions_are_one_too_many():
    """org/name@a with revision="b" means nothing."""
    with pytest.raises(UnknownModel, match="two revisions"):
        load(f"{REPO}@main", revision="older")
    assert split(REPO) == (REPO, None) and split(f"{REPO}@v1/x") == (REPO, "v1/x")


# --- refused ---

REFUSALS = {
    "private, or no such model": (refuse(401), r"no model somebody/tiny.*check the name.*`hf auth login`"),
    "no such model": (refuse(404, "RepoNotFound"), r"no model somebody/tiny.*check the name"),
    "gated": (refuse(401, "GatedRepo"), r"accepted its licence.*https://huggingface.co/somebody/tiny.*`hf auth login`"),
    "not yet granted": (refuse(403, "GatedRepo"), r"accepted its licence.*https://huggingface.co/somebody/tiny"),
    "forbidden": (refuse(403), r"token.*`hf auth login`"),
    "down": (refuse(503), r"503.*later"),
    "too many requests": (refuse(429), r"429.*later"),
    "no network": (unreachable, r"not on this machine.*network.*local folder"),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_what_the_hub_refuses_is_one_sentence_with_what_to_do(cache, why, monkeypatch):
    """No status code without a remedy, and no traceback."""
    answer, words = REFUSALS[why]
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the client waits before it asks again
    serve(answer)
    with pytest.raises(UnknownModel, match=words) as caught:
        load(REPO)
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")


def test_a_token_that_does_not_help_is_not_asked_for_again(cache, monkeypatch):
    """Somebody who is logged in is told to get access, not to log in."""
    monkeypatch.setenv("HF_TOKEN", "hf_something")
    serve(refuse(403, "GatedRepo"))
    with pytest.raises(UnknownModel, match="once access is granted"):
        load(REPO)


def test_an_unknown_revision_is_named(cache, folder):
    """With where to look them up."""
    serve(Hub(folder))
    with pytest.raises(UnknownModel, match=r"no revision never.*/commits"):
        load(f"{REPO}@never")


def test_a_catalogue_model_out_of_reach_says_so(cache, monkeypatch):
    """By its hub id, which is what can be looked up."""
    monkeypatch.setenv(memory.OVERRIDE, "64")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UnknownModel, match=r"llava-hf/llava-1.5-7b-hf is not on this machine.*HF_HUB_OFFLINE"):
        load("llava-1.5-7b")


def test_a_bad_hub_id_is_refused_without_a_request(cache):
    """The fixture's network fails the test if it is asked."""
    for name in ("what is/this?", "-/-", "a..b/c"):
        with pytest.raises(UnknownModel):
            load(name)
