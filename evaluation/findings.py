"""What the paper found, and whether it holds in our results: each finding with the numbers that decide it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from evaluation.experiments import BEST

HOLDS, FAILS, PARTLY, OPEN = "reproduced", "not reproduced", "partly", "not measured"
CONTRADICTED = "contradicted by the paper's own numbers"
CLOSE = 2.0  # points of AVG-%: "comparable"
Tables = Mapping[str, pd.DataFrame]  # experiment → its table (see tables.table)


@dataclass(frozen=True)
class Finding:
    """A claim of the paper's, what it needs, and how to judge it. judge(tables) → (verdict, evidence)."""

    claim: str
    where: str
    needs: tuple[str, ...]
    judge: Callable[[Tables], tuple[str, str]]
    against: str = ""  # where the paper's own numbers say otherwise

    def of(self, tables: Tables) -> tuple[str, str]:
        """The verdict and its evidence; "not measured" where a table is missing or lacks what the claim is about."""
        if any(x not in tables or tables[x].empty for x in self.needs):
            return OPEN, f"needs {', '.join(self.needs)}"
        try:
            return self.judge(tables)
        except (KeyError, IndexError):
            return OPEN, "the experiment was run without the ratios that the claim is about"


def value(table: pd.DataFrame, column: str = "AVG-%", **where) -> float:
    """The one value of a column in the row that these columns single out. Raises IndexError for none."""
    for name, wanted in where.items():
        table = table[table[name] == wanted]
    return float(table[column].iloc[0])


def _ratios(table: pd.DataFrame) -> list[float]:
    return sorted({x for x in table["ratio"] if x > 0})


def _verdict(held: list[bool]) -> str:
    """Raises IndexError for nothing to judge by, which `Finding.of` takes for "not measured"."""
    if not held:
        raise IndexError("no place to judge by")
    return HOLDS if all(held) else PARTLY if any(held) else FAILS


def _compared(first: Callable, second: Callable, ratios, names=("", ""), margin: float = 0.0) -> tuple[str, str]:
    """Whether first(ratio) is above second(ratio) by more than a margin at every ratio."""
    pairs = [(x, first(x), second(x)) for x in ratios]
    said = "; ".join(f"{x:.0%}: {names[0]} {a:.1f}, {names[1]} {b:.1f}" for x, a, b in pairs)
    return _verdict([a > b + margin for _, a, b in pairs]), said


def _width_first(tables: Tables):
    zero = tables["zero-shot"]
    return _compared(
        lambda x: value(zero, method="widthwise", ratio=x), lambda x: value(zero, method="layerwise", ratio=x),
        _ratios(zero), ("widthwise", "layerwise"),
    )  # fmt: skip


def _cliff(tables: Tables):
    zero = tables["zero-shot"]
    at = {(m, x): value(zero, method=m, ratio=x) for m in ("widthwise", "layerwise") for x in (0.45, 0.60)}
    said = "; ".join(f"{m} {x:.0%}: {kept:.1f}" for (m, x), kept in at.items())
    return _verdict([kept < 50 for kept in at.values()]), f"kept, % of dense: {said}"


def _gap(group: str):
    def judge(tables: Tables):
        zero = tables["zero-shot"]
        dense = zero[zero["method"] == "dense"].iloc[0]

        def gap(column: str, ratio: float) -> float:
            wide, deep = (value(zero, column, method=m, ratio=ratio) for m in ("widthwise", "layerwise"))
            return 100 * (wide - deep) / dense[column]

        return _compared(
            lambda x: gap(group, x), lambda x: gap("AVG", x), _ratios(zero),
            (f"widthwise − layerwise on {group}", "on average"),
        )  # fmt: skip

    return judge


def _alignment_first(tables: Tables):
    both = tables["modality"]
    seen, blind = (value(both, method="widthwise", ratio=0.15, images=x) for x in (True, False))
    said = f"lost at 15%, widthwise: {100 - seen:.1f}% with images, {100 - blind:.1f}% with words alone"
    return (HOLDS if 100 - blind < (100 - seen) / 2 else FAILS), said


def _projector_enough(tables: Tables):
    parts = tables["parts"]
    kept = {m: value(parts, method=m, ratio=0.15, train="projector") for m in ("widthwise", "layerwise")}
    return _verdict([x > 95 for x in kept.values()]), "; ".join(f"{m} 15%: {x:.1f}" for m, x in kept.items())


def _lora_above(tables: Tables):
    parts = tables["parts"]
    pairs = [
        (m, x, value(parts, method=m, ratio=x, train="lora"), value(parts, method=m, ratio=x, train="projector"))
        for m in ("widthwise", "layerwise")
        for x in _ratios(parts)
    ]
    said = "; ".join(f"{m} {x:.0%}: LoRA {a:.1f}, projector {b:.1f}" for m, x, a, b in pairs)
    return _verdict([(a > b + CLOSE) == (x > 0.40) for _, x, a, b in pairs]), said


def _recovers(tables: Tables):
    parts = tables["parts"]
    pairs = [
        (x, *(value(parts, method=m, ratio=x, train="lora") for m in ("widthwise", "layerwise")))
        for x in _ratios(parts)
    ]
    said = "; ".join(f"{x:.0%}: widthwise {a:.1f}, layerwise {b:.1f}" for x, a, b in pairs)
    return _verdict([(b > a) == (x <= 0.30) for x, a, b in pairs]), said


def _losses(table: pd.DataFrame, ratio: float) -> dict[str, float]:
    found = table[table["ratio"] == ratio]
    return dict(zip(found["losses"], found["AVG-%"]))


def _alone(tables: Tables):
    found = {x: _losses(tables["losses"], x) for x in _ratios(tables["losses"]) if x > 0.15}
    held = [max(y[k] for k in ("kl", "rkl", "l2")) < y["sft"] for y in found.values()]
    said = "; ".join(
        f"{x:.0%}: " + ", ".join(f"{k} {y[k]:.1f}" for k in ("sft", "kl", "rkl", "l2")) for x, y in found.items()
    )
    return _verdict(held), said


def _l2_worst(tables: Tables):
    found = {x: _losses(tables["losses"], x) for x in (0.45, 0.60)}
    held = [y["l2"] < min(y["kl"], y["rkl"], y["sft"]) for y in found.values()]
    return _verdict(held), "; ".join(
        f"{x:.0%}: l2 {y['l2']:.1f}, the next worst alone {min(y['kl'], y['rkl'], y['sft']):.1f}"
        for x, y in found.items()
    )


def _best_losses(tables: Tables):
    found = {x: _losses(tables["losses"], x) for x in _ratios(tables["losses"])}
    best = {x: max(y, key=y.get) for x, y in found.items()}
    said = "; ".join(f"{x:.0%}: best {best[x]} {y[best[x]]:.1f}, sft+l2 {y['sft+l2']:.1f}" for x, y in found.items())
    return _verdict([x == "sft+l2" for x in best.values()]), said


def _few(tables: Tables):
    data = tables["data"]
    shares = {
        x: 100 * value(data, ratio=x, fraction=0.05) / value(data, ratio=x, fraction=1.0)
        for x in _ratios(data)
        if x < 0.5
    }
    return _verdict(
        [x >= 90 for x in shares.values()]
    ), "5% of the data, in % of what all of it recovers: " + "; ".join(
        f"{x:.0%}: {kept:.1f}" for x, kept in shares.items()
    )


def _few_of_dense(tables: Tables):
    data = tables["data"]
    kept = {x: value(data, ratio=x, fraction=0.05) for x in _ratios(data) if x < 0.5}
    return _verdict([x >= 95 for x in kept.values()]), "; ".join(f"{x:.0%}: {kept[x]:.1f}" for x in kept)


def _more_at_sixty(tables: Tables):
    data = tables["data"]
    gaps = {x: value(data, ratio=x, fraction=1.0) - value(data, ratio=x, fraction=0.05) for x in _ratios(data)}
    said = "full data − 5%: " + "; ".join(f"{x:.0%}: {gap:.1f}" for x, gap in gaps.items())
    return (HOLDS if gaps[0.60] == max(gaps.values()) else FAILS), said


def _plateau(tables: Tables):
    sizes = tables["calibration"]
    sizes = sizes[sizes["method"] != "dense"]
    gains = []
    for (method, ratio), group in sizes.groupby(["method", "ratio"]):
        kept = dict(zip(group["calibration"], group["AVG-%"]))
        gains.append((method, ratio, kept[10] - kept[1], kept[50] - kept[10]))
    said = "; ".join(f"{m} {x:.0%}: 1→10 {a:+.1f}, 10→50 {b:+.1f}" for m, x, a, b in gains)
    return _verdict([b <= CLOSE for *_, b in gains]), said


def _same_flops(tables: Tables):
    cost = tables["efficiency"]
    column = "prefill GFLOPs"
    pairs = [(x, *(value(cost, column, method=m, ratio=x) for m in ("widthwise", "layerwise"))) for x in _ratios(cost)]
    said = "; ".join(f"{x:.0%}: {a:.3f} and {b:.3f} GFLOPs" for x, a, b in pairs)
    return _verdict([abs(a / b - 1) < 0.05 for _, a, b in pairs]), said


def _layers_faster(tables: Tables):
    cost, column = tables["efficiency"], "first token ms"
    pairs = [(x, *(value(cost, column, method=m, ratio=x) for m in ("widthwise", "layerwise"))) for x in _ratios(cost)]
    said = "; ".join(f"{x:.0%}: widthwise {a:.1f} ms, layerwise {b:.1f} ms" for x, a, b in pairs)
    return _verdict([b < a for _, a, b in pairs]), said


def _zones(tables: Tables):
    practice = tables["practice"]
    kept = {x: value(practice, ratio=x) for x in BEST}
    said = "; ".join(f"{BEST[x]} {x:.0%}: {y:.1f}" for x, y in kept.items())
    return _verdict([kept[0.15] >= 98, kept[0.30] >= 94, kept[0.45] < kept[0.30], kept[0.60] < kept[0.45]]), said


def _eight_bits(tables: Tables):
    both = tables["int8"]
    pairs = [(x, *(value(both, ratio=x, int8=y) for y in (False, True))) for x in [0.0, *_ratios(both)]]
    said = "; ".join(f"{x:.0%}: 16 bits {a:.1f}, int8 {b:.1f}" for x, a, b in pairs)
    return _verdict([b > a - 3 for _, a, b in pairs]), said


FINDINGS = (
    Finding("Without healing, widthwise pruning keeps more than layerwise at every ratio.", "§4.2.1, Table 2",
            ("zero-shot",), _width_first, "Not on LLaVA at 45%: 17.42 widthwise, 18.47 layerwise."),
    Finding("Without healing, both methods fail (below half of dense) from 45% on.", "§4.2.1", ("zero-shot",), _cliff),
    Finding("Free answers suffer from layerwise pruning more than the average does.", "§4.2.1, Fig. 2", ("zero-shot",),
            _gap("free")),
    Finding("Reasoning-heavy tasks suffer from layerwise pruning more than the average does.", "§4.2.1, Fig. 2",
            ("zero-shot",), _gap("reasoning"), "Its AI2D gap of 12.91 compares two benchmarks; the real one is 3.00."),
    Finding("At 15% the alignment of image and text is hurt, the language itself hardly.", "§4.3, Table 4",
            ("modality",), _alignment_first, "At 15% the words alone lose 3.55%, not the 1.07% that is printed."),
    Finding("Healing the projector alone is enough at 15% (above 95% of dense).", "§4.3, Fig. 3", ("parts",),
            _projector_enough),
    Finding("Healing the decoder too pays above 40%, and not below.", "§4.3, Fig. 3", ("parts",), _lora_above),
    Finding("Healed, layerwise is better up to 30% and widthwise above.", "§4.2.2, Fig. 3", ("parts",), _recovers),
    Finding("Above 15%, no distillation by itself matches fine-tuning on answers.", "§4.4, Fig. 4", ("losses",),
            _alone),
    Finding("Hidden states alone (L2) are the worst teacher at high ratios.", "§4.4, Fig. 4", ("losses",), _l2_worst),
    Finding("SFT + L2 is the best combination at every ratio.", "§4.4, Fig. 5", ("losses",), _best_losses),
    Finding("Below 50%, 5% of the data recovers 90% of what all of it recovers.", "§4.5, Fig. 6", ("data",), _few),
    Finding("Below 50%, 5% of the data keeps 95% of the original.", "abstract", ("data",), _few_of_dense,
            "§4.5 says 90%, and of the full-data result."),
    Finding("At 60% more data helps most.", "§4.5, Fig. 6", ("data",), _more_at_sixty),
    Finding("Ten calibration samples are enough.", "§5.1, Fig. 7", ("calibration",), _plateau),
    Finding("At the same ratio both methods cost the same compute.", "§4.2.3, Table 3", ("efficiency",), _same_flops),
    Finding("Layerwise pruning answers sooner than widthwise.", "§4.2.3, Table 3", ("efficiency",), _layers_faster),
    Finding("Best practice: safe up to 30%, tipping at 45%, extreme at 60%.", "§5.2, Table 5", ("practice",), _zones,
            "InternVL's pruned rows of Table 5 are its dense scores times one constant."),
    Finding("Eight bits on top cost little (under 3 points).", "§5.3, Table 7", ("int8",), _eight_bits),
)  # fmt: skip
