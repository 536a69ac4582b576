"""Steps 6 to 10 of the tour, what pruning is good for: projector, cliff, layer or width, 8 bits, the advisor."""

import gradio as gr
import numpy as np

from evaluation import paper
from evaluation.advisor import usual
from evaluation.divergence import unchanged
from pruning.about import removed
from recovery.recipe import FEW
from ui import figures, lines, teaching, words
from ui.inputs import Dial
from ui.part import Start
from ui.tour import pictures
from ui.tour.stop import Stop, explained, figure, heading, method, picture, ratio, speaking, tried
from ui.workspace import Desk, Desks

LLAVA = lines.FAMILIES["llama"]
TRAINING = [("None", "none"), ("A few minutes, 5% of the data", "few"), ("All the data", "all")]


def projector(desks: Desks) -> Stop:
    """Step 6: the projector alone heals small cuts."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(6)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            instruction = gr.HTML(elem_classes="try")
            with gr.Row():
                way, much = method("projector"), ratio("projector", 15)
            train = gr.Button("Prune, and train the projector here", variant="primary", elem_id="tour-train")
            found, shown = gr.HTML(elem_id="tour-projector-found"), figure("projector")
            told, shipped = gr.HTML(elem_id="tour-parts-found"), figure("parts")

    def show(desk: Desk) -> list:
        known = lines.ours("parts", teaching.measured(desk, "parts"))
        if not known:
            return [*trained(desk), "", gr.Plot(visible=False)]
        tell = speaking(desk)
        drawn = figures.experiment("ratio", known)
        return [
            *trained(desk),
            heading(tell("6.shipped"), tell("6.shipped_read", model=desk.shared.name), desk),
            gr.Plot(drawn, visible=True),
        ]

    def trained(desk: Desk) -> list:
        seen, tell = desk.teaching.trained, speaking(desk)
        task = tell("6.try", steps=teaching.TRAINING_STEPS, questions=9 * teaching.QUESTIONS)
        if not seen:
            return [heading(tell("6.none"), "", desk), gr.Plot(visible=False), task]
        last = seen[-1]
        shares = {x: words.percent(round(getattr(last, y), 3)) for x, y in
                  (("ratio",) * 2, ("before", "pruned"), ("after", "healed"), ("original",) * 2)}  # fmt: skip
        read = tell("6.read", questions=last.questions)
        drawn = gr.Plot(pictures.projector(seen, tell), visible=True)
        return [heading(tell("6.found", **shares), read, desk), drawn, task]

    def train_projector(key: str, method: str, percent: float):
        """Prune as said, train the projector alone for a few steps, and ask before and after."""
        teaching.train_projector(desks.at(key), method, _share(percent))

    return Stop(
        "tour_projector",
        "What training the projector alone brought back: of the runs made on this desk, and as measured before.",
        [],
        [found, shown, instruction, told, shipped],
        show,
        [Start(train.click, train_projector, [way, much])],
    )


def _share(percent) -> float:
    """A slider's percent as a fraction, for the library to judge."""
    return percent / 100 if isinstance(percent, int | float) else percent


def cliff() -> Stop:
    """Step 7: where the cliff is."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(7)
            said = gr.HTML(elem_id="tour-cliff-answers")
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(7)
            with gr.Row():
                way, much, chosen = method("cliff", "widthwise"), ratio("cliff", 30), picture("cliff")
            found, shown = gr.HTML(elem_id="tour-cliff-found"), figure("cliff")

    def show(desk: Desk, way, much, chosen) -> list:
        teaching.of(desk)
        tell, share = speaking(desk), _share(much)
        asked, before, after = teaching.said_at(desk, chosen, way, share)
        same = unchanged(before, after)
        finding = tell("7.found", ratio=words.percent(share), method=tell(f"10.{way}"), same=same, of=len(asked))
        drawn = figures.experiment(
            "ratio", lines.ours("zero-shot", teaching.measured(desk, "zero-shot")), lines.printed("zero-shot", LLAVA)
        )
        drawn.add_vline(x=much, line=dict(color=words.VARIANT_COLOURS["pruned"], width=2))
        return [heading(finding, tell("7.read"), desk), drawn, _answers(tell, asked, before, after)]

    return Stop(
        "tour_cliff",
        "A bundled picture's questions, answered by the model and by what pruning leaves of it at a ratio.",
        [way, much, chosen],
        [found, shown, said],
        show,
    )


def _answers(tell, asked: list[str], before: list[str], after: list[str]) -> str:
    """A table of questions with both answers; those that changed are marked."""
    rows = "".join(
        f"<tr><th>{words.escape(q)}</th><td>{words.escape(a)}</td>"
        f"<td>{words.escape(b) if a == b else f'<mark>{words.escape(b)}</mark>'}</td></tr>"
        for q, a, b in zip(asked, before, after, strict=True)
    )
    heads = "".join(f"<th>{words.escape(tell(f'7.{x}'))}</th>" for x in ("question", "original", "pruned"))
    return f'<table class="tour-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def paradigms() -> Stop:
    """Step 8: layer or width."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(8)
            tried(8)
            much = ratio("paradigms", 30)
            found = gr.HTML(elem_id="tour-paradigms-found")
        with gr.Column(scale=6, min_width=320):
            drawn = []
            for name in ("layerwise", "widthwise"):
                with gr.Column(elem_classes="slab"):
                    drawn += [gr.HTML(elem_id=f"tour-paradigms-{name}"), figure(name)]

    def show(desk: Desk, much) -> list:
        tell, share, shown = speaking(desk), _share(much), []
        plans = {x: teaching.plan_of(desk, x, share) for x in ("layerwise", "widthwise")}
        for name, plan in plans.items():
            after = plan.cost.after
            costs = tell(
                "8.costs",
                parameters=words.count(after.parameters.total),
                memory=words.memory(after.bytes),
                flops=words.flops(after.flops_prefill),
            )
            told = " · ".join([costs, *_printed(tell, name, share)])
            shown += [heading(tell(f"8.{name}"), told, desk), pictures.layers(plan, tell)]
        gone, narrow = plans["layerwise"].removed_layers, removed(plans["widthwise"])
        names = words.some(gone)
        said = tell(
            "8.found",
            ratio=words.percent(share),
            layers=tell("8.no_layers") if not gone else tell("8.layer" if len(gone) == 1 else "8.layers", names=names),
            heads=narrow.heads,
            all_heads=narrow.all_heads,
            neurons=words.percent(round(narrow.share_of_neurons, 3)),
        )
        return [heading(said, tell("8.read"), desk), *shown]

    return Stop(
        "tour_paradigms",
        "The same ratio removed layerwise and widthwise: what goes and what is left.",
        [much],
        [found, *drawn],
        show,
    )


def _printed(tell, name: str, share: float) -> list[str]:
    """What the paper's LLaVA keeps so pruned, where it prints that."""
    printed = {key: paper.kept(LLAVA, name, share, table) for key, table in (("8.not_healed", 2), ("8.healed", 5))}
    told = [tell(key, kept=f"{kept:.0f}") for key, kept in printed.items() if kept is not None]
    return [f"{tell('8.paper', ratio=words.percent(share))}: {', '.join(told)}"] if told else []


def eight_bits(desks: Desks) -> Stop:
    """Step 9: int8 on top."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(9)
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(9)
            with gr.Row():
                much, chosen = ratio("int8", 30), picture("int8")
            store = gr.Button("Store in 8 bits and ask", variant="primary", elem_id="tour-store")
            found, shown = gr.HTML(elem_id="tour-int8-found"), figure("int8")

    def show(desk: Desk) -> list:
        seen, tell = teaching.of(desk).stored, speaking(desk)
        if seen is None:
            return [heading(tell("9.none"), "", desk), gr.Plot(visible=False)]
        left = seen.sizes["both"] / seen.sizes["original"]
        said = tell("9.found", ratio=words.percent(seen.ratio), share=words.percent(left))
        read = f"{tell('9.read')} {tell('9.asked', question=seen.question)}"
        return [heading(said, read, desk), gr.Plot(pictures.stored(seen, tell), visible=True)]

    def store_in_8_bits(key: str, percent: float, picture: int):
        """Store the model and what layerwise pruning leaves of it in 8 bits, and ask all four a picture's question."""
        teaching.store_in_8_bits(desks.at(key), _share(percent), picture)

    return Stop(
        "tour_int8",
        "Memory and answers of the model whole and pruned, in full and in 8 bits, as stored on this desk.",
        [],
        [found, shown],
        show,
        [Start(store.click, store_in_8_bits, [much, chosen])],
    )


def advisor(desks: Desks) -> Stop:
    """Step 10: from a goal to a recipe."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320):
            explained(10)
            others = gr.HTML(elem_id="tour-advisor-others")
        with gr.Column(scale=6, min_width=320, elem_classes="slab"):
            tried(10)
            with gr.Row():
                memory = Dial(20, 100, 45, step=1, buttons=[], label="Memory that may be left (%)", min_width=180,
                              elem_id="tour-goal-memory")  # fmt: skip
                kept = Dial(50, 100, 95, step=1, buttons=[], label="Score to keep (% of the original's)", min_width=180,
                            elem_id="tour-goal-kept")  # fmt: skip
            with gr.Row():
                small = gr.Checkbox(True, label="8 bits are welcome", elem_id="tour-goal-int8", min_width=140)
                train = gr.Radio(TRAINING, value="few", label="Healing", elem_id="tour-goal-train", min_width=260)
            found, shown = gr.HTML(elem_id="tour-advisor-found"), figure("advisor")
            use = gr.Button("Set Prune and Heal to this", variant="primary", elem_id="tour-apply")

    def show(desk: Desk, memory, kept, small, train) -> list:
        tell = speaking(desk)
        ways, least = teaching.advised(desk, _share(memory), _share(kept), bool(small), train)
        if not ways:
            said = tell("10.too_small", least=words.percent(round(least, 3)))
            return [heading(said, "", desk), None, "", gr.Button(interactive=False)]
        best = ways[0]
        numbers = {"way": _way(tell, best), "memory": words.percent(round(best.memory, 3)), "kept": _kept(best.kept)}
        key = "10.reached" if best.reached else "10.not_reached" if np.isfinite(best.kept) else "10.unknown"
        told = [_healing(tell, best)] if best.ratio else []
        told += _better(tell, best, ways)
        told += [_why(tell, x, best.ratio) for x in best.evidence if x.points]
        told += [tell("10.recipe_note")] if best.recipe and any(x.source == "ours" for x in best.evidence) else []
        drawn = pictures.evidence(best.evidence, best, _share(kept), tell) if best.evidence else None
        return [
            heading(tell(key, **numbers), " · ".join(told), desk),
            drawn,
            _table(tell, ways),
            gr.Button(interactive=bool(best.ratio)),
        ]

    def apply_advice(key: str):
        """Set Prune and Heal to what reaches the goal best."""
        teaching.apply(desks.at(key))

    return Stop(
        "tour_advisor",
        "From a goal (memory left and score kept, in percent) to a method, a ratio and a recipe, with the evidence.",
        [memory, kept, small, train],
        [found, shown, others, use],
        show,
        [Start(use.click, apply_advice)],
    )


def _way(tell, way) -> str:
    method = "competing" if way.choice == "global" else way.method
    parts = [tell("10.prune", method=tell(f"10.{method}"), ratio=words.percent(way.ratio))] if way.ratio else []
    if way.repair:
        parts.append(tell("10.repair"))
    if way.int8:
        parts.append(tell("10.int8" if parts else "10.int8_alone"))
    return tell("10.and").join(parts) or tell("10.nothing")


def _better(tell, best, ways) -> list[str]:
    """What the published way keeps where another one is proposed."""
    published = usual(best, ways)
    return [] if published is None else [tell("10.usual", kept=_kept(published.kept))]


def _healing(tell, way) -> str:
    if way.recipe is None:
        return tell("10.heal.none")
    return tell(f"10.heal.{way.recipe.train}", data=words.percent(way.recipe.fraction or FEW))


def _kept(value: float) -> str:
    return words.percent(round(value / 100, 3)) if np.isfinite(value) else "?"


def _why(tell, evidence, ratio: float) -> str:
    """Where it comes from, with the measured points on both sides of the ratio."""
    points = []
    for x in evidence.around(ratio):
        spread = np.isfinite(x.low) and x.low != x.high
        values = {"ratio": words.percent(x.ratio), "kept": f"{x.kept:.1f}"}
        if spread:
            points.append(tell("10.spread", **values, low=f"{x.low:.1f}", high=f"{x.high:.1f}"))
        else:
            points.append(tell("10.point", **values))
    where = tell("10.ours" if evidence.source == "ours" else "10.paper", model=evidence.model, where=evidence.where)
    return f"{where}: {', '.join(points)}"


def _table(tell, ways) -> str:
    """All ways that fit the memory, the best first."""
    rows = "".join(
        f"<tr><th>{'✓ ' if x.reached else ''}{words.escape(_way(tell, x))}</th>"
        f"<td>{words.percent(round(x.memory, 3))}</td><td>{_kept(x.kept)}</td></tr>"
        for x in ways
    )
    heads = "".join(f"<th>{words.escape(tell(f'10.{x}'))}</th>" for x in ("way", "memory", "kept"))
    return f'<table class="tour-table numbers"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
