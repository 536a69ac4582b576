import threading

import pytest

from lvlm.errors import BadSamples, Cancelled
from lvlm.events import LayerScored, LossPoint, Progress
from ui import jobs
from ui.jobs import Job

FAILED = "Try failed, and the server's log says why: please try again."  # of what nobody foresaw


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Without end, and no slices, on machines that stall for seconds."""
    for name, seconds in (("PATIENCE", 1e9), ("PAUSE", 1e9), ("SLICE", 0)):
        monkeypatch.setattr(jobs, name, seconds)


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
    assert (job.state, job.error) == ("failed", FAILED)
    assert "ZeroDivisionError" in caplog.text and "Traceback" in caplog.text


def test_a_panic_ends_the_job_too(caplog):
    """What is no Exception, as a panic of a library in Rust, leaves no page waiting."""

    class Panic(BaseException):
        pass

    def work(report):
        raise Panic("index out of bounds")

    job = run(work)
    assert (job.state, job.error) == ("failed", FAILED)
    assert "index out of bounds" in caplog.text and "Traceback" in caplog.text


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


def waiting_after(line: list[Job], job: Job) -> list[Job]:
    """One more that waits, as a list."""
    job.start()
    while len(jobs.TURNS._line) <= len(line):
        pass
    return [job]


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


class Clock:
    """Seconds that pass only where a test lets them."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The machine's line, by a clock that stands still, with patience and slices of whole seconds."""
    found = Clock()
    monkeypatch.setattr(jobs, "TURNS", jobs.Turns(found))
    for name, seconds in (("PATIENCE", 8), ("PAUSE", 20), ("SLICE", 4)):
        monkeypatch.setattr(jobs, name, seconds)
    return found


def test_many_small_events_cost_one_wait_a_slice(clock):
    """Long work with a hundred small events beside visitors who never leave the line empty keeps the machine for a
    slice whenever its patience is over, and no longer: all of it is done after that many rounds."""
    order = []

    def visit(report):
        order.append("visit")
        clock.now += 2
        if "end" not in order:
            waiting_after(list(jobs.TURNS._line), Job("Visit", visit))

    def long(report):
        waiting([Job("Visit", visit)])
        for step in range(100):
            clock.now += 0.4
            report(Progress("recover", step, 100))
            order.append("step")
        order.append("end")

    job = Job("Long", long, shares=True).start()
    job.thread.join(20)
    rounds = "".join("." if x == "visit" else "s" for x in order[: order.index("end")]).strip(".").split("s.")
    assert job.state == "done"
    assert 9 <= len(rounds) <= 11  # 40 seconds of work in slices of 4
    assert all(x.count(".") <= 5 for x in rounds)  # of 2 seconds each, until a patience of 8 is over


def test_work_of_seconds_lets_questions_in_between_its_pieces(clock):
    """Who calibrates holds nobody up for longer than a slice: questions that came meanwhile are answered before it goes
    on, and nothing is begun again."""
    order = []

    def seconds(report):
        for step in range(20):
            clock.now += 1
            if step == 2:
                waiting([Job("New", lambda report: order.append("new"), asks=True)])
            report(Progress("calibrate", step, 20))
            order.append(step)

    job = Job("Calibrate", seconds, pauses=True).start()
    job.thread.join(20)
    assert job.state == "done" and order == [0, 1, 2, "new", *range(3, 20)]


def test_who_just_asked_goes_before_answers_that_grow(clock):
    """A new question is heard before the next pieces of others and before work, and those before patient work, until
    each has waited for as long as it lets others pass; who came first among the equally urgent goes first."""
    order, never = [], threading.Event()

    def grows(report):
        order.append("first piece")
        jobs.TURNS.let_others(never)
        order.append("next piece")

    with jobs.TURNS.turn(never):
        line = waiting([Job("Long", lambda report: order.append("long"), shares=True), Job("Grows", grows)])
        line += waiting_after(line, Job("Work", lambda report: order.append("work")))
        line += waiting_after(line, Job("New", lambda report: order.append("new"), asks=True))
    for x in line:
        x.thread.join(5)
    assert order == ["new", "first piece", "work", "next piece", "long"]
    order.clear()
    with jobs.TURNS.turn(never):
        line = waiting([Job("Long", lambda report: order.append("long"), shares=True)])
        clock.now += 8
        line += waiting_after(line, Job("New", lambda report: order.append("new"), asks=True))
    for x in line:
        x.thread.join(5)
    assert order == ["long", "new"]


def test_answers_that_grow_wait_for_new_ones_only_so_long(clock):
    """A stream of new questions holds an answer that grows up for no longer than a pause."""
    order, never = [], threading.Event()

    def new(report):
        order.append("new")
        clock.now += 6
        if len(order) < 9:
            waiting_after(list(jobs.TURNS._line), Job("New", new, asks=True))

    with jobs.TURNS.turn(never):
        waiting([Job("New", new, asks=True)])
        jobs.TURNS.let_others(never)
        order.append("piece")
    assert order == ["new"] * 4 + ["piece"]


def test_patient_work_interrupts_no_answer_before_its_time(clock):
    """An answer goes on piece by piece while only patient work waits, until that has waited for long enough."""
    order, never = [], threading.Event()
    with jobs.TURNS.turn(never):
        job = waiting([Job("Long", lambda report: order.append("long"), shares=True)])[0]
        for piece in range(10):
            clock.now += 1
            jobs.TURNS.let_others(never)
            order.append(piece)
    job.thread.join(5)
    assert order == [*range(7), "long", 7, 8, 9]
