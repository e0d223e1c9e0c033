"""Lanes: the non-negative quantities a pass carries for every neuron, as tensors of an ONNX graph.

A pass (absolute, difference, ...) says, node by node, which combinations of lanes and non-negative coefficients it needs;
the `Tracer` emits them. Every lane knows, per channel, its exponent E (value = tensor · 2**E), an upper bound of its
magnitude, an upper bound `flush` of what underflow can have lost, and how many float roundings met on the longest chain
to it. All sums have non-negative terms, so the last number gives the rounding certificate (engine.certificate).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.network import Network, Node, Shape, Site
from onnxpath.ops import OPERATORS
from onnxpath.passes import magnitude as mag


@dataclass(frozen=True, eq=False)
class Lane:
    """One quantity at one tensor. exponent (int64), log2 and flush (float64) have the tensor's rank and broadcast.

    Underflow has lost at most 2**flush + relative · value of every cell.
    """

    tensor: str
    exponent: np.ndarray
    log2: np.ndarray
    flush: np.ndarray
    roundings: int
    relative: float = 0.0

    def live(self) -> np.ndarray:
        """The exponents, except where the lane is certainly zero: any exponent describes a zero, so `_NONE` there."""
        return self.exponent if np.isfinite(self.log2).all() else np.where(np.isfinite(self.log2), self.exponent, _NONE)


_NONE = -(1 << 40)


def _settled(target: np.ndarray, lane: Lane) -> np.ndarray:
    """Exponents for `target`, with those of the lane where it is zero everywhere."""
    return np.where(target == _NONE, int(lane.exponent.max()), target) if (target == _NONE).any() else target


def _common_exponent(lanes: Sequence[Lane]) -> np.ndarray:
    """The largest exponent, channel by channel, of the lanes that are not zero there."""
    return _settled(reduce(np.maximum, [lane.live() for lane in lanes]), lanes[0])


@dataclass(frozen=True, eq=False)
class Coefficient:
    """Non-negative weights or biases: `array` · 2**power, each entry correct to `roundings` roundings.

    parts: coefficients that this one is the sum of, whose channel sums it can reuse. converted: entries were computed in
    float64 and rounded to the array's dtype.
    """

    array: np.ndarray
    power: int = 0
    roundings: int = 0
    parts: tuple["Coefficient", ...] = ()
    converted: bool = False

    def underflow(self, stretch: np.ndarray) -> np.ndarray:
        """log2 of what storing an entry may have lost, once it is multiplied by 2**stretch; -inf where it is exact.

        Sums and differences of floats do not underflow: only what was computed in another precision does (`converted`).
        """
        nothing = np.full(np.shape(stretch), -np.inf)
        return mag.TINY[self.array.dtype] + np.maximum(0, stretch + self.power) if self.converted else nothing


@dataclass(frozen=True, eq=False)
class Request:
    """One product `weight · lane + bias` at a weighted node; requests of one group get the same exponents, to be added."""

    lane: Lane | None
    weight: Coefficient | None = None
    bias: Coefficient | None = None
    group: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """What the tape keeps of an emitted linear step, for the adjoint: cotangent of `output` -> cotangents of `inputs`."""

    site: Site | None
    inputs: tuple[str, ...]
    output: str
    weight: str | None = None
    transposed: bool = False
    factor: str | None = None


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays one after the other; without a copy where they lie so in memory."""
    first, base = arrays[0], arrays[0].base
    if base is not None and all(a.base is base and a.flags.c_contiguous for a in arrays) and base.flags.c_contiguous:
        places = [(a.ctypes.data - base.ctypes.data) // first.nbytes for a in arrays]
        if base.ndim == first.ndim + 1 and places == list(range(places[0], places[0] + len(arrays))):
            return base[places[0] : places[0] + len(arrays)].reshape(-1, *first.shape[1:])
    return np.concatenate(arrays)


@dataclass(frozen=True, eq=False)
class Calibration:
    """What a run that measured them says of the lanes of weighted nodes, by number: log2 of rigorous upper bounds (caps)
    and of positive lower bounds (floors, -inf for none) per channel. measure: make maxima and minima outputs of the graph."""

    caps: Mapping[int, np.ndarray] = field(default_factory=dict)
    floors: Mapping[int, np.ndarray] = field(default_factory=dict)
    measure: bool = False


@dataclass(frozen=True, eq=False)
class Probe:
    """A measured lane: graph outputs with its maxima and minima per channel."""

    number: int
    top: str
    bottom: str
    lane: Lane


class Tracer:
    """Emits lanes into a graph. `sharp`: max-pooling stays a maximum; otherwise it is the sum over the window."""

    def __init__(self, network: Network, device: Device, sharp: bool = False, calibration: Calibration | None = None):
        self.network = network
        self.calibration = calibration or Calibration()
        self.probes: list[Probe] = []
        self._count = 0
        self.device = device
        self.sharp = sharp
        self.graph = GraphBuilder(device.dtype, device.native_conv)
        self.tape: list[Step] = []
        self._scaled: dict[tuple, np.ndarray] = {}
        self._matrices: dict[int, np.ndarray] = {}
        self._tiny = mag.TINY[device.dtype]
        self.graph_exponents: dict[str, int] = {}

    def source(self, name: str, shape: Shape, log2: float = 0.0) -> Lane:
        """A lane given at every run, at most 2**log2 everywhere; its conversion to the graph's dtype rounds once."""
        one = (1,) * len(shape)
        magnitude = np.full(one, log2)
        exponent = mag.choose_exponent(magnitude, 0)
        self.graph_exponents[name] = int(exponent.item())
        flush = np.full(one, self._tiny) + exponent
        dimensions = ("batch", *shape[1:]) if self.network.batched else shape
        return Lane(self.graph.input(name, dimensions), exponent, magnitude, flush, 1)

    def site(self, node: Node) -> Site:
        return Site.of(self.network, node)

    def _record(self, site: Site | None, inputs: Sequence[str], output: str, **kept: object) -> None:
        self.tape.append(Step(site, tuple(inputs), output, **kept))

    def align(self, lane: Lane, target: np.ndarray) -> Lane:
        """The same lane with exponents `target` >= its own (where it is not zero): one multiplication by powers of two."""
        shift = np.minimum(lane.exponent - target, 0)
        if not shift.any():
            return replace(lane, exponent=target)
        gone = shift < self._tiny
        factor = np.where(gone, 0.0, np.exp2(np.maximum(shift, self._tiny))).astype(self.device.dtype)
        name = self.graph.bind(factor)
        output = self.graph.op("Mul", [lane.tensor, name])
        self._record(None, [lane.tensor], output, factor=name)
        lost = np.where(gone, lane.log2, np.where(shift < 0, self._tiny + target, -np.inf))
        return replace(lane, tensor=output, exponent=target, flush=mag.add_log2(lane.flush, lost))

    # -- weighted nodes ---------------------------------------------------------------------------------------------

    def linear(self, node: Node, requests: Sequence[Request]) -> list[Lane]:
        """One lane per request (see `Request`)."""
        site = self.site(node)
        elementwise = OPERATORS[node.op].axes(site) is None
        lanes = self._elementwise(site, requests) if elementwise else self._contraction(site, requests)
        lanes = [self._floored(lane, self._count + k) for k, lane in enumerate(lanes)]
        if self.calibration.measure:
            for k, lane in enumerate(lanes):
                self._probe(self._count + k, lane, channel=1 if elementwise else OPERATORS[node.op].axes(site)[1])
        self._count += len(requests)
        return lanes

    def _probe(self, number: int, lane: Lane, channel: int) -> None:
        rank = lane.exponent.ndim
        axes = [axis for axis in range(rank) if axis != channel % rank or axis == 0]
        if any(lane.exponent.shape[axis] > 1 for axis in axes):
            return
        g = self.graph
        ends = [g.output(g.op(op, [lane.tensor, g.ints(axes)], keepdims=1)) for op in ("ReduceMax", "ReduceMin")]
        self.probes.append(Probe(number, *ends, lane))

    def _capped(self, magnitude: np.ndarray, index: int) -> np.ndarray:
        """The magnitude bound of the index-th request of this node, no more than what a run has measured."""
        cap = self.calibration.caps.get(self._count + index)
        return magnitude if cap is None else np.minimum(magnitude, cap.reshape(-1) if magnitude.ndim == 1 else cap)

    def _floored(self, lane: Lane, number: int) -> Lane:
        """What underflow lost, as a part of the value in channels whose cells are all known to be large enough."""
        floor = self.calibration.floors.get(number)
        if floor is None:
            return lane
        with np.errstate(invalid="ignore"):
            part = np.where(np.isfinite(lane.flush), lane.flush - floor, -np.inf)
        small = part < -20
        worst = float(np.where(small, part, -np.inf).max())
        flush = np.where(small, -np.inf, np.broadcast_to(lane.flush, small.shape))
        return replace(lane, flush=flush, relative=lane.relative + 2.0 ** (worst + 1))

    def _elementwise(self, site: Site, requests: Sequence[Request]) -> list[Lane]:
        prepared, totals = [], {}
        for index, request in enumerate(requests):
            lane, weight, bias = request.lane, request.weight, request.bias
            gain = np.zeros((1,) * len(site.output_shape)) if weight is None else mag.log2(weight.array) + weight.power
            magnitude = lane.log2 + gain if lane is not None else np.full((1,) * len(site.output_shape), -np.inf)
            if bias is not None:
                magnitude = mag.add_log2(magnitude, mag.log2(bias.array) + bias.power)
            magnitude = self._capped(magnitude, index)
            prepared.append((gain, magnitude))
            totals[request.group] = mag.add_log2(totals[request.group], magnitude) if request.group in totals else magnitude
        lanes = []
        for request, (gain, magnitude) in zip(requests, prepared, strict=True):
            lane, weight, bias = request.lane, request.weight, request.bias
            previous = int(lane.exponent.max()) if lane is not None else 0
            target = mag.choose_exponent(totals[request.group], previous)
            emit = OPERATORS[site.node.op].emit
            bias_name = self._bind(bias, np.zeros_like(target), target) if bias is not None else None
            if lane is None:
                output = self._spread(bias_name, site)
                lanes.append(Lane(output, target, magnitude, self._bias_flush(bias, target), bias.roundings + 1))
                continue
            weight = weight or Coefficient(np.ones((1,) * len(site.output_shape), self.device.dtype))
            name = self._bind(weight, lane.exponent, target)
            output = emit(self.graph, site, [lane.tensor], name, bias_name)
            self._record(site, [lane.tensor], output, weight=name)
            ceiling = np.maximum(0.0, (lane.log2 - lane.exponent).max())
            lost = np.maximum(self._tiny, weight.underflow(lane.exponent - target))
            flush = mag.add_log2(lane.flush + gain, lost + 2 + target + ceiling)
            flush = np.where(np.isneginf(magnitude), -np.inf, flush)
            roundings = lane.roundings + 2 + weight.roundings + (bias.roundings if bias else 0)
            lanes.append(Lane(output, target, magnitude, flush, roundings, lane.relative))
        return lanes

    def _bias_flush(self, bias: Coefficient, target: np.ndarray) -> np.ndarray:
        """What scaling a bias by powers of two (or storing it rounded before that) may have lost."""
        return np.maximum(self._tiny, bias.underflow(-target)) + 2.0 + target

    def _spread(self, bias: str, site: Site) -> str:
        """A lane that is a bias alone, spread to the shape of the node's output, as many samples as the inputs hold."""
        g = self.graph
        if not site.batched:
            return g.op("Expand", [bias, g.ints(site.output_shape)])
        return g.op("Expand", [bias, g.shape_like(next(iter(self.graph_exponents)), site.output_shape[1:])])

    def _matrix(self, site: Site, weight: Coefficient) -> np.ndarray:
        """Channel sums of a coefficient, once per node."""
        if id(weight) not in self._matrices:
            if weight.parts:
                self._matrices[id(weight)] = sum(self._matrix(site, part) for part in weight.parts)
            else:
                self._matrices[id(weight)] = OPERATORS[site.node.op].matrix(site, weight.array)
        return self._matrices[id(weight)]

    def _contraction(self, site: Site, requests: Sequence[Request]) -> list[Lane]:
        operator = OPERATORS[site.node.op]
        source_axis, target_axis = operator.axes(site)
        rank, length = len(site.output_shape), site.output_shape[target_axis]
        terms = operator.terms(site)
        prepared: list[tuple] = []
        self._matrices = {}
        totals: dict[int, np.ndarray] = {}
        previous: dict[int, int] = {}
        for index, request in enumerate(requests):
            lane, weight, bias = request.lane, request.weight, request.bias
            magnitude, flush, exponent = np.full(length, -np.inf), np.full(length, -np.inf), None
            if lane is not None:
                lane = self.align(lane, _settled(mag.largest_along(lane.live(), source_axis), lane))
                n = site.input_shapes[0][source_axis]
                pair = [mag.vector(mag.largest_along(part, source_axis), source_axis, n) for part in (lane.log2, lane.flush)]
                exponent = mag.vector(lane.exponent, source_axis, n)
                magnitude, flush = mag.propagate(self._matrix(site, weight), *pair)
                magnitude, flush = magnitude + weight.power, flush + weight.power
                previous[request.group] = int(exponent.max())
            if bias is not None:
                magnitude = mag.add_log2(magnitude, self._bias_log2(site, bias, target_axis, length))
            magnitude = self._capped(magnitude, index)
            prepared.append((lane, exponent, magnitude, flush))
            totals[request.group] = mag.add_log2(totals[request.group], magnitude) if request.group in totals else magnitude
        targets = {group: mag.choose_exponent(total, previous.get(group, 0)) for group, total in totals.items()}
        tensors = self._emit_products(site, requests, prepared, targets)
        lanes = []
        for request, (lane, exponent, magnitude, flush), tensor in zip(requests, prepared, tensors, strict=True):
            target = targets[request.group]
            roundings = request.bias.roundings + 1 if request.bias is not None else 0
            if lane is not None:
                ceiling = max(0.0, float((mag.largest_along(lane.log2, source_axis) - lane.exponent).max()))
                # a product, or a weight scaled by a power of two (or stored rounded before that), may underflow
                lost = np.maximum(self._tiny, request.weight.underflow(exponent.max() - target))
                local = np.log2(terms + 1) + lost + 2 + ceiling + target
                flush = mag.add_log2(flush, np.broadcast_to(local, flush.shape))
                roundings = max(roundings, request.weight.roundings + lane.roundings + terms) + 1
            else:
                flush = np.broadcast_to(self._bias_flush(request.bias, target), magnitude.shape)
            flush = np.where(np.isneginf(magnitude), -np.inf, flush)
            relative = lane.relative if lane is not None else 0.0
            lanes.append(Lane(tensor, *(mag.along(v, target_axis, rank) for v in (target, magnitude, flush)), roundings, relative))
        return lanes

    @staticmethod
    def _wide_bias(site: Site, array: np.ndarray) -> np.ndarray:
        """A bias with the rank of the output, to which it broadcasts."""
        operator, rank = OPERATORS[site.node.op], len(site.output_shape)
        return (
            mag.along(array, operator.axes(site)[1], rank)
            if operator.channel_bias
            else array.reshape((1,) * (rank - array.ndim) + array.shape)
        )

    def _bias_log2(self, site: Site, bias: Coefficient, axis: int, length: int) -> np.ndarray:
        array = self._wide_bias(site, bias.array)
        return mag.log2(mag.vector(mag.largest_along(array, axis), axis, length)) + bias.power

    def _bind(self, coefficient: Coefficient, source: np.ndarray, target: np.ndarray) -> str:
        """An elementwise coefficient, spread where the exponents vary but it does not."""
        shape = np.broadcast_shapes(coefficient.array.shape, source.shape, target.shape)
        array = coefficient.array
        if array.shape != shape:
            array = np.ascontiguousarray(np.broadcast_to(array, shape))
        return self.graph.bind(mag.scale_by_powers(array, source + coefficient.power, target, self.device.dtype))

    def _scaled_weight(self, site: Site, weight: Coefficient, source: np.ndarray, target: np.ndarray) -> np.ndarray:
        """weight · 2**(source - target): the same array for requests that share the weight and the difference."""
        operator = OPERATORS[site.node.op]
        if source.min() == source.max() and target.size == 1:
            ones = (1,) * weight.array.ndim
            key = (id(weight), int(source[0] - target[0]))
            pair = np.full(ones, source[0]), target.reshape(ones)
        else:
            n = site.output_shape[operator.axes(site)[1]]
            key = (id(weight), source.tobytes(), target.tobytes())
            pair = operator.shift(site, source, np.broadcast_to(target, (n,)))
        if key not in self._scaled:
            self._scaled[key] = mag.scale_by_powers(weight.array, pair[0] + weight.power, pair[1], self.device.dtype)
        return self._scaled[key]

    def _emit_products(self, site: Site, requests: Sequence[Request], prepared: list[tuple], targets: dict[int, np.ndarray]) -> list[str]:
        """Kernels that read the same lane are stacked where the operator can; lanes that meet the same matrix are batched."""
        operator = OPERATORS[site.node.op]
        self._scaled = {}
        tensors: list[str] = [""] * len(requests)
        arrays: dict[int, np.ndarray] = {}
        groups: dict[object, list[int]] = {}
        stack, batch = operator.stack(site) == 0, site.batched and len(site.output_shape) == 2
        for k, (request, (lane, exponent, *_)) in enumerate(zip(requests, prepared, strict=True)):
            if lane is None:
                tensors[k] = self._bias_only(site, request.bias, targets[request.group])
                continue
            arrays[k] = self._scaled_weight(site, request.weight, exponent, targets[request.group])
            groups.setdefault(lane.tensor if stack else id(arrays[k]) if batch else k, []).append(k)
        for members in groups.values():
            lanes = [prepared[k][0].tensor for k in members]
            biases = [self._scaled_bias(site, requests[k].bias, targets[requests[k].group]) for k in members]
            if len(members) == 1:
                found = [self._single(site, lanes[0], arrays[members[0]], biases[0])]
            elif stack:
                found = self._stacked(site, lanes[0], [arrays[k] for k in members], biases)
            else:
                found = self._batched(site, lanes, arrays[members[0]], biases)
            for k, tensor in zip(members, found, strict=True):
                tensors[k] = tensor
        self._scaled = {}
        return tensors

    def _single(self, site: Site, x: str, array: np.ndarray, bias: np.ndarray | None) -> str:
        name, extra = self._oriented(site, array)
        y = OPERATORS[site.node.op].emit(self.graph, site, [x], name, None if bias is None else self.graph.bind(bias), **extra)
        self._record(site, [x], y, weight=name, transposed=bool(extra))
        return y

    def _stacked(self, site: Site, x: str, arrays: list[np.ndarray], biases: list[np.ndarray | None]) -> list[str]:
        g, channels = self.graph, site.output_shape[1]
        bias = None
        if any(b is not None for b in biases):
            zeros = np.zeros(channels, self.device.dtype)
            bias = g.bind(np.concatenate([zeros if b is None else b for b in biases]))
        y = OPERATORS[site.node.op].emit(g, site, [x], g.bind(_concatenated(arrays)), bias, rows=len(arrays))
        return g.split(y, [channels] * len(arrays), 1)

    def _batched(self, site: Site, lanes: list[str], array: np.ndarray, biases: list[np.ndarray | None]) -> list[str]:
        g = self.graph
        name, extra = self._oriented(site, array)
        y = OPERATORS[site.node.op].emit(g, site, [g.op("Concat", lanes, axis=0)], name, **extra)
        found = []
        for x, part, bias in zip(lanes, g.parts(y, len(lanes), 0), biases, strict=True):
            self._record(site, [x], part, weight=name, transposed=bool(extra))
            if bias is not None:
                part = g.op("Add", [part, g.bind(bias)])
                self._record(None, [self.tape[-1].output], part)
            found.append(part)
        return found

    def _oriented(self, site: Site, array: np.ndarray) -> tuple[str, dict]:
        """Bind a weight; one stored as the transpose of a matrix stays as it is stored."""
        stored = array.ndim == 2 and not array.flags.c_contiguous and array.T.flags.c_contiguous
        if stored and site.node.op == "MatMul" and site["side"] == "right":
            return self.graph.bind(array.T), {"transposed": True}
        return self.graph.bind(np.ascontiguousarray(array)), {}

    def _scaled_bias(self, site: Site, bias: Coefficient | None, target: np.ndarray) -> np.ndarray | None:
        if bias is None:
            return None
        operator, rank = OPERATORS[site.node.op], len(site.output_shape)
        array = self._wide_bias(site, bias.array)
        spread = mag.along(target, operator.axes(site)[1], rank)
        array = np.ascontiguousarray(np.broadcast_to(array, np.broadcast_shapes(array.shape, spread.shape)))
        scaled = mag.scale_by_powers(array, np.full((1,) * rank, bias.power), spread, self.device.dtype)
        return scaled.reshape(-1) if operator.channel_bias else scaled

    def _bias_only(self, site: Site, bias: Coefficient, target: np.ndarray) -> str:
        return self._spread(self.graph.bind(self._wide_bias(site, self._scaled_bias(site, bias, target))), site)

    # -- nodes without parameters -------------------------------------------------------------------------------------

    def add(self, lanes: Sequence[Lane]) -> Lane:
        """The sum of lanes of one shape."""
        if len(lanes) == 1:
            return lanes[0]
        target = _common_exponent(lanes)
        aligned = [self.align(lane, target) for lane in lanes]
        inputs = [lane.tensor for lane in aligned]
        output = self.graph.op("Add", inputs) if len(inputs) == 2 else self.graph.op("Sum", inputs)
        self._record(None, inputs, output)
        return Lane(
            output, target, mag.add_log2(*[lane.log2 for lane in aligned]), mag.add_log2(*[lane.flush for lane in aligned]),
            max(lane.roundings for lane in aligned) + len(lanes) - 1, max(lane.relative for lane in aligned),
        )  # fmt: skip

    def minimum(self, lanes: Sequence[Lane]) -> Lane:
        """The element-wise minimum of upper bounds of one quantity, at the exponents of the one with the smallest magnitude.

        A bound that would need a factor beyond 2**120 is left out: a minimum over fewer bounds is a bound. The magnitude is
        kept within the exponents' reach, so that weights folded into the next layer stay finite.
        """
        lanes = sorted(lanes, key=lambda lane: float(lane.log2.max()))
        first, kept = lanes[0], [lanes[0].tensor]
        magnitude, roundings, flush = first.log2, first.roundings, first.flush
        for lane in lanes[1:]:
            shift = lane.exponent - first.exponent
            if np.abs(shift).max() > 120:
                continue
            tensor = lane.tensor
            if shift.any():
                tensor = self.graph.op("Mul", [tensor, self.graph.bind(np.exp2(shift).astype(self.device.dtype))])
            kept.append(tensor)
            lost = np.where(shift < 0, self._tiny + first.exponent, -np.inf)
            flush = np.maximum(flush, mag.add_log2(lane.flush, lost))
            magnitude = np.minimum(magnitude, lane.log2)
            roundings = max(roundings, lane.roundings)
        if len(kept) == 1:
            return first
        magnitude = np.maximum(magnitude, first.exponent - 2.0 * mag.WINDOW)
        relative = max(lane.relative for lane in lanes)
        return Lane(self.graph.op("Min", kept), first.exponent, magnitude, flush, roundings, relative)

    def maximum(self, lanes: Sequence[Lane]) -> Lane:
        """The element-wise maximum of lanes of one shape."""
        target = _common_exponent(lanes)
        aligned = [self.align(lane, target) for lane in lanes]
        return Lane(
            self.graph.op("Max", [lane.tensor for lane in aligned]), target, reduce(np.maximum, [lane.log2 for lane in aligned]),
            reduce(np.maximum, [lane.flush for lane in aligned]), max(lane.roundings for lane in aligned),
            max(lane.relative for lane in aligned),
        )  # fmt: skip

    def through(self, node: Node, lanes: Sequence[Lane]) -> Lane:
        """A node without parameters, applied to one lane of each of its inputs."""
        operator, site = OPERATORS[node.op], self.site(node)
        if operator.kind == "relu":
            return lanes[0]
        if operator.kind == "movement":
            inputs = [lane.tensor for lane in lanes]
            output = operator.emit(self.graph, site, inputs)
            self._record(site, inputs, output)
            parts = (operator.image(site, [getattr(lane, key) for lane in lanes]) for key in ("exponent", "log2", "flush"))
            return Lane(output, *parts, max(lane.roundings for lane in lanes), max(lane.relative for lane in lanes))
        keep_maximum = operator.kind == "max" and self.sharp
        if len(lanes) > 1:
            return self.maximum(lanes) if keep_maximum else self.add(lanes)
        # a pool or a reduction: exponents must not vary inside a window
        lane = self.align(lanes[0], _settled(operator.image(site, [lanes[0].live()]), lanes[0]))
        emit = operator.total if operator.kind == "max" and not keep_maximum else operator.emit
        output = emit(self.graph, site, [lane.tensor])
        self._record(site, [lane.tensor], output)
        terms = operator.terms(site)
        grown = 0.0 if keep_maximum else float(np.log2(terms)) + 1e-9
        magnitude, flush = (operator.image(site, [part]) + grown for part in (lane.log2, lane.flush))
        if not keep_maximum:  # the mean that a sum may be spelled with
            flush = np.where(np.isneginf(magnitude), -np.inf, mag.add_log2(flush, self._tiny + 2 + grown + lane.exponent))
        roundings = lane.roundings + (0 if keep_maximum else terms + 2)
        return Lane(output, lane.exponent, magnitude, flush, roundings, lane.relative)
