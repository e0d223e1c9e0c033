"""BatchNormalization at inference: y = γ (x - μ) / √(σ² + ε) + β, one factor and one bias per channel,

    s = γ / √(σ² + ε),    b = β - μ s,    computed in float64.

Normalizations whose statistics depend on the input (instance, layer, group, local response) are outside the
model.
"""

import numpy as np

from onnxpath.importer.lower.context import Constant, Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import activation, constant, integer, number, operand, result
from onnxpath.importer.lower.rules.shaping import scale, title
from onnxpath.model.network import Parameter, Shape

NAMES = ("scale", "bias", "mean", "variance")


def _statistics(context: Context, node: FileNode, shape: Shape) -> list[Constant]:
    found = []
    for index, what in enumerate(NAMES, start=1):
        operand(context, node, index)
        found.append(constant(context, node, index, f"its {what}"))
        if found[-1].array.shape != shape:
            context.invalid(
                node,
                f"its {what} '{node.inputs[index]}' has shape {list(found[-1].array.shape)}, expected"
                f" {list(shape)}",
            )
    return found


@lowers("BatchNormalization")
def batch_normalization(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    if len(shape) < 2:
        context.invalid(node, f"its input has shape {list(shape)}, expected a batch and a channel axis")
    if integer(context, node, "training_mode", 0):
        context.refuse(
            node, "it is in training mode, its statistics depend on the batch; export the model for inference"
        )
    per_channel = context.opset >= 9 or bool(integer(context, node, "spatial", 1))
    own = (shape[1],) if per_channel else shape[1:]
    statistics = _statistics(context, node, own)
    gamma, beta, mean, variance = (c.array.astype(np.float64) for c in statistics)
    spread = variance + number(context, node, "epsilon", 1e-5)
    if not np.all(spread > 0):
        context.invalid(
            node,
            f"its variance '{node.inputs[4]}' plus epsilon is not positive everywhere (smallest:"
            f" {np.min(spread):g})",
        )
    factor = gamma / np.sqrt(spread)
    bias = beta - mean * factor
    full = (1, *own) + (1,) * (len(shape) - 1 - len(own))

    def parameter(suffix: str, value: np.ndarray, *indices: int) -> Parameter:
        sources = (s for k in indices for s in context.constants[node.inputs[k]].sources or (node.inputs[k],))
        return Parameter(
            f"{title(node)}:{suffix}", value.reshape(full), sources=tuple(dict.fromkeys(sources))
        )

    y = scale(context, node, x, parameter("weight", factor, 1, 4), parameter("bias", bias, 2, 3, 1, 4))
    context.normalizations[y] = tuple(
        context.parameter(node.inputs[k], c) for k, c in enumerate(statistics, start=1)
    )
    if context.keep_batchnorm:
        context.kept.add(y)
    for index in range(1, len(node.outputs)):
        context.withhold(node, index, "running statistics exist in training only")
    result(context, node, y)
