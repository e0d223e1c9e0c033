"""The cost pass: one forward and one adjoint pass give the Φ-cost of every weight, bias and neuron
(docs/theory.md, section 7).

With a the values of the absolute pass on ones and g the adjoint of Σ_v κ_v F_v (κ = 1: the path-norm),

    cost of a weight    |w| Σ a_u g_v    over the edges u -> v that carry it
    cost of a bias      |b| Σ g_v        over the neurons v that it enters
    cost of a neuron    a_v g_v          all paths through it; Σ over the cells of a channel

The adjoint of the *scaled* graph is taken: with folded weights ŵ = |w| 2**(E_u - E_v) the product ŵ · ∂/∂ŵ
needs no exponent of its channel, so that every cost is mantissa · 2**`exponent` with one exponent for the
whole network.

The session of the pass reads out a and g at the weighted nodes, which are small. The kernels' adjoints follow
in a second session, layer by layer, whose results are written over the folded weights: beside the model there
are the costs and one layer's adjoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, cast

import numpy as np

from onnxpath.engine.certificate import relative_error
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.plan import Output, Reading
from onnxpath.engine.scaled import ldexp
from onnxpath.engine.session import Device, Session
from onnxpath.lanes import absolute, settle
from onnxpath.lanes.adjoint import adjoint
from onnxpath.lanes.lanes import Calibration, Lane, Step
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Node, Shape, Site
from onnxpath.ops import OPERATORS

if TYPE_CHECKING:
    from onnxruntime import OrtValue

# The sum of all outputs is brought to about 2**-_HEADROOM, in the middle of what float32 can hold on both
# sides.
_HEADROOM = 20


@dataclass(frozen=True, eq=False)
class Part:
    """A weighted node of the pass: its step on the tape, the lane that it made, and the roundings met by its
    cotangent."""

    site: Site
    step: Step
    lane: Lane
    roundings: int

    @property
    def node(self) -> Node:
        return self.site.node

    @property
    def elementwise(self) -> bool:
        return OPERATORS[self.node.op].diagonal

    @property
    def bound(self) -> str:
        """The name by which the graph holds the folded weights."""
        assert isinstance(self.step.weight, str)
        return self.step.weight

    @property
    def channel(self) -> int:
        """The axis of the output that counts neurons."""
        axes = OPERATORS[self.node.op].axes(self.site)
        return axes[1] if axes is not None else min(1, len(self.site.output_shape) - 1)


@dataclass(frozen=True, eq=False)
class Found:
    """Costs of one node, mantissas in the dtype of the pass: of the weight and the bias in their own shapes
    (None where it has no learned one), of every output channel; error: certified relative error of all of
    them, underflow apart.
    """

    node: Node
    weight: np.ndarray | None
    bias: np.ndarray | None
    neurons: np.ndarray
    error: float


@dataclass(frozen=True, eq=False)
class Traced:
    """A traced cost pass: parts by node output, where their x (input), c (cotangent) and n (neurons) are
    read."""

    tracer: Tracer
    lanes: dict[str, Lane]
    parts: dict[str, Part]
    outputs: dict[tuple[str, str], Output]
    exponent: int


def _learned(node: Node) -> bool:
    return any(not parameter.fixed for parameter in node.parameters())


def _roundings(tracer: Tracer, seeds: Mapping[str, str]) -> dict[str, int]:
    """The largest number of roundings on a chain of the adjoint pass, for the cotangent of every tensor."""
    met: dict[str, list[int]] = {tensor: [1] for tensor in seeds}
    for step in reversed(tracer.tape):
        if step.output in met:
            count = max(met[step.output]) + len(met[step.output]) - 1
            if step.site is not None:  # factors are powers of two
                weighted = step.weight is not None
                count += OPERATORS[step.site.node.op].fan_out(step.site) + (2 if weighted else 0)
            for name in step.inputs:
                met.setdefault(name, []).append(count)
    return {tensor: max(counts) + len(counts) - 1 for tensor, counts in met.items()}


def _seeds(
    tracer: Tracer, lanes: Mapping[str, Lane], ends: Mapping[str, np.ndarray]
) -> tuple[dict[str, str], int]:
    """Cotangents κ 2**(E - exponent) of the outputs' lanes, and the exponent of every cost."""
    tops = []
    for name, weight in ends.items():
        with np.errstate(divide="ignore"):
            tops.append(float((lanes[name].log2 + np.log2(weight.max())).max()))
    finite = [top for top in tops if np.isfinite(top)]
    exponent = ceil(max(finite, default=0.0)) + _HEADROOM
    g, seeds = tracer.graph, {}
    for name, weight in ends.items():
        lane = lanes[name]
        shift = np.maximum(lane.exponent - exponent, -4000)
        full = ldexp(np.broadcast_to(weight, tracer.network.shapes[name]).astype(np.float64), shift)
        seed = g.bind(np.ascontiguousarray(full.astype(tracer.device.dtype)))
        seeds[lane.tensor] = g.op("Add", [seeds[lane.tensor], seed]) if lane.tensor in seeds else seed
    return seeds, exponent


def _first(tracer: Tracer, parts: Mapping[str, Part]) -> set[str]:
    """Outputs of learned nodes behind which no other one lies: their inputs need no cotangent."""
    learned = {part.step.output for part in parts.values()}
    behind: set[str] = set()
    for step in tracer.tape:
        if step.output in learned or any(name in behind for name in step.inputs):
            behind.add(step.output)
    return {
        part.step.output for part in parts.values() if not any(name in behind for name in part.step.inputs)
    }


def trace(
    network: Network, device: Device, cotangents: Mapping[str, np.ndarray],
    calibration: Calibration | None = None,
    log2: Mapping[str, float] | None = None,
) -> Traced:  # fmt: skip
    """The forward and the adjoint pass; cotangents: κ >= 0 by output, broadcastable to it, not all 0. log2:
    of the largest entry of every input, 0 for the all-ones input."""
    tracer, lanes = absolute.trace(
        network, 1.0, device, log2 or dict.fromkeys(network.inputs, 0.0), calibration, stored=True
    )
    steps = {
        step.site.node.output: step
        for step in tracer.tape
        if step.site is not None and step.weight is not None
    }
    seeds, exponent = _seeds(tracer, lanes, cotangents)
    counts = _roundings(tracer, seeds)
    parts: dict[str, Part] = {}
    for node in network.nodes:
        step = steps.get(node.output)
        if step is not None and step.site is not None and _learned(node) and step.output in counts:
            met = counts[step.output] + lanes[node.inputs[0]].roundings
            parts[node.output] = Part(step.site, step, lanes[node.output], met)
    back = adjoint(tracer, seeds, _first(tracer, parts))
    g, outputs = tracer.graph, {}
    read: dict[str, Output] = {}

    def mark(tensor: str) -> Output:
        if tensor not in read:
            read[tensor] = Output(g.output(tensor), np.zeros((), np.int64), held=True)
        return read[tensor]

    for output, part in parts.items():
        c = back[part.step.output]
        if part.node.weight is not None and not part.node.weight.fixed:
            outputs["x", output] = mark(part.step.inputs[0])
        outputs["c", output] = mark(c)
        axes = [k for k in range(len(part.site.output_shape)) if k != part.channel]
        through = g.op("ReduceSum", [g.op("Mul", [part.step.output, c]), g.ints(axes)], keepdims=0)
        outputs["n", output] = mark(through)
    return Traced(tracer, lanes, parts, outputs, exponent)


class Kernels:
    """The adjoints of all weights of contractions, times the folded weights, in one session: layer after
    layer, and each layer's costs written over its folded weights, so that nothing but one layer's adjoint is
    held beside them.

    weights: folded weights by node output, as they are bound.
    """

    def __init__(self, parts: Sequence[Part], weights: Mapping[str, np.ndarray], device: Device):
        g = GraphBuilder(device.dtype, device.native_conv)
        self._fed: dict[tuple[str, str], str] = {}
        self._weights: dict[str, str] = {}
        self._made: dict[str, str] = {}
        for part in parts:
            site, output = part.site, part.node.output
            x, c = g.input(f"x:{output}", site.input_shapes[0]), g.input(f"c:{output}", site.output_shape)
            extra = {"transposed": True} if part.step.transposed else {}
            back = OPERATORS[part.node.op].adjoints["weight"](
                g, replace(site, batched=False), c, [x], **extra
            )
            self._fed |= {("x", output): x, ("c", output): c}
            self._weights[output] = g.bind(weights[output])
            self._made[output] = g.output(g.op("Mul", [self._weights[output], back]))
        self._session = Session(g.model().SerializeToString(), {}, device) if parts else None

    def run(
        self,
        values: "Mapping[tuple[str, str], OrtValue]",
        weights: Mapping[str, np.ndarray],
        into: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Turn folded weights (contiguous arrays, by node output) into costs, in place unless there are other
        arrays for them."""
        if self._session is None:
            return
        feeds = {name: values[key] for key, name in self._fed.items()}
        feeds |= {name: weights[output] for output, name in self._weights.items()}
        self._session.run_into(
            feeds, {name: (into or weights)[output] for output, name in self._made.items()}
        )


def _reduced(array: np.ndarray, shape: Shape) -> np.ndarray:
    """Σ over the axes along which `shape` does not vary."""
    padded = (1,) * (array.ndim - len(shape)) + tuple(shape)
    axes = tuple(k for k, n in enumerate(padded) if n == 1 and array.shape[k] > 1)
    return array.sum(axis=axes, keepdims=True, dtype=np.float64).reshape(shape)


def _bias(part: Part, c: np.ndarray) -> np.ndarray:
    """|b| Σ g, the bias folded to the exponents of the product."""
    bias = part.node.bias
    assert bias is not None
    wide = OPERATORS[part.node.op].wide_bias(part.site, np.abs(np.asarray(bias.array(), np.float64)))
    with np.errstate(over="ignore", under="ignore"):
        folded = np.minimum(
            ldexp(wide, np.maximum(-part.lane.exponent - part.step.shift, -4000)), np.finfo(np.float64).max
        )
    return _reduced(c * folded, wide.shape).reshape(bias.shape)


def _elementwise(part: Part, x: np.ndarray, c: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """|s| Σ a g of a Scale."""
    return _reduced(c * x * np.broadcast_to(weight, part.site.output_shape), part.node.coefficients.shape)


def _error(part: Part, device: Device) -> float:
    positions = prod(part.site.output_shape) // max(1, part.site.output_shape[part.channel])
    return relative_error(part.roundings + positions + part.site.output_shape[part.channel] + 6, device.dtype)


def _collect(traced: Traced, values: "Mapping[tuple[str, str], OrtValue]", device: Device) -> list[Found]:
    """The costs of every part, from what the pass read out; they take the place of the folded weights."""
    feeds = traced.tracer.graph.feeds
    contractions = [
        part for part in traced.parts.values() if ("x", part.node.output) in values and not part.elementwise
    ]
    made = {part.node.output: feeds[part.bound] for part in contractions}
    Kernels(contractions, made, device).run(values, made)
    found = []
    for output, part in traced.parts.items():
        c = values["c", output].numpy()
        weight, bias = made.get(output), None
        if weight is not None:
            weight = weight.T if part.step.transposed else weight
        elif ("x", output) in values:
            weight = _elementwise(part, values["x", output].numpy(), c, feeds[part.bound]).astype(
                device.dtype
            )
        if part.node.bias is not None and not part.node.bias.fixed:
            bias = _bias(part, c).astype(device.dtype)
        found.append(
            Found(
                part.node, weight, bias, values["n", output].numpy().astype(np.float64), _error(part, device)
            )
        )
    return found


def evaluate(
    network: Network,
    device: Device,
    cotangents: Mapping[str, np.ndarray],
    inputs: Mapping[str, np.ndarray] | None = None,
) -> tuple[list[Found], int, dict[str, Reading]]:
    """The costs of every learned node, their exponent, and the outputs of the forward pass.

    inputs: non-negative, one sample [1, ...] each, by name; ones where they are not given. Paths that start
        at an input count by its entry.

    Values beyond float32 come out as inf or NaN: a float64 device holds them.
    """

    given = absolute.ones(network) if inputs is None else inputs
    log2 = absolute.input_log2(network, given)

    def build(calibration: Calibration) -> tuple[Tracer, dict, Traced]:
        traced = trace(network, device, cotangents, calibration, log2)
        ends = {("out", name): absolute.read(traced.tracer, traced.lanes[name]) for name in network.outputs}
        return traced.tracer, {**traced.outputs, **ends}, traced

    readings, traced = settle.evaluate(build, given, device, lambda label: label[0] == "out")
    ends = {label[1]: readings.pop(label) for label in [label for label in readings if label[0] == "out"]}
    # what is held is ONNX Runtime's own value (`Plan.run`)
    values = cast("dict[tuple[str, str], OrtValue]", readings)
    return _collect(traced, values, device), traced.exponent, ends
