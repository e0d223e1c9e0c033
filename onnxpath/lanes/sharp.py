"""The difference pass in sharp mode: certified bounds on |R_P(x)_v - R_Q(x)_v| (docs/theory.md, section 4).

For inputs |x_i| <= r_i carry, at every neuron, aP >= |hP|, aQ >= |hQ|, am >= |hm| (m: the network of minima),
dP >= |hP - hm|, dQ >= |hQ - hm| and D >= |hP - hQ|. Max-pooling stays a maximum: |max x - max y| <= max |x -
y|. At a linear neuron

    D = min( |P| D + (U + V) aQ + |Δb|,   |Q| D + (U + V) aP + |Δb|,   dP + dQ,   aP + aQ ),

Each is a bound neuron by neuron, and so are bounds from elsewhere (`limits`), so the minimum is one; no sign
condition is needed. Lanes that coincide so far (no difference yet, or m = Q for a monotone pair) are one
lane; while m = Q the second form is the smallest, as D >= aP - aQ, and aP bounds it where all nodes are
linear or ReLUs (m = P: the same, exchanged). At an activation f with |f(s) - f(t)| <= L |s - t| + jump
(ops/function.py; ReLU is one of them)

    a' = min(sup|f|, |f(0)| + L a + jump),    D', dP', dQ' = min(L D + jump, sup f - inf f),
    D' <= max(aP', aQ') + min((-inf f)+, (sup f)+),

and at a PRelu with slopes α_P, α_Q the weighted rule with max(1, |α|) for |W| on the magnitudes and
differences that pass through, and |α_P - α_Q| = U + V for what is injected. Where P or Q quantizes a tensor
(boxes/ranges.py, docs/quantization.md)

    D' = D + half + overflow  (one side),    D' = D + s  (one quantizer on both),
    a' = min(size of the grid, a + half).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from onnxpath.boxes.ranges import Roundings, Shift, Static
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.lanes.coefficients import Pair, total
from onnxpath.lanes.difference import Twin, split_node, through, zeros, zeros_like
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS
from onnxpath.ops.function import Constants, up

Injected = list[tuple[Node, Lane, str]]
"""The lanes that bring something new into the distances, with the node that does and the kind: (U + V) a +
|Δb| and caps are "weights"; quantizers bring "rounding" and "saturation"."""


class Limit(Protocol):
    """log2 of bounds on |h| in either network, and on the difference; broadcastable to a tensor's shape."""

    @property
    def p(self) -> np.ndarray: ...
    @property
    def q(self) -> np.ndarray: ...
    @property
    def d(self) -> np.ndarray: ...


# log2 of numbers that are no limit, and of the least limit: smaller numbers could be rounded to 0.
_BEYOND = 1000.0
_LEAST = -1000.0


@dataclass(frozen=True, eq=False)
class Bounds:
    """The lanes of one tensor; d, p, q (for D, dP, dQ) are None while zero. ap or aq may be the lane `am`
    itself."""

    am: Lane
    ap: Lane
    aq: Lane
    p: Lane | None = None
    q: Lane | None = None
    d: Lane | None = None


class _Weighted:
    """The requests of one weighted node, by name."""

    def __init__(self, weight: Pair | None, bias: Pair | None, nothing: Coefficient | None):
        self.w = {key: getattr(weight, key) if weight else None for key in "muvpq"}
        self.b = {key: getattr(bias, key) if bias else None for key in "muvpq"}
        if weight is not None:
            for key in "mpq":
                self.w[key] = self.w[key] or nothing
        self.plain = weight is None
        self.w["delta"], self.b["delta"] = total(self.w["u"], self.w["v"]), total(self.b["u"], self.b["v"])
        self.requests: list[Request] = []
        self.names: list[str] = []
        self.new: list[bool] = []
        self.groups: dict[str, int] = {}

    def want(self, name: str, key: str, lane: Lane | None, bias: str | None = None) -> None:
        """`name` gets the coefficient `key` times the lane, plus that bias."""
        coefficient, offset = self.w[key], self.b[bias] if bias else None
        used = lane is not None and (coefficient is not None or (self.plain and key in "mpq"))
        if used or offset is not None:
            group = self.groups.setdefault(name, len(self.groups))
            self.names.append(name)
            self.new.append(key in ("u", "v", "delta"))
            self.requests.append(
                Request(lane, coefficient, offset, group) if used else Request(None, None, offset, group)
            )

    def run(self, tracer: Tracer, node: Node, injected: "Injected") -> dict[str, Lane]:
        made = tracer.linear(node, self.requests)
        injected += [(node, lane, "weights") for lane, new in zip(made, self.new, strict=True) if new]
        found: dict[str, list[Lane]] = {}
        for name, lane in zip(self.names, made, strict=True):
            found.setdefault(name, []).append(lane)
        return {name: tracer.add(lanes) for name, lanes in found.items()}


def _steep(slopes: Pair, lipschitz: Callable[[np.ndarray], np.ndarray], rank: int, dtype: np.dtype) -> Pair:
    """The coefficients of an activation with a weight: what it multiplies values and differences by at
    most."""

    def bounded(slope: Coefficient | None) -> Coefficient:
        if slope is None:
            return Coefficient(np.ones((1,) * rank, dtype))
        return Coefficient(lipschitz(slope.array), slope.power, slope.roundings, converted=slope.converted)

    return replace(slopes, m=bounded(slopes.m), p=bounded(slopes.p), q=bounded(slopes.q))


def _linear(tracer: Tracer, node: Node, twin: Twin, x: Bounds, injected: Injected, sizes: bool) -> Bounds:
    weight, bias = split_node(node, twin, tracer.device.dtype, whole=True)
    operator = OPERATORS[node.op]
    if operator.kind == "activation":
        assert weight is not None
        rank = len(tracer.network.shapes[node.output])
        weight = _steep(weight, operator.lipschitz, rank, tracer.device.dtype)
        node = replace(node, op="Scale")
    asked = _Weighted(weight, bias, zeros(node, twin, tracer.device.dtype) if weight is not None else None)
    grows = asked.w["v"] is not None or asked.b["v"] is not None
    shrinks = asked.w["u"] is not None or asked.b["u"] is not None
    same_p, same_q = x.ap is x.am and not shrinks, x.aq is x.am and not grows
    asked.want("am", "m", x.am, "m")
    if not same_p:
        asked.want("ap", "p", x.ap, "p")
    if not same_q:
        asked.want("aq", "q", x.aq, "q")
    triangle = not same_p and not same_q
    if triangle:
        asked.want("p", "p", x.p)
        asked.want("p", "u", x.am, "u")
        asked.want("q", "q", x.q)
        asked.want("q", "v", x.am, "v")
    if x.d is not None or grows or shrinks:
        for name, key, other, useful in (("first", "p", x.aq, not same_q), ("second", "q", x.ap, not same_p)):
            if useful:
                asked.want(name, key, x.d)
                asked.want(name, "delta", other, "delta")
    made = asked.run(tracer, node, injected)
    am = made["am"]
    ap, aq = am if same_p else made.get("ap", am), am if same_q else made.get("aq", am)
    candidates = [made[name] for name in ("first", "second") if name in made]
    if not candidates:
        return Bounds(am, ap, aq)
    if not triangle:
        # m is one of the two networks: the distance to the other one is D itself
        (d,) = candidates
        return Bounds(am, ap, aq, *((d, None) if same_q else (None, d)), d)
    p, q = made.get("p"), made.get("q")
    if p is not None and q is not None:
        candidates.append(tracer.add([p, q]))
    if sizes:
        candidates.append(tracer.add([ap, aq]))
        injected.append((node, candidates[-1], "weights"))
    return Bounds(am, ap, aq, p, q, tracer.minimum(candidates))


def _passed(tracer: Tracer, node: Node, before: list[Bounds]) -> Bounds:
    base = [x.am for x in before]
    am = tracer.through(node, base)
    ap = am if all(x.ap is x.am for x in before) else tracer.through(node, [x.ap for x in before])
    aq = am if all(x.aq is x.am for x in before) else tracer.through(node, [x.aq for x in before])
    p, q, d = (through(tracer, node, [getattr(x, key) for x in before], base) for key in "pqd")
    return Bounds(am, ap, aq, p, q, d)


def _activated(
    tracer: Tracer, node: Node, f: Constants, x: Bounds, injected: Injected, sizes: bool
) -> Bounds:
    def size(lane: Lane) -> Lane:
        return tracer.bend(lane, f.lipschitz, up(f.at_zero + f.jump) if f.jump else f.at_zero, f.size)

    def distance(lane: Lane | None) -> Lane | None:
        return None if lane is None else tracer.bend(lane, f.lipschitz, f.jump, f.width)

    before = len(tracer.limits)
    am = size(x.am)
    ap = am if x.ap is x.am else size(x.ap)
    aq = am if x.aq is x.am else size(x.aq)
    d = distance(x.d)
    # two ReLUs of which one is m never differ by more than the other one's size, and D says so already
    if (
        sizes
        and d is not None
        and np.isfinite(f.beyond_zero)
        and (f.beyond_zero > 0 or (ap is not am and aq is not am))
    ):
        larger = tracer.bend(tracer.maximum([ap, aq]), 1.0, f.beyond_zero)
        injected.append((node, larger, "weights"))
        d = tracer.minimum([d, larger])
    # where m is Q (no dQ) or P the distance to it is D itself
    p = d if x.q is None and x.p is x.d else distance(x.p)
    q = d if x.p is None and x.q is x.d else distance(x.q)
    injected += [(node, lane, "weights") for lane in tracer.limits[before:]]
    return Bounds(am, ap, aq, p, q, d)


def _limited(tracer: Tracer, node: Node, x: Bounds, limit: Limit, injected: Injected) -> Bounds:
    def capped(lane: Lane, log2: np.ndarray) -> Lane:
        if not (log2 < _BEYOND).all():
            return lane
        return tracer.bend(lane, 1.0, cap=np.where(np.isneginf(log2), 0.0, np.exp2(np.maximum(log2, _LEAST))))

    ap, aq = (
        lane if lane is x.am else capped(lane, size) for lane, size in ((x.ap, limit.p), (x.aq, limit.q))
    )
    before = len(tracer.limits)
    d = capped(x.d, limit.d) if x.d is not None else None
    injected += [(node, lane, "weights") for lane in tracer.limits[before:]]
    return Bounds(x.am, ap, aq, d if x.p is x.d else x.p, d if x.q is x.d else x.q, d)


def _quantized(
    tracer: Tracer, node: Node, x: Bounds, found: Roundings, injected: Injected, caps: bool
) -> Bounds:
    def size(lane: Lane, grid: Static | None) -> Lane:
        if grid is None:
            return lane
        cap = np.nextafter(grid.size + grid.half, np.inf)
        return tracer.bend(lane, 1.0, float(np.max(grid.half)), cap if np.ndim(cap) else float(cap))

    grid_p, grid_q = found.grid_p, found.grid_q

    def moved(lane: Lane | None, shift: Shift) -> Lane:
        parts = [lane if lane is not None else zeros_like(tracer, x.am)]
        rank = len(tracer.network.shapes[node.output])
        for values, kind in (
            (np.ones((1,) * rank) * shift.rounding, "rounding"),
            (shift.saturation, "saturation"),
        ):
            if values.any():
                parts.append(tracer.constant(values))
                injected.append((node, parts[-1], kind))
        return tracer.add(parts)

    if found.same or (found.alike and x.d is None):  # and m is quantized as both are
        am = size(x.am, grid_p)
        ap, aq = (am if lane is x.am else size(lane, grid_p) for lane in (x.ap, x.aq))
        if x.d is None:
            return Bounds(am, ap, aq)
        d = moved(x.d, found.d)
        p, q = (None if lane is None else d if lane is x.d else moved(lane, found.d) for lane in (x.p, x.q))
        return Bounds(am, ap, aq, p, q, d)
    d = moved(x.d, found.d)
    if caps:
        d = tracer.bend(d, 1.0, cap=found.cap)
    if x.aq is x.am and grid_p is None:  # m is Q, and goes on to be
        am = size(x.am, grid_q)
        return Bounds(am, x.ap, am, d, None, d)
    if x.ap is x.am and grid_q is None:
        am = size(x.am, grid_p)
        return Bounds(am, am, x.aq, None, d, d)
    # m is not quantized
    p = x.p if found.dp is None else moved(x.p, found.dp)
    q = x.q if found.dq is None else moved(x.q, found.dq)
    return Bounds(
        x.am, size(x.ap, grid_p), size(x.aq, grid_q), d if q is None else p, d if p is None else q, d
    )


def trace(
    network: Network, twin: Twin, device: Device, log2: Mapping[str, float],
    calibration: Calibration | None = None,
    limits: Mapping[str, Limit] | None = None, roundings: Mapping[str, Roundings] | None = None,
    sizes: bool = True,
) -> tuple[Tracer, dict[str, Bounds], Injected]:  # fmt: skip
    """The sharp difference pass as lanes, for inputs r (non-negative, at most 2**log2), and what enters the
    distances where.

    limits: by tensor, other bounds on all its cells, which the lanes of weighted nodes do not exceed.
    roundings: what the quantizers of the pair do, by their output; needed where there are some. sizes: the
    sizes of both networks' values bound their difference, too.
    """
    tracer = Tracer(network, device, sharp=True, calibration=calibration)
    lanes: dict[str, Bounds] = {}
    injected: Injected = []
    for name in network.inputs:
        source = tracer.source(name, network.shapes[name], log2[name])
        lanes[name] = Bounds(source, source, source)
    for node in network.nodes:
        before = [lanes[name] for name in node.inputs]
        operator = OPERATORS[node.op]
        if operator.kind == "weighted" or (operator.kind == "activation" and node.weight is not None):
            lanes[node.output] = _linear(tracer, node, twin, before[0], injected, sizes)
            if limits is not None:
                lanes[node.output] = _limited(tracer, node, lanes[node.output], limits[node.output], injected)
        elif operator.kind == "quantizer":
            assert roundings is not None
            lanes[node.output] = _quantized(tracer, node, before[0], roundings[node.output], injected, sizes)
        elif operator.constants is not None:
            lanes[node.output] = _activated(
                tracer, node, operator.constants(tracer.site(node)), before[0], injected, sizes
            )
        elif operator.kind in ("movement", "sum", "max"):
            lanes[node.output] = _passed(tracer, node, before)
        else:
            raise MissingFactError(node.op, "'constants', by how much it enlarges differences")
    return tracer, lanes, injected
