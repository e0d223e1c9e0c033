"""Condensing the absolute network for constant inputs: the same numbers from far fewer cells (docs/theory.md,
section 1).

Along an axis cells are kept as classes (onnxpath.rewrites.symmetry): a tensor x of n cells becomes z of m
cells,

    equal values      z[f] = x[p] for any p of class f
    equal cotangents  z[g] = mean of x[p] over the cells p of class g

The second kind begins where it has fewer classes, and goes on to the outputs, as cells cannot be told apart
any more. A convolution first reads, by one matrix (Unfold), what every class sees through every kernel offset
k; the mean of a class is

    z'[o, g] = Σ_{i,k} W[o, i, k] X[i, k, g] + b[o],     X[i, k, g] = 1/|g| Σ_{p in g} z[i, class of the cell
                                                         that p sees through k]

and what is left is one matrix product, spelled as a convolution whose windows do not overlap. Pools and
reductions are such matrices alone. The condensed network computes the outputs of the absolute network for
every parameters, and so has its derivatives: norms and costs are unchanged. It must not be evaluated with
maxima or other activations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from math import prod

import numpy as np

from onnxpath.model.network import Network, Node, Shape
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.symmetry import Labels, distinct, equal_cotangents, equal_values, pointwise, windows

# Entries of the largest matrix: 8 MB in float32.
_LARGEST = 1 << 21
# A matrix product takes about that much less time per multiplication than a convolution with weights that are
# not in the cache.
_DEARER = 1.5


@dataclass(frozen=True)
class Axis:
    """How the cells along one axis are kept: the class of every cell; whether a class stands for the mean of
    its cells."""

    labels: Labels
    means: bool

    @property
    def size(self) -> int:
        return max(self.labels, default=-1) + 1

    def weights(self) -> list[list[tuple[int, float]]]:
        """For every class, the cells it is computed from and their weights."""
        members: list[list[int]] = [[] for _ in range(self.size)]
        for cell, label in enumerate(self.labels):
            members[label].append(cell)
        return [
            [(c, 1 / len(cells)) for c in cells] if self.means else [(cells[0], 1.0)] for cells in members
        ]


# Networks with more weighted nodes are deep.
_DEEP = 100


def deep(network: Network) -> bool:
    """Whether bounds drift in so many layers that passes need spatial profiles (lanes/profile.py)."""
    return sum(OPERATORS[node.op].kind == "weighted" for node in network.nodes) > _DEEP


def _axes(network: Network) -> dict[str, tuple[Axis, ...]]:
    """How every tensor is kept: what a node makes that is neither pointwise nor a window operator, cell by
    cell."""
    values, cotangents = equal_values(network), equal_cotangents(network)
    found: dict[str, tuple[Axis, ...]] = {}
    for name in (*network.inputs, *(node.output for node in network.nodes)):
        made, axes = network.producer.get(name), []
        opaque = made is not None and not _understood(network, made)
        before = [found[x] for x in made.inputs] if made is not None and not opaque else []
        for k, (f, g) in enumerate(zip(values[name], cotangents[name], strict=True)):
            means = not opaque and (max(g) < max(f) or any(inputs[k].means for inputs in before))
            axes.append(Axis(distinct(len(f)) if opaque else g if means else f, means))
        found[name] = tuple(axes)
    return found


def _understood(network: Network, node: Node) -> bool:
    return windows(network, node) is not None or pointwise(network, node)


def _matrix(before: Axis, after: Axis, seen: np.ndarray) -> np.ndarray:
    """(cells before, kernel offsets, cells after): X = z M along one axis. seen: (positions, offsets), -1 in
    the padding."""
    found = np.zeros((before.size, seen.shape[1], after.size))
    for label, cells in enumerate(after.weights()):
        for position, weight in cells:
            for offset, cell in enumerate(seen[position].tolist()):
                if cell >= 0:
                    found[before.labels[cell], offset, label] += weight
    return found


def _product(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The matrices of all axes as one: (all cells before, all offsets, all cells after)."""

    def both(m: np.ndarray, s: np.ndarray) -> np.ndarray:
        joined = np.einsum("akp,bjq->abkjpq", m, s)
        return joined.reshape([a * b for a, b in zip(m.shape, s.shape, strict=True)])

    return reduce(both, parts)


class _Condenser:
    def __init__(self, network: Network, axes: Mapping[str, tuple[Axis, ...]]):
        self.network, self.axes = network, axes
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self._matrices: dict[tuple, np.ndarray] = {}
        self._made: dict[tuple, str] = {}

    def run(self) -> Network:
        for name in self.network.inputs:
            self._keep(name)
        for node in self.network.nodes:
            self._node(node)
        outputs = tuple(self._full(name) for name in self.network.outputs)
        return replace(
            self.network, nodes=tuple(self.nodes), shapes=self.shapes, outputs=outputs, batched=False
        )

    def _keep(self, name: str) -> None:
        shape, axes = self.network.shapes[name], self.axes[name]
        self.shapes[name] = (
            (*shape[:2], *(1,) * (len(axes) - 1), prod(axis.size for axis in axes)) if axes else shape
        )

    def _unfold(
        self, name: str, parts: Sequence[tuple[Axis, Axis, np.ndarray]], spatial: Shape | None
    ) -> str:
        """The product of tensor `name` with the matrices of all its axes: of this shape, or None for kernel
        offsets by cells."""
        key = tuple((before, after, seen.tobytes(), seen.shape) for before, after, seen in parts)
        if key not in self._matrices:
            whole = _product([_matrix(*part) for part in parts])
            self._matrices[key] = whole.reshape(whole.shape[0], -1)
        matrix = self._matrices[key]
        kernel, cells = [seen.shape[1] for _, _, seen in parts], prod(after.size for _, after, _ in parts)
        shape = tuple(spatial) if spatial is not None else (*kernel[:-1], kernel[-1] * cells)
        old, same = (
            self.shapes[name],
            len(matrix) == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))),
        )
        if same and shape == old[2:]:
            return name
        if (name, key, shape) not in self._made:
            made = self._made[name, key, shape] = f"{name}:unfold{len(self._made)}"
            operation = ("Reshape", {}) if same else ("Unfold", {"matrix": matrix})
            self.nodes.append(Node(made, operation[0], (name,), made, operation[1]))
            self.shapes[made] = (*old[:2], *shape)
        return self._made[name, key, shape]

    def _full(self, name: str) -> str:
        """The tensor with all its cells, in the shape that it has in the network."""
        shape = self.network.shapes[name]
        if not self.axes[name]:
            return name
        parts = [
            (axis, Axis(distinct(n), False), np.arange(n)[:, None])
            for axis, n in zip(self.axes[name], shape[2:], strict=True)
        ]
        return self._unfold(name, parts, shape[2:])

    def _node(self, node: Node) -> None:
        after, seen = self.axes[node.output], windows(self.network, node)
        self._keep(node.output)
        if seen is not None:
            before = self.axes[node.inputs[0]]
            parts = list(zip(before, after, seen, strict=True))
            if node.op == "Conv":
                cells = self.shapes[node.output][-1]
                x, rank = self._unfold(node.inputs[0], parts, None), len(after)
                dilations = (*(1,) * (rank - 1), cells)
                geometry = {"strides": (1,) * rank, "dilations": dilations, "pads": (0,) * 2 * rank}
                self.nodes.append(replace(node, inputs=(x,), attributes={**node.attributes, **geometry}))
            else:
                self._pool(node, parts)
        elif pointwise(self.network, node):
            inputs = []
            for name in node.inputs:
                places = [np.arange(len(axis.labels))[:, None] for axis in after]
                parts = list(zip(self.axes[name], after, places, strict=True))
                inputs.append(self._unfold(name, parts, self.shapes[node.output][2:]) if after else name)
            self.nodes.append(replace(node, inputs=tuple(inputs)))
        else:
            self.nodes.append(replace(node, inputs=tuple(self._full(name) for name in node.inputs)))
            self.shapes[node.output] = self.network.shapes[node.output]

    def _pool(self, node: Node, parts: Sequence[tuple[Axis, Axis, np.ndarray]]) -> None:
        key = ("pool", *((before, after, seen.tobytes(), seen.shape) for before, after, seen in parts))
        if key not in self._matrices:
            self._matrices[key] = _product([_matrix(*part).sum(axis=1, keepdims=True) for part in parts])[
                :, 0
            ]
        self.nodes.append(
            Node(node.name, "Unfold", node.inputs, node.output, {"matrix": self._matrices[key]})
        )


def _multiplications(network: Network) -> int:
    """Of all convolutions and unfoldings, per sample."""
    found = 0
    for node in network.nodes:
        if node.op in ("Conv", "ConvTranspose"):
            cells = network.shapes[node.output if node.op == "Conv" else node.inputs[0]][2:]
            found += node.coefficients.size * prod(cells)
        elif node.op == "Unfold":
            found += network.shapes[node.output][1] * node.attributes["matrix"].size
    return found


def _fits(network: Network, axes: Mapping[str, tuple[Axis, ...]]) -> bool:
    """Whether every matrix is small enough to be made."""
    for node in network.nodes:
        after = prod(axis.size for axis in axes[node.output])
        if not _understood(network, node):
            after = network.size_of(node.output)
        kernel = prod(node.coefficients.shape[2:]) if node.op == "Conv" else 1
        if any(
            prod(axis.size for axis in axes[name]) * kernel * after > _LARGEST
            for name in node.inputs
            if axes[name]
        ):
            return False
    return True


def condense(network: Network) -> Network:
    """The network for absolute passes on constant inputs, collapsed or condensed, whichever takes fewer
    multiplications.

    Parameters stay as they are, and so do the names of weighted nodes' outputs. A network whose axis 0 is not
    a batch axis, or with an input that has no spatial axis, is returned as it is; a deep one is collapsed,
    since its bounds need spatial profiles.
    """
    small = collapse(network)
    if small is network or deep(network) or any(network.shapes[name][0] != 1 for name in network.inputs):
        return small
    axes = _axes(network)
    if not _fits(network, axes):
        return small
    condensed = _Condenser(network, axes).run()
    return condensed if _multiplications(condensed) <= _DEARER * _multiplications(small) else small
