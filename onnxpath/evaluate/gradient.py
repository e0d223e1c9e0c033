"""Gradients with respect to the inputs, in the graph of the forward pass (reverse accumulation).

For cotangents c_v of the outputs, ∇_x Σ_v c_v y_v(x): the operators' input adjoints on the signed weights,
and where a node is not linear its derivative at the values of the forward pass:

    ReLU            c · 1[h > 0]                            (0 at the kink)
    maximum         c to the antecedents that attain it (equal shares, a convex combination, where several do)
    activation      c · f'(h)

At points where R is differentiable this is its gradient; elsewhere it is one that the search makes do with.

`Gradient` runs R and the gradient of an objective in one session. With y = R_A(x), or R_A(x) - R_B(x) for a
pair, it is

    linear      Σ_v w_v y_v          (a logit difference: w = e_i - e_j)
    absolute    Σ_v w_v |y_v|        with |·|' = 1 at 0

for weights w [batch, ...] per output, given at every run.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import Traced, open_session, sources, trace
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS


def _backward(graph: GraphBuilder, traced: Traced, node: Node, cotangent: str) -> list[str]:
    """The cotangent of every input of a node."""
    adjoints, site = OPERATORS[node.op].adjoints, Site.of(traced.network, node)
    inputs, output = [traced.values[name] for name in node.inputs], traced.values[node.output]
    weight, extra = traced.weights.get(node.output, (None, {}))
    if "routed" in adjoints:
        return [
            adjoints["routed"](graph, site, cotangent, index, inputs, output) for index in range(len(inputs))
        ]
    if "slope" in adjoints:
        return [graph.op("Mul", [cotangent, adjoints["slope"](graph, site, inputs[0], weight)])]
    return [adjoints["input"](graph, site, cotangent, index, weight, **extra) for index in range(len(inputs))]


def emit(graph: GraphBuilder, traced: Traced, cotangents: Mapping[str, str]) -> dict[str, str]:
    """The gradient of Σ c_v y_v with respect to every input that the given tensors depend on.

    cotangents: tensor of the network -> tensor of the graph of the same shape.
    """
    waiting: dict[str, list[str]] = {name: [cotangent] for name, cotangent in cotangents.items()}

    def total(name: str) -> str:
        parts = waiting.pop(name)
        return parts[0] if len(parts) == 1 else graph.op("Sum", parts)

    for node in reversed(traced.network.nodes):
        if node.output in waiting:
            for name, part in zip(
                node.inputs, _backward(graph, traced, node, total(node.output)), strict=True
            ):
                waiting.setdefault(name, []).append(part)
    return {name: total(name) for name in traced.network.inputs if name in waiting}


@dataclass(frozen=True, eq=False)
class Evaluated:
    """values: y [batch, ...] by output; gradient: of the objective, [batch, ...] by input; both in the
    device's precision."""

    values: dict[str, np.ndarray]
    gradient: dict[str, np.ndarray]


class Gradient:
    """R_A, or R_A - R_B, and the gradient of an objective of it (see the module), ready to run any number of
    times."""

    def __init__(self, networks: Sequence[Network], device: Device, absolute: bool = False):
        """networks: one, or two with the same tensor names (A, and B as `forward.counterpart` makes it)."""
        first = networks[0]
        graph = GraphBuilder(device.dtype, device.native_conv)
        inputs = sources(graph, first)
        traced = [trace(graph, network, inputs) for network in networks]
        seeds: list[dict[str, str]] = [{} for _ in networks]
        self._weights, self._values = {}, {}
        for k, name in enumerate(first.outputs):
            shape = first.shapes[name]
            weight = graph.input(f"objective {k}", ("batch", *shape[1:]) if first.batched else shape)
            ends = [part.values[name] for part in traced]
            y = ends[0] if len(ends) == 1 else graph.op("Sub", ends)
            if absolute:
                side = graph.op(
                    "Where",
                    [graph.compare("Less", [y, graph.scalar(0.0)]), graph.scalar(-1.0), graph.scalar(1.0)],
                )
                seeds[0][name] = graph.op("Mul", [weight, side])
            else:
                seeds[0][name] = weight
            if len(networks) > 1:
                seeds[1][name] = graph.op("Neg", [seeds[0][name]])
            self._weights[name], self._values[name] = weight, graph.output(y)
        parts: dict[str, list[str]] = {}
        for one, seed in zip(traced, seeds, strict=True):
            for name, tensor in emit(graph, one, seed).items():
                parts.setdefault(name, []).append(tensor)
        self._gradient = {
            name: graph.output(found[0] if len(found) == 1 else graph.op("Sum", found)) for name,
            found in parts.items()
        }  # fmt: skip
        self._session = open_session(graph, device)
        self._dtype = device.dtype

    def run(self, inputs: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray]) -> Evaluated:
        """inputs: [batch, ...] by input; weights: [batch, ...] by output. The gradient is 0 for an input that
        nothing uses."""
        feeds = {name: np.asarray(array, self._dtype) for name, array in inputs.items()}
        feeds |= {self._weights[name]: np.asarray(array, self._dtype) for name, array in weights.items()}
        found = self._session.run(feeds)
        gradient = {
            name: found[self._gradient[name]] if name in self._gradient else np.zeros_like(feeds[name])
            for name in inputs
        }
        return Evaluated({name: found[label] for name, label in self._values.items()}, gradient)
