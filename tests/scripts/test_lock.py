"""The locks: whole, exact, hashed, what the requirements ask for, and what runs here."""

import re
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

from scripts.lock import APART, FILES, hashes, locked, pins

ROOT = Path(__file__).resolve().parent.parent.parent
LOCKS = locked()
APP = {name: part for lock in FILES if lock not in APART for name, part in LOCKS[lock].items()}
ASKED = {"requirements.txt": "app", "requirements-ray.txt": "ray", "requirements-dev.txt": "test"}


def wanted_here(part: str) -> bool:
    marker = re.search(r";\s*(.+?)\s*\\?$", part.splitlines()[0])
    return marker is None or Marker(marker[1]).evaluate()


def test_every_file_is_there_and_every_package_stands_once():
    """One pin a package, whichever file it is in; none is left to pip's choice."""
    assert set(LOCKS) == set(FILES) and all(LOCKS.values())
    assert sum(len(LOCKS[x]) for x in FILES if x not in APART) == len(APP)


@pytest.mark.parametrize("lock", FILES)
def test_every_package_has_an_exact_version_and_hashes(lock):
    """`pip install --require-hashes` accepts each file, and nothing in it says where to download from."""
    for name, part in LOCKS[lock].items():
        assert re.match(rf"{re.escape(name)}==[\w.+]+( ;[^\\]+)? \\\n", part), part
        assert hashes(part) and part.count("--hash=") == len(hashes(part)), name
    assert "://" not in (ROOT / "locks" / f"{lock}.txt").read_text()


@pytest.mark.parametrize("asked", [*ASKED, "requirements-lmms.txt"])
def test_the_locks_have_what_the_requirements_ask_for(asked):
    """Each version in requirements*.txt is the locked one: `python -m scripts.lock` was run after the last change."""
    found = pins((ROOT / asked).read_text())
    have = pins("".join((LOCKS["app"] | LOCKS["lmms"] if "lmms" in asked else APP).values()))
    assert found and {k: have.get(k) for k in found} == found


def test_the_locks_are_closed():
    """Whatever a locked package needs on this machine is locked, too: nothing is missing after --no-deps."""
    have = pins("".join(APP.values()))
    missing = []
    for name in have:
        try:
            needs = [Requirement(x) for x in requires(name) or ()]
        except PackageNotFoundError:
            continue  # wanted on other machines only: see below
        for need in needs:
            key = re.sub(r"[-_.]+", "-", need.name).lower()
            if (need.marker is None or need.marker.evaluate({"extra": ""})) and not (
                key in have and need.specifier.contains(have[key], prereleases=True)
            ):
                missing.append((name, str(need)))
    assert missing == []


def test_what_runs_here_is_what_is_locked():
    """This very environment has the locked versions; PyTorch in either of its builds."""
    installed = {re.sub(r"[-_.]+", "-", x.metadata["Name"]).lower(): x.version for x in distributions()}
    cpu = "+cpu" in version("torch")
    for lock in FILES:
        if lock in (*APART, "setuptools") or (lock == "cuda" and cpu):
            continue
        for name, part in LOCKS[lock].items():
            if wanted_here(part):
                assert installed[name].split("+")[0] == pins(part)[name], name


def test_the_cpu_build_is_the_same_release():
    """One version of PyTorch, whichever build; the CPU build's hash is none of the registry's."""
    (cpu,), (registry,) = LOCKS["torch-cpu"].values(), LOCKS["torch"].values()
    assert pins(cpu)["torch"] == pins(registry)["torch"] + "+cpu"
    assert not set(hashes(cpu)) & set(hashes(registry))
