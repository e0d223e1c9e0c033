"""Pairs of networks of which one quantizes activations, or both (docs/quantization.md).

A quantizer is an identity in structure: networks are matched without their quantizers. The pair is then
network A with a node for every quantizer of either side, where the tensor that it rounds is read, that says
what each of the two does there (ops/quantizer.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest

from onnxpath.model.network import Network, Node
from onnxpath.ops.quantizer import Grid

Edge = tuple[str, int]
"""A node, by its output, and the number of an operand; ("", k) for output number k of the network."""


@dataclass(frozen=True, eq=False)
class Stripped:
    """A network without quantizers, and the quantizers that every operand goes through, in order."""

    network: Network
    edges: Mapping[Edge, tuple[Node, ...]]


def quantizes(network: Network) -> bool:
    return any(node.op == "Quantizer" for node in network.nodes)


def strip(network: Network) -> Stripped:
    """The network without its quantizers."""
    chains: dict[str, tuple[str, tuple[Node, ...]]] = {}
    edges: dict[Edge, tuple[Node, ...]] = {}

    def source(name: str, edge: Edge | None = None) -> str:
        root, chain = chains.get(name, (name, ()))
        if edge is not None and chain:
            edges[edge] = chain
        return root

    nodes = []
    for node in network.nodes:
        if node.op == "Quantizer":
            root, chain = chains.get(node.inputs[0], (node.inputs[0], ()))
            chains[node.output] = root, (*chain, node)
        else:
            nodes.append(
                replace(
                    node, inputs=tuple(source(name, (node.output, k)) for k, name in enumerate(node.inputs))
                )
            )
    outputs = tuple(source(name, ("", k)) for k, name in enumerate(network.outputs))
    shapes = {name: shape for name, shape in network.shapes.items() if name not in chains}
    return Stripped(replace(network, nodes=tuple(nodes), outputs=outputs, shapes=shapes, origin=None), edges)


def plain(network: Network) -> Network:
    """The network without its quantizers, with a note that says so where it has some."""
    count = sum(node.op == "Quantizer" for node in network.nodes)
    if not count:
        return network
    note = (
        f"its {count} quantizers of activations are left out: paths are those of the weights ('bound' counts"
        " quantizers)"
    )
    return replace(strip(network).network, notes=(*network.notes, note))


def with_quantizers(
    network: Network, own: Mapping[Edge, tuple[Node, ...]], other: Mapping[Edge, tuple[Node, ...]]
) -> Network:
    """A network with the quantizers of a pair, by its own edges: `own` its own, `other` those of the second
    network."""
    made: dict[tuple, str] = {}
    shapes = dict(network.shapes)
    nodes: list[Node] = []

    def read(name: str, edge: Edge) -> str:
        for p, q in zip_longest(own.get(edge, ()), other.get(edge, ())):
            key = (name, p and p.output, q and q.output)
            if key not in made:
                output = f"{name}|quantizer {len(made)}"
                attributes = {"quantizer": _grid(p), "twin": _grid(q)}
                nodes.append(Node((q or p).name, "Quantizer", (name,), output, attributes))
                shapes[output] = shapes[name]
                made[key] = output
            name = made[key]
        return name

    for node in network.nodes:
        inputs = tuple(read(name, (node.output, k)) for k, name in enumerate(node.inputs))
        nodes.append(replace(node, inputs=inputs))
    outputs = tuple(read(name, ("", k)) for k, name in enumerate(network.outputs))
    return replace(network, nodes=tuple(nodes), outputs=outputs, shapes=shapes)


def _grid(node: Node | None) -> Grid | None:
    return None if node is None else node.attributes["quantizer"]
