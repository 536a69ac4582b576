"""The paper's figures: what the formula makes of its scores, and that each contradiction we name is one."""

import numpy as np
import pytest

from evaluation import SUITES
from evaluation.paper import (
    BENCHMARKS,
    BY_DEMAND,
    BY_FORMAT,
    CONTRADICTIONS,
    TABLE_3,
    TABLE_4,
    TABLE_7,
    average,
    by_modality,
    by_precision,
    kept,
    line,
    retained,
    tables,
)

LLAVA, INTERNVL, BUNNY = "LLaVA-v1.5-7B", "Mini-InternVL-Chat-4B-V1-5", "Bunny-v1.0-3B"
ROWS = tables()
EXCEPTIONS = {(2, INTERNVL, "widthwise", 0.6), (2, INTERNVL, "layerwise", 0.6)}


def row(table, model, method, ratio):
    found = ROWS[(ROWS.table == table) & (ROWS.model == model) & (ROWS.method == method) & (ROWS.ratio == ratio)]
    assert len(found) == 1
    return found.iloc[0]


def name(x):
    return x.table, x.model, x.method, x.ratio


def test_there_are_42_rows_of_three_models():
    """Tables 2 and 5 are whole: 3 × (1 + 2 × 4) and 3 × (1 + 4) rows, each with nine scores and a known method."""
    assert ROWS.groupby("table").size().to_dict() == {2: 27, 5: 15}
    assert ROWS.groupby(["table", "model"]).size().to_dict() == {
        (t, m): 9 if t == 2 else 5 for t in (2, 5) for m in (LLAVA, INTERNVL, BUNNY)
    }
    assert ROWS[list(BENCHMARKS)].notna().all(axis=None)
    assert set(ROWS.ratio) == {0, 0.15, 0.3, 0.45, 0.6}
    assert set(ROWS.method) == {"dense", "widthwise", "layerwise", "widthwise+ft+l2", "layerwise+ft+l2"}
    assert ROWS[ROWS.table == 2].billions.between(1.5, 7).all() and ROWS[ROWS.table == 5].billions.isna().all()


@pytest.mark.parametrize("x", [x for _, x in ROWS.iterrows()], ids=lambda x: "-".join(map(str, name(x))))
def test_the_formula_gives_the_printed_averages(x):
    """AVG and AVG-% follow from the nine scores in 40 of 42 rows; the two that do not are named, and marked."""
    scores = {b: x[b] for b in BENCHMARKS}
    by_hand = sum(scores[b] for b in BENCHMARKS if not b.startswith("MME")) + x["MME-C"] / 8 + x["MME-P"] / 20
    assert average(scores) == pytest.approx(by_hand / 9) == pytest.approx(x.average)
    agrees = abs(x.average - x.AVG) < 0.00501 and abs(x.retention - x["AVG-%"]) < 0.01
    assert agrees is (name(x) not in EXCEPTIONS)
    assert ("AVG formula" in x.suspect) is not agrees


def test_full_marks_average_100_and_no_benchmark_may_be_missing():
    """The formula brings all nine to one scale, and takes nothing for granted."""
    full = {**dict.fromkeys(BENCHMARKS, 100.0), "MME-C": 800.0, "MME-P": 2000.0}
    assert average(full) == 100
    with pytest.raises(KeyError, match="POPE"):
        average({k: v for k, v in full.items() if k != "POPE"})


def test_changing_a_table_changes_nobody_elses():
    """Everyone gets their own copy."""
    mine = tables()
    mine["AVG"] = 0.0
    assert tables().AVG.gt(0).all()


def test_a_line_goes_from_dense_to_the_highest_ratio_and_says_whom_to_doubt():
    """Points are in order, their values the table's, and suspect ones carry their reason."""
    found = line(INTERNVL, "widthwise")
    assert found.ratios.tolist() == [0, 0.15, 0.3, 0.45, 0.6]
    assert found.retention[[0, 2]] == pytest.approx([100, 73.72], abs=0.01)
    assert [bool(x) for x in found.suspect] == [False, False, False, True, True]
    best = line(LLAVA, table=5)
    assert best.methods == ("dense", *["layerwise+ft+l2"] * 2, *["widthwise+ft+l2"] * 2)
    assert best.retention == pytest.approx([100, 98.1, 96.38, 83.99, 78.13], abs=0.01)
    assert line(LLAVA, "layerwise", 5).ratios.tolist() == [0, 0.15, 0.3]


@pytest.mark.parametrize(
    "asked", [(LLAVA, "", 2), ("LLaVA-13B", "widthwise", 2), (LLAVA, "depthwise", 2), (BUNNY, "", 3)]
)
def test_a_line_is_one_curve_or_none(asked):
    """Two methods at once, or none, are refused."""
    with pytest.raises(ValueError, match="no single curve"):
        line(*asked)


def test_groups_split_the_nine_as_our_suite_does():
    """Formats and demands each take every benchmark once, and demands are our own suite's."""
    for groups in (BY_FORMAT, BY_DEMAND):
        assert sorted(x for group in groups.values() for x in group) == sorted(BENCHMARKS)
    assert set(BY_DEMAND["reasoning"]) == {"MathVista", "AI2D"}
    assert {x.benchmark for x in SUITES["scenes"].tasks} == set(BENCHMARKS)


def test_groups_keep_what_fig_2_says_they_keep():
    """Dense keeps 100% of every group, all nine as one group keep AVG-%, and Bunny's free generation loses 31.5%."""
    whole = retained({"all": BENCHMARKS})
    assert np.allclose(whole["all"], ROWS.retention)
    found = retained(BY_FORMAT)
    assert np.allclose(found.loc[found.method == "dense", list(BY_FORMAT)], 100)
    wide, deep = (
        found[(found.table == 2) & (found.model == BUNNY) & (found.method == x) & (found.ratio == 0.15)].iloc[0]
        for x in ("widthwise", "layerwise")
    )
    assert wide["free"] == pytest.approx(100 * (23.4 + 18.2 + 51.83) / (25.8 + 22.8 + 54.72))
    assert 100 * (1 - deep["free"] / wide["free"]) == pytest.approx(31.5, abs=0.05)
    assert (retained(BY_DEMAND).suspect == ROWS.suspect).all()


def test_small_tables_agree_with_the_large_ones():
    """Table 4's averages are Table 2's, Table 7's 16-bit ones Table 5's."""
    for x in TABLE_4:
        printed = row(2, LLAVA, "widthwise" if x.ratio else "dense", x.ratio)
        assert x.multimodal == printed.AVG
        assert x.multimodal_loss == pytest.approx(100 - printed["AVG-%"], abs=0.02)
        agrees = x.text_only_loss == pytest.approx(100 * (1 - x.text_only / TABLE_4[0].text_only), abs=0.02)
        assert agrees is not bool(x.suspect)
    for x in TABLE_7:
        printed = row(5, LLAVA, "layerwise+ft+l2" if x.ratio else "dense", x.ratio).AVG
        assert x.average == printed if x.bits == 16 else x.average < printed


def contradiction(where):
    found = [x for x in CONTRADICTIONS if x.where == where]
    assert len(found) == 1
    return found[0]


def test_contradictions_about_methods_are_in_the_tables():
    """The numbers that contradict the text of §4.2.1 are those of Table 2."""
    wide, deep = row(2, BUNNY, "widthwise", 0.15), row(2, BUNNY, "layerwise", 0.15)
    assert (wide.SQA, round(wide.AI2D - deep.AI2D, 2)) == (65.64, 3.0)
    assert "3.00" in contradiction("§4.2.1, AI2D").but
    wide_free, deep_free = (sum(x[b] for b in BY_FORMAT["free"]) for x in (wide, deep))
    gains = [100 * (wide.AVG / deep.AVG - 1), 100 * (wide_free / deep_free - 1)]
    shares = [100 * (1 - deep.AVG / wide.AVG), 100 * (1 - deep_free / wide_free)]
    found = contradiction("§4.2.1, free generation")
    assert all(f"{x:.1f}%" in found.but for x in gains) and all(f"{x:.1f}%" in found.says for x in shares)
    beaten = [
        (x.model, x.ratio)
        for _, x in ROWS[(ROWS.table == 2) & (ROWS.method == "widthwise")].iterrows()
        if x.AVG < row(2, x.model, "layerwise", x.ratio).AVG
    ]
    assert beaten == [(LLAVA, 0.45)] and "LLaVA at 45%" in contradiction("§4.2.1, Table 2").but


def test_contradictions_about_averages_and_dense_rows_are_in_the_tables():
    """What Table 2's exceptions really average, and where dense rows differ, is computed from the rows."""
    found = contradiction("Table 2, Mini-InternVL at 60%")
    for method in ("widthwise", "layerwise"):
        x = row(2, INTERNVL, method, 0.6)
        assert f"{x.AVG:.2f}" in found.says and f"{x.average:.2f}" in found.but
    assert f"{100 * (1 - 38.87 / 40.30):.2f}%" in contradiction("Table 4, 15%").but
    assert row(2, INTERNVL, "dense", 0).GQA != row(5, INTERNVL, "dense", 0).GQA
    assert row(2, BUNNY, "dense", 0).SQA != row(5, BUNNY, "dense", 0).SQA


def test_internvl_after_recovery_is_dense_times_a_constant_and_nothing_else_is():
    """Of Table 5's pruned rows, Mini-InternVL's four are multiples of dense to a thousandth, and marked."""
    found = contradiction("Table 5, Mini-InternVL")
    pruned = ROWS[(ROWS.table == 5) & (ROWS.ratio > 0)]
    for _, x in pruned.iterrows():
        dense = row(2, x.model, "dense", 0)
        times = np.array([x[b] / dense[b] for b in BENCHMARKS], float)
        constant = bool(np.ptp(times) < 1e-3)
        assert constant is (x.model == INTERNVL) is ("one constant" in x.suspect)
        if constant:
            assert f"{np.median(times):.3f}" in found.but


def test_contradictions_about_sizes_follow_from_the_models_shapes():
    """Projectors of LLaVA and Bunny, and bytes of LLaVA without 0, 5 and 10 layers, counted from published shapes."""
    llava, bunny = ((wide + 1) * hidden + (hidden + 1) * hidden for wide, hidden in ((1024, 4096), (1152, 2560)))
    assert f"{llava / 1e6:.1f}M and {bunny / 1e6:.1f}M" in contradiction("Table 1").but
    layer = 4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096
    decoder = 2 * 32064 * 4096 + 4096 + 32 * layer
    tower = 577 * 1024 + 1024 + 3 * 14 * 14 * 1024 + 4 * 1024 + 24 * (12 * 1024**2 + 13 * 1024)
    gib = [2 * (decoder + tower + llava - n * layer) / 2**30 for n in (0, 5, 10)]
    found = contradiction("Table 7, §5.3")
    assert all(f"{x:.2f}" in found.but for x in gib)
    assert [x.gib for x in TABLE_7 if x.bits == 16] == pytest.approx(gib, abs=0.05)


def test_every_contradiction_has_its_own_place_and_two_sides():
    """The app lists them: none is empty, none twice, and Table 3 holds what its entry says is left."""
    assert len({x.where for x in CONTRADICTIONS}) == len(CONTRADICTIONS) == 11
    assert all(x.says.endswith(".") and x.but.endswith(".") for x in CONTRADICTIONS)
    assert {(x.model, x.ratio) for x in TABLE_3} == {(LLAVA, 0.3)}
    wide, deep = TABLE_3
    assert wide.teraflops < deep.teraflops and wide.milliseconds > deep.milliseconds


def test_what_is_kept_at_a_ratio_is_the_lines_point():
    """A single figure is the curve's at that ratio, with and without recovery; what is not printed is None."""
    found = line(LLAVA, "widthwise")
    assert [kept(LLAVA, "widthwise", x) for x in found.ratios[1:]] == found.retention[1:].tolist()
    assert kept(LLAVA, "layerwise", 0.3, 5) == line(LLAVA, table=5).retention[2]
    assert kept(LLAVA, "widthwise", 0.3, 5) is None  # Table 5 prints the best method alone
    assert kept(LLAVA, "widthwise", 0.37) is None and kept(LLAVA, "widthwise", 0.0) is None


def test_small_tables_as_curves_lose_what_they_print():
    """Table 4's losses follow from its scores but where the point is suspect; Table 7's curves share one dense one."""
    for seen, curve in by_modality().items():
        printed = [x.multimodal_loss if seen else x.text_only_loss for x in TABLE_4]
        for retention, loss, suspect in zip(curve.retention, printed, curve.suspect, strict=True):
            agrees = 100 - retention == pytest.approx(loss, abs=0.02)
            assert agrees != bool(suspect)
    plain, int8 = (by_precision()[x] for x in (False, True))
    assert plain.retention[0] == 100 and (int8.retention < plain.retention).all()
    assert plain.ratios.tolist() == int8.ratios.tolist() == [0.0, 0.15, 0.30]
