"""Rules of the canonical form for nodes without learned weights: what does nothing, what has a simpler
spelling, what merges with the node before it."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, prod

import numpy as np

from onnxpath.model.network import Node, Shape

Shapes = Mapping[str, Shape]


def _window(node: Node) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(node.attributes[key]) for key in ("kernel", "strides", "dilations", "pads"))


def does_nothing(node: Node, producer: Node | None, shapes: Shapes) -> bool:
    """The output is the first input, cell by cell; `producer` computes that input."""
    if node.op == "Relu":
        return producer is not None and producer.op == "Relu"
    before, after = shapes[node.inputs[0]], shapes[node.output]
    if node.op in ("Reshape", "Expand"):
        return before == after
    if node.op == "Transpose":
        return tuple(node.attributes["perm"]) == tuple(range(len(before)))
    if node.op in ("Concat", "Add", "Max"):
        return len(node.inputs) == 1
    if node.op in ("Slice", "Pad", "ReduceSum", "ReduceMax"):
        return before == after
    if node.op == "Gather":
        return before == after and np.array_equal(
            node.attributes["indices"], np.arange(before[node.attributes["axis"]])
        )
    if node.op in ("MaxPool", "SumPool"):
        kernel, strides, _, pads = _window(node)
        return not any(pads) and all(k == 1 for k in kernel) and all(s == 1 for s in strides)
    if node.op == "Scale":
        fixed_one = node.weight is None or (node.weight.fixed and bool(np.all(node.weight.array() == 1)))
        return fixed_one and node.bias is None
    return False


def _reduction(node: Node, before: Shape) -> Node | None:
    axes = tuple(axis for axis in sorted(node.attributes["axes"]) if before[axis] > 1)
    if axes == tuple(node.attributes["axes"]):
        return None
    return replace(node, attributes={**node.attributes, "axes": axes})


def _global_pool(node: Node, before: Shape) -> Node | None:
    """A window that covers the whole image is a reduction over it."""
    kernel, _, dilations, pads = _window(node)
    if any(pads) or any(d != 1 for d in dilations) or kernel != before[2:]:
        return None
    axes = tuple(range(2, len(before)))
    return replace(node, op="ReduceSum" if node.op == "SumPool" else "ReduceMax", attributes={"axes": axes})


def _as_slice(node: Node) -> Node | None:
    """A Gather of an arithmetic progression of cells."""
    axis, indices = node.attributes["axis"], np.asarray(node.attributes["indices"])
    steps = np.diff(indices)
    step = int(steps[0]) if steps.size else 1
    if step < 1 or np.any(steps != step):
        return None
    attributes = {
        "axes": (axis,),
        "starts": (int(indices[0]),),
        "stops": (int(indices[-1]) + 1,),
        "steps": (step,),
    }
    return replace(node, op="Slice", attributes=attributes)


def _plain_slice(node: Node, before: Shape, after: Shape) -> Node | None:
    """Axes in order, only those that lose cells, each stopping right after its last cell."""
    a = node.attributes
    cut = sorted(zip(a["axes"], a["starts"], a["steps"], strict=True))
    cut = [
        (axis, start, step if after[axis] > 1 else 1)
        for axis, start, step in cut
        if before[axis] != after[axis]
    ]
    plain = {
        "axes": tuple(axis for axis, _, _ in cut),
        "starts": tuple(start for _, start, _ in cut),
        "stops": tuple(start + (after[axis] - 1) * step + 1 for axis, start, step in cut),
        "steps": tuple(step for _, _, step in cut),
    }
    return None if all(tuple(a[key]) == plain[key] for key in plain) else replace(node, attributes=plain)


def simpler(node: Node, shapes: Shapes) -> Node | None:
    """The same function by a simpler node, or None."""
    before, after = shapes[node.inputs[0]], shapes[node.output]
    if node.op == "Transpose":
        perm = node.attributes["perm"]
        long = [axis for axis in perm if before[axis] > 1]
        if long == sorted(long):
            return replace(node, op="Reshape", attributes={})
    if node.op in ("ReduceSum", "ReduceMax"):
        return _reduction(node, before)
    if node.op in ("SumPool", "MaxPool"):
        return _global_pool(node, before)
    if node.op == "Gather":
        return _as_slice(node)
    if node.op == "Slice":
        return _plain_slice(node, before, after)
    return None


def _padded(pads: tuple[int, ...], extra: tuple[int, ...], rank: int) -> tuple[int, ...] | None:
    """Spatial pads enlarged by those of a Pad over all axes; None where it pads batch or channel."""
    begin, end = extra[:rank], extra[rank:]
    if any(begin[:2]) or any(end[:2]):
        return None
    return tuple(p + e for p, e in zip(pads, (*begin[2:], *end[2:]), strict=True))


def _interval(node: Node) -> tuple[float, float] | None:
    """(low, high) of a node that is min(max(x, low), high)."""
    if node.op == "Relu":
        return 0.0, inf
    return (
        node.attributes["parameters"]
        if node.op == "Activation" and node.attributes["function"] == "Clip"
        else None
    )


def _clip(node: Node, before: Node, low: float, high: float) -> Node:
    """`node` clipping what `before` reads. min(max(·, l), h) is monotone, so it maps the limits of the inner
    one to those of both."""
    if (low, high) == (0.0, inf):
        return replace(node, op="Relu", inputs=before.inputs, attributes={})
    return replace(
        node,
        op="Activation",
        inputs=before.inputs,
        attributes={"function": "Clip", "parameters": (low, high)},
    )


def merged(before: Node, node: Node, shapes: Shapes) -> Node | None:
    """`node` reading what `before` reads, doing the work of both; None where the two do not merge."""
    inner, outer = _interval(before), _interval(node)
    if inner is not None and outer is not None:
        return _clip(node, before, *(min(max(limit, outer[0]), outer[1]) for limit in inner))
    if before.op == node.op == "Reshape" or before.op == node.op == "Expand":
        return replace(node, inputs=before.inputs)
    if before.op == node.op == "Transpose":
        first = before.attributes["perm"]
        return replace(
            node,
            inputs=before.inputs,
            attributes={"perm": tuple(first[axis] for axis in node.attributes["perm"])},
        )
    if before.op == "Pad" and node.op == "Pad":
        pads = tuple(p + q for p, q in zip(before.attributes["pads"], node.attributes["pads"], strict=True))
        return replace(node, inputs=before.inputs, attributes={"pads": pads})
    if before.op == "Pad" and node.op in ("Conv", "SumPool"):
        pads = _padded(
            tuple(node.attributes["pads"]), tuple(before.attributes["pads"]), len(shapes[before.output])
        )
        return (
            None
            if pads is None
            else replace(node, inputs=before.inputs, attributes={**node.attributes, "pads": pads})
        )
    if before.op == node.op == "Slice" and prod(shapes[node.output]):
        return _slice_of_slice(before, node)
    return None


def _slice_of_slice(before: Node, node: Node) -> Node | None:
    """Slices along distinct axes are one."""
    a, b = before.attributes, node.attributes
    if set(a["axes"]) & set(b["axes"]):
        return None
    return replace(
        node,
        inputs=before.inputs,
        attributes={key: (*a[key], *b[key]) for key in ("axes", "starts", "stops", "steps")},
    )
