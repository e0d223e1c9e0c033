"""A bias that one of two networks adds in a node of its own, as a quantizer stands between the product and
the sum there.

    y = W x + b    is    z = W x,   y = z + b:

the importer puts b into the node of W, but in the quantized file the sum is behind a quantizer of z, and
stays a node. Then the twin's node is taken apart in the same way.
"""

from collections.abc import Mapping
from dataclasses import replace

from onnxpath.model.network import Network, Node, Parameter
from onnxpath.ops import OPERATORS


def _added(bias: Parameter, channels: bool, rank: int) -> Parameter:
    """The bias of a weighted node as one that broadcasts to its output."""
    shape = (1, -1, *(1,) * (rank - 2)) if channels else (1,) * (rank - bias.base.ndim) + bias.base.shape
    scale = bias.scale
    if scale is not None:
        scale = scale.reshape(
            (1, -1, *(1,) * (rank - 2))
            if channels and scale.ndim
            else (1,) * (rank - scale.ndim) + scale.shape
        )
    return replace(bias, base=bias.base.reshape(shape), scale=scale)


def with_sum(
    network: Network, other: Node | None, keys: Mapping[str, bytes], wanted: bytes | None
) -> Network | None:
    """The network with the bias of a node in a node of its own, like `other` of the twin; None where there is
    no such bias.

    keys: of this network's tensors without quantizers; wanted: that of what `other` reads.
    """
    if other is None or other.op != "Scale" or other.weight is not None or other.bias is None:
        return None
    node = next(
        (
            node
            for node in network.nodes
            if keys.get(node.output) == wanted and node.bias is not None and node.op != "Scale"
        ),
        None,
    )
    if node is None or node.bias is None:
        return None
    shape = network.shapes[node.output]
    product = f"{node.output}|product"
    bias = _added(node.bias, OPERATORS[node.op].channel_bias, len(shape))
    made = [
        replace(node, output=product, bias=None),
        Node(node.name, "Scale", (product,), node.output, other.attributes, None, bias),
    ]
    nodes = [part for own in network.nodes for part in (made if own is node else [own])]
    return replace(network, nodes=tuple(nodes), shapes={**network.shapes, product: shape})
