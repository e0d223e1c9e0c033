"""What neurons that are quantized can be, by interval arithmetic: where a quantizer saturates, and by how
much (docs/quantization.md).

Over boxes {|x - x̂|_i <= ε_i}, centre c and radius r of every neuron of one network, in float64 with its
rounding counted:

    y = W x + b:       c' = W c + b,     r' = (1 + 4η) (|W| (r + η |c|) + η |b|),      η = (terms + 8) 2^-52,
    ReLU, max, Clip:   the function of both ends,
    activation f:      c' = f(c),        r' = L r + jump, cut to the range of f,
    quantizer:         the enclosure of both ends                                      (grid.py).

A neuron h in [l, u] goes beyond [lo, hi] by at most max(0, u - hi, lo - l), and certainly does where l > hi
or u < lo.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.boxes.grid import Arrays, Emitted, enclose
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session
from onnxpath.model.domain import Region
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.function import up
from onnxpath.ops.quantizer import Channels, Dynamic, Grid, Number, Quantization, Seen, constant

_UNIT = 2.0**-52
# Of a smooth function's own evaluation in float64, relative to its value and to 1.
_FUNCTION = 2.0**-40
Static = Quantization | Channels | Seen


@dataclass(frozen=True, eq=False)
class Range:
    """low, high: [1, ...] float64, the smallest and the largest value of every cell over all boxes. outside:
    [boxes], whether some cell is beyond the network's own quantizer for every input of the box; empty where
    it has none there."""

    low: np.ndarray
    high: np.ndarray
    outside: np.ndarray

    def overflow(self, grid: Static) -> np.ndarray:
        """How far any cell can be beyond the range of a quantizer, rounded up. 2^-30 of the range is noise of
        this pass, which `half` covers."""
        beyond = np.maximum(self.high - grid.highest, grid.lowest - self.low)
        return np.where(
            beyond > 2.0**-30 * grid.size,
            beyond + 2.0**-50 * (np.abs(self.high) + np.abs(self.low) + grid.size),
            0.0,
        )

    def grid(self, quantizer: Grid) -> Static:
        """The quantizer, or what bounds the grids of a dynamic one over all boxes."""
        return (
            quantizer.seen(float(self.low.min()), float(self.high.max()))
            if isinstance(quantizer, Dynamic)
            else quantizer
        )

    def within_channels(self) -> "Range":
        """One interval for all cells of a channel."""
        axes = tuple(range(2, self.low.ndim))
        return Range(self.low.min(axes, keepdims=True), self.high.max(axes, keepdims=True), self.outside)


class _Intervals:
    """Centre and radius of every tensor, emitted node by node."""

    def __init__(self, graph: GraphBuilder, network: Network):
        self.graph, self.network = graph, network
        self.found: dict[str, tuple[str, str]] = {}

    def times(self, x: str, factor: float) -> str:
        return self.graph.op("Mul", [x, self.graph.scalar(factor)])

    def ends(self, name: str) -> tuple[str, str]:
        c, r = self.found[name]
        return self.graph.op("Sub", [c, r]), self.graph.op("Add", [c, r])

    def between(self, low: str, high: str) -> tuple[str, str]:
        """Centre and radius of [low, high]; rounded ends and centres lie inside."""
        g = self.graph
        noise = self.times(g.op("Add", [g.op("Abs", [low]), g.op("Abs", [high])]), 4 * _UNIT)
        half = self.times(g.op("Sub", [high, low]), 0.5)
        return self.times(g.op("Add", [low, high]), 0.5), g.op("Add", [half, noise])

    def node(self, node: Node) -> None:
        site, operator = Site.of(self.network, node), OPERATORS[node.op]
        if operator.kind == "weighted":
            made = self._weighted(site)
        elif operator.kind in ("movement", "sum"):
            made = self._summed(site)
        elif operator.kind in ("relu", "max") or (
            operator.kind == "activation" and operator.projection(site)
        ):
            parts = zip(*(self.ends(name) for name in node.inputs), strict=True)
            made = self.between(*(operator.emit(self.graph, site, list(part)) for part in parts))
        elif operator.kind == "quantizer":
            made = self._quantized(node)
        elif operator.kind == "activation" and (node.weight or operator.constants) is not None:
            made = self._activated(site)
        else:
            raise MissingFactError(node.op, "its ranges")
        self.found[node.output] = made

    def _bound(self, parameter: Parameter | None, absolute: bool, factor: float = 1.0) -> str | None:
        if parameter is None:
            return None
        array = parameter.array().astype(np.float64)
        return self.graph.bind(np.ascontiguousarray((np.abs(array) if absolute else array) * factor))

    def _weighted(self, site: Site) -> tuple[str, str]:
        g, node, emit = self.graph, site.node, OPERATORS[site.node.op].emit
        eta = (OPERATORS[node.op].terms(site) + 8) * _UNIT
        (c, r) = self.found[node.inputs[0]]
        wide = g.op("Add", [r, self.times(g.op("Abs", [c]), eta)])
        center = emit(g, site, [c], **_given(self._bound(node.weight, False), self._bound(node.bias, False)))
        radius = emit(
            g, site, [wide], **_given(self._bound(node.weight, True), self._bound(node.bias, True, eta))
        )
        return center, self.times(radius, 1 + 4 * eta)

    def _summed(self, site: Site) -> tuple[str, str]:
        g, node, operator = self.graph, site.node, OPERATORS[site.node.op]
        eta = (operator.terms(site) + len(node.inputs) + 8) * _UNIT if operator.kind == "sum" else 0.0
        parts = [self.found[name] for name in node.inputs]
        wide = [g.op("Add", [r, self.times(g.op("Abs", [c]), eta)]) if eta else r for c, r in parts]
        radius = operator.emit(g, site, wide)
        return operator.emit(g, site, [c for c, _ in parts]), (
            self.times(radius, 1 + 4 * eta) if eta else radius
        )

    def _quantized(self, node: Node) -> tuple[str, str]:
        grid: Grid | None = node.attributes["quantizer"]
        if grid is None:
            return self.found[node.inputs[0]]
        steps = Emitted(self.graph, len(self.network.shapes[node.output]), stored=_UNIT)
        return self.between(*enclose(steps, grid, *self.ends(node.inputs[0]), cut=False).value)

    def _activated(self, site: Site) -> tuple[str, str]:
        g, node, operator = self.graph, site.node, OPERATORS[site.node.op]
        c, r = self.found[node.inputs[0]]
        center = operator.emit(g, site, [c], **_given(self._bound(node.weight, False), None))
        noise = self.times(g.op("Add", [g.op("Abs", [center]), g.scalar(1.0)]), _FUNCTION)
        if node.weight is not None:
            steep = g.bind(operator.lipschitz(node.weight.array().astype(np.float64)))
            return center, g.op("Add", [g.op("Mul", [r, steep]), noise])
        if operator.constants is None:
            raise MissingFactError(node.op, "its ranges")
        f = operator.constants(site)
        radius = g.op("Sum", [self.times(r, f.lipschitz), noise, g.scalar(up(f.jump))])
        low, high = g.op("Sub", [center, radius]), g.op("Add", [center, radius])
        low = g.op("Max", [low, g.scalar(f.infimum)]) if np.isfinite(f.infimum) else low
        high = g.op("Min", [high, g.scalar(f.supremum)]) if np.isfinite(f.supremum) else high
        return self.between(low, high)


def _given(weight: str | None, bias: str | None) -> dict[str, str]:
    return {key: name for key, name in (("weight", weight), ("bias", bias)) if name is not None}


def ranges(network: Network, region: Region, chunk: int, threads: int = 0) -> dict[str, Range]:
    """The range of what every quantizer of a pair reads in one of its networks (A, or `forward.counterpart`),
    by the quantizer's output.

    chunk: how many boxes to run at once, 0 for all.
    """
    device = Device("cpu", "float64", threads)
    graph = GraphBuilder(device.dtype, device.native_conv)
    intervals = _Intervals(graph, network)
    given: dict[str, tuple[str, str]] = {}
    for name in network.inputs:
        shape = network.shapes[name]
        dimensions = ("batch", *shape[1:]) if network.batched else shape
        given[name] = (
            graph.input(f"centre of {name}", dimensions),
            graph.input(f"radius of {name}", dimensions),
        )
        intervals.found[name] = given[name]
    ends: dict[str, tuple[str, str, str | None]] = {}
    for node in network.nodes:
        intervals.node(node)
        if OPERATORS[node.op].kind == "quantizer":
            low, high = intervals.ends(node.inputs[0])
            outside = _outside(
                graph, low, high, node.attributes["quantizer"], len(network.shapes[node.output])
            )
            if network.batched:
                low, high = (
                    graph.op(op, [x, graph.ints([0])], keepdims=1)
                    for op, x in (("ReduceMin", low), ("ReduceMax", high))
                )
            ends[node.output] = graph.output(low), graph.output(high), outside and graph.output(outside)
    session = open_session(graph, device)
    found: dict[str, Range] = {}
    size = region.size if network.batched else 1
    for start in range(0, size, chunk or size):
        feeds: dict[str, np.ndarray] = {}
        for name, (centre, radius) in given.items():
            index = slice(start, start + chunk) if chunk and network.batched else slice(None)
            low, high = region.low[name][index], region.high[name][index]
            feeds[centre] = (low + high) / 2
            feeds[radius] = (high - low) / 2 + 4 * _UNIT * (np.abs(low) + np.abs(high))
        values = session.run(feeds)
        for name, (low, high, outside) in ends.items():
            flags = np.zeros(0, bool) if outside is None else values[outside].reshape(-1) > 0
            made = Range(values[low], values[high], flags)
            before = found.get(name)
            found[name] = made if before is None else Range(
                np.minimum(before.low, made.low), np.maximum(before.high, made.high),
                np.concatenate([before.outside, flags])
            )  # fmt: skip
    return found


def _outside(graph: GraphBuilder, low: str, high: str, grid: Grid | None, rank: int) -> str | None:
    """[boxes]: by how much the cell that is farthest outside is beyond the range for every input of the box;
    negative where none is."""
    if grid is None or isinstance(grid, Dynamic):
        return None
    beyond = graph.op(
        "Max",
        [
            graph.op("Sub", [low, constant(graph, grid.highest)]),
            graph.op("Sub", [constant(graph, grid.lowest), high]),
        ],
    )
    return graph.op("ReduceMax", [beyond, graph.ints(range(1, rank))], keepdims=0) if rank > 1 else beyond


@dataclass(frozen=True, eq=False)
class Shift:
    """A bound on what quantizers add to a distance: `rounding`, one number or one per channel, and
    `saturation`, [1, ...]; and nothing else."""

    rounding: Number
    saturation: np.ndarray

    def __add__(self, other: "Shift") -> "Shift":
        return Shift(self.rounding + other.rounding, self.saturation + other.saturation)


@dataclass(frozen=True, eq=False)
class Roundings:
    """What the quantizers `p` and `q` (None: there is none) of one tensor of a pair do: to |hP - hQ|, |hP -
    hm| and |hQ - hm|, where m is not quantized. range_p, range_q: of what they read."""

    p: Grid | None
    q: Grid | None
    range_p: Range
    range_q: Range

    @property
    def grid_p(self) -> Static | None:
        return None if self.p is None else self.range_p.grid(self.p)

    @property
    def grid_q(self) -> Static | None:
        return None if self.q is None else self.range_q.grid(self.q)

    @property
    def alike(self) -> bool:
        """Equal numbers are rounded to equal numbers."""
        return self.p == self.q

    @property
    def same(self) -> bool:
        """One grid for both networks."""
        return self.p == self.q and not isinstance(self.p, Dynamic)

    @property
    def d(self) -> Shift:
        """|q(hP) - q(hQ)| <= |hP - hQ| + s for one q; a quantizer on one side saturates no more than either
        side overflows."""
        p, q = self.grid_p, self.grid_q
        if p is not None and self.same:
            return Shift(2 * p.half, np.zeros((1,) * self.range_p.low.ndim))
        if p is not None and q is not None:
            return Shift(p.half + q.half, self.range_p.overflow(p) + self.range_q.overflow(q))
        grid, dynamic = (q, self.q) if p is None else (p, self.p)
        if grid is None:
            return Shift(0.0, np.zeros((1,) * self.range_p.low.ndim))
        if isinstance(dynamic, Dynamic):
            return Shift(grid.half, np.zeros((1,) * self.range_p.low.ndim))
        return Shift(grid.half, np.minimum(self.range_p.overflow(grid), self.range_q.overflow(grid)))

    @property
    def cap(self) -> np.ndarray:
        """Per channel: |hP - hQ| behind the quantizers is at most max(U_P - L_Q, U_Q - L_P), with [L, U] what
        either can be there."""
        (low_p, high_p), (low_q, high_q) = (
            _behind(self.range_p, self.grid_p),
            _behind(self.range_q, self.grid_q),
        )
        wide = np.maximum(np.maximum(high_p - low_q, high_q - low_p), 0) * (1 + 2.0**-50)
        return wide.max(tuple(range(2, wide.ndim)), keepdims=True)

    @property
    def dp(self) -> Shift | None:
        return None if (grid := self.grid_p) is None else Shift(grid.half, self.range_p.overflow(grid))

    @property
    def dq(self) -> Shift | None:
        return None if (grid := self.grid_q) is None else Shift(grid.half, self.range_q.overflow(grid))


def _behind(seen: Range, grid: Static | None) -> tuple[np.ndarray, np.ndarray]:
    """The interval behind a quantizer, for what is in [low, high] before it."""
    return enclose(Arrays(), grid, seen.low, seen.high, cut=False).value


def roundings(
    network: Network, other: Network, region: Region, chunk: int, threads: int = 0
) -> Mapping[str, Roundings]:
    """What the quantizers of a pair do over a region, by the quantizer's output; `other`: the second network
    (`forward.counterpart`)."""
    first, second = (ranges(side, region, chunk, threads) for side in (network, other))
    return {
        node.output: Roundings(node.attributes["quantizer"], node.attributes["twin"], first[node.output],
        second[node.output])
        for node in network.nodes if OPERATORS[node.op].kind == "quantizer"
    }  # fmt: skip
