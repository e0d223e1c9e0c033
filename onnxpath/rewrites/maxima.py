"""Maxima as ReLUs, for the passes that follow slopes (docs/certify.md, section 3).

    max(a, b) = a + relu(b - a)

so that a maximum that one candidate surely wins is linear, and one that is not has slopes in [0, 1] like any
unstable ReLU. A window is a tree of such pairs, one axis after the other: max over rows of the max over
columns. A padded cell is no antecedent: where a window reaches beyond the tensor another cell of the same
window takes the place, which changes no maximum.

The node that adds a and relu(b - a) keeps the pair as attribute `maximum`: intervals of a and b bound it
better than their sum.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Parameter, Shape
from onnxpath.ops import OPERATORS


@dataclass
class _Lowering:
    """The nodes made so far."""

    nodes: list[Node]
    shapes: dict[str, Shape]
    twin: dict[str, Parameters]
    name: str = ""
    root: str = ""
    count: int = 0

    def make(
        self,
        op: str,
        inputs: tuple[str, ...],
        shape: Shape,
        weight: Parameter | None = None,
        output: str = "",
        **attributes: Any,
    ) -> str:
        if not output:
            output = f"{self.root} (maximum {self.count})"
            self.count += 1
        self.nodes.append(Node(self.name, op, inputs, output, attributes, weight))
        self.shapes[output] = shape
        if weight is not None:
            self.twin[output] = (weight, None)
        return output

    def pair(self, a: str, b: str, output: str = "") -> str:
        """max(a, b)."""
        shape = self.shapes[a]
        minus = Parameter("minus one", np.full((1,) * len(shape), -1.0, np.float32), fixed=True)
        negative = self.make("Scale", (a,), shape, minus)
        above = self.make("Relu", (self.make("Add", (b, negative), shape),), shape, maximum=True)
        return self.make("Add", (a, above), shape, output=output, maximum=(a, b))

    def tree(self, parts: list[str], output: str = "") -> str:
        while len(parts) > 2:
            pairs = [self.pair(a, b) for a, b in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + (parts[-1:] if len(parts) % 2 else [])
        if len(parts) == 2:
            return self.pair(*parts, output=output)
        return self.make("Reshape", (parts[0],), self.shapes[parts[0]], output=output) if output else parts[0]

    def sloped(self, x: str, slopes: Parameters, output: str) -> str:
        """The PRelu max(x, 0) - α max(-x, 0), with the slopes α of either network."""
        shape = self.shapes[x]
        minus = np.full((1,) * len(shape), -1.0)
        positive = self.make("Relu", (x,), shape)
        below = self.make(
            "Relu", (self.make("Scale", (x,), shape, Parameter("minus one", minus, fixed=True)),), shape
        )
        first, second = (slope.scaled(minus) for slope in slopes if slope is not None)
        steep = self.make("Scale", (below,), shape, first)
        self.twin[steep] = second, None
        return self.make("Add", (positive, steep), shape, output=output)

    def cells(self, x: str, axis: int, indices: np.ndarray) -> str:
        """The cells at these places of an axis."""
        shape = list(self.shapes[x])
        steps = np.unique(np.diff(indices))
        step = int(steps[0]) if len(steps) == 1 else 1 if len(indices) == 1 else 0
        if np.array_equal(indices, np.arange(shape[axis])):
            return x
        shape[axis] = len(indices)
        if step > 0:
            ends: dict[str, Any] = {
                "starts": (int(indices[0]),),
                "stops": (int(indices[-1]) + 1,),
                "axes": (axis,),
                "steps": (step,),
            }
            return self.make("Slice", (x,), tuple(shape), **ends)
        return self.make("Gather", (x,), tuple(shape), axis=axis, indices=tuple(int(k) for k in indices))

    def window(
        self, x: str, axis: int, kernel: int, stride: int, dilation: int, pad: int, out: int, output: str
    ) -> str:
        """The maximum over a window along one axis."""
        length = self.shapes[x][axis]
        places = np.arange(out)[:, None] * stride - pad + dilation * np.arange(kernel)
        inside = (places >= 0) & (places < length)
        # some cell of the window lies inside, or the file is not valid: an empty window would be -inf
        first = places[np.arange(out), inside.argmax(axis=1)][:, None]
        places = np.where(inside, places, first)
        columns = [places[:, k] for k in range(kernel)]
        unique = [
            column
            for k, column in enumerate(columns)
            if not any(np.array_equal(column, other) for other in columns[:k])
        ]
        return self.tree([self.cells(x, axis, column) for column in unique], output)


def _same(p: Parameter | None, q: Parameter | None) -> bool:
    return p is not None and q is not None and np.array_equal(p.array(), q.array())


def without_maxima(network: Network, twin: dict[str, Parameters]) -> tuple[Network, dict[str, Parameters]]:
    """The same function with MaxPool, ReduceMax and Max spelled with Relu, and the twin's parameters for it;
    likewise every PRelu whose slopes differ between the two, so that what differs is a weight."""
    sloped = {
        node.output
        for node in network.nodes
        if node.op == "PRelu" and not _same(node.weight, twin[node.output][0])
    }
    if not sloped and not any(OPERATORS[node.op].kind == "max" for node in network.nodes):
        return network, twin
    made = _Lowering([], dict(network.shapes), dict(twin))
    for node in network.nodes:
        made.name, made.root, made.count = node.name, node.output, 0
        shape = network.shapes[node.output]
        if node.output in sloped:
            slope = made.twin.pop(node.output)[0]
            made.sloped(node.inputs[0], (node.weight, slope), node.output)
        elif node.op == "Max":
            made.tree(list(node.inputs), node.output)
        elif node.op == "MaxPool":
            x, (kernel, strides, dilations, pads) = (
                node.inputs[0],
                (node.attributes[k] for k in ("kernel", "strides", "dilations", "pads")),
            )
            axes = [
                k
                for k, size in enumerate(kernel)
                if size > 1 or strides[k] > 1 or pads[k] or pads[k + len(kernel)]
            ] or [0]
            for k in axes:
                end = node.output if k == axes[-1] else ""
                x = made.window(x, k + 2, kernel[k], strides[k], dilations[k], pads[k], shape[k + 2], end)
        elif node.op == "ReduceMax":
            x, axes = (
                node.inputs[0],
                [axis for axis in node.attributes["axes"] if network.shapes[node.inputs[0]][axis] > 1],
            )
            for axis in axes or [node.attributes["axes"][0]]:
                length = made.shapes[x][axis]
                x = made.window(
                    x, axis, length, 1, 1, 0, 1, node.output if axis == (axes or [axis])[-1] else ""
                )
        elif OPERATORS[node.op].kind == "max":
            raise MissingFactError(node.op, "how it is spelled with Relu")
        else:
            made.nodes.append(node)
    return replace(network, nodes=tuple(made.nodes), shapes=made.shapes), made.twin
