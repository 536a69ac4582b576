"""Writes locks/: every package of an installation, down to the last, in one version, with the SHA-256 of its files.

    pip install uv==0.13.9 && python -m scripts.lock [--upgrade NAME]...

Versions that are locked stay unless a requirements file says otherwise or --upgrade names them. The hashes are those of
all files of a version, for every platform and Python, so that one lock serves all of them. Each file is for
`pip install --no-deps --require-hashes`; `make` installs them in the order in which they stand in FILES.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "locks"
PYTHON = "3.11"  # the oldest that is locked for
HEAD = "# {about}\n# Written by `python -m scripts.lock`; please change requirements*.txt instead.\n"
FILES = {
    "setuptools": "What builds the one package that has no wheel.",
    "torch-cpu": "PyTorch's CPU build, for Linux on x86-64 with Python 3.11: taken where pip is told of a place that has it.",
    "torch": "PyTorch as the package registry has it.",
    "cuda": "What that brings along on Linux; the CPU build wants none of it.",
    "app": "The app and the command line.",
    "ray": "What `--ray` needs besides, on every machine of a cluster.",
    "test": "What only the tests need besides.",
    "lmms": "What lmms-eval needs besides PyTorch and app.txt, in an environment of its own.",
}
APART = ("torch-cpu", "lmms")  # not part of what the app and its tests come to
CUDA = re.compile(r"(nvidia|cuda)-|triton$")
# PyTorch's CPU build, which it publishes beside the package registry: version → SHA-256 of
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl. In a file of its own, for pip prefers a registry's file whose
# hash it is told to one in a folder, and would fetch 3 GB of CUDA where the CPU build is at hand.
CPU_BUILD = {"2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}


def read(text: str) -> dict[str, str]:
    """Package name → its part of a lock: version, marker, hashes and what asked for it."""
    parts = re.split(r"^(?=[a-zA-Z0-9])", text, flags=re.MULTILINE)
    return {re.match(r"[\w.-]+", x)[0]: x.rstrip() + "\n" for x in parts if not x.startswith("#") and x.strip()}


def pins(text: str) -> dict[str, str]:
    """Normalized package name → version of every pin in a requirements or lock file."""
    found = re.findall(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def hashes(part: str) -> list[str]:
    """SHA-256 sums of the files that a package's part of a lock accepts."""
    return re.findall(r"--hash=sha256:([0-9a-f]{64})\b", part)


def locked() -> dict[str, dict[str, str]]:
    """Lock's name → its packages, as `read` gives them."""
    return {x: read((FOLDER / f"{x}.txt").read_text()) for x in FILES if (FOLDER / f"{x}.txt").exists()}


def solved(sources: list[str], known: str, options: list[str]) -> dict[str, str]:
    """What uv makes of requirements files: every package they come to."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "lock.txt"
        out.write_text(known)  # uv keeps to the versions that stand there
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header"]
        command += ["--python-version", PYTHON, *options, *sources, "-o", str(out)]
        subprocess.run(command, cwd=ROOT, check=True)
        return read(out.read_text())


def cpu_build(version: str) -> str:
    """PyTorch's part of the lock for its CPU build. KeyError: that version's hash is not in CPU_BUILD yet."""
    return f"torch=={version}+cpu \\\n    --hash=sha256:{CPU_BUILD[version]}\n"


def main(options: list[str]) -> None:
    known = "".join(part for name, lock in locked().items() if name not in APART for part in lock.values())
    app = solved(["requirements.txt"], known, options)
    ray = solved(["requirements.txt", "requirements-ray.txt"], known, options)
    everything = solved(["requirements-dev.txt"], known, options)
    lmms = solved(["requirements-lmms.txt"], "".join(locked().get("lmms", {}).values()), ["--no-deps", *options])
    found = {x: {} for x in FILES}
    for name, part in everything.items():
        if name in ("torch", "setuptools"):
            found[name][name] = part
        elif CUDA.match(name):
            found["cuda"][name] = part
        else:
            found["app" if name in app else "ray" if name in ray else "test"][name] = part
    found["torch-cpu"]["torch"] = cpu_build(pins(everything["torch"])["torch"])
    found["lmms"] = {k: x for k, x in lmms.items() if x.splitlines()[0] != app.get(k, " ").splitlines()[0]}
    FOLDER.mkdir(exist_ok=True)
    for name, packages in found.items():
        (FOLDER / f"{name}.txt").write_text(HEAD.format(about=FILES[name]) + "".join(packages.values()))


if __name__ == "__main__":
    main([word.replace("--upgrade", "--upgrade-package") for word in sys.argv[1:]])
