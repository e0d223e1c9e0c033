"""The one-sided difference pass in paper mode: the path-metric's telescoped upper bound (docs/theory.md,
sections 3 and 4).

For paths, |Π a - Π b| telescopes over the coordinates. With the roles that the two networks have in

    E' = |P| E + (U + V) a_Q + |Δb|,      a_Q = F_Q,

E bounds Σ_{p→v} |Φ_p(P) - Φ_p(Q)|, for any signs; maxima are sums. It is never below the triangle bound
through m (section 3.2), which is why no result is made of it: `bound --compare` shows what that buys.
"""

from collections.abc import Mapping

from onnxpath.engine.session import Device
from onnxpath.lanes.coefficients import total
from onnxpath.lanes.difference import Twin, split_node, through, zeros
from onnxpath.lanes.lanes import Calibration, Lane, Request
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS


def trace(
    network: Network,
    twin: Twin,
    device: Device,
    log2: Mapping[str, float],
    calibration: Calibration | None = None,
) -> tuple[Tracer, dict[str, Lane | None]]:
    """E by tensor, None while it is zero, with the network as P and the twin as Q."""
    require_paths(network)
    tracer = Tracer(network, device, calibration=calibration)
    size: dict[str, Lane] = {
        name: tracer.source(name, network.shapes[name], log2[name]) for name in network.inputs
    }
    error: dict[str, Lane | None] = dict.fromkeys(network.inputs)
    for node in network.nodes:
        before = [size[name] for name in node.inputs]
        if OPERATORS[node.op].kind != "weighted":
            size[node.output] = tracer.through(node, before)
            error[node.output] = through(tracer, node, [error[name] for name in node.inputs], before)
            continue
        weight, bias = split_node(node, twin, device.dtype, whole=True)
        nothing = zeros(node, twin, device.dtype) if weight is not None else None
        p, q, delta = (
            (weight.p or nothing, weight.q or nothing, total(weight.u, weight.v))
            if weight
            else (None, None, None)
        )
        offset = total(bias.u, bias.v) if bias else None
        requests = [Request(before[0], q, bias.q if bias else None, 0)]
        if error[node.inputs[0]] is not None:
            requests.append(Request(error[node.inputs[0]], p, None, 1))
        if delta is not None or offset is not None:
            requests.append(Request(before[0] if delta is not None else None, delta, offset, 1))
        size[node.output], *parts = tracer.linear(node, requests)
        error[node.output] = tracer.add(parts) if parts else None
    return tracer, error
