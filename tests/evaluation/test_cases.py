"""Cases, the file that keeps them, and what they become for others."""

import json
import re
import sqlite3
import threading
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from evaluation.casebook import MIGRATIONS, Casebook, migrate
from evaluation.cases import TAGS, VERDICTS, BadCase, Case, Filter, Said, png
from evaluation.reports import as_csv, as_html, as_jsonl, from_jsonl
from evaluation.votes import Contender, Vote
from lvlm import LVLMError
from tests import tiny


def said(kind="pruned", ratio=0.3, answer="three dogs", **more) -> Said:
    return Said(f"{kind}-1", kind, f"The {kind} one", answer, ratio, **more)


def case(**more) -> Case:
    given = {"question": "How many dogs?", "sides": (said("original", 0.0, "two dogs"), said())}
    return Case(**given | {"model": "tiny", "digest": "abc", "picture": png(tiny.picture())} | more)


@pytest.fixture
def book(tmp_path):
    return Casebook(tmp_path / "deep" / "cases.sqlite")


def test_a_case_comes_back_as_it_was_kept(book):
    """Every field, and the picture pixel by pixel; the same from JSON."""
    kept = case(truth="2", task="count", breaks_at=0.3, seed=7, temperature=0.5, max_new_tokens=9, tags=("miscount",))
    book.keep(kept, "me")
    assert book.get(kept.id) == kept == Case.from_dict(json.loads(json.dumps(kept.to_dict())))
    assert book.get(kept.id).image.tobytes() == tiny.picture().tobytes()
    assert book.find(pictures=False) == [replace(kept, picture=None)]


def test_a_verdict_can_be_changed_later_by_its_owner_only(book):
    """Verdict, tags and note are replaced as a whole; another session's case stays as it is, and stays."""
    kept = case()
    book.keep(kept, "me")
    book.judge(kept.id, "fails", ["gibberish", "miscount"], " why? ", "me")
    found = book.get(kept.id)
    assert (found.verdict, found.tags, found.note) == ("fails", ("miscount", "gibberish"), "why?")
    for change in (lambda: book.judge(kept.id, "better", [], "", "you"), lambda: book.drop(kept.id, "you")):
        with pytest.raises(BadCase, match="another session"):
            change()
    assert book.get(kept.id) == found
    book.judge(kept.id, "", [], "half a character \ud800", "me")
    assert book.get(kept.id).note == "half a character ?" and not book.find(Filter(tag="miscount"))
    book.judge(kept.id, "worse", [], "", None)  # the app of one user has no owners


@pytest.mark.parametrize("wrong", [("odd", [], ""), ("", ["odd"], ""), ("", [], "x" * 5000)])
def test_what_is_no_verdict_is_refused(book, wrong):
    """An unknown verdict or tag and an endless note get a sentence, and change nothing."""
    kept = case()
    book.keep(kept, "me")
    with pytest.raises(BadCase):
        book.judge(kept.id, *wrong, "me")
    assert book.get(kept.id) == kept


FILTERS = [
    (Filter(), "ab"), (Filter(task="count"), "a"), (Filter(verdict="fails"), "b"), (Filter(verdict=""), "a"),
    (Filter(tag="refusal"), "b"), (Filter(kind="int8"), "b"), (Filter(least=0.4), "b"), (Filter(most=0.4), "a"),
    (Filter(text="  CATS "), "b"), (Filter(text="50%_"), ""), (Filter(task="count", kind="int8"), ""),
]  # fmt: skip


@pytest.mark.parametrize("which, expected", FILTERS)
def test_filters_let_through_what_they_say(book, which, expected):
    """Each alone and together; nothing in what is searched for is a wildcard; another owner's are never found."""
    a, b = case(task="count"), case(sides=(said("int8", 0.6, "cats"),), verdict="fails", tags=("refusal",))
    for one in (a, b):
        book.keep(one, "me")
    book.keep(case(), "you")
    names = {a.id: "a", b.id: "b"}
    assert "".join(sorted(names[x.id] for x in book.find(which, "me"))) == expected
    assert len(book.find(owner=None)) == 3 and book.tasks("me") == ["count"] and book.tasks("you") == []


def test_a_picture_is_kept_once_and_goes_with_its_last_case(book):
    """Two cases of one picture share it."""
    one, two = case(), case()
    for x in (one, two):
        book.keep(x, "me")

    def pictures():
        with sqlite3.connect(book.file) as file:
            return file.execute("SELECT count(*) FROM pictures").fetchone()[0]

    assert pictures() == 1
    book.drop(one.id, "me")
    assert pictures() == 1 and book.get(two.id).picture == two.picture
    book.drop(two.id, "me")
    assert pictures() == 0 and book.find() == []


def test_many_threads_lose_nothing(book):
    """Keeping, judging and reading at once: every case is there in the end, judged."""

    def work(owner):
        for _ in range(5):
            one = case()
            book.keep(one, owner)
            book.find(owner=owner)
            book.judge(one.id, "fails", ["miscount"], "", owner)

    threads = [threading.Thread(target=work, args=(str(i),)) for i in range(8)]
    for x in threads:
        x.start()
    for x in threads:
        x.join()
    found = book.find(Filter(verdict="fails", tag="miscount"))
    assert len({x.id for x in found}) == 40 and all(len(book.find(owner=str(i))) == 5 for i in range(8))


def test_a_change_that_breaks_off_leaves_nothing_behind(book, monkeypatch):
    """Half a case is never kept: an error between two writes undoes the first."""
    from evaluation import casebook

    def fails(*given):
        raise LVLMError("the disk is gone")

    monkeypatch.setattr(casebook, "_tag", fails)
    with pytest.raises(LVLMError):
        book.keep(case(), "me")
    with sqlite3.connect(book.file) as file:
        assert file.execute("SELECT count(*) FROM cases").fetchone() == (0,)
        assert file.execute("SELECT count(*) FROM pictures").fetchone() == (0,)
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_file_of_the_first_version_is_led_to_this_one(book):
    """A case that was kept before there were votes is found after, and votes are counted; a later file is refused."""
    kept = case(tags=("miscount",))
    book.keep(kept, "me")
    with sqlite3.connect(book.file, isolation_level=None) as file:  # as the first version wrote it
        file.execute("DROP TABLE votes")
        file.execute("PRAGMA user_version = 1")
    vote = Vote(Contender("x", "original", "X"), Contender("y", "pruned", "Y"), "left", "abc", "q", ("a", "b"), 3)
    book.vote(vote, "me")
    assert book.votes("abc", "me") == [vote] == book.votes("abc") and book.votes("abc", "you") == []
    assert book.get(kept.id) == kept
    with sqlite3.connect(book.file, isolation_level=None) as file:
        migrate(file)  # again: nothing to do
        assert file.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        file.execute("PRAGMA user_version = 99")
    with pytest.raises(LVLMError, match="later version"):
        book.find()


def test_what_is_no_casebook_gets_a_sentence(tmp_path):
    """A file of something else, and an id that nobody gave."""
    (tmp_path / "a").write_text("no database" * 100)
    with pytest.raises(LVLMError, match="cannot be used"):
        Casebook(tmp_path / "a").find()
    for id in ("", "x' OR 1=1", "\ud800", "a" * 10_000):
        with pytest.raises(BadCase, match="There is no case"):
            Casebook(tmp_path / "b").get(id)
    with pytest.raises(BadCase, match="no answer"):
        case(sides=())


def test_the_same_cut_is_the_same_model_whatever_it_is_called():
    """`made` hashes what stays, healed weights and 8 bits; not names, nor how the plan was asked for."""
    plan = json.dumps({"heads": [[0]], "neurons": [[1, 2]], "ratio": 0.3})
    other = json.dumps({"heads": [[0]], "neurons": [[1, 2]], "ratio": 0.31})
    less = json.dumps({"heads": [[0]], "neurons": [[1]], "ratio": 0.3})
    one = said(plan=plan)
    assert one.made == replace(one, title="B", answer="c", plan=other).made
    different = [
        one,
        replace(one, plan=less),
        replace(one, int8=True),
        replace(one, weights="w"),
        replace(one, plan=None),
    ]
    assert len({x.made for x in different}) == 5


NASTY = "<script>alert(1)</script>\"'&=cmd|'/c calc'!A1"


def nasty() -> Case:
    sides = (said("original", 0.0, NASTY), said(answer=NASTY, recipe={"train": NASTY}, plan="{}", probability=0.25))
    return case(question=NASTY, truth=NASTY, task=NASTY, model=NASTY, note=NASTY, sides=sides, tags=tuple(TAGS))


class Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_the_html_page_asks_nobody_and_runs_nothing():
    """Pictures are inlined, words escaped, nothing is fetched; every answer, verdict and tag is to be read."""
    page = Page(as_html([nasty(), case(picture=None, verdict="fails")]))
    names = [x for x, _ in page.tags]
    assert "script" not in names and "link" not in names and "a" not in names and names.count("img") == 1
    sources = [x[y] for _, x in page.tags for y in ("src", "href") if y in x]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    policy = next(x for _, x in page.tags if x.get("http-equiv"))
    assert "default-src 'none'" in policy["content"] and not any(y.startswith("on") for _, x in page.tags for y in x)
    assert page.text.count(NASTY) >= 5 and all(x in page.text for x in TAGS.values()) and "two dogs" in page.text
    assert VERDICTS["fails"] in page.text and "25%" in page.text
    links = [x for x, y in Page(as_html([case()], "http://here/")).tags if "?case=" in y.get("href", "")]
    assert links == ["a"]


def test_the_csv_holds_no_formula_and_a_row_a_case():
    """Read back by the csv module; a cell that would be a formula begins with an apostrophe."""
    import csv
    import io

    rows = list(
        csv.DictReader(io.StringIO(as_csv([case(note="=1+1", tags=("miscount", "refusal")), case(question="-2\n3")])))
    )
    assert len(rows) == 2 and rows[0]["note"] == "'=1+1" and rows[1]["question"] == "'-2\n3"
    assert rows[0]["tags"] == "miscount refusal" and rows[0]["first_answer"] == "two dogs"
    assert rows[0]["variant_1_kind"] == "pruned" and float(rows[0]["variant_1_ratio"]) == 0.3
    assert list(csv.DictReader(io.StringIO(as_csv([])))) == []


def test_jsonl_reads_back_whole():
    """A line a case, pictures and plans in it; what is no such file gets a sentence."""
    cases = [nasty(), case(picture=None)]
    text = as_jsonl(cases)
    assert len(text.splitlines()) == 2 and from_jsonl(text) == cases
    for wrong in ("{", "[]", '{"schema": 1}', re.sub('"schema": 1', '"schema": 9', text)):
        with pytest.raises(BadCase):
            from_jsonl(wrong)
