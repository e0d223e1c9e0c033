"""Emitting lanes into a graph: inputs, changes of exponent, and nodes without parameters.

A sum without parameters grows, too: x + relu(x) doubles x, and a hundred of them leave the range of float32.
Its terms are brought to the exponents of the sum where that would be more than 2**HEADROOM of theirs.

Every emitted step goes on a tape, which the adjoint pass reads backwards. `limits` are the numbers that
entered it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.scaled import ldexp
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.lanes import magnitude as mag
from onnxpath.lanes.lanes import Calibration, Lane, Probe, Step, common_exponent, settled
from onnxpath.lanes.profile import summed
from onnxpath.model.network import Network, Node, Shape, Site
from onnxpath.ops import OPERATORS


class Emission:
    """Lanes in a graph under construction. `sharp`: max-pooling stays a maximum; otherwise it is the sum over
    the window."""

    def __init__(
        self, network: Network, device: Device, sharp: bool = False, calibration: Calibration | None = None
    ):
        self.network = network
        self.calibration = calibration or Calibration()
        self.probes: list[Probe] = []
        self._count = 0
        self.device = device
        self.sharp = sharp
        self.graph = GraphBuilder(device.dtype, device.native_conv)
        self.tape: list[Step] = []
        self.graph_exponents: dict[str, int] = {}
        self.limits: list[Lane] = []
        self._tiny = mag.TINY[device.dtype]

    def source(self, name: str, shape: Shape, log2: float = 0.0) -> Lane:
        """A lane given at every run, at most 2**log2 everywhere; its conversion to the graph's dtype rounds
        once."""
        one = (1,) * len(shape)
        magnitude = np.full(one, log2)
        exponent = mag.choose_exponent(magnitude, 0)
        self.graph_exponents[name] = int(exponent.item())
        flush = np.full(one, self._tiny) + exponent
        dimensions = ("batch", *shape[1:]) if self.network.batched else shape
        return Lane(self.graph.input(name, dimensions), exponent, magnitude, flush, 1)

    def constant(self, values: np.ndarray) -> Lane:
        """A lane of given numbers >= 0, of the rank of the tensor that it is added to."""
        magnitude = mag.log2(values)
        largest = float(magnitude.max())
        exponent = np.full((1,) * values.ndim, 0 if np.isneginf(largest) else int(np.ceil(largest)), np.int64)
        name = self.graph.bind(ldexp(values, -exponent).astype(self.device.dtype))
        return Lane(
            name, exponent, magnitude, np.where(np.isneginf(magnitude), -np.inf, self._tiny + exponent), 1
        )

    def site(self, node: Node) -> Site:
        return Site.of(self.network, node)

    def _record(self, site: Site | None, inputs: Sequence[str], output: str, **kept: Any) -> None:
        self.tape.append(Step(site, tuple(inputs), output, **kept))

    @staticmethod
    def _both(lanes: Sequence[Lane], emit: Callable[[list[str]], str]) -> tuple[str, str | None]:
        """A linear step with weights 1, emitted for values and, where there are any, for their signed
        companions."""
        output = emit([lane.tensor for lane in lanes])
        signed = any(lane.signed for lane in lanes)
        return output, emit([lane.signed or lane.tensor for lane in lanes]) if signed else None

    def align(self, lane: Lane, target: np.ndarray) -> Lane:
        """The same lane with exponents `target` >= its own (where it is not zero): one multiplication by
        powers of two."""
        shift = np.minimum(lane.exponent - target, 0)
        if not shift.any():
            return replace(lane, exponent=target)
        gone = shift < self._tiny
        factor = np.where(gone, 0.0, np.exp2(np.maximum(shift, self._tiny))).astype(self.device.dtype)
        name = self.graph.factor(factor)
        output = self.graph.op("Mul", [lane.tensor, name])
        self._record(None, [lane.tensor], output, factor=name)
        signed = lane.signed and self.graph.op("Mul", [lane.signed, name])
        tiny = self._tiny if lane.profile is None else self._tiny - np.log2(lane.profile.min())
        lost = np.where(gone, lane.log2, np.where(shift < 0, tiny + target, -np.inf))
        return replace(
            lane, tensor=output, exponent=target, flush=mag.add_log2(lane.flush, lost), signed=signed
        )

    @staticmethod
    def _roomy(exponent: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
        """The exponents, larger ones where the magnitude is beyond their reach."""
        with np.errstate(invalid="ignore"):
            if not (magnitude - exponent > mag.HEADROOM).any():
                return exponent
        return np.maximum(exponent, mag.choose_exponent(magnitude, int(exponent.max())))

    def _capped(self, magnitude: np.ndarray, index: int = 0) -> np.ndarray:
        """The magnitude bound of the index-th lane to be made, no more than what a run has measured."""
        cap = self.calibration.caps.get(self._count + index)
        return (
            magnitude
            if cap is None
            else np.minimum(magnitude, cap.reshape(-1) if magnitude.ndim == 1 else cap)
        )

    def _floored(self, lane: Lane, number: int) -> Lane:
        """What underflow lost, as a part of the value in channels whose cells are all known to be large
        enough."""
        floor = self.calibration.floors.get(number)
        if floor is None:
            return lane
        with np.errstate(invalid="ignore"):
            part = np.where(np.isfinite(lane.flush), lane.flush - floor, -np.inf)
        small = part < -20
        worst = float(np.where(small, part, -np.inf).max())
        flush = np.where(small, -np.inf, np.broadcast_to(lane.flush, small.shape))
        return replace(lane, flush=flush, relative=lane.relative + 2.0 ** (worst + 1))

    def _measured(self, lanes: Sequence[Lane], channel: int) -> list[Lane]:
        """The next lanes to be numbered, with what a run has measured of them; where one is to measure, their
        extremes become outputs."""
        lanes = [self._floored(lane, self._count + k) for k, lane in enumerate(lanes)]
        if self.calibration.measure:
            for k, lane in enumerate(lanes):
                self._probe(self._count + k, lane, channel)
        self._count += len(lanes)
        return lanes

    def _probe(self, number: int, lane: Lane, channel: int) -> None:
        rank = lane.exponent.ndim
        axes = [axis for axis in range(rank) if axis != channel % rank or axis == 0]
        if any(lane.exponent.shape[axis] > 1 for axis in axes):
            return
        g = self.graph
        ends = [
            g.output(g.op(op, [lane.tensor, g.ints(axes)], keepdims=1)) for op in ("ReduceMax", "ReduceMin")
        ]
        self.probes.append(Probe(number, ends[0], ends[1], lane))

    def add(self, lanes: Sequence[Lane]) -> Lane:
        """The sum of lanes of one shape."""
        return lanes[0] if len(lanes) == 1 else self._sum(lanes, mag.add_log2(*[lane.log2 for lane in lanes]))

    def _sum(self, lanes: Sequence[Lane], magnitude: np.ndarray, capped: bool = False) -> Lane:
        """The sum of lanes, at most 2**magnitude; capped: by a measurement, which no profile refines."""
        target = self._roomy(common_exponent(lanes), magnitude)
        aligned = [self.align(lane, target) for lane in lanes]
        inputs = [lane.tensor for lane in aligned]
        output, signed = self._both(
            aligned, lambda tensors: self.graph.op("Add" if len(tensors) == 2 else "Sum", tensors)
        )
        self._record(None, inputs, output)
        flush = mag.add_log2(*[lane.flush for lane in aligned])
        profile = None
        if not capped and any(lane.profile is not None for lane in aligned):
            flush, profile = summed(aligned, magnitude)
        return Lane(
            output, target, magnitude, flush,
            max(lane.roundings for lane in aligned) + len(lanes) - 1, max(lane.relative for lane in aligned),
            profile, signed,
        )  # fmt: skip

    def minimum(self, lanes: Sequence[Lane]) -> Lane:
        """The element-wise minimum of upper bounds of one quantity, at the exponents of the one with the
        smallest magnitude.

        A bound that would need a factor beyond 2**120 is left out: a minimum over fewer bounds is a bound.
        The magnitude is kept within the exponents' reach, so that weights folded into the next layer stay
        finite.
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
                factor = self.graph.factor(np.exp2(shift).astype(self.device.dtype))
                tensor = self.graph.op("Mul", [lane.tensor, factor])
                self._record(None, [lane.tensor], tensor, factor=factor)
            kept.append(tensor)
            lost = np.where(shift < 0, self._tiny + first.exponent, -np.inf)
            flush = np.maximum(flush, mag.add_log2(lane.flush, lost))
            magnitude = np.minimum(magnitude, lane.log2)
            roundings = max(roundings, lane.roundings)
        if len(kept) == 1:
            return first
        magnitude = np.maximum(magnitude, first.exponent - 2.0 * mag.WINDOW)
        relative = max(lane.relative for lane in lanes)
        output = self.graph.op("Min", kept)
        self._record(None, kept, output, selects=True)
        return Lane(output, first.exponent, magnitude, flush, roundings, relative)

    def maximum(self, lanes: Sequence[Lane]) -> Lane:
        """The element-wise maximum of lanes of one shape."""
        target = common_exponent(lanes)
        aligned = [self.align(lane, target) for lane in lanes]
        inputs = [lane.tensor for lane in aligned]
        output = self.graph.op("Max", inputs)
        self._record(None, inputs, output, selects=True)
        return Lane(
            output, target, reduce(np.maximum, [lane.log2 for lane in aligned]),
            reduce(np.maximum, [lane.flush for lane in aligned]), max(lane.roundings for lane in aligned),
            max(lane.relative for lane in aligned),
        )  # fmt: skip

    def bend(self, lane: Lane, gain: float, offset: float = 0.0, cap: float | np.ndarray = np.inf) -> Lane:
        """min(gain · x + offset, cap) for numbers gain > 0, offset >= 0, and caps >= 0 that broadcast to x,
        at exponents that fit.

        The lane itself where that changes nothing; offset and cap join `limits`. Before a cap much smaller
        than the lane, a value may overflow to infinity: the minimum makes it the cap. (docs/theory.md,
        section 6.5)
        """
        magnitude = lane.log2 + (np.log2(gain) + 1e-9) if gain != 1 else lane.log2
        if offset > 0:
            magnitude = mag.add_log2(magnitude, np.full_like(magnitude, np.log2(offset) + 1e-9))
        ceiling = mag.log2(np.asarray(cap, np.float64))
        capped = bool((magnitude > ceiling).any())
        if gain == 1 and offset == 0 and not capped:
            return lane
        magnitude = np.minimum(magnitude, ceiling + 1e-9) if capped else magnitude
        target = mag.choose_exponent(magnitude, int(lane.exponent.max()))
        tensor, roundings = self._shifted(lane.tensor, lane.exponent - target, gain), lane.roundings + 2
        if offset > 0:
            tensor, roundings = self._with("Add", tensor, offset, target), roundings + 1
        if capped:
            tensor = self._with("Min", tensor, cap, target)
        lost = mag.add_log2(lane.flush + (np.log2(gain) + 1e-9), self._tiny + 4.0 + target)
        # what is lost of a value is at most the value
        return Lane(tensor, target, magnitude, np.minimum(lost, magnitude), roundings, lane.relative)

    def _with(self, op_type: str, tensor: str, value: float | np.ndarray, exponent: np.ndarray) -> str:
        """The sum or minimum with numbers at these exponents, rounded to nearest; infinite where it is out of
        range."""
        with np.errstate(over="ignore", under="ignore"):
            name = self.graph.bind(ldexp(value, -exponent).astype(self.device.dtype))
        output = self.graph.op(op_type, [tensor, name])
        self._record(None, [tensor, name], output, selects=op_type == "Min")
        magnitude = np.broadcast_to(
            mag.log2(np.asarray(value, np.float64)),
            (1,) * exponent.ndim if np.ndim(value) == 0 else np.shape(value),
        )
        self.limits.append(Lane(name, exponent, magnitude, np.full_like(magnitude, -np.inf), 1))
        return output

    def _shifted(self, tensor: str, shift: np.ndarray, gain: float) -> str:
        """x · gain · 2**shift in factors within the range of the dtype; what is too large becomes infinite,
        never NaN."""
        reach = 100 if self.device.dtype == np.float32 else 900
        while True:
            part = np.clip(shift, -reach, reach)
            factor = (gain * np.exp2(part.astype(np.float64))).astype(self.device.dtype)
            if (factor != 1).any():
                name = self.graph.factor(factor)
                output = self.graph.op("Mul", [tensor, name])
                self._record(None, [tensor], output, factor=name)
                tensor = output
            shift, gain = shift - part, 1.0
            if not shift.any():
                return tensor

    def through(self, node: Node, lanes: Sequence[Lane]) -> Lane:
        """A node without parameters, applied to one lane of each of its inputs."""
        operator, site = OPERATORS[node.op], self.site(node)
        if operator.kind == "relu":
            return lanes[0]
        if operator.kind == "movement":
            inputs = [lane.tensor for lane in lanes]
            output, signed = self._both(lanes, lambda tensors: operator.emit(self.graph, site, tensors))
            self._record(site, inputs, output)
            exponent, log2, flush = (
                operator.image(site, [getattr(lane, key) for lane in lanes])
                for key in ("exponent", "log2", "flush")
            )
            roundings = max(lane.roundings for lane in lanes)
            relative = max(lane.relative for lane in lanes)
            return Lane(output, exponent, log2, flush, roundings, relative, signed=signed)
        if operator.kind not in ("sum", "max"):
            raise MissingFactError(node.op, "what it makes of non-negative values")
        keep_maximum = operator.kind == "max" and self.sharp
        if operator.merges:
            return self.maximum(lanes) if keep_maximum else self._added(lanes)
        terms = operator.terms(site)
        grown = (
            0.0
            if keep_maximum
            else float(np.log2(operator.gain(site) if operator.kind == "sum" else terms)) + 1e-9
        )
        magnitude = self._capped(operator.image(site, [lanes[0].log2]) + grown)
        # a pool or a reduction: exponents must not vary inside a window
        lane = self.align(
            lanes[0], self._roomy(settled(operator.image(site, [lanes[0].live()]), lanes[0]), magnitude)
        )
        emit = operator.total if operator.total is not None and not keep_maximum else operator.emit
        output, signed = self._both([lane], lambda tensors: emit(self.graph, site, tensors))
        self._record(site, [lane.tensor], output, selects=keep_maximum)
        flush = operator.image(site, [lane.flush]) + grown
        if not keep_maximum:  # the mean that a sum may be spelled with
            lost = self._tiny + 2 + float(np.log2(terms)) + lane.exponent
            flush = np.where(np.isneginf(magnitude), -np.inf, mag.add_log2(flush, lost))
        roundings = lane.roundings + (0 if keep_maximum else terms + 2)
        return self._measured(
            [Lane(output, lane.exponent, magnitude, flush, roundings, lane.relative, signed=signed)], 1
        )[0]

    def _added(self, lanes: Sequence[Lane]) -> Lane:
        """The sum of what a node reads."""
        bound = mag.add_log2(*[lane.log2 for lane in lanes])
        magnitude = self._capped(bound)
        return self._measured([self._sum(lanes, magnitude, magnitude is not bound)], 1)[0]
