"""An experiment's table in words. The sentence over its figure, the table as it is shown, and the paper's findings
judged by it: pure functions.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from evaluation import paper
from evaluation.experiments import EXPERIMENTS
from evaluation.findings import FAILS, FINDINGS, HOLDS, OPEN, PARTLY, Finding
from evaluation.highlights import highlight
from evaluation.suites import NINE
from ui import words
from ui.texts import minus, retell, say
from ui.words import percent

MARKS = {HOLDS: "✓", FAILS: "✗", PARTLY: "◐", OPEN: "○"}
READ = {  # how to read the figure
    "zero-shot": "Nothing is healed after the cut. Bars: 95% intervals over questions.",
    "modality": "The same questions with the picture, and with the words alone. Bars: 95% intervals.",
    "efficiency": "Weights and compute are counted, times measured. Less is better, but for words a second.",
    "calibration": "Importance is judged on ever more samples; then the model is cut and asked.",
    "parts": "Trained on right answers: the projector alone, or with LoRA on the decoder too.",
    "losses": "SFT: right answers; KL and RKL: the original's odds; L2: its hidden states.",
    "data": "SFT + L2 on ever more of the same samples, widthwise.",
    "practice": "The paper's method at each ratio (diamond: layerwise, circle: widthwise), then SFT + L2.",
    "int8": "The models of best practice with their decoder's weights in 8 bits (LLM.int8).",
    "answers": "The models of best practice on a few questions. Point at a mark to read the answer.",
    "healing": "All decoder weights, SFT + KL + L2, for minutes. Dotted: what is to be reached.",
    "competing": "Heads and neurons of all layers compete; healed for minutes. Dotted: what is to be reached.",
    "beyond": "Better choices of what goes (filled: repaired, too) beside the paper's way. Nothing is trained.",
    "repaired": "Widthwise, SFT + L2 with LoRA: as published, and on top of repair and a better choice.",
}
SAID = {  # what the paper says against itself: beginnings of `paper.Contradiction.where`
    "zero-shot": ("§4.2.1", "Table 2", "Tables 2"),
    "modality": ("Table 4",),
    "data": ("Abstract",),
    "practice": ("Table 5", "Tables 2 and 5"),
    "efficiency": ("Table 3", "Table 1"),
    "int8": ("Table 7",),
}
NUMBERLESS = "The paper prints no numbers for this, only {where}: nothing can be laid under ours."


def _zero_shot(ratio: float, widthwise: float, layerwise: float) -> str:
    return say(
        "Removing {share} keeps {wide:.0f}% of the score widthwise and {deep:.0f}% layerwise",
        share=percent(ratio), wide=widthwise, deep=layerwise,
    )  # fmt: skip


def _modality(ratio: float, seen: float, blind: float) -> str:
    return say(
        "Removing {share} widthwise costs {seen:.0f}% with images and {blind:.0f}% with words alone",
        share=percent(ratio), seen=seen, blind=blind,
    )  # fmt: skip


def _efficiency(ratio: float, memory: float, time: float) -> str:
    return say(
        "{share} fewer layers: {less:.0f}% less memory, and the first word {time:.0f}% sooner"
        if time > 0
        else "{share} fewer layers: {less:.0f}% less memory, and the first word {time:.0f}% later",
        share=percent(ratio), less=memory, time=abs(time),
    )  # fmt: skip


def _calibration(one: float, ten: float, fifty: float) -> str:
    return say(
        "One sample keeps {few:.0f}% on average, ten {ten:.0f}%, fifty {many:.0f}%", few=one, ten=ten, many=fifty
    )


def _parts(more: float) -> str:
    return say(
        "LoRA heals {points:.1f} points more than the projector alone, on average"
        if more > 0
        else "LoRA heals {points:.1f} points less than the projector alone, on average",
        points=abs(more),
    )


def _losses(best: str, most: float, worst: str, least: float) -> str:
    best, worst = (x.upper().replace("+", " + ") for x in (best, worst))
    return say(
        "{best} heals best on average ({most:.0f}% kept), {worst} worst ({least:.0f}%)",
        best=best, most=most, worst=worst, least=least,
    )  # fmt: skip


def _data(few: float, whole: float) -> str:
    return say("5% of the data heals to {few:.0f}% on average, all of it to {whole:.0f}%", few=few, whole=whole)


def _practice(smallest: float, most: float, largest: float, least: float) -> str:
    ends = [say("{kept:.0f}% at {share}", kept=x, share=percent(y)) for x, y in ((most, smallest), (least, largest))]
    return say("Healed as advised, the model keeps {ends} removed", ends=words.listed(list(dict.fromkeys(ends))))


def _int8(most: float, less: float) -> str:
    return say(
        "Eight bits cost at most {points:.1f} points and save {less:.0f}% of the weights' memory"
        if most > 0
        else "Eight bits cost nothing and save {less:.0f}% of the weights' memory",
        points=most, less=less,
    )  # fmt: skip


def _answers(before: float, after: float, ratio: float) -> str:
    return say(
        "{before:.0f}% of the answers are right before pruning, {after:.0f}% at {share}",
        before=before, after=after, share=percent(ratio),
    )  # fmt: skip


def _healing(reached: int, of: int) -> str:
    return say("{reached} of {of} healed models reach what was aimed at", reached=reached, of=of)


def _beyond(ratio: float, plain: float, best: float) -> str:
    return say(
        "Without training, {share} widthwise keeps {plain:.0f}% as published and {best:.0f}% by the best way here",
        share=percent(ratio), plain=plain, best=best,
    )  # fmt: skip


def _repaired(half: float, whole: float) -> str:
    return say(
        "Half of the training heals to {half:.0f}% after a better choice and repair, all of it as published to "
        "{whole:.0f}%",
        half=half, whole=whole,
    )  # fmt: skip


SENTENCES: dict[str, Callable[..., str]] = {  # of the numbers in evaluation.highlights
    "zero-shot": _zero_shot, "modality": _modality, "efficiency": _efficiency, "calibration": _calibration,
    "parts": _parts, "losses": _losses, "data": _data, "practice": _practice, "int8": _int8, "answers": _answers,
    "healing": _healing, "competing": _healing, "beyond": _beyond, "repaired": _repaired,
}  # fmt: skip


def finding(experiment: str, table: pd.DataFrame) -> str:
    """What the figure shows, in one sentence; the experiment's title while too little of it is measured to say."""
    found = highlight(experiment, table)
    return say(EXPERIMENTS[experiment].title) if found is None else SENTENCES[experiment](**found)


NAMES = {"ratio": "removed %", "images": "asked with", "int8": "weights", "train": "trained", "fraction": "data %",
         "calibration": "samples", "low": "from", "high": "to", "weights GiB": "weights MiB"}  # fmt: skip
TASKS = tuple(x.name for x in NINE)
GROUPS = ("multiple choice", "yes/no", "free", "reasoning", "other")


def shown(experiment: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table as the page has it: what was done, what is kept, then the tasks; numbers rounded for reading."""
    about = list(EXPERIMENTS[experiment].columns)
    costs = ("weights GiB", "prefill GFLOPs", "first token ms", "tokens/s", "peak GiB")
    first = [*about, "AVG-%", "low", "high", "AVG", "p", *costs]
    names = [x for x in dict.fromkeys((*first, *TASKS, *table.columns, *GROUPS)) if x in table]
    hidden = ("achieved", "seeds", "steps", "best_step", "seconds", "parameters", *GROUPS)
    order = [*(x for x in names if x not in hidden), *(x for x in GROUPS if x in table)]
    order += [x for x in ("parameters", "seeds", "seconds") if x in table]
    found = table[order].copy()
    worded = {
        "images": lambda x: say("images" if x else "words alone"),
        "int8": lambda x: say("8 bits" if x else "16 bits"),
        "method": retell,
        "train": say,
        "ratio": lambda x: round(100 * x),
        "fraction": lambda x: round(100 * x),
        "parameters": words.count,
        "weights GiB": lambda x: round(1024 * x, 1),
        "p": lambda x: "" if pd.isna(x) else "< 0.001" if x < 0.001 else f"{x:.3f}",
    }
    for column in found:
        if column in worded:
            found[column] = found[column].map(worded[column])
        elif found[column].dtype.kind == "f":
            found[column] = found[column].round(3 if column in costs else 1)
    return found.rename(columns={x: say(NAMES.get(x, x)) for x in found})


def claims(experiment: str, table: pd.DataFrame) -> list[tuple[Finding, str, str]]:
    """(finding of the paper, verdict, evidence) of those that this experiment alone can tell."""
    return [(x, *x.of({experiment: table})) for x in FINDINGS if x.needs == (experiment,)]


def judged(experiment: str, table: pd.DataFrame) -> str:
    """What the paper found that this experiment can tell, and whether it holds here; empty where it claims nothing."""
    rows = []
    for claim, verdict, evidence in claims(experiment, table):
        against = say("Contradicted by the paper's own numbers: {but}", but=retell(claim.against))
        against = against if claim.against else ""
        rows.append(
            f'<li><i class="verdict" title="{say(verdict)}">{MARKS[verdict]}</i>'
            f"<div><b>{words.escape(retell(claim.claim))}</b> "
            f"<small>{words.escape(retell(claim.where))}</small><p><em>{words.capital(say(verdict))}</em>: "
            f"{words.escape(minus(retell(evidence)))}"
            f"{f'<br>{words.escape(against)}' if against else ''}</p></div></li>"
        )
    if not rows:
        return ""
    head = words.heading(say("Does what the paper found hold here?"), say("Judged by the measurements above alone."))
    return f'<div class="result">{head}<ul class="verdicts">{"".join(rows)}</ul></div>'


def contradictions(experiment: str, suspicions: Sequence[str] = ()) -> str:
    """Which of the paper's points are not to be trusted, and what it says against itself about this."""
    starts = SAID.get(experiment, ())
    found = [
        f"<li><b>{words.escape(retell(x.where))}</b>: “{words.escape(retell(x.says))}” "
        f"{words.escape(retell(x.but))}</li>"
        for x in paper.CONTRADICTIONS
        if x.where.startswith(starts)
    ] if starts else []  # fmt: skip
    marked = "".join(f"<li>✕ {words.escape(x)}</li>" for x in suspicions)
    if not found and not marked:
        return ""
    head = f"<p>{say('Points of the paper marked ✕ are not to be trusted:')}</p>" if marked else ""
    against = say("Where the paper contradicts itself ({n})", n=len(found))
    tail = f"<summary>{against}</summary><ul>{''.join(found)}</ul>"
    return f'<div class="suspect">{head}<ul>{marked}</ul>{f"<details>{tail}</details>" if found else ""}</div>'
