"""What an operator record says (docs/operators.md).

An operator is linear in its operands: one *adjoint per operand* emits graph, and one test checks ⟨Aᵀc, z⟩ = ⟨c, Az⟩ for
all of them. There is no hand-written forward: `emit` spells the operator in ONNX and ONNX Runtime runs it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from onnxpath.network import Site

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


@dataclass(frozen=True)
class Operator:
    """One canonical operator.

    emit(g, site, inputs, weight=None, bias=None): the ONNX spelling; returns the output's name.
    adjoints: for each operand it is linear in, a function that emits the adjoint applied to a cotangent:
        "input":  f(g, site, cotangent, index, weight) -> the cotangent of input number `index`
        "weight": f(g, site, cotangent, inputs) -> the cotangent of the weight, in the weight's shape
        "bias":   f(g, site, cotangent) -> the cotangent of the bias, in the bias's shape
    What is not linear (relu, max) has instead, for gradients at given values (passes.gradient),
        "routed": f(g, site, cotangent, index, inputs, output) -> the cotangent of input number `index`, where `inputs` and
            `output` hold the node's values: what reaches a neuron goes to the antecedents that its value came from.
            Of several that attain a maximum each gets an equal share; a ReLU at 0 passes nothing on.
    and kinds "activation" and "quantizer"
        "slope":  f(g, site, x, weight=None) -> an element of the generalized derivative at x, cell by cell
    terms(site): how many products or summands meet in one output element (for the rounding certificate).
    gain(site): kind "sum": by how much a result can be larger than the largest cell that enters it; `terms` where it is not given.
    total: kind "max" only, the spelling with the sum over the window instead of the maximum (Theorem B.1); the adjoint
        is that of the sum.
    image(site, arrays): kinds "movement", "sum", "max", "relu", "activation", "quantizer" move per-element integers and floats of the inputs
        (each broadcastable to its input's shape) to the output, in the same compressed form.
    axes(site): kind "weighted" only: the input axis it contracts and the output axis it produces; None for elementwise.
    matrix(site, array): kind "weighted" with axes: array of shape (groups, out, in) with the kernel's entries summed, as
        an upper bound of what one input channel sends to one output channel when all entries are >= 0.
    shift(site, source, target): kind "weighted" with axes: the exponent vectors of the input and output channels, as two
        arrays broadcastable to the weight.
    stack: kind "weighted": axis of the weight along which kernels that read the same input may be stacked, or None.
    constants(site): kinds "relu" and "activation" without a weight: Lipschitz constant and range (ops/function.py).
    homogeneous: f(λ x) = λ f(x) for λ > 0, so that rescaling passes through.
    channel_bias: the bias is a vector over the output axis; otherwise it broadcasts to the output as NumPy does.
    """

    name: str
    kind: Kind
    emit: Emit
    adjoints: Mapping[str, Callable[..., str]] = field(default_factory=dict)
    terms: Callable[[Site], int] = lambda site: 1
    gain: Callable[[Site], float] | None = None
    total: Emit | None = None
    image: Callable[[Site, list[np.ndarray]], np.ndarray] | None = None
    axes: Callable[[Site], tuple[int, int] | None] = lambda site: None
    matrix: Callable[[Site, np.ndarray], np.ndarray] | None = None
    shift: Callable[[Site, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None
    stack: Callable[[Site], int | None] = lambda site: None
    constants: "Callable[[Site], Constants] | None" = None
    homogeneous: bool = True
    channel_bias: bool = False


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
