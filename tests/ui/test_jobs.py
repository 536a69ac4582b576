import threading

import pytest

from lvlm.errors import BadSamples, Cancelled
from lvlm.events import LayerScored, LossPoint, Progress
from ui import jobs
from ui.jobs import Job


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Without end, on machines that stall for seconds."""
    monkeypatch.setattr(jobs, "PATIENCE", 1e9)


def run(work, **options):
    job = Job("Try", work, **options).start()
    job.thread.join(5)
    return job


def test_a_job_ends_with_its_result():
    """What the work returns is there when the job is done, and the listener heard of it first."""
    heard = []
    job = run(lambda report: 42, then=heard.append)
    assert (job.state, job.result, job.fraction, heard) == ("done", 42, 1.0, ["done"])


def test_a_persons_mistake_is_shown_as_it_stands():
    """The text of an LVLMError reaches the page unchanged."""

    def work(report):
        raise BadSamples("No samples: choose at least one.")

    job = run(work)
    assert (job.state, job.error) == ("failed", "No samples: choose at least one.")


def test_a_job_that_dies_says_so(caplog):
    """An unforeseen error ends the job with a sentence; the trace goes to the log."""
    job = run(lambda report: 1 / 0)
    assert job.state == "failed" and "ZeroDivisionError" in job.error and "Traceback" in caplog.text


def test_cancel_ends_the_work_at_its_next_event():
    """Cancelling raises Cancelled from report, and is no error."""
    reached, go = threading.Event(), threading.Event()

    def work(report):
        reached.set()
        go.wait(5)
        report(Progress("calibrate", 1, 2))
        pytest.fail("went on after a cancel")

    job = Job("Try", work).start()
    reached.wait(5)
    job.cancel()
    go.set()
    job.thread.join(5)
    assert (job.state, job.error) == ("cancelled", "")


def test_one_job_at_a_time():
    """A second job waits for the first, and can be cancelled while it waits."""
    inside, go = threading.Event(), threading.Event()

    def hold(report):
        inside.set()
        go.wait(5)

    first = Job("First", hold).start()
    inside.wait(5)
    second = Job("Second", lambda report: pytest.fail("ran beside another")).start()
    assert second.state == "waiting"
    second.cancel()
    second.thread.join(5)
    assert second.state == "cancelled" and first.busy
    go.set()
    first.thread.join(5)
    assert first.state == "done"


def test_long_work_that_shares_lets_others_go_first():
    """A job that shares is paused at its report for whoever waits, in the order they came, then goes on."""
    order, started, queued = [], threading.Event(), threading.Event()

    def long(report):
        started.set()
        queued.wait(5)
        for step in range(2):
            report(Progress("recover", step, 2))
            order.append(step)

    job = Job("Long", long, shares=True).start()
    started.wait(5)
    others = [Job(x, lambda report, x=x: order.append(x)) for x in "ab"]
    for count, other in enumerate(others, 1):
        other.start()
        while len(jobs.TURNS._line) < count:
            pass
    queued.set()
    for x in (job, *others):
        x.thread.join(5)
    assert order == ["a", "b", 0, 1] and job.state == "done"


def test_cancelled_while_others_go_first():
    """A job that is cancelled in its pause ends there, and leaves the line as it was."""
    inside, go, queued = threading.Event(), threading.Event(), threading.Event()

    def long(report):
        queued.wait(5)
        report(Progress("recover", 0, 2))
        pytest.fail("went on after a cancel")

    def hold(report):
        inside.set()
        go.wait(5)

    job = Job("Long", long, shares=True).start()
    other = Job("Other", hold).start()
    while len(jobs.TURNS._line) < 1:
        pass
    queued.set()
    inside.wait(5)
    job.cancel()
    job.thread.join(5)
    assert job.state == "cancelled" and other.busy
    go.set()
    other.thread.join(5)
    assert not jobs.TURNS._line and jobs.TURNS._holder is None


def test_events_become_a_bar_and_words():
    """Progress moves the bar of its stage; other events pass without harm."""
    job = Job("Try", lambda report: None)
    job.report(Progress("calibrate", 3, 10, "sample 3"))
    job.report(LayerScored(0, 0.5))
    assert (job.stage, job.fraction, job.text) == ("calibrate", 0.3, "sample 3")
    job.stage_began -= 3
    assert job.seconds_left == pytest.approx(7, abs=0.5)
    job.report(LossPoint(3, 10, {"total": 1.0}, None, 8.0, 42.0))
    assert job.seconds_left == 42  # the work knows better than its pace
    job.report(Progress("answer", 3, 10))
    assert job.seconds_left != 42
    job.wish_to_stop.set()
    with pytest.raises(Cancelled):
        job.report(LayerScored(0, 0.5))


def waiting(jobs_: list[Job]) -> list[Job]:
    """Jobs that came one after the other and all wait."""
    for count, job in enumerate(jobs_, 1):
        job.start()
        while len(jobs.TURNS._line) < count:
            pass
    return jobs_


def test_everybody_knows_how_many_come_first():
    """Whoever waits is told how many are before: the holder, those who came earlier, and those whom it lets pass."""
    order = []
    with jobs.TURNS.turn(threading.Event()):
        long = Job("Long", lambda report: order.append("long"), shares=True)
        a, b = (Job(x, lambda report, x=x: order.append(x)) for x in "ab")
        waiting([long, a, b])
        assert [x.before for x in (a, b, long)] == [1, 2, 3]
        a.cancel()
        a.thread.join(5)
        assert [x.before for x in (a, b, long)] == [0, 1, 2] and a.state == "cancelled"
    for x in (b, long):
        x.thread.join(5)
    assert order == ["b", "long"] and b.before == 0


def test_patience_ends(monkeypatch):
    """Long work that let others pass for long enough keeps its place before those who come later."""
    monkeypatch.setattr(jobs, "PATIENCE", 0)
    order = []
    with jobs.TURNS.turn(threading.Event()):
        line = waiting([Job(x, lambda report, x=x: order.append(x), shares=x == "long") for x in ("long", "a")])
    for x in line:
        x.thread.join(5)
    assert order == ["long", "a"]


def test_a_turn_within_a_turn_is_the_same_one():
    """What holds the machine may ask for it again, and holds it until the outer turn ends."""
    never = threading.Event()
    with jobs.TURNS.turn(never):
        with jobs.TURNS.turn(never):
            pass
        other = waiting([Job("Other", lambda report: None)])[0]
        assert other.state == "waiting"
    other.thread.join(5)
    assert other.state == "done"
