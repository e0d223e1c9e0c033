"""Does every operation treat axis 0 as a batch axis, so that many samples may run at once?

It does when every tensor has the same leading length (1 for a symbolic batch) and no operation mixes, moves,
repeats, selects, pads or weighs cells along axis 0 (`Operator.keeps_batch`).
"""

from collections.abc import Mapping, Sequence

from onnxpath.model.network import Node, Shape, Site
from onnxpath.ops import OPERATORS


def batched(
    nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str], shapes: Mapping[str, Shape]
) -> bool:
    tensors = [*inputs, *outputs, *(node.output for node in nodes)]
    if any(not shapes[name] for name in tensors):
        return False
    batch = shapes[tensors[0]][0]
    if any(shapes[name][0] != batch for name in tensors):
        return False
    sites = (Site(node, tuple(shapes[name] for name in node.inputs), shapes[node.output]) for node in nodes)
    return all(OPERATORS[site.node.op].keeps_batch(site) for site in sites)
