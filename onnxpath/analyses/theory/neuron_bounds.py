"""Algorithm 1, Lemma E.1 and Theorem E.1 neuron by neuron, for small networks (docs/lipschitz.md, sections 2
and 3).

`Λ_v = ‖Φ^{→v}(θ)‖₁ = |b_v| + Σ_u |w_uv| Λ_u` is carried in log2; inputs have Λ = 1. Algorithm 1 divides every
hidden neuron by it:

    w̃_uv = w_uv Λ_u / Λ_v,     b̃_v = b_v / Λ_v,     Λ_v := 1 at outputs,     w̃ = 0 where Λ_u = 0.

Edges of sums and poolings are weights like any others here, so that every hidden neuron ends with a norm of
1, or 0.
"""

from dataclasses import dataclass, replace

import numpy as np

from onnxpath.analyses.theory.neurons import INPUT, Graph, graph
from onnxpath.engine.scaled import Scaled, frexp
from onnxpath.lanes.magnitude import log2
from onnxpath.lanes.rows import SLACK, grid
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS

NOTHING = -np.inf
# Of the rounding of a product of a weight and two powers of two.
_ROUNDING = 2.0**-49


@dataclass(frozen=True, eq=False)
class GraphPair:
    """One graph of neurons with the parameters of two networks: those of the graph, and `weight`, `bias`."""

    graph: Graph
    weight: np.ndarray
    bias: np.ndarray

    def sides(self) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
        return (self.graph.weight, self.graph.bias), (self.weight, self.bias)


def twin(pairing: Pairing) -> Network:
    """The second network, with the names of the first."""

    def changed(node: Node) -> Node:
        if OPERATORS[node.op].kind != "weighted":
            return node
        weight, bias = pairing.twin[node.output]
        return replace(node, weight=weight, bias=bias)

    return replace(pairing.a, path=pairing.b.path, nodes=tuple(changed(node) for node in pairing.a.nodes))


def graph_pair(pairing: Pairing, limit: int) -> GraphPair:
    """Both networks as one graph. Raises UsageError beyond `limit` edges."""
    a, b = graph(pairing.a, limit), graph(twin(pairing), limit)
    return GraphPair(a, b.weight, b.bias)


def norms(g: Graph, weight: np.ndarray, bias: np.ndarray, radius: float = 0.0) -> np.ndarray:
    """log2 of ‖Φ^{→v}‖₁ for every neuron, rounded up; -inf for 0. radius: log2 of what inputs count."""
    found = np.where(g.kind == INPUT, radius, log2(np.abs(bias)))
    size = log2(np.abs(weight))
    for neurons, edges in g.layers():
        part = found[neurons].copy()
        np.logaddexp2.at(part, g.target[edges] - neurons.start, size[edges] + found[g.source[edges]])
        found[neurons] = part + SLACK
    return found


@dataclass(frozen=True, eq=False)
class NormalizedParameters:
    """The output of Algorithm 1: parameters of the same graph, and log2 of the factors that hidden neurons
    were divided by."""

    weight: np.ndarray
    bias: np.ndarray
    factor: np.ndarray


def normalize(
    g: Graph, weight: np.ndarray | None = None, bias: np.ndarray | None = None, radius: float = 0.0
) -> NormalizedParameters:
    """Algorithm 1 for the graph's own parameters, or others of the same graph. Output neurons are not
    divided. radius: log2 of a number that all inputs are divided by first."""
    weight = g.weight if weight is None else weight
    bias = g.bias if bias is None else bias
    factor = np.where(g.hidden, grid(norms(g, weight, bias, radius)), np.where(g.kind == INPUT, radius, 0.0))
    return NormalizedParameters(
        _shifted(weight, factor[g.source], factor[g.target]),
        _shifted(bias, np.zeros(bias.size), factor),
        factor,
    )


def _shifted(values: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """values · 2^(source - target), 0 where either factor is 0."""
    with np.errstate(invalid="ignore"):
        shift = source - target
    alive = np.isfinite(shift) & (values != 0)
    mantissa, exponent = frexp(values)
    with np.errstate(over="ignore"):  # beyond float64: a result of that size is infinite
        found = mantissa * np.exp2(np.where(alive, shift + exponent, 0.0))
    return np.where(alive, found, 0.0)


def _largest(g: Graph, values: np.ndarray, neurons: slice, edges: slice, nothing: float) -> np.ndarray:
    """max over the antecedents of every neuron of a layer."""
    found = np.full(neurons.stop - neurons.start, nothing)
    np.maximum.at(found, g.target[edges] - neurons.start, values[g.source[edges]])
    return found


def _row(g: Graph, values: np.ndarray, neurons: slice, edges: slice) -> np.ndarray:
    """Σ of a value of every edge, by neuron of a layer."""
    return np.bincount(g.target[edges] - neurons.start, values[edges], minlength=neurons.stop - neurons.start)


def _outputs(g: Graph, values: np.ndarray) -> np.ndarray:
    """A log2 value at every output number; -inf where the output is constant 0."""
    return np.where(g.ends >= 0, values[g.ends], NOTHING)


def lemma_e1(pair: GraphPair, radius: float = 0.0) -> np.ndarray:
    """Lemma E.1: log2 of E_v at every output number, the smaller of both directions at every neuron, rounded
    up. radius: as in `norms`."""
    g, (p, q) = pair.graph, pair.sides()
    sizes = [norms(g, *side, radius) for side in (p, q)]
    change = np.abs(p[0] - q[0])
    e = np.full(g.kind.size, NOTHING)
    for neurons, edges in g.layers():
        carried = _largest(g, e, neurons, edges, NOTHING)
        moved, offset = log2(_row(g, change, neurons, edges)), log2(np.abs(p[1] - q[1])[neurons])
        both = []
        for (weight, _), other in ((p, sizes[1]), (q, sizes[0])):
            row = log2(_row(g, np.abs(weight), neurons, edges))
            injected = moved + _largest(g, other, neurons, edges, NOTHING)
            both.append(np.logaddexp2(offset, np.logaddexp2(injected, row + carried)))
        e[neurons] = np.minimum(*both) + SLACK
    return _outputs(g, e)


@dataclass(frozen=True, eq=False)
class Ends:
    """Of every output number, of the normalized pair: ‖Δθ^{→v}‖₁ with its bias, the smaller ‖θ^{→v}‖₁ and the
    largest E_u before it (float64); log2 of ‖Φ^{→v}‖₁ in either network."""

    moved: np.ndarray
    row: np.ndarray
    carried: np.ndarray
    sizes: tuple[np.ndarray, np.ndarray]


def _theorem(pair: GraphPair, radius: float) -> Ends | None:
    g, (p, q) = pair.graph, pair.sides()
    ends = np.zeros(g.kind.size, bool)
    ends[g.ends[g.ends >= 0]] = True
    if ends[g.source].any():
        return None
    a, b = normalize(g, *p, radius), normalize(g, *q, radius)
    last = ends[g.target]
    if not all(np.isfinite(x).all() for x in (a.weight, b.weight, a.bias, b.bias)):
        return None

    def gap(x: np.ndarray, y: np.ndarray, same: np.ndarray) -> np.ndarray:
        return np.where(same, 0.0, np.abs(x - y) + _ROUNDING * (np.abs(x) + np.abs(y)))

    still = a.factor == b.factor
    edge = gap(a.weight, b.weight, (p[0] == q[0]) & still[g.source] & still[g.target])
    offset = gap(a.bias, b.bias, (p[1] == q[1]) & still)
    e, found = np.zeros(g.kind.size), np.zeros((3, g.kind.size))
    for neurons, edges in g.layers():
        carried = _largest(g, e, neurons, edges, 0.0)
        moved = _row(g, edge, neurons, edges) + offset[neurons]
        e[neurons] = (moved + carried) * (1 + SLACK)
        if last[edges].any() or ends[neurons].any():
            row = np.minimum(*(_row(g, np.abs(side.weight), neurons, edges) for side in (a, b)))
            found[:, neurons] = moved, row, carried
    moved, row, carried = (np.where(g.ends >= 0, part[g.ends], 0.0) for part in found)
    sizes = tuple(_outputs(g, norms(g, *side, radius)) for side in (p, q))
    return Ends(moved, row, carried, (sizes[0], sizes[1]))


def theorem_e1(pair: GraphPair, radius: float = 0.0) -> np.ndarray | None:
    """Theorem E.1, output by output: log2 bounds of ‖Φ^{→v}(θ) - Φ^{→v}(θ')‖₁ at every output number; None
    where an output has successors.

    radius: log2 of what paths from inputs count."""
    ends = _theorem(pair, radius)
    return None if ends is None else log2((ends.moved + ends.row * ends.carried) * (1 + SLACK))


def papers_theorem_e1(pair: GraphPair) -> Scaled | None:
    """The formula of the paper: Σ_{v out} ‖Δθ^{→v}‖₁ + min(‖Φ‖₁, ‖Φ'‖₁) · max over paths Σ_{hidden}
    ‖Δθ^{→p_l}‖₁."""
    ends = _theorem(pair, 0.0)
    if ends is None:
        return None
    smaller = min((summed(size) for size in ends.sizes), key=lambda value: value.log2)
    return summed(log2(ends.moved)) + smaller.times(float(ends.carried.max(initial=0.0)) * (1 + SLACK))


def summed(log2_bounds: np.ndarray) -> Scaled:
    """Σ of bounds in log2."""
    return Scaled.power(float(np.logaddexp2.reduce(log2_bounds, initial=NOTHING)) + SLACK)
