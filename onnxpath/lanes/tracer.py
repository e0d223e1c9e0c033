"""The tracer: a pass says, node by node, which combinations of lanes and non-negative coefficients it needs
(`Request`); this emits them, with what each lane's certificate needs: magnitude, exponent, underflow,
roundings.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.lanes import magnitude as mag
from onnxpath.lanes import profile
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request, settled
from onnxpath.lanes.products import Prepared, Products
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.condense import deep

Bounded = tuple[np.ndarray, ...]
"""log2 of bounds of every channel: the magnitude, and what underflow lost of it."""
# Entries of a weight whose moduli are taken at a time.
_BLOCK = 1 << 17


def _part(flush: np.ndarray, magnitude: np.ndarray) -> float:
    """log2 of the largest part of a channel's bound that underflow may have lost."""
    finite = np.isfinite(flush)
    return float((flush[finite] - magnitude[finite]).max()) if finite.any() else -np.inf


def _in_rows(site: Site) -> bool:
    """Whether the channel sums of some rows of the weight are those rows of its channel sums: of a matrix,
    and of kernels that may be stacked."""
    return OPERATORS[site.node.op].stack(site) == 0 or len(site.node.coefficients.shape) == 2


def _totals(requests: Sequence[Request], magnitudes: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """log2 of bounds of the sum of every group."""
    totals: dict[int, np.ndarray] = {}
    for request, magnitude in zip(requests, magnitudes, strict=True):
        before = totals.get(request.group)
        totals[request.group] = magnitude if before is None else mag.add_log2(before, magnitude)
    return totals


class Tracer(Products):
    """Emits the lanes of a pass over a network."""

    def __init__(
        self, network: Network, device: Device, sharp: bool = False, calibration: Calibration | None = None
    ):
        super().__init__(network, device, sharp, calibration)
        self._profiled = deep(network)

    def linear(self, node: Node, requests: Sequence[Request]) -> list[Lane]:
        """One lane per request (see `Request`)."""
        site = self.site(node)
        elementwise = OPERATORS[node.op].diagonal
        lanes = self._elementwise(site, requests) if elementwise else self._contraction(site, requests)
        return self._measured(lanes, 1 if elementwise else OPERATORS[node.op].contracted(site)[1])

    def _elementwise(self, site: Site, requests: Sequence[Request]) -> list[Lane]:
        prepared = []
        for index, request in enumerate(requests):
            lane, weight, bias = request.lane, request.weight, request.bias
            gain = (
                np.zeros((1,) * len(site.output_shape))
                if weight is None
                else mag.log2(weight.array) + weight.power
            )
            magnitude = (
                lane.log2 + gain if lane is not None else np.full((1,) * len(site.output_shape), -np.inf)
            )
            if bias is not None:
                magnitude = mag.add_log2(magnitude, mag.log2(bias.array) + bias.power)
            magnitude = self._capped(magnitude, index)
            prepared.append((gain, magnitude))
        totals = _totals(requests, [magnitude for _, magnitude in prepared])
        lanes = []
        for request, (gain, magnitude) in zip(requests, prepared, strict=True):
            lane, weight, bias = request.lane, request.weight, request.bias
            previous = int(lane.exponent.max()) if lane is not None else 0
            target = mag.choose_exponent(totals[request.group], previous)
            output = self._scaled_element(site, request, target)
            companion = request.with_signs()
            signed = self._scaled_element(site, companion, target) if companion is not None else None
            if lane is None:
                assert bias is not None
                flush = self._bias_flush(bias, target)
                lanes.append(Lane(output, target, magnitude, flush, bias.roundings + 1, signed=signed))
                continue
            weight = weight or self._unit(site)
            ceiling = np.maximum(0.0, (lane.log2 - lane.exponent).max())
            lost = np.maximum(self._tiny, weight.underflow(lane.exponent - target))
            flush = mag.add_log2(lane.flush + gain, lost + 2 + target + ceiling)
            flush = np.where(np.isneginf(magnitude), -np.inf, flush)
            roundings = lane.roundings + 2 + weight.roundings + (bias.roundings if bias else 0)
            lanes.append(Lane(output, target, magnitude, flush, roundings, lane.relative, signed=signed))
        return lanes

    def _unit(self, site: Site) -> Coefficient:
        """The weight of an elementwise node that has none."""
        return Coefficient(np.ones((1,) * len(site.output_shape), self.device.dtype))

    def _scaled_element(self, site: Site, request: Request, target: np.ndarray) -> str:
        """Emit an elementwise request at exponents `target`."""
        lane, bias = request.lane, request.bias
        bias_name = self._bind(bias, np.zeros_like(target), target) if bias is not None else None
        if lane is None:
            assert bias_name is not None
            return self._spread(bias_name, site)
        name = self._bind(request.weight or self._unit(site), lane.exponent, target)
        output = OPERATORS[site.node.op].emit(self.graph, site, [lane.tensor], name, bias_name)
        self._record(site, [lane.tensor], output, weight=name)
        return output

    def _bias_flush(self, bias: Coefficient, target: np.ndarray) -> np.ndarray:
        """What scaling a bias by powers of two (or storing it rounded before that) may have lost."""
        return np.maximum(self._tiny, bias.underflow(-target)) + 2.0 + target

    @staticmethod
    def _matrices(site: Site, weight: Coefficient) -> Iterator[np.ndarray]:
        """Channel sums of a coefficient (groups, out, in); those of an unsigned array rows by rows, while its
        moduli are in the processor's cache."""
        operator = OPERATORS[site.node.op]
        if weight.unsigned and _in_rows(site):
            axis, stored = operator.weight_axes(site)[0], weight.stored
            step = max(1, _BLOCK * stored.shape[axis] // max(1, stored.size))
            for rows in np.split(stored, range(step, stored.shape[axis], step), axis):
                yield operator.matrix(site, np.abs(rows))
        else:
            yield operator.matrix(site, weight.array)

    def _propagated(
        self, site: Site, wanted: Sequence[tuple[Coefficient, int]], bounds: Mapping[int, Bounded]
    ) -> dict[tuple[int, int], Bounded]:
        """What the channel sums of coefficients make of lanes' `bounds`, by the coefficient's identity and
        the lane's key. Every array is read once, for all its lanes; a sum has the bounds of its parts."""
        read: dict[int, tuple[Coefficient, dict[int, None]]] = {}
        for weight, key in wanted:
            for part in weight.leaves():
                read.setdefault(id(part), (part, {}))[1][key] = None
        found: dict[tuple[int, int], Bounded] = {}
        for part, keys in read.values():
            pairs = [bounds[key] for key in keys]
            rows = [mag.propagate(matrix, pairs) for matrix in self._matrices(site, part)]
            for key, ends in zip(keys, zip(*rows, strict=True), strict=True):
                found[id(part), key] = tuple(np.concatenate(end) for end in zip(*ends, strict=True))
        for weight, key in wanted:
            if weight.parts:
                parts = [found[id(part), key] for part in weight.leaves()]
                found[id(weight), key] = tuple(mag.add_log2(*ends) for ends in zip(*parts, strict=True))
        return found

    def _wants_profile(self, site: Site, index: int) -> bool:
        """Whether a profile refines the bound of the index-th lane to be made."""
        measured = self._count + index in self.calibration.caps
        return self._profiled and profile.applies(site) and not measured

    def _contraction(self, site: Site, requests: Sequence[Request]) -> list[Lane]:
        aligned, bounds = self._aligned(site, requests)
        profiled = [self._wants_profile(site, index) for index in range(len(requests))]
        plain = [
            (request.weight, id(request.lane))
            for request, other in zip(requests, profiled, strict=True)
            if request.lane is not None and request.weight is not None and not other
        ]
        propagated = self._propagated(site, plain, bounds)
        prepared: list[Prepared] = []
        previous: dict[int, int] = {}
        for index, request in enumerate(requests):
            if request.lane is None:
                made = self._bias_bounds(site, request)
            else:
                key = id(request.lane)
                ends = None if profiled[index] else propagated[id(request.weight), key]
                made = self._product_bounds(site, request, aligned[key], bounds[key], ends)
            prepared.append(replace(made, magnitude=self._capped(made.magnitude, index)))
            if made.exponent is not None:
                previous[request.group] = int(made.exponent.max())
        totals = _totals(requests, [made.magnitude for made in prepared])
        targets = {
            group: mag.choose_exponent(total, previous.get(group, 0)) for group, total in totals.items()
        }
        tensors = self._emit_products(site, requests, prepared, targets)
        return [
            self._made(site, request, made, targets[request.group], *ends)
            for request, made, ends in zip(requests, prepared, tensors, strict=True)
        ]

    def _aligned(self, site: Site, requests: Sequence[Request]) -> tuple[dict[int, Lane], dict[int, Bounded]]:
        """The lanes that requests read, with one exponent per channel, and their bounds; by identity."""
        axis, _ = OPERATORS[site.node.op].contracted(site)
        n = site.input_shapes[0][axis]
        aligned: dict[int, Lane] = {}
        bounds: dict[int, Bounded] = {}
        for lane in (request.lane for request in requests if request.lane is not None):
            if id(lane) not in aligned:
                made = self.align(lane, settled(mag.largest_along(lane.live(), axis), lane))
                aligned[id(lane)] = made
                ends = (mag.largest_along(part, axis) for part in (made.log2, made.flush))
                bounds[id(lane)] = tuple(mag.vector(end, axis, n) for end in ends)
        return aligned, bounds

    def _bias_bounds(self, site: Site, request: Request) -> Prepared:
        """Of a request without a lane."""
        length = site.output_shape[OPERATORS[site.node.op].contracted(site)[1]]
        nothing = np.full(length, -np.inf)
        return Prepared(None, None, nothing if request.bias is None else self._bias_log2(site, request.bias),
                        nothing, None)  # fmt: skip

    def _product_bounds(
        self, site: Site, request: Request, lane: Lane, pair: Bounded, ends: Bounded | None
    ) -> Prepared:
        """Of a request for an aligned lane with the bounds `pair`. ends: what the channel sums of its weight
        make of these; None where a profile tells more."""
        weight = request.weight
        assert weight is not None
        offset = None if request.bias is None else self._bias_log2(site, request.bias)
        axis, _ = OPERATORS[site.node.op].contracted(site)
        exponent = mag.vector(lane.exponent, axis, len(pair[0]))
        if ends is None:
            under = None if offset is None else offset - weight.power
            alone, magnitude, shape = profile.through(site, weight.array, pair[0], lane.profile, under)
            flush = alone + weight.power + _part(pair[1], pair[0])
            return Prepared(lane, exponent, magnitude + weight.power, flush, shape)
        magnitude, flush = (part + weight.power for part in ends)
        magnitude = magnitude if offset is None else mag.add_log2(magnitude, offset)
        return Prepared(lane, exponent, magnitude, flush, None)

    def _made(
        self,
        site: Site,
        request: Request,
        made: Prepared,
        target: np.ndarray,
        tensor: str,
        signed: str | None,
    ) -> Lane:
        """The lane of an emitted request, at exponents `target`."""
        operator, lane, relative = OPERATORS[site.node.op], made.lane, 0.0
        roundings = request.bias.roundings + 1 if request.bias is not None else 0
        if lane is not None:
            assert request.weight is not None and made.exponent is not None
            axis, terms = operator.contracted(site)[0], operator.terms(site)
            ceiling = max(0.0, float((mag.largest_along(lane.log2, axis) - lane.exponent).max()))
            # a product, or a weight scaled by a power of two (or stored rounded before that), may underflow
            lost = np.maximum(self._tiny, request.weight.underflow(made.exponent.max() - target))
            least = 0.0 if made.profile is None else np.log2(made.profile.min())
            local = np.log2(terms + 1) + lost + 2 + ceiling + target - least
            flush = mag.add_log2(made.flush, np.broadcast_to(local, made.flush.shape))
            roundings = max(roundings, request.weight.roundings + lane.roundings + terms) + 1
            relative = lane.relative
        else:
            assert request.bias is not None
            flush = np.broadcast_to(self._bias_flush(request.bias, target), made.magnitude.shape)
        flush = np.where(np.isneginf(made.magnitude), -np.inf, flush)
        channel, rank = operator.contracted(site)[1], len(site.output_shape)
        exponent, log2, flush = (mag.along(v, channel, rank) for v in (target, made.magnitude, flush))
        return Lane(tensor, exponent, log2, flush, roundings, relative, made.profile, signed)

    def _bias_log2(self, site: Site, bias: Coefficient) -> np.ndarray:
        """log2 of the bias of every channel, rounded up to the largest of its cells."""
        axis = OPERATORS[site.node.op].contracted(site)[1]
        array = OPERATORS[site.node.op].wide_bias(site, bias.array)
        return (
            mag.log2(mag.vector(mag.largest_along(array, axis), axis, site.output_shape[axis])) + bias.power
        )
