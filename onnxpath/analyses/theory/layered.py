"""Bounds for layered networks without biases (paper, Appendix F and Equation (1); docs/lipschitz.md, section
4).

R_θ(x) = W_L relu(W_{L-1} ... relu(W_1 x)), width W (the largest dimension, input and output included), R >= 1
bounding the ℓ1 norm of every row of every matrix of both networks. For ‖x‖_∞ <= B, summed over the outputs,

    Corollary F.1     max(B, 1) · 2 L W² R^(L-1) ‖θ - θ'‖_∞
    Equation (1)      (W B + 1) · W L² R^(L-1) ‖θ - θ'‖_∞        (Gonon et al., 2023, Theorem III.1)

Neither is always the smaller one: F.1 is larger for L = 2 and small B.
"""

from dataclasses import dataclass
from math import log2

import numpy as np

from onnxpath.engine.scaled import Scaled
from onnxpath.lanes.rows import SLACK
from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS


@dataclass(frozen=True, eq=False)
class Condition:
    """Why a bound does not hold for these networks."""

    reason: str


@dataclass(frozen=True, eq=False)
class Layered:
    """What Corollary F.1 and Equation (1) need: depth L, width W, R >= 1 bounding every row, and ‖θ -
    θ'‖_∞."""

    depth: int
    width: int
    row: float
    change: float


def layered(pairing: Pairing) -> Layered | Condition:
    """The constants of Appendix F, or why these networks are not of its kind."""
    network, widths, tensor = pairing.a, [], pairing.a.inputs[0]
    if len(network.inputs) != 1 or len(network.outputs) != 1:
        return Condition("holds for networks with one input and one output")
    linear = True  # whether the next weighted node starts a layer
    row, change = 1.0, 0.0
    for node in network.nodes:
        if (
            node.inputs != (tensor,)
            or len(network.consumers.get(tensor, ())) != 1
            or tensor in network.outputs
        ):
            return Condition(
                "holds for layered networks x -> W_L relu(... relu(W_1 x)), and this one has branches"
            )
        tensor = node.output
        operator = OPERATORS[node.op]
        if operator.kind == "movement" and operator.view and network.shapes[tensor][0] == 1:
            continue
        if operator.kind == "relu" and widths and not linear:
            linear = True
            continue
        reason = _layer(network, node, pairing.twin.get(node.output))
        if isinstance(reason, Condition):
            return reason
        if not linear:
            return Condition(
                f"holds for layers with a ReLU between them; node '{node.name}' follows another linear layer"
            )
        linear = False
        row, change = max(row, reason[0]), max(change, reason[1])
        widths += list(node.coefficients.shape)
    if linear or not widths:
        return Condition("holds for networks whose last layer is linear")
    return Layered(len(widths) // 2, max(widths), row * (1 + 1e-12), change * (1 + 1e-12))


def _layer(network: Network, node: Node, twin: Parameters | None) -> tuple[float, float] | Condition:
    """The largest row norm of a layer in either network, and its largest change."""
    if (
        not OPERATORS[node.op].dense
        or len(node.coefficients.shape) != 2
        or len(network.shapes[node.output]) != 2
        or network.shapes[node.output][0] != 1
    ):
        return Condition(f"holds for fully connected layers and ReLUs; node '{node.name}' is {node.op}")
    assert twin is not None and twin[0] is not None
    if any(bias is not None and np.any(bias.array()) for bias in (node.bias, twin[1])):
        return Condition(f"holds for networks without biases; node '{node.name}' has one")
    p, q = (weight.array().astype(np.float64) for weight in (node.coefficients, twin[0]))
    _, axis = OPERATORS[node.op].weight_axes(Site.of(network, node))
    return max(float(np.abs(w).sum(axis).max()) for w in (p, q)), float(np.abs(p - q).max())


def corollary_f1(pairing: Pairing, input_bound: float) -> Scaled | Condition:
    """max(B, 1) · 2 L W² R^(L-1) ‖θ - θ'‖_∞ (Corollary F.1)."""
    found = layered(pairing)
    if isinstance(found, Condition):
        return found
    return _appendix_f(found, max(input_bound, 1.0) * 2 * found.depth * found.width**2)


def equation_1(pairing: Pairing, input_bound: float) -> Scaled | Condition:
    """(W B + 1) · W L² R^(L-1) ‖θ - θ'‖_∞ (Equation (1); Gonon et al., 2023, Theorem III.1)."""
    found = layered(pairing)
    if isinstance(found, Condition):
        return found
    return _appendix_f(found, (found.width * input_bound + 1) * found.width * found.depth**2)


def _appendix_f(found: Layered, factor: float) -> Scaled:
    if found.change == 0:
        return Scaled(0.0)
    return Scaled.power(log2(factor) + (found.depth - 1) * log2(found.row) + log2(found.change) + SLACK)
