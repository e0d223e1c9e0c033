"""What an operator record says (docs/operators.md).

An operator is linear in its operands: one *adjoint per operand* emits graph, and one test checks ⟨Aᵀc, z⟩ =
⟨c, Az⟩ for all of them. There is no hand-written forward: `emit` spells the operator in ONNX and ONNX Runtime
runs it.

A record states every fact that its kind needs: nothing is assumed of an operator that nobody wrote down.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Parameter, Site
from onnxpath.ops.edges import Edges
from onnxpath.ops.norms import Norm

if TYPE_CHECKING:
    from onnxpath.ops.function import Constants

Kind = Literal["weighted", "movement", "sum", "relu", "max", "activation", "quantizer"]


class Graph(Protocol):
    """The part of `engine.graph.GraphBuilder` that operators use."""

    dtype: np.dtype
    native_conv: bool

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str: ...
    def compare(self, op_type: str, inputs: list[str]) -> str: ...
    def split(self, x: str, sizes: list[int], axis: int) -> list[str]: ...
    def ints(self, values: Iterable[int]) -> str: ...
    def scalar(self, value: float) -> str: ...
    def constant(self, array: np.ndarray) -> str: ...


Emit = Callable[..., str]

# What every record has to state, by its kind; what is not required raises when it is asked for.
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "weighted": ("terms", "fan_out", "axes", "channel_bias", "edges", "regular"),
    "movement": ("image", "fan_out", "norm", "edges", "regular"),
    "sum": ("image", "terms", "gain", "fan_out", "norm", "edges", "mixes", "regular"),
    "max": ("image", "terms", "total", "fan_out", "norm", "edges", "mixes", "regular"),
    "relu": ("image", "norm", "edges", "constants"),
    "activation": ("image", "homogeneous"),
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
_FUNCTIONS = (
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
)


def unstated(operator: str, fact: str) -> Callable[..., Any]:
    """What stands for a fact that nobody wrote down: it raises MissingFactError when it is asked for."""

    def ask(*arguments: object, **more: object) -> Any:
        raise MissingFactError(operator, f"'{fact}'")

    return ask


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
        `inputs` and
            `output` hold the node's values: what reaches a neuron goes to the antecedents that its value came
            from. Of several that attain a maximum each gets an equal share; a ReLU at 0 passes nothing on.
    and kinds "activation" and "quantizer"
        "slope":  f(g, site, x, weight=None) -> an element of the generalized derivative at x, cell by cell
    keeps_batch(site): axis 0 stays a batch axis: nothing is mixed, moved, repeated, selected, padded or
    weighed along it. terms(site): how many products or summands meet in one output element (for the rounding
    certificate). fan_out(site): how many products or summands meet in one element of the cotangent of an
    input. gain(site): kind "sum": how much larger a result can be than the largest cell that enters it: the
    largest sum of its edges. norm(site, kind, norms): what the operator makes of the norms of its operands
    (ops/norms.py); without a weight only. edges(site, v): the antecedents of output neurons v (ops/edges.py).
    mixes(site): kinds "sum" and "max": axes of the only operand along which cells meet in one neuron; ()
    where `merges`. merges: kinds "sum" and "max": it has several operands of one shape, which meet cell by
    cell. regular(site): all neurons of one channel have as many antecedents as each other (Definition G.3).
    total: kind "max" only, the spelling with the sum over the window instead of the maximum (Theorem B.1);
    the adjoint
        is that of the sum.
    image(site, arrays): kinds "movement", "sum", "max", "relu", "activation", "quantizer" move per-element
    integers and floats of the inputs
        (each broadcastable to its input's shape) to the output, in the same compressed form.
    axes(site): kind "weighted" only: the input axis it contracts and the output axis it produces; None for
    elementwise. weight_axes(site): kind "weighted" with axes: the weight's own axes that count output and
    input channels (of one group, or of all). matrix(site, array): kind "weighted" with axes: array of shape
    (groups, out, in) with the kernel's entries summed, as
        an upper bound of what one input channel sends to one output channel when all entries are >= 0.
    shift(site, source, target): kind "weighted" with axes: the exponent vectors of the input and output
    channels, as two
        arrays broadcastable to the weight.
    stack: kind "weighted": axis of the weight along which kernels that read the same input may be stacked, or
    None. constants(site): kinds "relu" and "activation" without a weight: Lipschitz constant and range
    (ops/function.py).
    negative_slope(weight): kinds "relu" and "activation": α, float64, that broadcasts to x, where f(x) = x
    for x > 0 and α x else; None for other functions.
    homogeneous: f(λ x) = λ f(x) for λ > 0, so that rescaling passes through; always so but for activations
        and quantizers.
    channel_bias: kind "weighted": the bias is a vector over the output axis; otherwise it broadcasts to the
        output as NumPy does.
    """

    name: str
    kind: Kind
    emit: Emit
    keeps_batch: Callable[[Site], bool]
    adjoints: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    terms: Callable[[Site], int] = None  # type: ignore[assignment]
    fan_out: Callable[[Site], int] = None  # type: ignore[assignment]
    gain: Callable[[Site], float] = None  # type: ignore[assignment]
    norm: Norm = None  # type: ignore[assignment]
    edges: Callable[[Site, np.ndarray], Edges] = None  # type: ignore[assignment]
    mixes: Callable[[Site], tuple[int, ...]] = None  # type: ignore[assignment]
    merges: bool = False
    regular: Callable[[Site], bool] = None  # type: ignore[assignment]
    total: Emit | None = None
    image: Callable[[Site, list[np.ndarray]], np.ndarray] = None  # type: ignore[assignment]
    axes: Callable[[Site], tuple[int, int] | None] = None  # type: ignore[assignment]
    weight_axes: Callable[[Site], tuple[int, int]] = None  # type: ignore[assignment]
    matrix: Callable[[Site, np.ndarray], np.ndarray] = None  # type: ignore[assignment]
    shift: Callable[[Site, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = None  # type: ignore[assignment]
    stack: Callable[[Site], int | None] = lambda site: None
    constants: "Callable[[Site], Constants] | None" = None
    negative_slope: Callable[[Any], np.ndarray] | None = None
    homogeneous: bool | None = None
    channel_bias: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in REQUIRED:
            raise MissingFactError(self.name, f"its kind: '{self.kind}' is none of {', '.join(REQUIRED)}")
        missing = [fact for fact in REQUIRED[self.kind] if getattr(self, fact) is None]
        missing += [f"adjoints['{operand}']" for operand in sorted(ADJOINTS[self.kind] - set(self.adjoints))]
        if missing:
            raise MissingFactError(self.name, f"{', '.join(missing)} (kind '{self.kind}')")
        if self.homogeneous is None:
            object.__setattr__(self, "homogeneous", True)
        for fact in _FUNCTIONS:
            if getattr(self, fact) is None:
                object.__setattr__(self, fact, unstated(self.name, fact))


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
