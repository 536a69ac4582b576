"""Many visitors at once: time to the first word of an answer, and whether every answer is right for its session.

    python -m benchmarks.sessions                   # 20 sessions on the bundled model, three questions each; minutes
    python -m benchmarks.sessions --sessions 3 --questions 1 --no-table

The app runs in a process of its own, as `make demo` starts it. Each session opens the model, cuts it its own way (its
own ratio and method), lays its own picture on the table and asks both models; then all ask at once, again and again.
An answer is right where it is, letter by letter, what the library says for the same plan, picture and question.
Time is taken by the client, from the question's sending to the first text in either pane; "settled" rounds end before
the next one begins, in "rolling" ones each session goes on as soon as it is answered.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.calls import Caller
from benchmarks.machine import machine
from benchmarks.pages import README, ROOT, write_into
from lvlm import LVLM, load
from pruning import calibrate, make_plan, prune
from samples import examples, load_samples

BAR = 3.0  # seconds to the first word, of 95 in 100 questions
MODEL, SAMPLES, LONGEST = "pocket-llava", 10, 96
METHODS = ("widthwise", "layerwise")


@dataclass
class Session:
    """One visitor, and what the app answered."""

    place: int
    caller: Caller
    workspace: str = ""
    first: list[float] = field(default_factory=list)  # seconds to the first word
    whole: list[float] = field(default_factory=list)  # seconds to the last
    wrong: list[str] = field(default_factory=list)

    @property
    def method(self) -> str:
        return METHODS[self.place % 2]

    @property
    def ratio(self) -> float:
        """No two sessions of a method cut alike."""
        return round(0.10 + 0.02 * (self.place // 2), 2)

    def example(self, number: int):
        """Of the gallery, another one for each session and turn."""
        every = examples()
        return every[(7 * self.place + 3 * number) % len(every)]

    def prepare(self) -> None:
        """Open, plan and cut."""
        self.workspace = self.caller.call("open_workspace", model=MODEL)["workspace"]
        self.caller.call("plan", workspace=self.workspace, method=self.method, ratio=self.ratio)
        self.caller.call("prune", workspace=self.workspace)

    def ask(self, number: int) -> None:
        """Lay the picture on the table, ask, and compare with what the library says."""
        example = self.example(number)
        self.caller.call("show_picture", workspace=self.workspace, example=example.title)
        began, first, said = time.monotonic(), None, []
        asking = dict(workspace=self.workspace, question=example.question, max_new_tokens=LONGEST)
        for drawn in self.caller.stream("ask_models", **asking):
            said = [x["answer"].strip() for x in drawn["answers"]]
            if first is None and any(said):
                first = time.monotonic() - began
        self.first.append(float("inf") if first is None else first)
        self.whole.append(time.monotonic() - began)
        wanted = expected(self.method, self.ratio, str(example.image_path), example.question)
        if said != wanted:
            self.wrong.append(f"session {self.place}, {example.question!r}: {said} instead of {wanted}")


@cache
def _dense():
    model = load(MODEL)
    return model, calibrate(model, load_samples("scenes", n=SAMPLES))


@cache
def _pruned(method: str, ratio: float) -> LVLM:
    model, scores = _dense()
    return prune(model, make_plan(scores, method=method, ratio=ratio))


@cache
def expected(method: str, ratio: float, picture: str, question: str) -> list[str]:
    """What the original and the pruned model answer."""
    models = _dense()[0], _pruned(method, ratio)
    return ["".join(x.chat(picture, question, max_new_tokens=LONGEST)).strip() for x in models]


def know_what_to_expect(sessions: list[Session], questions: int) -> None:
    """Every answer to come, computed here, one after the other; the models are let go."""
    for x in sessions:
        for number in range(questions):
            example = x.example(number)
            expected(x.method, x.ratio, str(example.image_path), example.question)
    _pruned.cache_clear(), _dense.cache_clear()


def together(todo: list) -> None:
    """Run all at once; the first error of any is raised."""
    errors = []

    def run(work) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised below, in the main thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in todo]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def serve(log: Path) -> tuple[subprocess.Popen, str]:
    """The app in a process of its own, and its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "app.py", "--port", str(port), "--model", MODEL]
    cache_home = {"XDG_CACHE_HOME": str(log.parent), "XDG_DATA_HOME": str(log.parent)}
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env={**os.environ, **cache_home})
    url = f"http://127.0.0.1:{port}/"
    while process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return process, url
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the app did not start: {log.read_text()}")


def row(name: str, sessions: list[Session]) -> str:
    """A line of the table; what was timed is forgotten."""
    times = np.array([x for session in sessions for x in session.first])
    wrong = sum(len(x.wrong) for x in sessions)
    p50, p95 = np.percentile(times, [50, 95])
    for session in sessions:
        session.first, session.whole = [], []
    return f"| {name} | {len(sessions)} | {len(times)} | {p50:.2f} s | {p95:.2f} s | {times.max():.2f} s | {wrong} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--questions", type=int, default=3, help="of each session, in each kind of round")
    parser.add_argument("--no-table", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        f"| {MODEL} | sessions | questions | median | 95% (bar: ≤ {BAR:g} s) | slowest | wrong so far |",
        "|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        process, url = serve(Path(scratch) / "app.txt")
        try:
            sessions = [Session(i, Caller(url)) for i in range(given.sessions)]
            know_what_to_expect(sessions, 2 * given.questions)  # before anybody is timed
            together([x.prepare for x in sessions])
            for number in range(given.questions):
                together([lambda x=x: x.ask(number) for x in sessions])
            lines.append(row("settled", sessions))
            print(lines[-1])

            def rolling(x: Session) -> None:
                for number in range(given.questions, 2 * given.questions):
                    x.ask(number)

            together([lambda x=x: rolling(x) for x in sessions])
            lines.append(row("rolling", sessions))
        finally:
            process.terminate()
            process.wait(20)
    print(*lines, sep="\n")
    print(*(x for session in sessions for x in session.wrong), sep="\n")
    if not given.no_table:
        write_into(README, "sessions", "\n".join(lines) + f"\n\n{machine()}; clients on the same machine.")


if __name__ == "__main__":
    main()
