"""What two networks compute at given inputs, and their difference without the cancellation of subtracting one
from the other.

At a point follow h_A and d = h_B - h_A: at a linear node

    h_A' = W_A h_A + b_A,      d' = W_B d + ΔW h_A + Δb,

at a ReLU relu(h + d) - relu(h) = max(d, -h) where h >= 0, and max(h + d, 0) elsewhere. So d is as precise
relative to itself as h_A is to h_A, in float32 as well, at less than the price of both networks in float64.
At other activations the values are subtracted. This is an estimate: no rounding is bounded here.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session, sources
from onnxpath.evaluate.weights import DELTA, A, B, Binder, Coefficients, differing
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS, nonlinear


class Displacement:
    """The pass, ready to run."""

    def __init__(self, network: Network, coefficients: Mapping[str, Coefficients], device: Device):
        """network: without maxima, with the coefficients that `pairs` gives."""
        self._network, self._dtype = network, device.dtype
        self._g = g = GraphBuilder(device.dtype, device.native_conv)
        self._coefficients, self._binder = coefficients, Binder(g)
        differs = differing(network, coefficients)
        values: dict[str, str] = sources(g, network)
        moved: dict[str, str] = {}
        for node in network.nodes:
            site, given = Site.of(network, node), [values[name] for name in node.inputs]
            if nonlinear(node):
                value, shift = self._nonlinear(
                    node, site, given[0], moved.get(node.inputs[0]), node.output in differs
                )
            elif node.output in coefficients:
                value, shift = self._weighted(node, site, given[0], moved.get(node.inputs[0]))
            elif OPERATORS[node.op].kind not in ("movement", "sum"):
                raise MissingFactError(node.op, "how differences pass through it")
            else:
                value, shift = OPERATORS[node.op].emit(g, site, given), None
                if node.output in differs:
                    parts = [
                        moved.get(name) or g.op("Mul", [values[name], g.scalar(0.0)]) for name in node.inputs
                    ]
                    shift = OPERATORS[node.op].emit(g, site, parts)
            values[node.output] = value
            if shift is not None:
                moved[node.output] = shift
        self._values = {name: g.output(values[name]) for name in network.outputs}
        self._shifts = {name: g.output(moved[name]) for name in network.outputs if name in moved}
        self._session = open_session(g, device)

    def _weighted(self, node: Node, site: Site, x: str, d: str | None) -> tuple[str, str | None]:
        g, c, operator = self._g, self._coefficients[node.output], OPERATORS[node.op]

        def product(of: str, key: str, bias: bool) -> str:
            offset = self._binder.bias(c, key) if bias else None
            return operator.emit(g, site, [of], weight=self._binder.weight(c, key), bias=offset)

        parts = [] if d is None else [product(d, B, False)]
        if c.weights[DELTA] is not None:
            parts.append(product(x, DELTA, True))
        elif (bias := self._binder.bias(c, DELTA)) is not None:
            parts.append(
                g.op("Reshape", [bias, g.ints([1, -1] + [1] * (len(site.output_shape) - 2))])
                if operator.channel_bias
                else bias
            )
        value = product(x, A, True)
        if c.weights[DELTA] is None and c.biases[DELTA] is not None and d is None:
            parts.append(g.op("Mul", [value, g.scalar(0.0)]))
        return value, (parts[0] if len(parts) == 1 else g.op("Sum", parts)) if parts else None

    def _nonlinear(
        self, node: Node, site: Site, x: str, d: str | None, differs: bool
    ) -> tuple[str, str | None]:
        g, operator = self._g, OPERATORS[node.op]
        given: dict = (
            {}
            if node.weight is None
            else {"weight": self._g.bind(np.ascontiguousarray(node.weight.array(), self._dtype))}
        )
        value = operator.emit(g, site, [x], **given)
        if not differs:
            return value, None
        if operator.kind == "relu" and d is not None:
            zero = g.scalar(0.0)
            above, below = g.op("Max", [d, g.op("Neg", [x])]), g.op("Max", [g.op("Add", [x, d]), zero])
            return value, g.op("Where", [g.compare("Less", [x, zero]), below, above])
        other = site
        if operator.kind == "quantizer":
            grids = {"quantizer": node.attributes["twin"], "twin": node.attributes["quantizer"]}
            other = Site.of(self._network, Node(node.name, node.op, node.inputs, node.output, grids))
        return value, g.op(
            "Sub", [operator.emit(g, other, [x if d is None else g.op("Add", [x, d])], **given), value]
        )

    def run(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """f_A and f_B - f_A, float64 [n, ...] by output; inputs [n, ...] by name."""
        found = self._session.run({name: np.asarray(array, self._dtype) for name, array in inputs.items()})
        values = {name: found[label].astype(np.float64) for name, label in self._values.items()}
        none = {name: np.zeros_like(array) for name, array in values.items() if name not in self._shifts}
        return values, none | {name: found[label].astype(np.float64) for name, label in self._shifts.items()}
