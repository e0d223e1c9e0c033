"""ReLU and the operators that are one, or nothing, for the attributes a file gives them; in extended mode
also those that are not.

Relu(x) = max(0, x) is also Clip(x, 0, ∞), Max(x, 0), ThresholdedRelu with alpha 0, LeakyRelu and PRelu with
slope 0. Max of several activations is a max-pool neuron. Identity, Dropout at inference and Cast between
floating-point types copy.
"""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import activation, constant, integer, number, operand, result
from onnxpath.importer.lower.rules.shaping import broadcast, common_shape, title, with_rank
from onnxpath.model.network import Parameter

UNBOUNDED = 3.4e38  # exporters write the largest float32 for "no bound"
FLOATS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
OTHERS = {
    2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128",
}  # fmt: skip


def clipped(context: Context, node: FileNode, x: str, low: float, high: float) -> str:
    """min(max(x, low), high): a ReLU, nothing, or (in extended mode) a Clip."""
    low, high = -np.inf if low <= -UNBOUNDED else low, np.inf if high >= UNBOUNDED else high
    if _within(context, x, low, high):
        return x
    if np.isinf(high) and (low == 0 or np.isinf(low)):
        return rectify(context, node, x) if low == 0 else x
    if not context.extended:
        bounds = f"[{low:g}, {high:g}]"
        context.refuse(
            node,
            f"it clips to {bounds}; only [0, ∞) is a ReLU, the path-metric is not defined for activations"
            " that saturate",
        )
    return context.emit(
        node,
        "Activation",
        [x],
        context.shapes[x],
        function="Clip",
        parameters=(float(min(low, high)), float(high)),
    )


def _within(context: Context, x: str, low: float, high: float) -> bool:
    """x is made by a quantizer whose range lies in [low, high]."""
    if not context.codes:
        return False
    node = next((node for node in reversed(context.nodes) if node.output == x), None)
    if node is None or node.op != "Quantizer":
        return False
    grid = node.attributes["quantizer"]
    return bool(np.all(low <= grid.lowest) and np.all(grid.highest <= high))


def rectify(context: Context, node: FileNode, x: str) -> str:
    if _within(context, x, 0.0, np.inf):
        return x
    return context.emit(node, "Relu", [x], context.shapes[x])


@lowers("Relu")
def relu(context: Context, node: FileNode) -> None:
    result(context, node, rectify(context, node, activation(context, node)[0]))


def _limit(context: Context, node: FileNode, key: str, index: int, default: float) -> float:
    if node.attribute(key) is not None:
        value = node.attribute(key)
        if not isinstance(value, int | float) or np.isnan(value):
            context.invalid(node, f"attribute {key} should be a number, found {value!r}")
        return float(value)
    found = constant(context, node, index, f"its {key}imum")
    if found is None:
        return default
    if found.array.size != 1 or np.isnan(found.array).any():
        context.invalid(
            node,
            f"its {key}imum '{node.input(index)}' should be one number, found shape"
            f" {list(found.array.shape)}",
        )
    return float(found.array.reshape(-1)[0])


@lowers("Clip")
def clip(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    low, high = _limit(context, node, "min", 1, -np.inf), _limit(context, node, "max", 2, np.inf)
    result(context, node, clipped(context, node, x, low, high))


def _sloped(
    context: Context, node: FileNode, x: str, slopes: np.ndarray, learned: Parameter | None = None
) -> None:
    """`learned`: slopes that the file holds as a tensor; in extended mode these stay a PRelu, whatever their
    values."""
    rank = len(context.shapes[x])
    if context.extended and learned is not None:
        result(context, node, context.emit(node, "PRelu", [x], context.shapes[x], weight=learned))
    elif not np.any(slopes):
        result(context, node, rectify(context, node, x))
    elif np.all(slopes == 1):
        result(context, node, x)
    elif context.extended:
        weight = context.fixed(f"{title(node)}:slope", np.full((1,) * rank, slopes))
        result(context, node, context.emit(node, "PRelu", [x], context.shapes[x], weight=weight))
    else:
        context.refuse(
            node, "a negative-side slope other than 0 is no ReLU neuron: the path-metric is not defined there"
        )


@lowers("LeakyRelu")
def leaky_relu(context: Context, node: FileNode) -> None:
    _sloped(context, node, activation(context, node)[0], np.array(number(context, node, "alpha", 0.01)))


@lowers("PRelu")
def parametric_relu(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    operand(context, node, 1)
    found = constant(context, node, 1, "its slope")
    assert found is not None  # operand() has seen it
    slopes = found.array
    if common_shape(context, node, [shape, slopes.shape]) != shape:
        context.invalid(node, f"its slope of shape {list(slopes.shape)} does not broadcast to {list(shape)}")
    _sloped(context, node, x, slopes, context.parameter(node.inputs[1], found, with_rank(slopes, len(shape))))


@lowers("ThresholdedRelu")
def thresholded_relu(context: Context, node: FileNode) -> None:
    alpha = number(context, node, "alpha", 1.0)
    if alpha != 0:
        context.refuse(node, f"it jumps at its threshold {alpha:g}; only the threshold 0 is a ReLU")
    relu(context, node)


@lowers("Max")
def maximum(context: Context, node: FileNode) -> None:
    names = [operand(context, node, k) for k in range(len(node.inputs))]
    constants = [context.constants[name] for name in names if context.constant(name) is not None]
    numbers = [float(c.array.reshape(-1)[0]) for c in constants if c.array.size == 1]
    bounded = context.extended and len(numbers) == len(constants)
    if any(np.any(c.array) for c in constants) and not bounded:
        context.refuse(
            node, "the maximum with a constant c other than 0 is no ReLU neuron; write it as Relu(x - c) + c"
        )
    out = common_shape(context, node, [context.shape(name) for name in names])
    parts = [
        broadcast(context, node, context.tensor(name), out)
        for name in names
        if context.constant(name) is None
    ]
    parts = list(dict.fromkeys(parts))
    y = parts[0] if len(parts) == 1 else context.emit(node, "Max", parts, out)
    result(
        context, node, clipped(context, node, y, max(numbers) if bounded else 0.0, np.inf) if constants else y
    )


@lowers("Identity")
def identity(context: Context, node: FileNode) -> None:
    result(context, node, activation(context, node)[0])


@lowers("Dropout")
def dropout(context: Context, node: FileNode) -> None:
    """Identity; the mask exists in training only."""
    training = constant(context, node, 2, "its training mode")
    if training is not None and np.any(training.array):
        context.refuse(node, "it is in training mode, its output is random; export the model for inference")
    context.withhold(node, 1, "the mask of a Dropout is no neuron of the network")
    identity(context, node)


@lowers("Cast")
def cast(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    to = integer(context, node, "to", None)
    if to not in FLOATS:
        context.refuse(
            node,
            f"it casts an activation to {OTHERS.get(to, f'type {to}')}, which rounds; use a floating-point"
            " type",
        )
    result(context, node, x)


@lowers("CastLike")
def cast_like(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    like = context.constant(operand(context, node, 1))
    if like is not None and like.array.dtype.kind != "f":
        context.refuse(
            node, f"it casts an activation to {like.array.dtype}, which rounds; use a floating-point type"
        )
    result(context, node, x)
