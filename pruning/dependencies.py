"""Which weights must go together (Eq. 3): one head or neuron as stripes of rows and columns through its layer's
matrices. Counts from an Anatomy; knows no tensor.
"""

from dataclasses import dataclass

from lvlm import Anatomy, BadPlan

KINDS = ("heads", "neurons")


@dataclass(frozen=True)
class Stripe:
    """What a unit owns of one matrix of `rows` × `columns`: rows (dim 0) or columns (dim 1) start … start + width."""

    path: str  # of the linear, relative to the layer
    dim: int
    start: int
    width: int
    rows: int
    columns: int

    @property
    def last(self) -> int:
        """Its last row or column."""
        return self.start + self.width - 1

    @property
    def weights(self) -> int:
        return self.width * (self.columns if self.dim == 0 else self.rows)


@dataclass(frozen=True)
class Group:
    """A dependency group: none of its stripes has any use without the others. `parameters` counts biases too."""

    layer: int
    kind: str  # "heads": a key/value group with all its query heads; "neurons"
    unit: int
    stripes: tuple[Stripe, ...]
    parameters: int
    of: int  # parameters of the whole layer

    @property
    def share(self) -> float:
        """Of the layer's parameters, 0…1."""
        return self.parameters / self.of


def group(anatomy: Anatomy, layer: int, kind: str, unit: int) -> Group:
    """The dependency group of one unit. Raises BadPlan for a unit that the model has not."""
    if kind not in KINDS:
        raise BadPlan(f"There are no {kind!r} in a layer: choose {' or '.join(KINDS)}.")
    if not 0 <= layer < len(anatomy.layers):
        raise BadPlan(f"There is no layer {layer}: the model has layers 0 to {len(anatomy.layers) - 1}.")
    shape = anatomy.layers[layer]
    count = shape.groups if kind == "heads" else shape.neurons
    if not 0 <= unit < count:
        raise BadPlan(f"Layer {layer} has no number {unit} among its {kind}: it has 0 to {count - 1}.")
    sizes = {x.path: (x.rows, x.columns) for x in shape.linears}
    stripes = tuple(
        Stripe(x.path, x.dim, x.start + unit * x.width, x.width, *sizes[x.path]) for x in shape.cuts if x.kind == kind
    )
    return Group(layer, kind, unit, stripes, shape.unit(kind)[0], shape.parameters)
