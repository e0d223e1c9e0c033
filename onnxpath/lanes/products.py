"""Emitting `weight · lane + bias`: kernels that read the same lane stacked, lanes that meet the same matrix
batched.

The product has the exponents E' of the output where W 2**(E - E') meets a lane of exponents E. One power of
two for all of W multiplies the tensors instead, the product where values grow and the lane where they shrink,
so that W is bound as it lies in the file; where channels have powers of their own, or the tensors are larger
than W, it is folded into W on the host.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.lanes import magnitude as mag
from onnxpath.lanes.emission import Emission
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request, Summed
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS


def _concatenated(arrays: list[np.ndarray]) -> np.ndarray:
    """The arrays one after the other; without a copy where they lie so in memory."""
    first, base = arrays[0], arrays[0].base
    if (
        base is not None
        and all(a.base is base and a.flags.c_contiguous for a in arrays)
        and base.flags.c_contiguous
    ):
        places = [(a.ctypes.data - base.ctypes.data) // first.nbytes for a in arrays]
        if base.ndim == first.ndim + 1 and places == list(range(places[0], places[0] + len(arrays))):
            return base[places[0] : places[0] + len(arrays)].reshape(-1, *first.shape[1:])
    return np.concatenate(arrays)


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request before its exponents are chosen: the lane that it reads, with exponents by channel (None and
    None: a bias alone), log2 of bounds by output channel of the magnitude and of what underflow of the lane
    lost, and the profile."""

    lane: Lane | None
    exponent: np.ndarray | None
    magnitude: np.ndarray
    flush: np.ndarray
    profile: np.ndarray | None


@dataclass(frozen=True, eq=False)
class Placed:
    """How the graph holds a weight: an array to bind, of the graph's dtype; modulus: its moduli are what is
    meant; shift: the power of two that multiplies the product where it is negative, the lane otherwise.
    """

    array: np.ndarray
    modulus: bool = False
    shift: int = 0

    @property
    def before(self) -> int:
        return max(self.shift, 0)

    @property
    def after(self) -> int:
        return min(self.shift, 0)


class Products(Emission):
    """The products of weighted nodes."""

    def __init__(
        self, network: Network, device: Device, sharp: bool = False, calibration: Calibration | None = None
    ):
        super().__init__(network, device, sharp, calibration)
        self._scaled: dict[tuple, np.ndarray] = {}
        self._raisings: dict[tuple[str, int], str] = {}

    def _place(
        self, site: Site, lane: Lane, weight: Coefficient, source: np.ndarray, target: np.ndarray
    ) -> Placed:
        """weight · 2**(source - target); lanes and products stay below 2**(WINDOW + HEADROOM)
        (docs/theory.md, section 6)."""
        if source.min() == source.max() and target.size == 1 and weight.dtype == self.device.dtype:
            shift = int(source[0] - target[0]) + weight.power
            cells = prod(site.output_shape if shift < 0 else site.input_shapes[0])
            reach = float((lane.log2 - lane.exponent).max()) if shift > 0 else mag.WINDOW
            roomy = cells < weight.stored.size and abs(shift) <= mag.HEADROOM and reach <= mag.WINDOW
            if shift == 0 or roomy:
                return Placed(weight.stored, weight.unsigned, shift)
        return Placed(self._scaled_weight(site, weight, source, target))

    def _raised(self, tensor: str, shift: int, rank: int) -> str:
        """A tensor times 2**shift, once for whoever reads it."""
        if shift == 0:
            return tensor
        if (tensor, shift) not in self._raisings:
            factor = self.graph.factor(np.full((1,) * rank, 2.0**shift, self.device.dtype))
            output = self._raisings[tensor, shift] = self.graph.op("Mul", [tensor, factor])
            self._record(None, [tensor], output, factor=factor)
        return self._raisings[tensor, shift]

    def _scaled_weight(
        self, site: Site, weight: Coefficient, source: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """weight · 2**(source - target): the same array for requests that share the weight and the
        difference."""
        operator = OPERATORS[site.node.op]
        if source.min() == source.max() and target.size == 1:
            ones = (1,) * weight.array.ndim
            key = (id(weight), int(source[0] - target[0]))
            pair = np.full(ones, source[0]), target.reshape(ones)
        else:
            n = site.output_shape[operator.contracted(site)[1]]
            key = (id(weight), source.tobytes(), target.tobytes())
            pair = operator.shift(site, source, np.broadcast_to(target, (n,)))
        if key not in self._scaled:
            self._scaled[key] = mag.scale_by_powers(
                weight.array, pair[0] + weight.power, pair[1], self.device.dtype
            )
        return self._scaled[key]

    def _emit_products(
        self,
        site: Site,
        requests: Sequence[Request],
        prepared: Sequence[Prepared],
        targets: dict[int, np.ndarray],
    ) -> list[tuple[str, str | None]]:
        """The tensor of every request, and that of its signed companion (None where it is the same)."""
        aligned = [replace(request, lane=made.lane) for request, made in zip(requests, prepared, strict=True)]
        exponents = [made.exponent for made in prepared]
        companions = [
            (k, companion)
            for k, request in enumerate(aligned)
            if (companion := request.with_signs()) is not None
        ]
        aligned += [companion for _, companion in companions]
        exponents += [exponents[k] for k, _ in companions]
        tensors = self._grouped(site, aligned, exponents, targets)
        signed = dict(zip([k for k, _ in companions], tensors[len(requests) :], strict=True))
        return [(tensors[k], signed.get(k)) for k in range(len(requests))]

    def _grouped(
        self,
        site: Site,
        requests: Sequence[Request],
        exponents: Sequence[np.ndarray | None],
        targets: dict[int, np.ndarray],
    ) -> list[str]:
        """Kernels that read the same lane are stacked where the operator can; lanes that meet the same matrix
        are batched."""
        operator, rank = OPERATORS[site.node.op], len(site.input_shapes[0])
        self._scaled, self._raisings = {}, {}
        tensors: list[str] = [""] * len(requests)
        placed: dict[int, Placed] = {}
        kept: dict[int, str] = {}
        groups: dict[object, list[int]] = {}
        stack, batch = operator.stack(site) == 0, site.batched and len(site.output_shape) == 2
        for k, (request, exponent) in enumerate(zip(requests, exponents, strict=True)):
            lane, weight, target = request.lane, request.weight, targets[request.group]
            if lane is None:
                tensors[k] = self._bias_only(site, request.bias, target)
                continue
            assert weight is not None and exponent is not None
            if isinstance(weight, Summed):
                parts = [
                    self.graph.bind(self._scaled_weight(site, part, exponent, target))
                    for part in weight.parts
                ]
                bias = self._scaled_bias(site, request.bias, target)
                tensors[k] = self._product(site, lane.tensor, self.graph.op("Add", parts), bias)
            else:
                use = placed[k] = self._place(site, lane, weight, exponent, target)
                kept[k] = lane.tensor
                read = (lane.tensor, use.before)
                groups.setdefault(read if stack else (id(use.array), *read[1:]) if batch else k, []).append(k)
        for members in groups.values():
            uses = [placed[k] for k in members]
            lanes = [self._raised(kept[k], placed[k].before, rank) for k in members]
            biases = [
                self._scaled_bias(site, requests[k].bias, targets[requests[k].group] + placed[k].after)
                for k in members
            ]
            if len(members) == 1:
                found = [self._single(site, lanes[0], uses[0], biases[0])]
            elif stack:
                found = self._stacked(site, lanes[0], uses, biases)
            else:
                found = self._batched(site, lanes, uses[0], biases)
            for k, tensor, use in zip(members, found, uses, strict=True):
                tensors[k] = self._raised(tensor, use.after, len(site.output_shape))
        self._scaled, self._raisings = {}, {}
        return tensors

    def _single(self, site: Site, x: str, use: Placed, bias: np.ndarray | None) -> str:
        name, extra = self._oriented(site, use)
        return self._product(site, x, name, bias, use.after, **extra)

    def _product(
        self, site: Site, x: str, name: str, bias: np.ndarray | None, shift: int = 0, **extra: bool
    ) -> str:
        y = OPERATORS[site.node.op].emit(
            self.graph, site, [x], name, None if bias is None else self.graph.bind(bias), **extra
        )
        self._record(site, [x], y, weight=name, transposed=bool(extra), shift=shift)
        return y

    def _stacked(self, site: Site, x: str, uses: list[Placed], biases: list[np.ndarray | None]) -> list[str]:
        g, channels = self.graph, site.output_shape[1]
        bias = None
        if any(b is not None for b in biases):
            zeros = np.zeros(channels, self.device.dtype)
            bias = g.bind(np.concatenate([zeros if b is None else b for b in biases]))
        weight = g.bind(_concatenated([use.array for use in uses]))
        if any(use.modulus for use in uses):
            weight = g.op("Abs", [weight])
        y = OPERATORS[site.node.op].emit(g, site, [x], weight, bias, rows=len(uses))
        parts = g.split(y, [channels] * len(uses), 1)
        for part, use in zip(parts, uses, strict=True):
            self._record(site, [x], part, weight=use.array, modulus=use.modulus, shift=use.after)
        return parts

    def _batched(
        self, site: Site, lanes: list[str], use: Placed, biases: list[np.ndarray | None]
    ) -> list[str]:
        g = self.graph
        name, extra = self._oriented(site, use)
        y = OPERATORS[site.node.op].emit(g, site, [g.op("Concat", lanes, axis=0)], name, **extra)
        found = []
        for x, part, bias in zip(lanes, g.parts(y, len(lanes), 0), biases, strict=True):
            self._record(site, [x], part, weight=name, transposed=bool(extra), shift=use.after)
            if bias is not None:
                part = g.op("Add", [part, g.bind(bias)])
                self._record(None, [self.tape[-1].output], part)
            found.append(part)
        return found

    def _oriented(self, site: Site, use: Placed) -> tuple[str, dict]:
        """Bind a weight; one stored as the transpose of a matrix stays as it is stored."""
        array, extra = use.array, {}
        stored = array.ndim == 2 and not array.flags.c_contiguous and array.T.flags.c_contiguous
        if stored and OPERATORS[site.node.op].one_matrix(site):
            array, extra = array.T, {"transposed": True}
        name = self.graph.bind(np.ascontiguousarray(array))
        return self.graph.op("Abs", [name]) if use.modulus else name, extra

    def _scaled_bias(self, site: Site, bias: Coefficient | None, target: np.ndarray) -> np.ndarray | None:
        if bias is None:
            return None
        operator, rank = OPERATORS[site.node.op], len(site.output_shape)
        array = operator.wide_bias(site, bias.array)
        spread = mag.along(target, operator.contracted(site)[1], rank)
        array = np.ascontiguousarray(np.broadcast_to(array, np.broadcast_shapes(array.shape, spread.shape)))
        scaled = mag.scale_by_powers(array, np.full((1,) * rank, bias.power), spread, self.device.dtype)
        return scaled.reshape(-1) if operator.channel_bias else scaled

    def _bias_only(self, site: Site, bias: Coefficient | None, target: np.ndarray) -> str:
        scaled = self._scaled_bias(site, bias, target)
        assert scaled is not None
        wide = OPERATORS[site.node.op].wide_bias(site, scaled)
        return self._spread(self.graph.bind(wide), site)

    def _spread(self, bias: str, site: Site) -> str:
        """A lane that is a bias alone, spread to the shape of the node's output, as many samples as the
        inputs hold."""
        g = self.graph
        if not site.batched:
            return g.op("Expand", [bias, g.ints(site.output_shape)])
        return g.op("Expand", [bias, g.shape_like(next(iter(self.graph_exponents)), site.output_shape[1:])])

    def _bind(self, coefficient: Coefficient, source: np.ndarray, target: np.ndarray) -> str:
        """An elementwise coefficient, spread where the exponents vary but it does not."""
        shape = np.broadcast_shapes(coefficient.array.shape, source.shape, target.shape)
        array = coefficient.array
        if array.shape != shape:
            array = np.ascontiguousarray(np.broadcast_to(array, shape))
        return self.graph.bind(
            mag.scale_by_powers(array, source + coefficient.power, target, self.device.dtype)
        )
