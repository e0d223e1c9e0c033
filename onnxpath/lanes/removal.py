"""The difference pass for a network and the same one with coordinates set to zero (docs/theory.md, section
3).

With |P| the moduli, m those that are left and U = |P| - m those that are gone, every entry of one of m and U
is 0 and nothing is rounded. Carry a = F_m and d = F_P - F_m:

    a' = m a + m_b,      d' = |P| d + U a + U_b

All terms are >= 0, and Σ_v d_v over the outputs is the path-metric.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxpath.engine.session import Device
from onnxpath.lanes.coefficients import power
from onnxpath.lanes.difference import through
from onnxpath.lanes.lanes import Calibration, Coefficient, Lane, Request
from onnxpath.lanes.prefetch import Prefetch
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network, Node, Parameter
from onnxpath.ops import OPERATORS

Twin = Mapping[str, tuple[Parameter | None, Parameter | None]]
Coefficients = tuple[Coefficient | None, Coefficient | None, Coefficient | None]


def _coefficients(p: Parameter | None, left: Parameter | None, dtype: np.dtype, whole: bool) -> Coefficients:
    """(m, U, |P|) of a parameter; U is None where nothing is gone, |P| where it is m or not `whole`."""
    if p is None or left is None:
        return None, None, None
    m = power(left, 1.0, dtype)
    gone = _gone(p, left)
    if gone is None:
        return m, None, None
    return m, power(gone, 1.0, dtype), power(p, 1.0, dtype) if whole else None


def _gone(p: Parameter, left: Parameter) -> Parameter | None:
    """U: the entries of p that are 0 in `left`, whose entries are those of p or 0, be it by the base or by
    the scale; None for none."""
    if p.base is left.base and p.scale is left.scale:
        return None
    if p.scale is left.scale:
        base = p.base - left.base  # exact
    else:
        lost = left.base == 0
        if left.scale is not None:
            lost = lost | (left.scale == 0)
        base = np.where(lost, p.base, 0).astype(p.base.dtype, copy=False)
    return replace(p, base=base) if base.any() else None


def _weighted(
    tracer: Tracer, node: Node, weight: Coefficients, bias: Coefficients, a: Lane, d: Lane | None
) -> tuple[Lane, Lane | None]:
    (m, u, full), (m_bias, u_bias, _) = weight, bias
    requests = [Request(a, m, m_bias, 0)]
    if u is not None or u_bias is not None:
        requests.append(Request(a if u is not None else None, u, u_bias, 1))
    if d is not None:
        parts = [full] if full is not None else [part for part in (m, u) if part is not None]
        requests += [Request(d, part, None, 1) for part in parts or [None]]
    made = tracer.linear(node, requests)
    return made[0], tracer.add(made[1:]) if len(made) > 1 else None


def trace(
    network: Network, twin: Twin, device: Device, calibration: Calibration | None = None
) -> tuple[Tracer, dict[str, tuple[Lane, Lane | None]]]:
    """The lanes (a, d) by tensor, on the all-ones input; d is None while nothing is gone.

    twin: weight and bias by the output of every weighted node, each entry that of the network or 0.
    """
    tracer = Tracer(network, device, calibration=calibration)
    lanes: dict[str, tuple[Lane, Lane | None]] = {
        name: (tracer.source(name, network.shapes[name]), None) for name in network.inputs
    }
    weighted = [node for node in network.nodes if OPERATORS[node.op].kind == "weighted"]

    def prepared(node: Node) -> tuple[Coefficients, Coefficients]:
        weight, bias = twin[node.output]
        # a matrix meets one vector: reading m and U once more is cheaper than making and reading |P|
        whole = not OPERATORS[node.op].dense
        return _coefficients(node.weight, weight, device.dtype, whole), _coefficients(
            node.bias, bias, device.dtype, False
        )

    with Prefetch(weighted, prepared) as pairs:
        for node in network.nodes:
            if OPERATORS[node.op].kind == "weighted":
                lanes[node.output] = _weighted(tracer, node, *pairs.take(), *lanes[node.inputs[0]])
                continue
            before = [lanes[name] for name in node.inputs]
            base = [a for a, _ in before]
            lanes[node.output] = (
                tracer.through(node, base),
                through(tracer, node, [d for _, d in before], base),
            )
    return tracer, lanes
