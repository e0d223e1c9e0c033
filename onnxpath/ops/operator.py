"""What an operator record says (docs/operators.md).

An operator is linear in its operands: one *adjoint per operand* emits graph, and one test checks ⟨Aᵀc, z⟩ =
⟨c, Az⟩ for all of them. There is no hand-written forward: `emit` spells the operator in ONNX and ONNX Runtime
runs it.

A record states every fact that its kind needs: nothing is assumed of an operator that nobody wrote down.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Parameter, Site
from onnxpath.ops.edges import Edges
from onnxpath.ops.norms import Norm

if TYPE_CHECKING:
    from onnxpath.ops.function import Constants
from onnxpath.ops.graph import Emit

Kind = Literal["weighted", "movement", "sum", "relu", "max", "activation", "quantizer"]
Layer = Literal["dense", "convolution", "diagonal"]


# What every record has to state, by its kind; what is not required raises when it is asked for.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "weighted": ("layer", "groups", "terms", "fan_out", "axes", "channel_bias", "edges", "regular"),
    "movement": ("image", "fan_out", "norm", "edges", "regular", "view"),
    "sum": ("image", "terms", "gain", "fan_out", "norm", "edges", "mixes", "merges", "regular"),
    "max": ("image", "terms", "total", "fan_out", "norm", "edges", "mixes", "merges", "regular"),
    "relu": ("image", "norm", "edges", "constants"),
    "activation": ("image", "homogeneous", "projection"),
    "quantizer": ("image", "homogeneous"),
}
ADJOINTS: Mapping[str, frozenset[str]] = {
    "weighted": frozenset({"input", "weight", "bias"}),
    "movement": frozenset({"input"}),
    "sum": frozenset({"input"}),
    "max": frozenset({"input", "routed"}),
    "relu": frozenset({"routed"}),
    "activation": frozenset({"slope"}),
    "quantizer": frozenset({"slope"}),
}
# The default of a fact, until the record is made.
_UNSTATED: Any = None
# What raises when a record is asked for it that does not state it, as none of its kind has it, or needs it.
_ASKED = (
    "keeps_batch",
    "terms",
    "fan_out",
    "gain",
    "norm",
    "image",
    "edges",
    "mixes",
    "regular",
    "axes",
    "weight_axes",
    "matrix",
    "shift",
    "groups",
    "patches",
    "overlap",
    "channel_bias",
    "view",
    "lipschitz",
    "projection",
)


@dataclass(frozen=True)
class Unstated:
    """What stands for a fact that nobody wrote down: MissingFactError when it is called, or taken for true or
    false."""

    operator: str
    fact: str

    def __call__(self, *arguments: object, **more: object) -> Any:
        raise MissingFactError(self.operator, f"'{self.fact}'")

    def __bool__(self) -> bool:
        raise MissingFactError(self.operator, f"'{self.fact}'")


@dataclass(frozen=True)
class Operator:
    """One canonical operator: everything that passes, bounds and analyses know of it.

    A record without a fact that its kind needs (`REQUIRED`) cannot be made (MissingFactError); one that is
    asked for a fact which it does not state raises the same error. There are no defaults.

    emit(g, site, inputs, weight=None, bias=None): the ONNX spelling; returns the output's name.
    adjoints: for each operand it is linear in, a function that emits the adjoint applied to a cotangent:
        "input":  f(g, site, cotangent, index, weight) -> the cotangent of input number `index`
        "weight": f(g, site, cotangent, inputs) -> the cotangent of the weight, in the weight's shape
        "bias":   f(g, site, cotangent) -> the cotangent of the bias, in the bias's shape
    What is not linear (relu, max) has instead, for gradients at given values (evaluate.gradient),
        "routed": f(g, site, cotangent, index, inputs, output) -> the cotangent of input number `index`, where
            `inputs` and `output` hold the node's values: what reaches a neuron goes to the antecedents that
            its value came from. Of several that attain a maximum each gets an equal share; a ReLU at 0
            passes nothing on.
    and kinds "activation" and "quantizer"
        "slope":  f(g, site, x, weight=None) -> an element of the generalized derivative at x, cell by cell

    All kinds
        keeps_batch(site): axis 0 stays a batch axis: nothing is mixed, moved, repeated, selected, padded or
            weighed along it.
        homogeneous: f(λ x) = λ f(x) for λ > 0, so that rescaling passes through; always so but for
            activations and quantizers.
    The paper's model
        terms(site): how many products or summands meet in one output element (for the rounding certificate).
        fan_out(site): how many meet in one element of the cotangent of an input.
        edges(site, v): the antecedents of output neurons v (ops/edges.py).
        regular(site): all neurons of one channel have as many antecedents as each other (Definition G.3).
        norm(site, kind, norms): what it makes of the norms of its operands (ops/norms.py); without a weight.
    Without a weight
        image(site, arrays): moves per-element integers and floats of the inputs (each broadcastable to its
            input's shape) to the output, in the same compressed form.
        gain(site): kind "sum": the largest sum of its edges: how much larger a result can be than the
            largest cell that enters it.
        mixes(site): kinds "sum" and "max": axes of the only operand along which cells meet in one neuron; ()
            where `merges`.
        merges: kinds "sum" and "max": it has several operands of one shape, in any order, which meet cell by
            cell.
        total: kind "max": the spelling with the sum over the window instead of the maximum (Theorem B.1);
            the adjoint is that of the sum.
        view: kind "movement": all cells keep their row-major order.
        constants(site): kinds "relu" and "activation": Lipschitz constant and range (ops/function.py).
        negative_slope(weight): kinds "relu" and "activation": α, float64, that broadcasts to x, where
            f(x) = x for x > 0 and α x else; None for other functions.
    Kind "activation"
        lipschitz(weight): with a weight, in place of `constants`: the Lipschitz constant of every cell.
        projection(site): it projects every number onto one interval, by maxima and minima only.
    Kinds "relu" and "activation"
        negative_slope(weight): α, float64, that broadcasts to x, where f(x) = x for x > 0 and α x else; None
            for other functions.
    Kind "weighted"
        layer: the linear map. "dense": the weight is the map's matrix, or a stack of them, and every number
            serves one pair of channels; `emit` and the adjoints take transposed=True (`one_matrix`).
            "convolution": one kernel serves all windows. "diagonal": y = s x, cell by cell.
        groups(site): how many maps there are side by side, each of an equal part of the channels.
        channel_bias: the bias is a vector over the output axis; otherwise it broadcasts as NumPy does.
        axes(site): the input axis it contracts and the output axis it produces; None for diagonal ones.
        stack(site): axis of the weight along which kernels on one input may be stacked, or None.
    Kind "weighted", but diagonal
        weight_axes(site): the weight's axes that count output and input channels (of one group, or of all).
        matrix(site, array): (groups, out, in) with the kernel's entries summed, an upper bound of what one
            input channel sends to one output channel when all entries are >= 0.
        shift(site, source, target): the exponent vectors of the input and output channels, as two arrays
            broadcastable to the weight.
        patches(site, array): (stack, out, in, offsets): every output cell is a row's product with the patch
            that it reads; of the map, or of its transpose, whose ℓ2 norm is the same.
        overlap(site): the largest number of patches that one cell lies in.
        windows(site, values): numbers of the input's cells (spatial) as (offsets, positions): what every
            output position reads, 0 in the padding. None: bounds do without.
    """

    name: str
    kind: Kind
    emit: Emit
    keeps_batch: Callable[[Site], bool]
    adjoints: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    terms: Callable[[Site], int] = _UNSTATED
    fan_out: Callable[[Site], int] = _UNSTATED
    gain: Callable[[Site], float] = _UNSTATED
    norm: Norm = _UNSTATED
    edges: Callable[[Site, np.ndarray], Edges] = _UNSTATED
    mixes: Callable[[Site], tuple[int, ...]] = _UNSTATED
    merges: bool = _UNSTATED
    view: bool = _UNSTATED
    layer: Layer | None = None
    regular: Callable[[Site], bool] = _UNSTATED
    total: Emit | None = None
    image: Callable[[Site, list[np.ndarray]], np.ndarray] = _UNSTATED
    axes: Callable[[Site], tuple[int, int] | None] = _UNSTATED
    weight_axes: Callable[[Site], tuple[int, int]] = _UNSTATED
    matrix: Callable[[Site, np.ndarray], np.ndarray] = _UNSTATED
    shift: Callable[[Site, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = _UNSTATED
    groups: Callable[[Site], int] = _UNSTATED
    patches: Callable[[Site, np.ndarray], np.ndarray] = _UNSTATED
    overlap: Callable[[Site], float] = _UNSTATED
    windows: Callable[[Site, np.ndarray], np.ndarray] | None = None
    stack: Callable[[Site], int | None] = lambda site: None
    constants: "Callable[[Site], Constants] | None" = None
    lipschitz: Callable[[np.ndarray], np.ndarray] = _UNSTATED
    projection: Callable[[Site], bool] = _UNSTATED
    negative_slope: Callable[[Any], np.ndarray] | None = None
    homogeneous: bool = _UNSTATED
    channel_bias: bool = _UNSTATED

    def __post_init__(self) -> None:
        if self.kind not in REQUIRED:
            raise MissingFactError(self.name, f"its kind: '{self.kind}' is none of {', '.join(REQUIRED)}")
        for fact in _ASKED:
            value = getattr(self, fact)
            if isinstance(value, Unstated) and value.operator != self.name:  # of the record it was made of
                object.__setattr__(self, fact, None)
        missing = [fact for fact in REQUIRED[self.kind] if getattr(self, fact) is None]
        missing += [f"adjoints['{operand}']" for operand in sorted(ADJOINTS[self.kind] - set(self.adjoints))]
        if missing:
            raise MissingFactError(self.name, f"{', '.join(missing)} (kind '{self.kind}')")
        if self.homogeneous is None:
            object.__setattr__(self, "homogeneous", True)
        if self.merges is None:
            object.__setattr__(self, "merges", False)
        for fact in _ASKED:
            if getattr(self, fact) is None:
                object.__setattr__(self, fact, Unstated(self.name, fact))

    @property
    def in_model(self) -> bool:
        """Whether it is part of the paper's model, where paths are defined."""
        return self.kind not in ("activation", "quantizer")

    @property
    def dense(self) -> bool:
        return self.layer == "dense"

    @property
    def diagonal(self) -> bool:
        return self.layer == "diagonal"

    @property
    def broadcasts(self) -> bool:
        """Whether a weight acts cell by cell: equal coefficients may be stored in different shapes."""
        return self.diagonal or self.kind == "activation"

    @property
    def missing_weight(self) -> float:
        """What a weight stands for that a node does not have: y = 1 x, or no edge."""
        return 1.0 if self.diagonal else 0.0

    def contracted(self, site: Site) -> tuple[int, int]:
        """`axes` of a node that contracts one. Raises MissingFactError for a diagonal operator."""
        found = self.axes(site)
        if found is None:
            raise MissingFactError(self.name, "an axis that it contracts")
        return found

    def one_matrix(self, site: Site) -> bool:
        """Whether it is y = x W for one matrix (in, out), which Gemm(transB=1) stores as (out, in)."""
        return self.dense and len(site.node.coefficients.shape) == 2 and self.weight_axes(site) == (1, 0)

    def wide_bias(self, site: Site, array: np.ndarray) -> np.ndarray:
        """A bias, or one number for each of its cells, with the rank of the output, to which it
        broadcasts."""
        shape = [1] * len(site.output_shape)
        if self.channel_bias:
            shape[self.contracted(site)[1]] = -1
        else:
            shape[len(shape) - array.ndim :] = array.shape
        return array.reshape(shape)


def uniform(array: np.ndarray) -> bool:
    """Whether a broadcastable array holds one value for the whole tensor."""
    return array.size == 1


def compress(array: np.ndarray) -> np.ndarray:
    """The same broadcastable array with every axis along which it is constant reduced to length 1."""
    for axis in range(array.ndim):
        if array.shape[axis] > 1:
            first = array[(slice(None),) * axis + (slice(0, 1),)]
            if np.array_equal(np.broadcast_to(first, array.shape), array):
                array = first
    return array


def same_image(site: Site, arrays: list[np.ndarray]) -> np.ndarray:
    """For operators whose output element i comes from input element i alone."""
    return arrays[0]


def always(site: Site) -> bool:
    return True


def never(site: Site) -> bool:
    return False


def once(site: Site) -> int:
    """One term, or one reader."""
    return 1


def plain(parameter: Parameter | None, rank: int) -> bool:
    """Whether a parameter that broadcasts to a tensor of that rank does not vary along axis 0."""
    return parameter is None or len(parameter.shape) < rank or parameter.shape[0] == 1
