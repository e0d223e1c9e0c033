"""The absolute pass: F_{|θ|^q}(r), the network with every coefficient replaced by |w|^q, ReLU dropped and
max-pooling replaced by a sum, on a non-negative input r (docs/theory.md, section 1).

On the all-ones input it is Σ_{p→v} |Φ_p|^q for every output neuron v, hence the path-norm. Its tape, run
backwards, is the adjoint pass.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.engine.plan import Output, Plan, Reading
from onnxpath.engine.session import Device
from onnxpath.lanes import settle
from onnxpath.lanes.coefficients import power
from onnxpath.lanes.lanes import Calibration, Lane, Request
from onnxpath.lanes.tracer import Tracer
from onnxpath.model.network import Network
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS


def ones(network: Network) -> dict[str, np.ndarray]:
    """The all-ones input."""
    return {name: np.ones(network.shapes[name]) for name in network.inputs}


def input_log2(network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """log2 of the largest entry of every input (0 for an all-zero one)."""
    tops = {name: float(np.max(inputs[name], initial=0.0)) for name in network.inputs}
    return {name: float(np.log2(top)) if top > 0 else 0.0 for name, top in tops.items()}


def trace(
    network: Network,
    q: float,
    device: Device,
    log2: Mapping[str, float],
    calibration: Calibration | None = None,
    cap: float = np.inf,
    stored: bool = False,
) -> tuple[Tracer, dict[str, Lane]]:
    """The absolute pass as lanes, by tensor; every one of them at most `cap`. stored: moduli of weights are
    arrays that are bound, not taken in the graph."""
    require_paths(network)
    tracer = Tracer(network, device, calibration=calibration)
    lanes = {name: tracer.source(name, network.shapes[name], log2[name]) for name in network.inputs}
    for node in network.nodes:
        if OPERATORS[node.op].kind == "weighted":
            weight = power(node.weight, q, device.dtype, stored) if node.weight is not None else None
            bias = power(node.bias, q, device.dtype) if node.bias is not None else None
            lanes[node.output] = tracer.linear(node, [Request(lanes[node.inputs[0]], weight, bias)])[0]
        else:
            lanes[node.output] = tracer.through(node, [lanes[name] for name in node.inputs])
        lanes[node.output] = tracer.bend(lanes[node.output], 1.0, cap=cap)
    return tracer, lanes


def read(tracer: Tracer, lane: Lane) -> Output:
    """Make a lane an output of its graph."""
    tensor = tracer.graph.output(lane.tensor)
    return Output(
        tensor, lane.exponent, lane.roundings, float(lane.flush.max()), lane.relative, losses=lane.flush
    )


def evaluate(
    network: Network, q: float, device: Device, inputs: Mapping[str, np.ndarray]
) -> dict[str, Reading]:
    """The absolute pass on non-negative inputs [batch, ...]: a reading per output."""
    log2 = input_log2(network, inputs)

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes = trace(network, q, device, log2, calibration)
        return tracer, {name: read(tracer, lanes[name]) for name in network.outputs}, None

    return settle.evaluate(build, inputs, device)[0]


def reached(network: Network, device: Device) -> dict[str, np.ndarray]:
    """Whether any path without a zero weight ends at an output neuron: a bool array [1, ...] per output.
    Exact: paths are counted up to 1."""

    def build(calibration: Calibration) -> tuple[Tracer, dict[str, Output], None]:
        tracer, lanes = trace(network, 0.0, device, dict.fromkeys(network.inputs, 0.0), calibration, 1.0)
        return tracer, {name: read(tracer, lanes[name]) for name in network.outputs}, None

    found = settle.evaluate(build, ones(network), device, lambda name: False)[0]
    return {
        name: reading.values.mantissa * np.exp2(np.asarray(reading.values.exponent, float)) > 0.5
        for name, reading in found.items()
    }


def plan(network: Network, device: Device, q: float = 1.0, log2: Mapping[str, float] | None = None) -> Plan:
    """The absolute pass in a session; outputs are labelled by tensor. Inputs must stay within 2**log2
    (default 1)."""
    log2 = log2 or dict.fromkeys(network.inputs, 0.0)
    tracer, lanes = trace(network, q, device, log2)
    inputs = tracer.graph_exponents
    return Plan(tracer.graph, inputs, {name: read(tracer, lanes[name]) for name in network.outputs}, device)
