"""What several models answered: scores, what is kept, and records to leaf through."""

import json

import pytest

from evaluation.cells import Cell, Variant
from evaluation.groups import AVERAGE
from evaluation.scoring import Record, Report
from evaluation.store import report_of
from tests.ui import made_up
from ui import figures, heard
from ui.heard import EVERY_TASK, Heard


@pytest.fixture(scope="module")
def both():
    """Made-up answers of the original and of a pruned model."""
    found = []
    for kind, cell in (
        ("original", Cell(Variant("pocket-llava"), per_task=12, probabilities=True)),
        ("pruned", Cell(Variant("pocket-llava", "widthwise", 0.45), per_task=12, probabilities=True)),
    ):
        found.append(Heard(kind, kind.capitalize(), report_of(cell, made_up.result(cell))))
    return found


def told(answers: str, truths: str = "aaaa") -> Report:
    """Two questions of each of two tasks."""
    records = [Record(str(i), "xxyy"[i], "what?", t, a, 0.5) for i, (a, t) in enumerate(zip(answers, truths))]
    return Report("scenes", "tiny", 0, tuple(records))


def test_every_variant_has_its_mark_on_every_task(both):
    """The figure has the scores themselves, the average on top, and two marks of one row never hide each other."""
    rows = heard.rows(both)
    assert rows["task"].iloc[0] == AVERAGE and set(rows["task"][2:]) == set(both[0].report.scores)
    marks = [x for x in figures.scores(rows).data if x.mode == "markers"]
    for mark, one in zip(marks, both, strict=True):
        assert list(mark.x) == [100 * x for x in (one.report.average, *one.report.scores.values())]
    assert not set(marks[0].y) & set(marks[1].y)
    assert marks[0].marker.symbol != marks[1].marker.symbol


def test_what_is_kept_is_the_ratio_of_scores(both):
    """Retention of all, of a format and of a demand are the report's own scores over the original's."""
    kept = heard.kept(both)
    first, second = (x.report for x in both)
    for group, a, b in (
        ("all (AVG-%)", first.average, second.average),
        ("free", first.by_format()["free"], second.by_format()["free"]),
        ("reasoning", first.by_demand()["reasoning"], second.by_demand()["reasoning"]),
    ):
        share = kept[group]["Pruned"][1]
        assert share.percent == pytest.approx(100 * b / a) and share.low <= share.percent <= share.high
    json.loads(figures.retained(kept).to_json())


def test_groups_that_the_original_fails_are_left_out():
    """Nothing can be kept of nothing; the rest is still there."""
    first, second = Heard("original", "A", told("bbbb")), Heard("pruned", "B", told("aabb"))
    assert heard.kept([first, second]) == {} and "nothing right" in heard.cards([first, second])


def test_cards_say_whether_it_could_be_chance(both):
    """Many lost answers are no chance, none lost is said plainly, and one of four could be."""
    assert "worse beyond chance" in heard.significance(both[1], both[0])
    assert "just where" in heard.significance(both[0], both[0])
    assert "could be chance" in heard.significance(
        Heard("pruned", "B", told("aaab")), Heard("original", "A", told("aaaa"))
    )


def test_titles_name_the_worst_task():
    """The task that lost most is named with its scores."""
    two = [Heard("original", "Original", told("aaaa")), Heard("pruned", "Pruned", told("aabb"))]
    assert heard.finding(two) == "Pruned loses most on y, from 100% to 0%"
    assert "no worse" in heard.finding([two[0], two[0]])
    assert "y is the hardest" in heard.finding([Heard("original", "Original", told("aaab"))])


@pytest.mark.parametrize("which, task, places", [
    ("all", EVERY_TASK, [0, 1, 2, 3]), ("lost", EVERY_TASK, [1, 2]), ("won", EVERY_TASK, [3]), ("lost", "x", [1]),
    ("differ", EVERY_TASK, [1, 2, 3]), ("won", "x", []),
])  # fmt: skip
def test_filters_let_through_what_they_say(which, task, places):
    """Original right and other wrong, the other way round, differing, and by task."""
    two = [Heard("original", "A", told("aaab")), Heard("pruned", "B", told("abba"))]
    assert heard.chosen(two, which, 1, task) == places
    listed = heard.listed(two, places)
    assert list(listed["#"]) == [x + 1 for x in places]
    if places:
        assert (
            listed["B"].iloc[0].startswith("✓" if which in ("all", "won") else "✗") and "(50%)" in listed["B"].iloc[0]
        )
    assert list(heard.written(two, places)["B: right"]) == ["abba"[i] == "a" for i in places]


def test_the_table_has_every_group_once(both):
    """Tasks, formats and demands, each with its change against the original."""
    table = heard.table(both)
    assert table["questions about"].is_unique and {"free", "reasoning"} <= set(table["questions about"])
    assert (table["Pruned: change"] - (table["Pruned"] - table["Original"])).abs().max() < 0.11


def test_several_of_a_kind_are_told_apart():
    """Two pruned models have a mark, a row of what is kept and a column each."""
    three = [
        Heard("original", "A", told("aaaa")),
        Heard("pruned", "B", told("aaba")),
        Heard("pruned", "C", told("bbba")),
    ]
    kept = heard.kept(three)
    assert [x.percent for _, x in kept["all (AVG-%)"].values()] == [75, 25]
    for figure in (figures.scores(heard.rows(three)), figures.retained(kept)):
        marks = [x for x in figure.data if x.mode == "markers" and x.name in "BC"]
        assert len({x.marker.symbol for x in marks}) == 2 and not set(marks[0].y) & set(marks[1].y)
    table = heard.table(three).set_index("questions about")
    assert (table.loc[AVERAGE, "B"], table.loc[AVERAGE, "C: change"]) == (75, -75)


def test_a_fall_has_a_minus_sign_and_sorts_as_a_number():
    """What a reader sees of the table is worded; what it sorts by stays numbers."""
    told_of = heard.worded(heard.table([Heard("original", "A", told("aaaa")), Heard("pruned", "B", told("bbba"))]))
    shown = told_of._translate(False, False)["body"][0]
    assert [x["display_value"] for x in shown if x["type"] == "td"] == ["AVG", "100.0", "25.0", "−75.0"]
    assert told_of.data["B: change"].iloc[0] == -75
    alone = heard.worded(heard.table([Heard("original", "A", told("aaaa"))]))
    assert alone._translate(False, False)["body"][0][-1]["display_value"] == "100.0"


def test_answers_cannot_inject_markup():
    """What a model or a data set says is text."""
    evil = Record("1", "x", "<script>1</script>", "<script>2</script>", "<script>3</script>", 0.1)
    assert "<script" not in heard.detail([Heard("original", "A", Report("scenes", "m", 0, (evil,)))], 0)
