"""What lies on a desk as plain data, for callers of the API: dicts, lists, numbers, text. What was found out there is
in results.py. Knows nothing of Gradio.
"""

from dataclasses import asdict

from lvlm.catalogue import catalogue
from pruning import forecast, overlap
from ui import looking


def models() -> list[dict]:
    """Every model of the catalogue."""
    return [
        {
            "name": x.name,
            "title": x.title,
            "parameters": x.parameters.total,
            "licence": x.licence,
            "bundled": x.bundled,
            "download_bytes": 0 if x.bundled else x.download_bytes,
            "fits_here": x.fits("calibrate-checkpointing"),
        }
        for x in catalogue()
        if x.available or not x.bundled
    ]


def desk(found) -> dict:
    """All of it, in short."""
    return {
        "workspace": found.id,
        "model": found.shared.name if found.shared else None,
        "layers": len(found.model.anatomy.layers) if found.model else None,
        "samples": found.samples,
        "plan": plan(found.plan) if found.plan is not None else None,
        "variants": [variant(x) for x in found.variants],
        "panes": list(found.variants.panes),
        "asked": len(found.talk),
        "job": job(found.job) if found.job else None,
    }


def job(found) -> dict:
    """Long work, under way or ended."""
    return {
        "title": found.title,
        "state": found.state,
        "stage": found.stage,
        "fraction": round(found.fraction, 3),
        "seconds_left": found.seconds_left if found.busy else None,
        "error": found.error,
    }


def plan(found) -> dict:
    """What goes and what that costs; counts of what stays, by layer."""
    before, after = found.cost.before, found.cost.after
    return {
        "method": found.method,
        "ranking": found.settings.get("ranking"),
        "importance": found.settings.get("importance"),
        "rounds": found.settings.get("rounds", 1),
        "divergence": [found.settings["published_loss"], found.settings["loss"]] if _searched(found) else None,
        "ratio": found.ratio,
        "achieved": found.achieved,
        "removed_layers": list(found.removed_layers),
        "heads_kept": [len(x) for x in found.heads],
        "neurons_kept": [len(x) for x in found.neurons],
        "parameters": [before.parameters.total, after.parameters.total],
        "bytes": [before.bytes, after.bytes],
        "flops_prefill": [before.flops_prefill, after.flops_prefill],
        "explained": found.explain(),
    }


def _searched(plan) -> bool:
    return plan.settings.get("ranking") == "search"


def variant(found) -> dict:
    """A model at hand."""
    return {
        "id": found.id,
        "kind": found.kind,
        "title": found.title,
        "parent": found.parent.id if found.parent else None,
        "parameters": found.model.parameters().total,
        "bytes": found.model.bytes(),
        "achieved": found.plan.achieved if found.plan else 0.0,
        "repaired_on": found.repair,
        "gain": asdict(found.gain) if found.gain else None,
        "recipe": found.recipe.recorded() if found.recipe else None,
    }


def plans(kept, now, scores, pace) -> dict:
    """A kept plan and the one at hand: what each costs, and how much of what either removes goes in both."""
    shared = overlap(kept, now)
    return {
        "kept": plan(kept) | {"forecast": asdict(forecast(scores, kept, pace))},
        "now": plan(now) | {"forecast": asdict(forecast(scores, now, pace))},
        "agree": shared.share,
        "removed_by_both": shared.both,
        "removed_by_kept_only": shared.first,
        "removed_by_now_only": shared.second,
    }


def run(found) -> dict:
    """A healing run that was cut short: what it heals, how, and how far it is."""
    last = found.points()[-1]
    return {
        "method": found.plan.method,
        "removed": found.plan.achieved,
        "repaired_on": found.repair,
        "recipe": found.recipe.recorded(),
        "data": found.data,
        "step": last.step,
        "of": last.total,
    }


def importance(scores, which: str) -> dict:
    """Block influence of every layer, and the importance of every head and of the layer's neurons together."""
    units = scores.importance[which]
    return {
        "block_influence": scores.block_influence.tolist(),
        "block_influence_image": scores.block_influence_image.tolist(),
        "block_influence_text": scores.block_influence_text.tolist(),
        "heads": [x.tolist() for x in units.heads],
        "neurons_mean": units.neuron_means.tolist(),
    }


def exchange(found) -> dict:
    """One question and everybody's answers, so far."""
    return {
        "question": found.question,
        "max_new_tokens": found.how.max_new_tokens,
        "temperature": found.how.temperature,
        "seed": found.how.seed,
        "answers": [_answer(x) for x in found.answers.values()],
    }


def _answer(found) -> dict:
    said = {"variant": found.variant, "title": found.title, "answer": found.text, "ended": found.stats is not None}
    if found.stats is not None:
        said |= {"tokens": found.stats.new_tokens, "first_token_s": found.stats.first_token_s}
        said |= {"tokens_per_s": found.stats.tokens_per_s, "stopped": found.stats.stopped}
    return said


def divergence(pair) -> dict:
    """An answer token by token, as the model that gave it and the reference see it."""
    found = pair.divergence
    return {
        "question": pair.exchange.question,
        "variant": pair.other.id,
        "reference": pair.reference.id,
        "parts_at": found.parts_at,
        "mean_kl": found.mean_kl,
        "tokens": [
            {"text": x.text, "kl": x.kl, "reference": x.reference.probability, "own": x.other.probability}
            for x in found.places
        ],
    }


def attention(found, pair) -> dict:
    """Where both look in the picture when they choose the token: weights of the grid's cells, row by row."""
    gaze = found.looking.gaze
    whose = {x.id: looking.seen(found, x) for x in (pair.reference, pair.other)}
    grid = gaze.grid
    return {
        "token": gaze.token,
        "grid": None if grid is None else {"rows": grid.rows, "columns": grid.columns, "box": list(grid.box)},
        "weights": {
            id: None
            if x is None
            else [float(w) for w in (x if grid is None else x[grid.tokens.start : grid.tokens.stop])]
            for id, x in whose.items()
        },
    }
