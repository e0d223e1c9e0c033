"""Does every operation treat axis 0 as a batch axis, so that many samples may run at once?

It does when every tensor has the same leading length (1 for a symbolic batch) and no operation mixes, moves, repeats,
selects, pads or weighs cells along axis 0.
"""

from collections.abc import Mapping, Sequence

from onnxpath.network import Node, Parameter, Shape


def _constant_along_batch(parameter: Parameter | None, rank: int) -> bool:
    return parameter is None or len(parameter.shape) < rank or parameter.shape[0] == 1


def _keeps(node: Node, shapes: Mapping[str, Shape]) -> bool:
    rank, a = len(shapes[node.output]), node.attributes
    if node.op == "Transpose":
        return a["perm"][0] == 0
    if node.op in ("Concat", "Gather"):
        return a["axis"] != 0
    if node.op == "Slice":
        return 0 not in a["axes"]
    if node.op in ("ReduceSum", "ReduceMax"):
        return 0 not in a["axes"]
    if node.op == "Pad":
        return a["pads"][0] == 0 and a["pads"][rank] == 0
    if node.op == "MatMul":
        if rank == 2:
            return a["side"] == "right" and _constant_along_batch(node.bias, rank)
        return _constant_along_batch(node.weight, rank) and _constant_along_batch(node.bias, rank)
    if node.op in ("Scale", "PRelu"):
        return _constant_along_batch(node.weight, rank) and _constant_along_batch(node.bias, rank)
    return True


def batched(nodes: Sequence[Node], inputs: Sequence[str], outputs: Sequence[str], shapes: Mapping[str, Shape]) -> bool:
    tensors = [*inputs, *outputs, *(node.output for node in nodes)]
    if any(not shapes[name] for name in tensors):
        return False
    batch = shapes[tensors[0]][0]
    return all(shapes[name][0] == batch for name in tensors) and all(_keeps(node, shapes) for node in nodes)
