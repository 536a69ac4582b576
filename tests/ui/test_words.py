import pytest

from ui import texts, words


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (7.063, "7.06"),
        (0.01234, "0.0123"),
        (1234.5, "1230"),
        (9.996, "10.0"),
        (99.96, "100"),
        (-3.14159, "−3.14"),
        (float("nan"), "–"),
    ],
)
def test_numbers_have_three_significant_digits_and_no_exponent(value, text):
    """A number reads the same whatever its size."""
    assert words.significant(value) == text


@pytest.mark.parametrize(
    "worded, text",
    [
        (words.count(7_063_000_000), "7.06B"),
        (words.count(950), "950"),
        (words.count(999_999), "1.00M"),
        (words.memory(13.16 * 2**30), "13.2 GiB"),
        (words.memory(1023.9), "1020 B"),
        (words.flops(6.89e12), "6.89 TFLOPs"),
        (words.duration(0.0807), "80.7 ms"),
        (words.duration(2), "2.00 s"),
        (words.duration(150), "2 min 30 s"),
        (words.percent(0.297), "29.7%"),
        (words.percent(0.3), "30%"),
        (words.change(10, 7), "−30%"),
        (words.change(7, 10), "+42.9%"),
        (words.change(5, 5), "same"),
    ],
)
def test_quantities_carry_their_unit(worded, text):
    """Parameters, memory, compute, time and change are worded in their own units."""
    assert worded == text


@pytest.mark.parametrize(
    "layers, text",
    [((), "none"), ((3,), "3"), ((6, 7), "6 and 7"), ((2, 3, 4, 7), "2–4 and 7"), ((1, 2, 5, 6, 7, 8), "1, 2 and 5–8")],
)
def test_runs_of_layers_are_folded(layers, text):
    """Three or more neighbours become a range."""
    assert words.some(layers) == text


@pytest.mark.parametrize(
    "written, read",
    [
        ("1→10 -0.3, 10→50 +1.2", "1→10 −0.3, 10→50 +1.2"),
        ("pruned-1", "pruned-1"),
        ("2-4, GPT-2 (-5%)", "2-4, GPT-2 (−5%)"),
    ],
)
def test_below_zero_is_a_minus_sign(written, read):
    """Numbers below zero have one in running text; names and ranges keep their hyphens."""
    assert texts.minus(written) == read
    assert texts.say("{x:.1f} {y}", x=-2, y="-z") == "−2.0 -z"


def test_what_a_person_typed_is_escaped():
    """A model's name or an error cannot smuggle markup into the page."""
    evil = "<script>alert(1)</script>"
    for html in (
        words.chip("pruned", evil, evil),
        words.notice(evil),
        words.heading(evil, evil),
        words.card(*[evil] * 4, 1, evil),
    ):
        assert "<script" not in html
