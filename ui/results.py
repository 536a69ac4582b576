"""What was found out on a desk as plain data, for callers of the API: scores, answers, failures, cases, votes, the
paper's experiments, and the advisor's ways. Knows nothing of Gradio; what else lies there is told in told.py.
"""

import json
import math

from evaluation.experiments import EXPERIMENTS
from ui import costs, heard, hunting, measuring


def scores(found) -> list[dict]:
    """What every model at hand made of the suite that was asked last."""
    return [
        {"kind": x.kind, "title": x.title, "average": x.report.average, "by_task": dict(x.report.scores)}
        for x in measuring.heard(found)
    ]


def answers(found, most: int) -> list[dict]:
    """A row a question that the filter lets through, of those that the records at hand answer."""
    records, browse = measuring.records(found), found.measuring.browse
    if not records:
        return []
    places = heard.chosen(records, browse.which, browse.other, browse.task)
    return _rows(heard.written(records, places[:most]))


# --- failures and cases ---


def failures(found, task: str = "", most: int = 20) -> dict:
    """What a hunt caught, worst first; of one task, or of every one."""
    catch = hunting.caught(found)
    caught = catch.of(task)
    return {
        "models": [{"title": x.title, "removed": x.ratio} for x in catch.hunted],
        "failures": len(caught),
        "worst": [
            {
                "place": x.place,
                "task": catch.original[x.place].task,
                "question": catch.original[x.place].question,
                "truth": catch.original[x.place].truth,
                "breaks_at": catch.hunted[x.first].ratio,
                "answer_there": catch.hunted[x.first].records[x.place].answer,
                "drop": x.drop,
            }
            for x in caught[:most]
        ],
    }


def case(found) -> dict:
    """A kept case without its picture."""
    return {
        "id": found.id,
        "kept": found.kept,
        "model": found.model,
        "task": found.task,
        "question": found.question,
        "truth": found.truth,
        "breaks_at": found.breaks_at,
        "verdict": found.verdict,
        "tags": list(found.tags),
        "note": found.note,
        "answers": [
            {"title": x.title, "kind": x.kind, "ratio": x.ratio, "answer": x.answer, "divergence": x.divergence}
            for x in found.sides
        ],
    }


def again(found) -> dict:
    """A case that was opened again: every answer then and now."""
    answers = [
        {"title": x.said.title, "then": x.said.answer, "now": x.now, "same": x.same, "why": x.why}
        for x in found.answers
    ]
    return {"case": case(found.case), "same": all(x["same"] for x in answers), "answers": answers}


# --- votes ---


def match(found, skipped: int) -> dict:
    """Two answers to one question; whose they are, and the true one, is there once it was voted on."""
    voted = found.vote is not None
    return {
        "question": found.question,
        "answers": dict(zip(("left", "right"), found.answers, strict=True)),
        "skipped": skipped,
        "outcome": found.vote.outcome if voted else None,
        "names": dict(zip(("left", "right"), (x.title for x in found.contenders), strict=True)) if voted else None,
        "truth": found.truth if voted else None,
    }


def standings(found) -> list[dict]:
    """Everybody who was voted on: chance of being preferred and its 95% interval, and how the votes went."""
    return [
        {
            "title": x.contender.title,
            "kind": x.contender.kind,
            "chance": x.chance,
            "interval": None if x.low is None else [x.low, x.high],
            "votes": x.votes,
            "won": x.wins,
            "lost": x.losses,
            "equal": x.ties,
            "both_bad": x.both_bad,
        }
        for x in found
    ]


# --- the paper's experiments ---


def experiments(found) -> list[dict]:
    """All of them, and whether everything of each is measured on the model at hand."""
    complete = measuring.complete(found)
    return [
        {"name": x.name, "title": x.title, "paper": x.paper, "trains": x.trains, "complete": x.name in complete}
        for x in EXPERIMENTS.values()
    ]


def experiment(found) -> dict:
    """What is measured of the one at hand: a row a point, what they say, and the paper's claims judged by them."""
    one, here = EXPERIMENTS[found.measuring.experiment], measuring.found(found)
    return {
        "name": one.name,
        "title": one.title,
        "paper": one.paper,
        "measured": here.total - here.missing,
        "of": here.total,
        "finding": costs.finding(one.name, here.table),
        "rows": _rows(here.table),
        "claims": [
            {"claim": x.claim, "where": x.where, "verdict": verdict, "evidence": evidence, "against": x.against}
            for x, verdict, evidence in costs.claims(one.name, here.table)
        ],
    }


# --- the advisor ---


def way(found) -> dict:
    """One way to a goal, with what is known of it."""
    return {
        "method": found.method,
        "ratio": found.ratio,
        "ranking": found.ranking,
        "repair": found.repair,
        "int8": found.int8,
        "recipe": found.recipe.recorded() if found.recipe else None,
        "memory": found.memory,
        "kept": _known(found.kept),
        "reached": found.reached,
        "evidence": [
            {
                "source": x.source,
                "where": x.where,
                "model": x.model,
                "method": x.method,
                "int8": x.int8,
                "points": [
                    {"ratio": y.ratio, "kept": _known(y.kept), "low": _known(y.low), "high": _known(y.high)}
                    | {"suspect": y.suspect}
                    for y in x.points
                ],
            }
            for x in found.evidence
        ],
    }


def _rows(table) -> list[dict]:
    """NaN becomes None."""
    return json.loads(table.to_json(orient="records"))


def _known(number: float) -> float | None:
    return None if math.isnan(number) else number
