"""A plan in words. Reads a Plan; decides nothing."""

WHY = {  # what the importances say of a unit that goes
    "taylor": "the loss would change least without them (Taylor importance)",
    "taylor-sum": "the loss would change least without them (Taylor importance of whole units)",
    "activation": "they are least active (activation importance)",
    "balanced": "images and words weighed alike, the loss would change least without them (balanced importance)",
    "image": "the loss would change least if images were seen without them (importance for images)",
    "text": "the loss would change least if words were read without them (importance for words)",
    "magnitude": "their weights are smallest",
    "random": "drawn by chance, as a control",
}


def ranges(numbers) -> str:
    """[1, 2, 3, 7] → "1–3 and 7"."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(a) if a == b else f"{a}–{b}" for a, b in runs]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "none"


def counted(number: int, noun: str) -> str:
    """(2, "neuron") → "2 neurons"; nothing for none."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}" if number else ""


def size(number: float, unit: str = "") -> str:
    """Three significant digits: 1234567 → "1.23M", (588e6, "FLOPs") → "588 MFLOPs"."""
    for limit, letter in ((1e12, "T"), (1e9, "B" if not unit else "G"), (1e6, "M"), (1e3, "k")):
        value = number / limit
        if abs(value) >= 0.9995:
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:.{digits}f}{' ' if unit else ''}{letter}{unit}"
    return f"{number:.0f}{' ' if unit else ''}{unit}"


def units(names) -> str:
    """["3", "4.2"] → "layer 3, head 2 of layer 4"."""
    parts = [x.partition(".") for x in names]
    return ", ".join(f"head {head} of layer {layer}" if head else f"layer {layer}" for layer, _, head in parts)


def way(plan) -> str:
    """How a plan chooses what goes, in a few words: "widthwise", "both ways, competing", "searched, balanced"."""
    about = plan.settings
    searched = about.get("ranking") == "search"
    found = ["searched" if searched else "both ways" if plan.method == "both" else plan.method]
    if plan.method != "layerwise" or searched:  # whole layers go by block influence, whatever is said of their units
        found += ["competing"] * (about.get("ranking") == "global")
        found += ["balanced"] * (about.get("importance") == "balanced")
    found += ["iterative"] * ("rounds" in about)
    return ", ".join(found)


def explain(plan) -> str:
    """One paragraph: what goes, where, and why."""
    if plan.is_identity:
        return f"Nothing is removed from {plan.model}: the pruned model will give the same answers, bit for bit."
    sentences = []
    if plan.removed_layers:
        block = "one block of neighbours, " if plan.settings.get("contiguous") else ""
        n = len(plan.removed_layers)
        verb = "goes" if n == 1 else "go"
        forced = {x for x in plan.settings.get("forced", ()) if "." not in x}
        chosen = [i for i in plan.removed_layers if str(i) not in forced]  # the others are named below
        why = "they change their input least (lowest block influence)" if chosen else "you said so"
        if plan.settings.get("ranking") == "search":
            why = "without them the answers move least"
        elif plan.method == "both" and plan.settings.get("depth_share", 0.5) is None and chosen:
            why = WHY[plan.settings.get("importance", "taylor")]
        others = ", but for what is forced out" if forced and chosen else ""
        sentences.append(
            f"{n} of {len(plan.dense_shape)} layers {verb} ({block}{ranges(plan.removed_layers)}, "
            f"counted from 0): {why}{others}"
        )
    cut = [
        (i, plan.dense_shape[i][0] - len(plan.heads[i]), plan.dense_shape[i][1] - len(plan.neurons[i]))
        for i in plan.layers
    ]
    groups, neurons = sum(x[1] for x in cut), sum(x[2] for x in cut)
    heads = sum(x[1] * plan.heads_per_group[x[0]] for x in cut)
    if groups or neurons:
        touched = [i for i, h, n in cut if h or n]
        why = WHY[plan.settings.get("importance", "taylor")]
        where = "in each of" if plan.settings.get("ranking") == "layer" else "unevenly over"
        shared = f" ({counted(groups, 'whole key/value group')})" if groups != heads else ""
        what = " and ".join(filter(None, [counted(heads, "attention head") + shared, counted(neurons, "MLP neuron")]))
        verb = "goes" if heads + neurons == 1 else "go"
        sentences.append(f"{what} {verb}, {where} layers {ranges(touched)}: {why}")
    if plan.settings.get("ranking") == "search":
        sentences.append(_searched(plan.settings))
    if "rounds" in plan.settings:
        sentences.append(
            f"It goes in {counted(plan.settings['rounds'], 'round')}, and what stays is scored anew after each"
        )
    protected = plan.settings.get("protected")
    if protected:
        sentences.append(
            f"Layer {protected[0]} is kept whole"
            if len(protected) == 1
            else f"Layers {ranges(protected)} are kept whole"
        )
    for key, what in (("pinned", "Pinned, and so kept"), ("forced", "Forced out by hand")):
        if plan.settings.get(key):
            sentences.append(f"{what}: {units(plan.settings[key])}")
    before, after = plan.cost.before, plan.cost.after
    asked = "" if plan.ratio is None else f" (asked: {plan.ratio:.0%})"
    sentences.append(
        f"This removes {plan.achieved:.1%} of the language backbone{asked}: the model shrinks from "
        f"{size(before.parameters.total)} to {size(after.parameters.total)} parameters, and an image with a question "
        f"from {size(before.flops_prefill, 'FLOPs')} to {size(after.flops_prefill, 'FLOPs')}"
    )
    return ". ".join(sentences) + "."


def _searched(about: dict) -> str:
    """What a search found on its samples, and what the published way does there."""
    samples = counted(len(about.get("search_ids", ())), "sample")
    loss, usual = about.get("loss"), about.get("published_loss")
    moved = "" if loss is None else f": there the odds of the next word move by {_nats(loss)} nats (divergence)"
    instead = "" if usual is None else f", with the same share of every layer by {_nats(usual)}"
    return f"How much goes of each layer was searched for on {samples}{moved}{instead}"


def _nats(value: float) -> str:
    """A divergence without an exponent: "0.0213", "1.83"."""
    return f"{value:.{4 if value < 1 else 2}f}"
