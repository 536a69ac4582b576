"""Settings of every test: one thread, no hub, and Ctrl-C that works; and the number of bad inputs that were tried."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here may download a model
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell that starts the tests in the background has them ignore Ctrl-C, and some tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

import torch  # noqa: E402

torch.set_num_threads(1)  # the networks are tiny: more threads only wait for one another

TRIED = "bad inputs tried"  # the property by which a test of tests/hostile tells how many


def pytest_terminal_summary(terminalreporter):
    """How many bad inputs this run tried: it stands here, since what distributes a run reads no conftest further down.
    Workers tell by their tests' reports, in which pairs have become lists."""
    reports = terminalreporter.stats.get("", ())  # of what went well before and after tests
    found = [n for x in reports if x.when == "teardown" for k, n in x.user_properties if k == TRIED]
    if found:
        terminalreporter.write_line(f"{sum(found):,} {TRIED}")
