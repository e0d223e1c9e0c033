"""The signed pass: Σ over the paths whose signs disagree, for the lower end of the path-metric (docs/theory.md, section 3).

For any signs s_i with s_i = sgn(P_i) where P_i != 0, |Φ_p(P) - Φ_p(Q)| >= |Φ_p(P)| - s_p Φ_p(Q), hence per output

    Σ_p |Φ_p(P) - Φ_p(Q)| >= F_P - Σ_p s_p Φ_p(Q) = F_P - F_Q + 2 N,      N = Σ_{s_p Φ_p(Q) < 0} |Φ_p(Q)|.

N is carried without subtraction by two lanes: n⁺ and n⁻ are the sums over paths of positive and negative s_p Φ_p(Q),

    n⁺' = Q⁺ n⁺ + Q⁻ n⁻ + b⁺,      n⁻' = Q⁻ n⁺ + Q⁺ n⁻ + b⁻,      N = n⁻ at the outputs.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.network import Network, Node
from onnxpath.ops import OPERATORS
from onnxpath.passes.coefficients import Coefficient, signs
from onnxpath.passes.difference import Twin, parameters, through, zeros, zeros_like
from onnxpath.passes.lanes import Calibration, Lane, Request
from onnxpath.passes.prefetch import Prefetch
from onnxpath.passes.tracer import Tracer


def _requests(plus: Lane, minus: Lane | None, weight: tuple, bias: tuple, plain: bool) -> list[Request]:
    """Group 0 makes n⁺, group 1 makes n⁻. `plain`: the node has no weight (both factors are 1)."""
    (same, other), (bias_same, bias_other) = weight, bias
    found: list[Request] = []

    def want(lane: Lane | None, coefficient: Coefficient | None, group: int, bias: Coefficient | None = None) -> None:
        if lane is not None and (coefficient is not None or plain):
            found.append(Request(lane, coefficient, bias, group))
        elif bias is not None:
            found.append(Request(None, None, bias, group))

    want(plus, same, 0, bias_same)
    want(minus, same, 1, bias_other)
    if other is not None:
        want(plus, other, 1)
        want(minus, other, 0)
    return found


def _factors(node: Node, twin: Twin, dtype: np.dtype) -> tuple[tuple, tuple, bool]:
    """(Q⁺, Q⁻) of the weight and of the bias, and whether the node has no weight."""
    wp, wq, bp, bq, fill = parameters(node, twin)
    plain = wp is None and wq is None
    weight = (None, None) if plain else signs(wp, wq, dtype, fill=fill)
    bias = signs(bp, bq, dtype) if bp is not None or bq is not None else (None, None)
    return weight, bias, plain


def trace(
    network: Network, twin: Twin, device: Device, log2: Mapping[str, float], calibration: Calibration | None = None
) -> tuple[Tracer, dict[str, Lane | None]]:
    """n⁻ of the twin against the network's signs, by tensor; None where it is zero."""
    tracer = Tracer(network, device, calibration=calibration)
    plus: dict[str, Lane] = {name: tracer.source(name, network.shapes[name], log2[name]) for name in network.inputs}
    minus: dict[str, Lane | None] = dict.fromkeys(network.inputs)
    weighted = [node for node in network.nodes if OPERATORS[node.op].kind == "weighted"]
    with Prefetch(weighted, lambda node: _factors(node, twin, device.dtype)) as factors:
        for node in network.nodes:
            if OPERATORS[node.op].kind != "weighted":
                before = [plus[name] for name in node.inputs]
                plus[node.output] = tracer.through(node, before)
                minus[node.output] = through(tracer, node, [minus[name] for name in node.inputs], before)
                continue
            n_plus, n_minus = plus[node.inputs[0]], minus[node.inputs[0]]
            requests = _requests(n_plus, n_minus, *factors.take())
            made = tracer.linear(node, requests) if requests else []
            parts = [[lane for lane, request in zip(made, requests, strict=True) if request.group == group] for group in (0, 1)]
            sides = [tracer.add(part) if part else None for part in parts]
            minus[node.output] = sides[1]
            plus[node.output] = sides[0] if sides[0] is not None else _nothing(tracer, node, twin, n_plus, sides[1])
    return tracer, minus


def _nothing(tracer: Tracer, node: Node, twin: Twin, before: Lane, other: Lane | None) -> Lane:
    """A zero lane at the node's output."""
    if other is not None:
        return zeros_like(tracer, other)
    return tracer.linear(node, [Request(before, zeros(node, twin, tracer.device.dtype))])[0]
