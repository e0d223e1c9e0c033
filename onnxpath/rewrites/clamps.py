"""ReLUs and Clips that quantizers absorb, so that a quantized file may lack them where its float twin has
them.

A clamp f(x) = min(max(x, l), h) in front of a quantizer with the range [lo, hi] changes nothing where l <= lo
and hi <= h:

    q(f(x)) = q(x)        for l - s/4 <= lo and hi <= h + s/4,

as whatever f cuts is rounded to the end of the grid anyway. (Calibration on [0, 6] gives hi = 255 · float32(6
/ 255), which is a little more than 6; within a quarter of a step the last number of the grid still gets all
of it, and the distance of q(x) to the clamped number stays below `half`.)

So such a clamp may be left out of a network, put into it, or exchanged for another one, whichever makes it
match its twin.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf

import numpy as np

from onnxpath.model.network import Network, Node
from onnxpath.ops.quantizer import Dynamic, Grid

Limits = tuple[float, float]


def limits(node: Node) -> Limits | None:
    """[l, h] of a ReLU or Clip, None for another node."""
    if node.op == "Relu":
        return 0.0, inf
    if node.op == "Activation" and node.attributes["function"] == "Clip":
        return node.attributes["parameters"]
    return None


def absorbs(reader: Node, clamp: Limits) -> bool:
    """Whether a node that reads f(x) would do the same with x."""
    if reader.op != "Quantizer":
        return False
    grid: Grid = reader.attributes["quantizer"]
    if isinstance(grid, Dynamic):
        return False
    (low, high), margin = clamp, grid.step / 4
    return bool(np.all(grid.lowest >= low - margin) and np.all(grid.highest <= high + margin))


def absorbed(network: Network, node: Node, clamp: Limits | None = None) -> bool:
    """Whether all that read a node are quantizers that absorb this clamp (by default the node, a clamp
    itself)."""
    clamp = limits(node) if clamp is None else clamp
    readers = network.consumers.get(node.output, ())
    return (
        clamp is not None
        and bool(readers)
        and node.output not in network.outputs
        and all(absorbs(reader, clamp) for reader in readers)
    )


def without(network: Network, node: Node) -> Network:
    """The network without a node of one operand, whose readers read what it reads."""
    source = node.inputs[0]
    nodes = tuple(
        replace(other, inputs=tuple(source if name == node.output else name for name in other.inputs))
        for other in network.nodes
        if other is not node
    )
    return replace(
        network,
        nodes=nodes,
        shapes={name: shape for name, shape in network.shapes.items() if name != node.output},
    )


def exchanged(network: Network, node: Node, like: Node) -> Network:
    """The network with another clamp in the place of one."""
    made = replace(node, op=like.op, attributes=like.attributes)
    return replace(network, nodes=tuple(made if other is node else other for other in network.nodes))


def inserted(network: Network, tensor: str, like: Node) -> Network | None:
    """The network with a clamp between a tensor and the quantizers that read it and absorb it; None where
    there are none."""
    clamp = limits(like)
    readers = (
        [] if clamp is None else [node for node in network.consumers.get(tensor, ()) if absorbs(node, clamp)]
    )
    if not readers:
        return None
    output = f"{tensor}|clamp"
    made = Node(readers[0].name, like.op, (tensor,), output, like.attributes)
    nodes: list[Node] = []
    for node in network.nodes:
        if node in readers:
            if made not in nodes:
                nodes.append(made)
            node = replace(node, inputs=(output,))
        nodes.append(node)
    return replace(network, nodes=tuple(nodes), shapes={**network.shapes, output: network.shapes[tensor]})


def adapted(
    network: Network,
    differs: Node | None,
    other: Node | None,
    keys: Mapping[str, bytes],
    wanted: bytes | None,
) -> Network | None:
    """A network one step closer to its twin; None where clamps are not what separates them.

    differs: the first node of this network that the twin lacks; other: of the twin. keys: of this network's
        tensors without quantizers;
    wanted: that of what `other` reads.
    """
    own = None if differs is None else network.producer.get(differs.output)
    clamp = None if other is None else limits(other)
    if differs is not None and own is not None and absorbed(network, own):
        if (
            other is not None
            and clamp is not None
            and keys.get(differs.inputs[0]) == wanted
            and absorbed(network, own, clamp)
        ):
            return exchanged(network, own, other)
        return without(network, own)
    if other is None or clamp is None:
        return None
    for tensor in (*network.inputs, *(node.output for node in network.nodes if node.op != "Quantizer")):
        if keys.get(tensor) == wanted:
            found = inserted(network, tensor, other)
            if found is not None:
                return found
    return None
