"""Where a walk from a tensor back to the inputs is cut, so that walks from all tensors are made of the same
pieces.

The borders of a network are its inputs, its outputs, the arguments of what is not linear, the candidates of
maxima, and tensors that several nodes read. A segment is a border (its root) and the nodes behind it, up to
the borders before them: every tensor between is read once, by the segment. Segments in reversed order of
their roots are a walk backwards, whichever border it begins at.

Segments of one *structure* (operators, attributes, shapes and the way they are joined) are one graph for
different parameters: a deep network of equal blocks has as few graphs as one block.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.network import Network, Node
from onnxpath.ops import OPERATORS, nonlinear

# Attributes that name other tensors or the grid of a quantizer, which no walk backwards reads.
_APART = ("maximum", "quantizer", "twin")


def _candidates(node: Node) -> tuple[str, ...]:
    """The tensors whose maximum the node adds up to (rewrites/maxima.py)."""
    pair = node.attributes.get("maximum")
    return pair if isinstance(pair, tuple) else ()


@dataclass(frozen=True, eq=False)
class Segment:
    """root: the tensor that the nodes end in; nodes: the last first; numbers: of their tensors, the root's is
    0."""

    root: str
    nodes: tuple[Node, ...]
    numbers: Mapping[str, int]

    @cached_property
    def before(self) -> tuple[str, ...]:
        """The borders that it reads."""
        inside = {node.output for node in self.nodes}
        return tuple(name for name in self.numbers if name not in inside)


def segments(network: Network) -> tuple[Segment, ...]:
    """The segments of a network without maxima, the last first. Raises MissingFactError for a node that is
    neither linear nor has lines."""
    borders = {*network.inputs, *network.outputs}
    for node in network.nodes:
        borders.update(_candidates(node))
        if nonlinear(node):
            borders.add(node.inputs[0])
        elif OPERATORS[node.op].kind not in ("weighted", "movement", "sum"):
            raise MissingFactError(node.op, "lines above and below it")
    roots: dict[str, list[Node]] = {}
    root_of: dict[str, str] = {}
    for node in reversed(network.nodes):
        readers = network.consumers.get(node.output, ())
        alone = len(readers) == 1 and readers[0].inputs.count(node.output) == 1
        inside = alone and node.output not in borders
        root = root_of[node.output] = root_of[readers[0].output] if inside else node.output
        roots.setdefault(root, []).append(node)
    return tuple(Segment(root, tuple(nodes), _numbered(root, nodes)) for root, nodes in roots.items())


def _numbered(root: str, nodes: list[Node]) -> dict[str, int]:
    numbers = {root: 0}
    for node in nodes:
        for name in (node.output, *node.inputs, *_candidates(node)):
            numbers.setdefault(name, len(numbers))
    return numbers


def structure(network: Network, segment: Segment) -> Hashable:
    """What a graph for the segment depends on, but for its parameters."""
    shapes, numbers = network.shapes, segment.numbers
    return tuple(
        (
            node.op,
            _frozen({key: value for key, value in node.attributes.items() if key not in _APART}),
            tuple((numbers[name], shapes[name]) for name in (*node.inputs, node.output)),
            tuple(numbers[name] for name in _candidates(node)),
        )
        for node in segment.nodes
    )


def _frozen(value: Any) -> Hashable:
    """An attribute as something that is equal only where the attribute is."""
    if isinstance(value, Mapping):
        return tuple((key, _frozen(value[key])) for key in sorted(value))
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    return type(value).__name__, value
