"""Activations outside the paper's model, read in extended mode only: their ONNX operators as `Activation`
nodes.

HardSigmoid(α, β) is Clip(0, 1) of α x + β, and Selu(α, γ) is γ Elu(α): both are lowered so, with fixed
coefficients. Clip, Max, LeakyRelu and PRelu have their rules beside the ReLUs that they may be
(activation.py). Recognised subgraphs come here too (`spelled`).
"""

from math import inf

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.gates import Match, ideal
from onnxpath.importer.lower.rules.activation import clipped
from onnxpath.importer.lower.rules.operands import activation, number, operand, result, text
from onnxpath.importer.lower.rules.shaping import common_shape, multiple, scale, title
from onnxpath.ops.activation import FUNCTIONS
from onnxpath.ops.gated import CUBIC


def activate(context: Context, node: FileNode, x: str, function: str, *parameters: float) -> str:
    """f(x) cell by cell."""
    numbers = tuple(float(p) for p in parameters)
    return context.emit(node, "Activation", [x], context.shapes[x], function=function, parameters=numbers)


def spelled(context: Context, node: FileNode, match: Match) -> None:
    """A recognised subgraph: factor · f(inner · x), bound to the output of the node that ends it."""
    x = multiple(context, node, context.tensor(match.x), match.inner)
    y = activate(context, node, x, match.function, *match.parameters)
    result(context, node, multiple(context, node, y, match.factor))


@lowers(*(name for name, function in FUNCTIONS.items() if not function.parameters), extended=True)
def plain(context: Context, node: FileNode) -> None:
    """A function without numbers has the name of its ONNX operator."""
    result(context, node, activate(context, node, activation(context, node)[0], node.op_type))


@lowers("Softplus", extended=True)
def softplus(context: Context, node: FileNode) -> None:
    result(context, node, activate(context, node, activation(context, node)[0], "Softplus", inf))


@lowers("Elu", extended=True)
def elu(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    result(context, node, activate(context, node, x, "Elu", number(context, node, "alpha", 1.0)))


@lowers("Celu", extended=True)
def celu(context: Context, node: FileNode) -> None:
    x, alpha = activation(context, node)[0], number(context, node, "alpha", 1.0)
    if alpha <= 0:
        context.refuse(
            node,
            f"its alpha {alpha:g} is not positive: it grows exponentially or jumps, and has no Lipschitz"
            " constant",
        )
    result(context, node, activate(context, node, x, "Celu", alpha))


@lowers("Selu", extended=True)
def selu(context: Context, node: FileNode) -> None:
    alpha, gamma = (
        number(context, node, "alpha", 1.67326319217681884765625),
        number(context, node, "gamma", 1.05070102214813232421875),
    )
    y = activate(context, node, activation(context, node)[0], "Elu", alpha)
    result(context, node, multiple(context, node, y, gamma))


@lowers("HardSigmoid", extended=True)
def hard_sigmoid(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    alpha, beta = ideal(number(context, node, "alpha", 0.2)), number(context, node, "beta", 0.5)
    one = (1,) * len(shape)
    weight, bias = (
        context.fixed(f"{title(node)}:alpha", np.full(one, alpha)),
        context.fixed(f"{title(node)}:beta", np.full(one, beta)),
    )
    result(context, node, clipped(context, node, scale(context, node, x, weight, bias), 0.0, 1.0))


@lowers("HardSwish", extended=True)
def hard_swish(context: Context, node: FileNode) -> None:
    result(context, node, activate(context, node, activation(context, node)[0], "HardSwish", 1 / 6, 0.5))


@lowers("Swish", extended=True)
def swish(context: Context, node: FileNode) -> None:
    x, alpha = activation(context, node)[0], ideal(number(context, node, "alpha", 1.0))
    if alpha <= 0:
        context.refuse(node, f"its alpha {alpha:g} is not positive; Swish is supported for positive ones")
    result(context, node, activate(context, node, x, "Silu", alpha))


@lowers("Gelu", extended=True)
def gelu(context: Context, node: FileNode) -> None:
    x, _ = activation(context, node)
    if text(context, node, "approximate", "none", ("none", "tanh")) == "tanh":
        result(context, node, activate(context, node, x, "GeluTanh", 1.0, CUBIC))
    else:
        result(context, node, activate(context, node, x, "Gelu", 1.0))


@lowers("Shrink", extended=True)
def shrink(context: Context, node: FileNode) -> None:
    x, threshold, bias = (
        activation(context, node)[0],
        number(context, node, "lambd", 0.5),
        number(context, node, "bias", 0.0),
    )
    if threshold != bias or threshold < 0:
        context.refuse(
            node,
            f"with lambd {threshold:g} and bias {bias:g} it jumps; only a Shrink with equal ones (soft"
            " shrinkage) is continuous",
        )
    result(context, node, activate(context, node, x, "Softshrink", threshold))


@lowers("Min", extended=True)
def minimum(context: Context, node: FileNode) -> None:
    """The minimum of one activation and numbers."""
    names = [operand(context, node, k) for k in range(len(node.inputs))]
    moving = [name for name in names if context.constant(name) is None]
    limits = [context.constants[name].array for name in names if context.constant(name) is not None]
    if len(moving) != 1 or any(limit.size != 1 for limit in limits):
        context.refuse(
            node, "a minimum of one activation and numbers is a Clip; of anything else it is not supported"
        )
    out = common_shape(context, node, [context.shape(name) for name in names])
    if context.shape(moving[0]) != out:
        context.refuse(node, "its constant operand changes the shape of the other one")
    result(
        context,
        node,
        clipped(
            context,
            node,
            context.tensor(moving[0]),
            -inf,
            float(min(limit.reshape(-1)[0] for limit in limits)),
        ),
    )
