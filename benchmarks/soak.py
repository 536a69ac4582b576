"""Hours of visitors in minutes: many sessions chat while one calibrates and one heals, again and again.

    make soak                      # 50 sessions, 15 minutes: writes benchmarks/soak.md and its row of the README's table
    python -m benchmarks.soak --minutes 2 --sessions 8 --no-table

The app runs in a process of its own, as `make demo` starts it, and sessions are those of `benchmarks.sessions`: each
cut its own way, with its own pictures, every answer held, letter by letter, against what the library said before,
alone. Memory is each minute's median of what the process holds; the bar is 5% from the first minute's.
"""

import argparse
import re
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.calls import Caller
from benchmarks.machine import machine
from benchmarks.pages import README, ROOT, write_into
from benchmarks.sessions import MODEL, Session, know_what_to_expect, serve, together

BAR = 0.05  # by which memory may differ
QUESTIONS = 3  # of each session, asked over and over
RECIPE = {"train": "projector", "sft": 1.0, "l2": 0.0, "minutes": 1, "batch": 4, "fraction": 0.02, "held_out": 8}
BREATH = 0.1  # seconds between two questions of a session
STUDY = 10  # seconds for which who calibrates looks at what came of it
SCORED = range(10, 50)  # samples of a calibration: each number once, since the app keeps what it has scored
ROW = re.compile(r"^\|.*\| `make soak` \|$", re.MULTILINE)  # of the README's table


@dataclass
class Watch:
    """What the app's process holds: looked at every second, of which a minute's median counts, since what freed memory
    goes back to the system only every ten seconds."""

    process: psutil.Process
    before: tuple[float, int, int] = (0.0, 0, 0)  # MiB, threads, open files
    minutes: list[tuple[float, int, int]] = field(default_factory=list)
    most: float = 0.0  # MiB

    def look(self) -> tuple[float, int, int]:
        held = self.process.memory_info().rss / 2**20
        self.most = max(self.most, held)
        return held, self.process.num_threads(), self.process.num_fds()

    def minute(self) -> None:
        began, looks = time.monotonic(), []
        while time.monotonic() - began < 60:
            looks.append(self.look())
            time.sleep(1)
        self.minutes.append(tuple(round(float(np.median(x))) for x in zip(*looks, strict=True)))
        print("minute {}: {} MiB, {} threads, {} open files".format(len(self.minutes), *self.minutes[-1]), flush=True)

    def furthest(self) -> float:
        """By which share of the first minute's memory any later minute differs."""
        first = self.minutes[0][0]
        return max(abs(held / first - 1) for held, *_ in self.minutes)

    def judged(self) -> str:
        return f"{self.furthest():.1%}{'' if self.furthest() <= BAR else ' (missed)'}"


@dataclass
class Others:
    """What calibrates and heals beside the sessions until `over`, and everybody's mishaps."""

    over: threading.Event = field(default_factory=threading.Event)
    done: Counter = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def until_over(self, name: str, work) -> None:
        """Do it again and again; what goes wrong is noted."""
        while not self.over.is_set():
            try:
                work()
                self.done[name] += 1
            except Exception as error:  # noqa: BLE001 - reported at the end
                self.errors.append(f"{name}: {type(error).__name__}: {error}")
                self.over.wait(1)

    def calibrate(self, caller: Caller, workspace: str) -> None:
        caller.call("calibrate", workspace=workspace, samples=SCORED[self.done["calibrated"] % len(SCORED)])
        self.over.wait(STUDY)

    def heal(self, caller: Caller, workspace: str) -> None:
        seen = caller.call("heal", workspace=workspace, recipe=RECIPE)
        for x in seen["variants"]:
            if x["kind"] == "recovered":
                caller.call("drop", workspace=workspace, variant=x["id"])


def chat(session: Session, others: Others) -> None:
    """Ask the same few questions in turn, as fast as they are answered."""
    number = 0

    def ask() -> None:
        nonlocal number
        session.ask(number % QUESTIONS)
        number += 1
        others.over.wait(BREATH)

    others.until_over("answered", ask)


def run(url: str, process: psutil.Process, sessions: list[Session], minutes: float) -> tuple[Watch, Others]:
    others, helpers = Others(), [Caller(url), Caller(url)]
    together([x.prepare for x in sessions])
    desks = [x.call("open_workspace", model=MODEL)["workspace"] for x in helpers]
    threads = [threading.Thread(target=chat, args=(x, others)) for x in sessions]
    for name, work, caller, desk in zip(("calibrated", "healed"), (others.calibrate, others.heal), helpers, desks):
        threads.append(
            threading.Thread(target=others.until_over, args=(name, lambda w=work, c=caller, d=desk: w(c, d)))
        )
    watch = Watch(process)
    watch.before = watch.look()
    for thread in threads:
        thread.start()
    for _ in range(max(1, round(minutes))):
        watch.minute()
    others.over.set()
    Caller(url).call("cancel", workspace=desks[1])  # what heals is in no hurry to end
    for thread in threads:
        thread.join()
    others.errors = [x for x in others.errors if "was cancelled" not in x]
    return watch, others


def told(sessions: list[Session], watch: Watch, others: Others, after: tuple[int, int]) -> str:
    """The figures as a table."""
    firsts, wholes = (np.array([x for y in sessions for x in getattr(y, name)]) for name in ("first", "whole"))
    wrong = sum(len(x.wrong) for x in sessions)
    first, last = watch.before, watch.minutes[-1]
    rows = [
        ("sessions chatting at once", f"{len(sessions)}, beside one that calibrates and one that heals"),
        ("minutes", f"{len(watch.minutes)}"),
        ("answers, each held against a serial run", f"{len(firsts):,}"),
        ("wrong or somebody else's", f"{wrong}"),
        ("errors", f"{len(others.errors)}"),
        ("calibrations, healings", f"{others.done['calibrated']}, {others.done['healed']}"),
        ("first word, median and 95%", "{:.2f} s, {:.2f} s".format(*np.percentile(firsts, [50, 95]))),
        (
            "whole answer, median, 95% and slowest",
            "{:.1f} s, {:.1f} s, {:.1f} s".format(*np.percentile(wholes, [50, 95, 100])),
        ),
        ("memory before", f"{first[0]:.0f} MiB"),
        ("each minute's median", ", ".join(str(x) for x, *_ in watch.minutes) + " MiB"),
        ("at most", f"{watch.most:.0f} MiB"),
        (f"furthest from the first minute (bar: {BAR:.0%})", watch.judged()),
        ("threads at the beginning, the end, at rest", f"{first[1]}, {last[1]}, {after[0]}"),
        ("open files at the beginning, the end, at rest", f"{first[2]}, {last[2]}, {after[1]}"),
    ]
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])
    return f"{table}\n\n{machine()}; {MODEL}; clients on the same machine."


def row(sessions: list[Session], watch: Watch, others: Others) -> str:
    """The README's line of it."""
    wrong, errors = sum(len(x.wrong) for x in sessions), len(others.errors)
    return (
        f"| {len(sessions)} sessions chatting for {len(watch.minutes)} minutes beside calibration and healing "
        f"| {sum(len(x.first) for x in sessions):,} answers | {wrong or 'none'} wrong, {errors or 'no'} errors; memory within "
        f"{watch.furthest():.1%} of the first minute's, bar {BAR:.0%} ([all figures](benchmarks/soak.md)) | `make soak` |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--no-table", action="store_true", help="print only")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "app.txt"
        process, url = serve(log)
        try:
            sessions = [Session(i, Caller(url)) for i in range(given.sessions)]
            know_what_to_expect(sessions, QUESTIONS)
            app = psutil.Process(process.pid)
            watch, others = run(url, app, sessions, given.minutes)
            table = told(sessions, watch, others, (app.num_threads(), app.num_fds()))
            traces = log.read_text().split("Traceback (most recent call last):\n")[1:]
        finally:
            process.terminate()
            process.wait(60)
    print(table, f"stack traces in the log: {len(traces)}", *traces[:3], *others.errors[:10], sep="\n")
    print(*(x for session in sessions for x in session.wrong[:3]), sep="\n")
    if not given.no_table:
        write_into(ROOT / "benchmarks" / "soak.md", "soak", table)
        text = README.read_text(encoding="utf-8")
        README.write_text(ROW.sub(lambda found: row(sessions, watch, others), text), encoding="utf-8")


if __name__ == "__main__":
    main()
