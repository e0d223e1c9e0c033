"""The difference pass in paper mode: an upper bound of the path-metric, without cancellation (docs/theory.md,
section 3).

With m the network of the coordinate-wise minima (where signs agree, else 0), U = |P| - m and V = |Q| - m,
carry at every neuron

    a  = F_m(1)          a' = m a + min bias
    dP = F_P - F_m       dP' = |P| dP + (U a + bias part)
    dQ = F_Q - F_m       dQ' = |Q| dQ + (V a + bias part)

Every path p obeys |Φ_p(P) - Φ_p(Q)| <= (|Φ_p(P)| - Φ_p(m)) + (|Φ_p(Q)| - Φ_p(m)), so Σ over paths is at most
dP + dQ: for any signs, and with equality when the pair is monotone (dQ = 0 or dP = 0). All terms are >= 0.

The terms in parentheses, the injections, say where the difference enters: a layer's share is ⟨injection,
adjoint⟩.

With signs (`signed`): let s_i = sgn(p_i), and -sgn(q_i) where p_i = 0. Σ_p s_p Φ_p(Q) = F_m + T_Q, where T_Q
is made as dQ is, with V < 0 where signs disagree; likewise T_P. |Φ_p(P) - Φ_p(Q)| >= |Φ_p(P)| - s_p Φ_p(Q)
gives the lower ends dP - T_Q and dQ - T_P of the path-metric. |T_Q| <= dQ, and so are the moduli of its
monomials in sum: its rounding is certified by dQ (lanes' companions).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.plan import Output
from onnxpath.engine.session import Device
from onnxpath.lanes import absolute, settle
from onnxpath.lanes.adjoint import products
from onnxpath.lanes.coefficients import Pair, split
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request
from onnxpath.lanes.prefetch import Prefetch
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Node, Parameter, either
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS

Twin = Mapping[str, tuple[Parameter | None, Parameter | None]]
"""The parameters (weight, bias) of the second network, by the output of the first network's node."""


@dataclass(frozen=True, eq=False)
class Trio:
    """The lanes a, dP, dQ of one tensor; dP or dQ is None while it is zero everywhere."""

    a: Lane
    p: Lane | None
    q: Lane | None


@dataclass(frozen=True, eq=False)
class Traced:
    """A traced difference pass: lanes by tensor; by (node output, side) the injected lanes, and which part of
    what is injected stems from coordinates whose signs disagree."""

    tracer: Tracer
    lanes: dict[str, Trio]
    injected: dict[tuple[str, str], Lane]
    against: dict[tuple[str, str], float]


def parameters(
    node: Node, twin: Twin
) -> tuple[Parameter | None, Parameter | None, Parameter | None, Parameter | None, float]:
    """(weight P, weight Q, bias P, bias Q, value of a missing weight)."""
    weight, bias = twin[node.output]
    return node.weight, weight, node.bias, bias, OPERATORS[node.op].missing_weight


def split_node(
    node: Node, twin: Twin, dtype: np.dtype, whole: bool, signed: bool = False
) -> tuple[Pair | None, Pair | None]:
    """m, U, V of the node's weight and bias; None where both networks have none."""
    wp, wq, bp, bq, fill = parameters(node, twin)
    weight = (
        split(wp, wq, dtype, fill=fill, whole=whole, signed=signed)
        if wp is not None or wq is not None
        else None
    )
    bias = split(bp, bq, dtype, signed=signed) if bp is not None or bq is not None else None
    return weight, bias


def zeros(node: Node, twin: Twin, dtype: np.dtype) -> Coefficient:
    """An all-zero weight."""
    return Coefficient(np.zeros(either(node.weight, twin[node.output][0]).shape, dtype))


def _merged(node: Node) -> bool:
    """A matrix is read once for all lanes that meet it: |P| = m + U there, instead of a third array."""
    return OPERATORS[node.op].dense


def _weighted(
    tracer: Tracer,
    node: Node,
    twin: Twin,
    parts: tuple[Pair | None, Pair | None],
    lanes: Trio,
    injected: dict,
) -> Trio:
    merged, (weight, bias) = _merged(node), parts
    base = weight.m if weight is not None else None
    if weight is not None and base is None:
        base = zeros(node, twin, tracer.device.dtype)
    requests = [Request(lanes.a, base, bias.m if bias else None, 0)]
    sides: dict[str, list[int]] = {}
    for side, group in (("p", 1), ("q", 2)):
        excess, lane = ("u", lanes.p) if side == "p" else ("v", lanes.q)
        more = getattr(weight, excess) if weight else None
        more_bias = getattr(bias, excess) if bias else None
        found = sides.setdefault(side, [])
        if more is not None or more_bias is not None:
            injected[node.output, side] = len(requests)
            found.append(len(requests))
            requests.append(Request(lanes.a if more is not None else None, more, more_bias, group))
        if lane is not None:
            full = getattr(weight, side) if weight else None
            for coefficient in [base, more] if merged else [full]:
                if coefficient is not None or weight is None:
                    found.append(len(requests))
                    requests.append(Request(lane, coefficient, None, group))
    made = tracer.linear(node, requests)
    for side in ("p", "q"):
        if (node.output, side) in injected:
            injected[node.output, side] = made[injected[node.output, side]]
    total = {side: tracer.add([made[k] for k in found]) if found else None for side, found in sides.items()}
    return Trio(made[0], total["p"], total["q"])


def zeros_like(tracer: Tracer, lane: Lane) -> Lane:
    """A lane of zeros with the shape of another, batch included."""
    tensor = tracer.graph.op("Mul", [lane.tensor, tracer.graph.scalar(0.0)])
    nothing = np.full((1,) * lane.log2.ndim, -np.inf)
    return Lane(tensor, np.full(nothing.shape, int(lane.exponent.max()), np.int64), nothing, nothing, 0)


def through(tracer: Tracer, node: Node, lanes: list[Lane | None], like: list[Lane]) -> Lane | None:
    """A node without parameters on lanes of which some are zero (None)."""
    if all(lane is None for lane in lanes):
        return None
    kind = OPERATORS[node.op].kind
    present = [lane for lane in lanes if lane is not None]
    if len(present) < len(lanes) and kind in ("sum", "max"):
        return present[0] if len(present) == 1 else tracer.through(node, present)
    return tracer.through(
        node, [lane or zeros_like(tracer, base) for lane, base in zip(lanes, like, strict=True)]
    )


def _against(weight: Pair | None, bias: Pair | None, lane: Lane, k: int) -> float:
    """Roughly which part of an injection stems from coordinates whose signs disagree: biases count 1, weights
    what they multiply (the lane's typical magnitude). An estimate: it only decides whether signs are worth
    carrying."""
    finite = np.sort(lane.log2[np.isfinite(lane.log2)])
    typical = 2.0 ** float(np.clip(finite[finite.size // 2], -500, 500)) if finite.size else 1.0
    parts = [
        (pair.mass[k] * scale, pair.mass[2 + k] * scale)
        for pair, scale in ((weight, typical), (bias, 1.0))
        if pair
    ]
    total = sum(part for _, part in parts)
    return float(sum(part for part, _ in parts) / total) if total > 0 else 0.0


def trace(
    network: Network,
    twin: Twin,
    device: Device,
    log2: Mapping[str, float],
    calibration: Calibration | None = None,
    signed: bool = False,
) -> Traced:
    """The difference pass as lanes; `signed`: dP and dQ with the companions T_P and T_Q."""
    require_paths(network)
    tracer = Tracer(network, device, calibration=calibration)
    lanes: dict[str, Trio] = {
        name: Trio(tracer.source(name, network.shapes[name], log2[name]), None, None)
        for name in network.inputs
    }
    injected: dict = {}
    against: dict[tuple[str, str], float] = {}
    weighted = [node for node in network.nodes if OPERATORS[node.op].kind == "weighted"]
    dtype = device.dtype
    with Prefetch(
        weighted, lambda node: split_node(node, twin, dtype, not (signed or _merged(node)), signed)
    ) as pairs:
        for node in network.nodes:
            if OPERATORS[node.op].kind == "weighted":
                weight, bias = pairs.take()
                lanes[node.output] = _weighted(
                    tracer, node, twin, (weight, bias), lanes[node.inputs[0]], injected
                )
                for k, side in enumerate("pq"):
                    against[node.output, side] = _against(weight, bias, lanes[node.inputs[0]].a, k)
                continue
            before = [lanes[name] for name in node.inputs]
            base = [trio.a for trio in before]
            lanes[node.output] = Trio(
                tracer.through(node, base),
                through(tracer, node, [trio.p for trio in before], base),
                through(tracer, node, [trio.q for trio in before], base),
            )
    return Traced(tracer, lanes, injected, against)


def reached(network: Network, twin: Twin, device: Device) -> dict[tuple[str, str], bool]:
    """Whether dP ("p") or dQ ("q") is not 0 somewhere in an output, by (output, side): whether a path of that
    network without a zero weight, of which a coordinate is changed, ends there. Exact: paths are counted up
    to 1."""
    found = {}
    for side in ("p", "q"):

        def build(calibration: Calibration, side: str = side) -> tuple[Tracer, dict[str, Output], None]:
            tracer = Tracer(network, device, calibration=calibration)
            ends = _reach(tracer, network, twin, side)
            return tracer, {name: absolute.read(tracer, lane) for name, lane in ends.items()}, None

        readings, _ = settle.evaluate(build, absolute.ones(network), device, lambda name: False)
        found |= {
            (name, side): name in readings and bool(readings[name].total().mantissa)
            for name in network.outputs
        }
    return found


def _reach(tracer: Tracer, network: Network, twin: Twin, side: str) -> dict[str, Lane]:
    """Lanes that are 0 exactly where dP or dQ is; outputs that cannot be reached have none."""
    all_paths: dict[str, Lane] = {name: tracer.source(name, network.shapes[name]) for name in network.inputs}
    changed: dict[str, Lane | None] = dict.fromkeys(network.inputs)
    for node in network.nodes:
        if OPERATORS[node.op].kind != "weighted":
            base = [all_paths[name] for name in node.inputs]
            all_paths[node.output] = tracer.bend(tracer.through(node, base), 1.0, cap=1.0)
            after = through(tracer, node, [changed[name] for name in node.inputs], base)
            changed[node.output] = None if after is None else tracer.bend(after, 1.0, cap=1.0)
            continue
        wp, wq, bp, bq, fill = parameters(node, twin)
        mine, other = ((wp, bp), (wq, bq))[:: 1 if side == "p" else -1]
        whole = [
            _indicator(p, q, missing, False, tracer.device.dtype)
            for p, q, missing in zip(mine, other, (fill, 0.0), strict=True)
        ]
        part = [
            _indicator(p, q, missing, True, tracer.device.dtype)
            for p, q, missing in zip(mine, other, (fill, 0.0), strict=True)
        ]
        x, d = all_paths[node.inputs[0]], changed[node.inputs[0]]
        requests = [Request(x, whole[0], whole[1], 0)]
        if part[0] is not None or part[1] is not None:
            requests.append(Request(None if part[0] is None else x, part[0], part[1], 1))
        if d is not None:
            requests.append(Request(d, whole[0], None, 1))
        made = tracer.linear(node, requests)
        all_paths[node.output] = tracer.bend(made[0], 1.0, cap=1.0)
        changed[node.output] = tracer.bend(tracer.add(made[1:]), 1.0, cap=1.0) if made[1:] else None
    return {name: lane for name in network.outputs if (lane := changed[name]) is not None}


def _indicator(
    p: Parameter | None, q: Parameter | None, missing: float, changed: bool, dtype: np.dtype
) -> Coefficient | None:
    """1 where p is not 0 (and |p| > m); None where neither network has the parameter, or nothing is
    changed."""
    if p is None and q is None:
        return None
    shape = either(p, q).shape
    one, other = (np.full(shape, missing) if r is None else np.asarray(r.array(), np.float64) for r in (p, q))
    found = one != 0
    if changed and not any(
        r is not None and r.error for r in (p, q)
    ):  # what is known to an error only is never the same
        found &= (np.sign(one) != np.sign(other)) | (np.abs(one) > np.abs(other))
    return None if changed and not found.any() else Coefficient(found.astype(dtype))


def shares(traced: Traced, outputs: tuple[str, ...]) -> dict[tuple[str, str], tuple[str, int]]:
    """Emit ⟨injection, adjoint⟩ for every injection: (node output, side) -> (scalar tensor, exponent of its
    value)."""
    found = {}
    for side in ("p", "q"):
        ends = {name: lane for name in outputs if (lane := getattr(traced.lanes[name], side)) is not None}
        found |= products(
            traced.tracer, ends, {key: lane for key, lane in traced.injected.items() if key[1] == side}
        )
    return found
