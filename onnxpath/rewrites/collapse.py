"""Collapsing what is constant: the same network on a smaller image, for constant inputs (docs/theory.md,
section 1).

Path-norm and path-metric feed the all-ones input. Away from the borders every cell of a channel then has the
same value: along a spatial axis of length n a tensor has t cells of its own at the front (windows that meet
padding, or such cells), b at the end, and n - t - b equal cells between. R of the equal cells may be left
out, as long as one remains. For a window operator with stride s, span k and padding p at the front,

    t' = ceil((t + p) / s),      b' = n' - 1 - floor((n - b - 1 + p - (k - 1)) / s), R' <= R / s, R' <= n' -
                                 t' - b' - 1,

and the operator on the input with s R' cells left out gives its output with R' left out. Before any other
operator, and wherever R has to shrink, a Gather repeats the cell between: the rest of the network sees what
it always saw. The collapsed network computes the same numbers for every parameters, so that norms, metrics
and the shares of layers are unchanged.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxpath.model.network import Network, Node, Shape

_POINTWISE = ("Relu", "Activation", "PRelu", "Quantizer", "Add", "Max", "Concat", "Scale")
_WINDOWS = ("Conv", "MaxPool", "SumPool")


@dataclass(frozen=True)
class Axis:
    """One spatial axis of a tensor: full length, distinct cells at both ends, equal cells left out."""

    length: int
    front: int = 0
    back: int = 0
    left_out: int = 0

    @property
    def spare(self) -> int:
        """How many equal cells could be left out."""
        return max(0, self.length - self.front - self.back - 1)

    def repeat(self, left_out: int) -> list[int]:
        """Indices into the collapsed axis that leave out `left_out` cells only."""
        end = self.length - self.left_out - self.back
        between = [self.front] * (self.length - self.front - self.back - left_out)
        return [*range(self.front), *between, *range(end, end + self.back)]


def _window(axis: Axis, out: int, stride: int, span: int, pad: int) -> Axis:
    """The axis after a window operator, with nothing left out yet."""
    front = -(-(axis.front + pad) // stride)
    last = (axis.length - axis.back - 1 + pad - (span - 1)) // stride
    back = out - 1 - last
    return Axis(out, front, max(0, back)) if front + back < out else Axis(out, out)  # no cell is like another


def _worth(axis: Axis, possible: int) -> int:
    """How many cells to leave out: as many as possible, or none where that would hardly make the tensor
    smaller."""
    left_out = min(axis.spare, possible)
    return left_out if 4 * left_out >= axis.length else 0


class _Collapser:
    def __init__(self, network: Network):
        self.network = network
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = dict(network.shapes)
        self.axes: dict[str, tuple[Axis, ...]] = {}
        self._expanded: dict[tuple, str] = {}

    def run(self) -> Network:
        for name in self.network.inputs:
            shape = self.network.shapes[name]
            self.axes[name] = tuple(Axis(n, 0, 0, n - 1) for n in shape[2:])
            self._resize(name)
        for node in self.network.nodes:
            self._node(node)
        outputs = tuple(self._with(name, [0] * len(self.axes[name])) for name in self.network.outputs)
        return replace(self.network, nodes=tuple(self.nodes), shapes=self.shapes, outputs=outputs)

    def _resize(self, name: str) -> None:
        shape = self.network.shapes[name]
        self.shapes[name] = (*shape[:2], *(axis.length - axis.left_out for axis in self.axes[name]))

    def _with(self, name: str, left_out: Sequence[int]) -> str:
        """The tensor with exactly these numbers of cells left out: repeated where more are."""
        axes = self.axes[name]
        for k, (axis, wanted) in enumerate(zip(axes, left_out, strict=True)):
            if axis.left_out == wanted:
                continue
            key = (name, k, wanted)
            if key not in self._expanded:
                made = f"{name}:repeat{k}:{wanted}"
                self.nodes.append(
                    Node(
                        made, "Gather", (name,), made, {"axis": 2 + k, "indices": tuple(axis.repeat(wanted))}
                    )
                )
                self.axes[made] = tuple(
                    replace(a, left_out=wanted) if j == k else a for j, a in enumerate(self.axes[name])
                )
                self.shapes[made] = (
                    *self.shapes[name][:2],
                    *(a.length - a.left_out for a in self.axes[made]),
                )
                self._expanded[key] = made
            name = self._expanded[key]
        return name

    def _node(self, node: Node) -> None:
        shape = self.network.shapes[node.output]
        spatial = [self.axes[name] for name in node.inputs]
        if node.op in _WINDOWS:
            before, after = self._windows(node, spatial[0], shape[2:])
        elif node.op in _POINTWISE and self._uniform(node):
            before, after = self._pointwise(spatial)
        else:
            before, after = None, [Axis(n, n, 0, 0) for n in shape[2:]]
        inputs = [
            self._with(name, before if before is not None else [0] * len(axes))
            for name, axes in zip(node.inputs, spatial, strict=True)
        ]
        self.axes[node.output] = tuple(after)
        self._resize(node.output)
        self.nodes.append(replace(node, inputs=tuple(inputs)))

    @staticmethod
    def _uniform(node: Node) -> bool:
        """Whether the coefficients do not vary over space."""
        if node.op == "Concat":
            return node.attributes["axis"] == 1
        return all(n == 1 for parameter in node.parameters() for n in parameter.shape[2:])

    @staticmethod
    def _windows(node: Node, axes: Sequence[Axis], out: Shape) -> tuple[list[int], list[Axis]]:
        kernel = node.coefficients.shape[2:] if node.op == "Conv" else node.attributes["kernel"]
        before, after = [], []
        for k, axis in enumerate(axes):
            stride, pad = node.attributes["strides"][k], node.attributes["pads"][k]
            made = _window(axis, out[k], stride, node.attributes["dilations"][k] * (kernel[k] - 1) + 1, pad)
            left_out = _worth(made, axis.left_out // stride)
            before.append(stride * left_out)
            after.append(replace(made, left_out=left_out))
        return before, after

    @staticmethod
    def _pointwise(spatial: Sequence[Sequence[Axis]]) -> tuple[list[int], list[Axis]]:
        after = []
        for axes in zip(*spatial, strict=True):
            made = Axis(axes[0].length, max(a.front for a in axes), max(a.back for a in axes), 0)
            after.append(replace(made, left_out=_worth(made, min(a.left_out for a in axes))))
        return [axis.left_out for axis in after], after


def collapse(network: Network) -> Network:
    """The network for constant inputs, on images no larger than their distinct cells; its inputs have smaller
    shapes.

    Names of nodes and of all tensors but the repeated ones stay. A network whose axis 0 is not a batch axis,
    or with an input that has no spatial axis, is returned as it is.
    """
    if not network.batched or any(len(network.shapes[name]) < 3 for name in network.inputs):
        return network
    return _Collapser(network).run()
