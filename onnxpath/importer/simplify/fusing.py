"""Folding a Scale into the linear node before it: s (W x + b) + t = (s W) x + (s b + t).

    Conv, ConvTranspose   s and t have one value per output channel (or one at all)
    MatMul                s varies along the output axis of W only; t is anything that broadcasts
    Scale                 always: (s2 s1) x + (s2 b1 + b2)

The factor s becomes a float64 `Parameter.scale` of the weight, which is not copied; biases are combined in
float64. Fixed coefficients (averages, interpolation) stay apart from learned ones, but for a fixed number,
such as a sign.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxpath.model.network import Node, Parameter, Shape

Shapes = Mapping[str, Shape]


def fused(before: Node, node: Node, shapes: Shapes) -> Node | None:
    """`before` with the Scale `node` folded into it, or None where that is not possible."""
    if node.op != "Scale":
        return None
    if before.op in ("Conv", "ConvTranspose"):
        return _into_convolution(before, node, shapes)
    if before.op == "MatMul":
        return _into_matmul(before, node, shapes)
    if before.op == "Scale":
        return _into_scale(before, node)
    return None


def _fixed_number(weight: Parameter | None) -> bool:
    return weight is None or not weight.fixed or weight.size == 1


def _value(parameter: Parameter) -> np.ndarray:
    return np.asarray(parameter.array(), np.float64)


def _sources(*parameters: Parameter | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s for p in parameters if p is not None for s in p.sources))


def _per_channel(parameter: Parameter | None, axis: int) -> bool:
    """It varies along that axis only."""
    return parameter is None or all(n == 1 for k, n in enumerate(parameter.shape) if k != axis)


def _scaled(weight: Parameter, factor: np.ndarray, by: Parameter) -> Parameter:
    return replace(weight.scaled(factor), sources=_sources(weight, by))


def _combined(
    bias: Parameter | None,
    factor: np.ndarray | None,
    scale: Parameter | None,
    shift: Parameter | None,
    name: str,
) -> Parameter | None:
    """factor * bias + shift; all of them already broadcast against each other."""
    if bias is None:
        return shift
    if factor is None and shift is None:
        return bias
    value = np.asarray(bias.array(), np.float64)
    value = value if factor is None else value * factor
    value = value if shift is None else value + np.asarray(shift.array(), np.float64)
    fixed = bias.fixed and (shift is None or shift.fixed)
    return Parameter(bias.name or name, value, sources=_sources(bias, shift, scale), fixed=fixed)


def _reshaped(parameter: Parameter | None, shape: Shape) -> Parameter | None:
    """A view of another shape: `shape` has the same elements, or repeats a single one."""
    if parameter is None or parameter.shape == shape:
        return parameter
    if parameter.size == 1:
        return replace(parameter, base=np.broadcast_to(parameter.array().reshape(()), shape), scale=None)
    if parameter.scale is not None:
        return replace(parameter, base=parameter.array().reshape(shape), scale=None)
    return replace(parameter, base=parameter.base.reshape(shape))


def _channel_factor(before: Node, weight: Shape, values: np.ndarray) -> np.ndarray:
    """One value per output channel, to be multiplied with a weight of that shape."""
    if before.op == "Conv":
        return values.reshape((-1,) + (1,) * (len(weight) - 1))
    groups = before.attributes["group"]
    rows = values.reshape(groups, 1, weight[1])
    rows = rows if groups == 1 else np.repeat(rows, weight[0] // groups, 1).reshape(1, weight[0], weight[1])
    return rows.reshape(rows.shape[1:] + (1,) * (len(weight) - 2))


def _into_convolution(before: Node, node: Node, shapes: Shapes) -> Node | None:
    channels = shapes[node.output][1]
    if not (_per_channel(node.weight, 1) and _per_channel(node.bias, 1) and _fixed_number(node.weight)):
        return None
    shift = _reshaped(node.bias, (channels,))
    weight, bias = before.weight, before.bias
    assert weight is not None
    factor = None
    if node.weight is not None:
        factor = np.broadcast_to(_value(node.weight).reshape(-1), (channels,))
        weight = _scaled(weight, _channel_factor(before, weight.shape, factor), node.weight)
    bias = _combined(bias, factor, node.weight, shift, node.name)
    return replace(before, output=node.output, weight=weight, bias=bias)


def _into_matmul(before: Node, node: Node, shapes: Shapes) -> Node | None:
    rank = len(shapes[node.output])
    axis = rank - 1 if before.attributes["side"] == "right" else rank - 2
    if not (_per_channel(node.weight, axis) and _fixed_number(node.weight)):
        return None
    shift = _raised(node.bias, rank)
    weight, bias = before.weight, _raised(before.bias, rank)
    assert weight is not None
    factor = None
    if node.weight is not None:
        factor = _value(node.weight)
        own = len(weight.shape)
        weight = _scaled(
            weight, factor.reshape(factor.shape[rank - own :] if rank >= own else factor.shape), node.weight
        )
    bias = _combined(bias, factor, node.weight, shift, node.name)
    return replace(before, output=node.output, weight=weight, bias=plain_bias(bias))


def _raised(bias: Parameter | None, rank: int) -> Parameter | None:
    return None if bias is None else _reshaped(bias, (1,) * (rank - len(bias.shape)) + bias.shape)


def plain_bias(bias: Parameter | None) -> Parameter | None:
    """Without leading axes of length 1, down to a list."""
    if bias is None:
        return None
    shape = bias.shape
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return _reshaped(bias, shape) if shape else bias


def _into_scale(before: Node, node: Node) -> Node | None:
    first, second = before.weight, node.weight
    if first is not None and first.fixed and not (second is not None and second.fixed and node.bias is None):
        return None
    if second is not None and second.fixed and not (second.size == 1 or (first is not None and first.fixed)):
        return None
    factor = None if second is None else _value(second)
    if first is None:
        weight = second
    elif second is None or factor is None:
        weight = first
    elif _fits(first.shape, second.shape):
        weight = _scaled(first, factor, second)
    else:
        weight = Parameter(
            first.name, _value(first) * factor, sources=_sources(first, second), fixed=first.fixed
        )
    bias = _combined(before.bias, factor, second, node.bias, node.name)
    return replace(before, output=node.output, weight=weight, bias=bias)


def _fits(shape: Shape, factor: Shape) -> bool:
    return all(f in (1, n) for n, f in zip(shape, factor, strict=True))
