"""An independent evaluator of canonical networks in float64 PyTorch: the oracle of the test suite.

`evaluate` computes what the network computes. `evaluate_absolute` computes the pass of Theorem B.1, in which
every weight w and bias b, fixed ones included, is |w|^q and |b|^q (0^0 = 0), max neurons are sums over their
antecedents, and ReLU is the identity: for inputs of ones the sum of its outputs is ‖Φ‖_q^q. Nothing here is
shared with the package but the data model.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from reference_activations import FUNCTIONS
from torch import Tensor

from onnxpath.model.network import Network, Node, Parameter, Shape
from onnxpath.ops.quantizer import Quantization

Inputs = Mapping[str, np.ndarray]


def evaluate(network: Network, inputs: Inputs) -> dict[str, np.ndarray]:
    """The value of every tensor, inputs included."""
    return _run(network, inputs, _value, {"Relu": torch.relu})


def evaluate_absolute(network: Network, inputs: Inputs, q: float = 1) -> dict[str, np.ndarray]:
    """The absolute pass of exponent q from these (non-negative) inputs."""

    def power(parameter: Parameter) -> Tensor:
        value = _value(parameter).abs()
        return (value > 0).double() if q == 0 else value**q

    return _run(network, inputs, power, _SUMS)


def outputs(network: Network, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    return [values[name] for name in network.outputs]


def gradient(network: Network, inputs: Inputs, cotangents: Inputs) -> dict[str, np.ndarray]:
    """∇_x Σ_v c_v y_v by PyTorch's autograd; 0 for an input that no output depends on."""
    leaves = {
        name: torch.from_numpy(np.array(inputs[name], np.float64)).requires_grad_() for name in network.inputs
    }
    values = _tensors(network, leaves, _value, {"Relu": torch.relu})
    total = sum(
        (values[name] * torch.from_numpy(np.asarray(c, np.float64))).sum() for name, c in cotangents.items()
    )
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        name: (torch.zeros_like(leaf) if g is None else g).numpy()
        for (name, leaf), g in zip(leaves.items(), found, strict=True)
    }


def _value(parameter: Parameter) -> Tensor:
    value = parameter.base.astype(np.float64)
    return torch.from_numpy(np.array(value if parameter.scale is None else value * parameter.scale))


def costs(
    network: Network, weights: Mapping[str, np.ndarray] | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """|θ_i| ∂(Σ_v κ_v F_v)/∂|θ_i| of every learned coordinate by autograd, by (node output, "weight" or
    "bias"); of every weighted node's output, key "value", a_v g_v. weights: κ by output (default 1)."""
    made: dict[int, Tensor] = {}

    def absolute(parameter: Parameter) -> Tensor:
        if id(parameter) not in made:
            made[id(parameter)] = _value(parameter).abs().requires_grad_()
        return made[id(parameter)]

    values = _tensors(
        network, {name: torch.ones(network.shapes[name]).double() for name in network.inputs}, absolute, _SUMS
    )
    weighted = [node for node in network.nodes if node.weight is not None or node.bias is not None]
    for node in weighted:
        values[node.output].retain_grad()
    sum(
        (values[n] * torch.from_numpy(np.array(1.0 if weights is None else weights[n]))).sum()
        for n in network.outputs
    ).backward()

    def cost(tensor: Tensor) -> np.ndarray:
        return (torch.zeros_like(tensor) if tensor.grad is None else tensor * tensor.grad).detach().numpy()

    found = {}
    for node in weighted:
        found[node.output, "value"] = cost(values[node.output])
        for kind in ("weight", "bias"):
            parameter = getattr(node, kind)
            if parameter is not None and not parameter.fixed:
                found[node.output, kind] = cost(made[id(parameter)])
    return found


_SUMS = {"Relu": lambda x: x, "MaxPool": "SumPool", "ReduceMax": "ReduceSum", "Max": "Add"}


def _run(
    network: Network, inputs: Inputs, read: Callable[[Parameter], Tensor], instead: dict
) -> dict[str, np.ndarray]:
    values = {name: torch.from_numpy(np.asarray(inputs[name], np.float64)) for name in network.inputs}
    return {name: value.numpy() for name, value in _tensors(network, values, read, instead).items()}


def _tensors(
    network: Network, given: Mapping[str, Tensor], read: Callable[[Parameter], Tensor], instead: dict
) -> dict[str, Tensor]:
    values = dict(given)
    for name, value in values.items():
        assert tuple(value.shape) == tuple(network.shapes[name]), (
            f"{name}: {tuple(value.shape)} given, {network.shapes[name]} expected"
        )
    for node in network.nodes:
        rule = instead.get(node.op, node.op)
        operands = [values[name] for name in node.inputs]
        if callable(rule):
            value = rule(*operands)
        else:
            weight = None if node.weight is None else read(node.weight)
            bias = None if node.bias is None else read(node.bias)
            value = OPERATIONS[rule](node, operands, weight, bias, network.shapes[node.output])
        assert tuple(value.shape) == tuple(network.shapes[node.output]), (
            f"{node}: {tuple(value.shape)} != {network.shapes[node.output]}"
        )
        values[node.output] = value
    return values


def _padded(x: Tensor, pads: Shape, value: float = 0.0) -> Tensor:
    """Pads of the spatial axes, begins then ends."""
    rank = len(pads) // 2
    order = [n for k in reversed(range(rank)) for n in (pads[k], pads[rank + k])]
    return F.pad(x, order, value=value)


def _conv(node: Node, xs: list[Tensor], weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    a = node.attributes
    run = (F.conv1d, F.conv2d, F.conv3d)[len(a["strides"]) - 1]
    return run(_padded(xs[0], a["pads"]), weight, bias, a["strides"], 0, a["dilations"], a["group"])


def _conv_transpose(
    node: Node, xs: list[Tensor], weight: Tensor, bias: Tensor | None, shape: Shape
) -> Tensor:
    a = node.attributes
    rank = len(a["strides"])
    run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    full = run(xs[0], weight, None, a["strides"], 0, 0, a["group"], a["dilations"])
    begin = a["pads"][:rank]
    missing = [max(0, b + o - n) for b, o, n in zip(begin, shape[2:], full.shape[2:], strict=True)]
    full = _padded(full, (0,) * rank + tuple(missing))
    for k, (b, o) in enumerate(zip(begin, shape[2:], strict=True)):
        full = full.narrow(k + 2, b, o)
    return full if bias is None else full + bias.reshape(1, -1, *(1,) * rank)


def _matmul(node: Node, xs: list[Tensor], weight: Tensor, bias: Tensor | None, shape: Shape) -> Tensor:
    y = xs[0] @ weight if node.attributes["side"] == "right" else weight @ xs[0]
    return y if bias is None else y + bias


def _scale(node: Node, xs: list[Tensor], weight: Tensor | None, bias: Tensor | None, shape: Shape) -> Tensor:
    x = xs[0]
    for parameter in (weight, bias):
        assert parameter is None or parameter.ndim == x.ndim, (
            f"{node.name}: a coefficient of rank {parameter.ndim} for {tuple(x.shape)}"
        )
    y = x if weight is None else x * weight
    return y if bias is None else y + bias


def _windows(node: Node, x: Tensor, shape: Shape, fill: float) -> Tensor:
    """The cells of every window along a last axis."""
    a = node.attributes
    x = _padded(x, a["pads"], fill)
    for k, (size, stride, dilation) in enumerate(zip(a["kernel"], a["strides"], a["dilations"], strict=True)):
        x = x.unfold(k + 2, dilation * (size - 1) + 1, stride)[..., ::dilation]
    return x.reshape(*shape[:2], *x.shape[2 : len(shape)], -1)


def _max_pool(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    return _windows(node, xs[0], shape, -torch.inf).amax(-1)


def _sum_pool(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    return _windows(node, xs[0], shape, 0.0).sum(-1)


def _slice(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    a = node.attributes
    index = [slice(None)] * xs[0].ndim
    for axis, start, stop, step in zip(a["axes"], a["starts"], a["stops"], a["steps"], strict=True):
        assert 0 <= start < stop <= xs[0].shape[axis] and step >= 1, f"{node.name}: {start}:{stop}:{step}"
        index[axis] = slice(start, stop, step)
    return xs[0][tuple(index)]


def _pad(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    assert min(node.attributes["pads"]) >= 0
    return _padded(xs[0], node.attributes["pads"])


def _unfold(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    matrix = torch.from_numpy(np.asarray(node.attributes["matrix"])).to(xs[0].dtype)
    return (xs[0].flatten(2) @ matrix).reshape(-1, *shape[1:])


def _gather(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    return xs[0].index_select(node.attributes["axis"], torch.tensor(np.array(node.attributes["indices"])))


def _same_shapes(node: Node, xs: list[Tensor]) -> Tensor:
    assert len(xs) >= 2 and len({x.shape for x in xs}) == 1, f"{node.name}: {[tuple(x.shape) for x in xs]}"
    return torch.stack(xs)


def _expand(node: Node, xs: list[Tensor], weight: None, bias: None, shape: Shape) -> Tensor:
    assert xs[0].ndim == len(shape)
    return xs[0].expand(shape)


OPERATIONS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _matmul,
    "Scale": _scale,
    "MaxPool": _max_pool,
    "SumPool": _sum_pool,
    "ReduceSum": lambda node, xs, w, b, shape: xs[0].sum(node.attributes["axes"], keepdim=True),
    "ReduceMax": lambda node, xs, w, b, shape: xs[0].amax(node.attributes["axes"], keepdim=True),
    "Add": lambda node, xs, w, b, shape: _same_shapes(node, xs).sum(0),
    "Max": lambda node, xs, w, b, shape: _same_shapes(node, xs).amax(0),
    "Concat": lambda node, xs, w, b, shape: torch.cat(xs, node.attributes["axis"]),
    "Slice": _slice,
    "Reshape": lambda node, xs, w, b, shape: xs[0].reshape(shape),
    "Transpose": lambda node, xs, w, b, shape: xs[0].permute(node.attributes["perm"]),
    "Gather": _gather,
    "Unfold": _unfold,
    "Pad": _pad,
    "Expand": _expand,
    "Activation": lambda node, xs, w, b, shape: FUNCTIONS[node.attributes["function"]](
        xs[0], *node.attributes["parameters"]
    ),
    "PRelu": lambda node, xs, w, b, shape: torch.where(xs[0] > 0, xs[0], xs[0] * w),
    "Quantizer": lambda node, xs, w, b, shape: _quantized(xs[0], node.attributes["quantizer"]),
}


def _quantized(x: Tensor, grid: Quantization | None) -> Tensor:
    if grid is None:
        return x
    stored = torch.clamp(torch.round(x / grid.step) + grid.zero, grid.low, grid.high)
    value = (stored - grid.zero) * grid.step
    # rounding has the derivative of the identity, saturation that of clip
    straight = torch.clamp(x, grid.lowest - grid.step / 2, grid.highest + grid.step / 2)
    return straight + (value - straight).detach()


def ones(network: Network) -> dict[str, np.ndarray]:
    return {name: np.ones(network.shapes[name]) for name in network.inputs}


def path_norm(network: Network, q: float = 1) -> float:
    """‖Φ‖_q (the number of paths for q = 0)."""
    values = evaluate_absolute(network, ones(network), q)
    total = float(sum(values[name].sum() for name in network.outputs))
    return total if q == 0 else total ** (1 / q)
