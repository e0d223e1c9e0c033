"""The pass of the ℓ2 path-metric, for any pair of networks (docs/theory.md, section 3.6).

With Δ_p = Φ_p(P) - Φ_p(Q) carry at every neuron the Gram matrix of the two vectors of paths that end there,

    A = Σ Φ_p(Q)²         A' = q² A
    B = Σ Δ_p Φ_p(Q)      B' = pq B + δq A                    δ = p - q
    C = Σ Δ_p²            C' = p² C + 2pδ B + δ² A            since Δ' = p Δ + δ Φ(Q).

A bias starts a path: b_q², δ_b b_q and δ_b² are added. Every monomial of C has the factor δ twice, so that
close pairs lose nothing; but its terms have signs. B and C are therefore lanes with signed companions: the
lane is the sum of the moduli of the monomials, the companion the sum itself, and the lane certifies the
companion's error.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.lanes.coefficients import Gram, gram
from onnxpath.lanes.difference import Twin, parameters, through, zeros
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request
from onnxpath.lanes.prefetch import Prefetch
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS


@dataclass(frozen=True, eq=False)
class Grams:
    """The lanes A, B, C of one tensor; B and C are None while they are zero everywhere."""

    a: Lane
    b: Lane | None = None
    c: Lane | None = None


def _factors(node: Node, twin: Twin) -> tuple[Gram | None, Gram | None]:
    wp, wq, bp, bq, fill = parameters(node, twin)
    weight = gram(wp, wq, fill=fill) if wp is not None or wq is not None else None
    bias = gram(bp, bq) if bp is not None or bq is not None else None
    return weight, bias


def _weighted(
    tracer: Tracer, node: Node, weight: Gram | None, bias: Gram | None, nothing: Coefficient | None, x: Grams
) -> Grams:
    requests: list[Request] = []

    def want(lane: Lane | None, group: int, key: str, with_bias: bool = False) -> None:
        coefficient = getattr(weight, key) if weight is not None else None
        offset = getattr(bias, key) if bias is not None and with_bias else None
        same = weight is None and key in ("qq", "pq", "pp")  # no weight: both factors are 1
        if lane is not None and (coefficient is not None or same):
            requests.append(Request(lane, coefficient, offset, group))
        elif offset is not None:
            requests.append(Request(None, None, offset, group))

    want(x.a, 0, "qq", True)
    if not requests or requests[0].lane is None:  # A is needed, though it is zero or a bias alone
        requests[:] = [Request(x.a, nothing, bias.qq if bias is not None else None, 0)]
    want(x.b, 1, "pq")
    want(x.a, 1, "dq", True)
    want(x.c, 2, "pp")
    want(x.b, 2, "pd")
    want(x.a, 2, "dd", True)
    made = tracer.linear(node, requests)
    sums = []
    for group in range(3):
        parts = [lane for lane, request in zip(made, requests, strict=True) if request.group == group]
        sums.append(tracer.add(parts) if parts else None)
    return Grams(*sums)


def trace(
    network: Network,
    twin: Twin,
    device: Device,
    log2: Mapping[str, float],
    calibration: Calibration | None = None,
) -> tuple[Tracer, dict[str, Grams]]:
    """The lanes A, B, C of every tensor. `device` must compute in float64: the coefficients are float64."""
    assert device.dtype == np.float64
    tracer = Tracer(network, device, calibration=calibration)
    lanes = {name: Grams(tracer.source(name, network.shapes[name], log2[name])) for name in network.inputs}
    weighted = [node for node in network.nodes if OPERATORS[node.op].kind == "weighted"]
    with Prefetch(weighted, lambda node: _factors(node, twin)) as factors:
        for node in network.nodes:
            before = [lanes[name] for name in node.inputs]
            if OPERATORS[node.op].kind == "weighted":
                weight, bias = factors.take()
                nothing = zeros(node, twin, device.dtype) if weight is not None else None
                lanes[node.output] = _weighted(tracer, node, weight, bias, nothing, before[0])
                continue
            base = [x.a for x in before]
            rest = (through(tracer, node, [getattr(x, key) for x in before], base) for key in "bc")
            lanes[node.output] = Grams(tracer.through(node, base), *rest)
    return tracer, lanes
