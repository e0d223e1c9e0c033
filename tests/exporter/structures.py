"""Small files whose channels are tied in every way that files tie them."""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto
from spellings import model, node

Make = Callable[[], onnx.ModelProto]


class Sketch:
    """A file in the making: every method adds a node with fresh weights and returns its output."""

    def __init__(self, channels: int = 3, size: int = 6) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.shape = (1, channels, size, size)
        self.rng = np.random.default_rng(4)

    def normal(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32)

    def add(self, op: str, inputs: str, **attributes: object) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(node(op, inputs, name, **attributes))
        return name

    def weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(value)
        return name

    def conv(self, x: str, inputs: int, outputs: int, bias: bool = True, **attributes: object) -> str:
        w = self.weight(self.normal(outputs, inputs // int(attributes.get("group", 1)), 3, 3))
        more = f",{self.weight(self.normal(outputs))}" if bias else ""
        return self.add("Conv", f"{x},{w}{more}", pads=[1, 1, 1, 1], **attributes)

    def transposed(self, x: str, inputs: int, outputs: int, group: int = 1) -> str:
        w, b = self.weight(self.normal(inputs, outputs // group, 2, 2)), self.weight(self.normal(outputs))
        return self.add("ConvTranspose", f"{x},{w},{b}", strides=[2, 2], group=group)

    def norm(self, x: str, channels: int) -> str:
        s, b, m, v = (
            self.weight(value)
            for value in (
                self.normal(channels),
                self.normal(channels),
                self.normal(channels),
                self.normal(channels) ** 2 + 0.5,
            )
        )
        return self.add("BatchNormalization", f"{x},{s},{b},{m},{v}")

    def relu(self, x: str) -> str:
        return self.add("Relu", x)

    def head(self, x: str, features: int, outputs: int = 5) -> str:
        w, b = self.weight(self.normal(outputs, features)), self.weight(self.normal(outputs))
        return self.add("Gemm", f"{self.add('Flatten', x)},{w},{b}", transB=1)

    def file(self, y: str, **options: object) -> onnx.ModelProto:
        return model([*self.nodes, node("Identity", y, "y")], dict(self.weights), self.shape, **options)


def _sequence() -> onnx.ModelProto:
    s = Sketch()
    x = s.relu(s.norm(s.conv("x", 3, 6, False), 6))
    x = s.add("MaxPool", s.relu(s.norm(s.conv(x, 6, 4), 4)), kernel_shape=[2, 2], strides=[2, 2])
    s.nodes[-1].output.append("indices")
    return onnx.shape_inference.infer_shapes(s.file(s.head(x, 4 * 9)))


def _residual() -> onnx.ModelProto:
    s = Sketch()
    x = s.relu(s.norm(s.conv("x", 3, 4, False), 4))
    for _ in range(2):
        y = s.relu(s.norm(s.conv(x, 4, 5, False), 5))
        x = s.relu(s.add("Add", f"{s.norm(s.conv(y, 5, 4, False), 4)},{x}"))
    return s.file(s.head(s.add("GlobalAveragePool", x), 4))


def _concat() -> onnx.ModelProto:
    s = Sketch()
    a, b = s.relu(s.conv("x", 3, 3)), s.relu(s.conv("x", 3, 4))
    x = s.relu(s.norm(s.add("Concat", f"{a},{b},{a}", axis=1), 10))
    return s.file(
        s.head(s.add("AveragePool", s.relu(s.conv(x, 10, 4)), kernel_shape=[3, 3], strides=[3, 3]), 4 * 4)
    )


def _grouped() -> onnx.ModelProto:
    s = Sketch()
    x = s.relu(s.conv("x", 3, 8))
    x = s.relu(s.conv(x, 8, 12, group=2))
    return s.file(s.head(s.relu(s.conv(x, 12, 4)), 4 * 36))


def _depthwise() -> onnx.ModelProto:
    s = Sketch()
    x = s.relu(s.norm(s.conv("x", 3, 5, False), 5))
    x = s.relu(s.norm(s.conv(x, 5, 10, False, group=5), 10))
    return s.file(s.head(s.relu(s.conv(x, 10, 4)), 4 * 36))


def _transposed() -> onnx.ModelProto:
    s = Sketch(size=3)
    x = s.relu(s.transposed(s.relu(s.conv("x", 3, 4)), 4, 6))
    x = s.relu(s.transposed(x, 6, 6, group=2))
    return s.file(s.conv(x, 6, 2))


def _depthwise_transposed() -> onnx.ModelProto:
    s = Sketch(size=3)
    x = s.relu(s.transposed(s.relu(s.conv("x", 3, 4)), 4, 8, group=4))
    return s.file(s.conv(x, 8, 2))


def _reshaped() -> onnx.ModelProto:
    """Flattened by a constant shape, one entry of which counts features."""
    s = Sketch()
    x = s.add("Reshape", f"{s.relu(s.conv('x', 3, 4))},{s.weight(np.array([1, 144]))}")
    return s.file(s.add("MatMul", f"{x},{s.weight(s.normal(144, 5))}"))


def _reshaped_while_running() -> onnx.ModelProto:
    """Flattened by Shape, Gather, Unsqueeze and Concat, the number of features a constant."""
    s = Sketch()
    x = s.relu(s.conv("x", 3, 4))
    batch = s.add("Gather", f"{s.add('Shape', x)},{s.weight(np.array(0))}", axis=0)
    zero, features = s.weight(np.array([0])), s.weight(np.array([144]))
    shape = s.add("Concat", f"{s.add('Unsqueeze', f'{batch},{zero}')},{features}", axis=0)
    return s.file(s.add("MatMul", f"{s.add('Reshape', f'{x},{shape}')},{s.weight(s.normal(144, 5))}"))


def _one_shape() -> onnx.ModelProto:
    """Two layers of as many channels, flattened by one shape, which loses other channels in each."""
    s = Sketch()
    a, b = s.relu(s.conv("x", 3, 4)), s.relu(s.conv("x", 3, 4))
    batch = s.add("Gather", f"{s.add('Shape', a)},{s.weight(np.array(0))}", axis=0)
    shape = s.add(
        "Concat",
        f"{s.add('Unsqueeze', f'{batch},{s.weight(np.array([0]))}')},{s.weight(np.array([144]))}",
        axis=0,
    )
    parts = [
        s.add("MatMul", f"{s.add('Reshape', f'{x},{shape}')},{s.weight(s.normal(144, 5))}") for x in (a, b)
    ]
    return s.file(s.add("Add", ",".join(parts)))


def _elementwise() -> onnx.ModelProto:
    """Biases by Add, factors by Mul, and a normalization after a pool."""
    s = Sketch()
    x = s.add("Add", f"{s.conv('x', 3, 6, False)},{s.weight(s.normal(6, 1, 1))}")
    x = s.relu(s.add("Mul", f"{s.weight(s.normal(1, 6, 1, 1))},{x}"))
    x = s.norm(s.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2]), 6)
    return s.file(s.head(s.relu(x), 6 * 9))


def _channels_last() -> onnx.ModelProto:
    s = Sketch()
    x = s.add("Transpose", s.relu(s.conv("x", 3, 4)), perm=[0, 2, 3, 1])
    x = s.relu(s.add("Add", f"{s.add('MatMul', f'{x},{s.weight(s.normal(4, 6))}')},{s.weight(s.normal(6))}"))
    x = s.add("ReduceMean", s.add("Transpose", x, perm=[0, 3, 1, 2]), axes=[2, 3])
    return s.file(s.head(x, 6))


def _equal_tensors() -> onnx.ModelProto:
    """One bias for the two normalizations of a sum, once through an Identity, and one set of statistics for
    two layers."""
    s = Sketch()
    shift, mean, variance = (
        s.weight(s.normal(4)),
        s.weight(np.zeros(4, np.float32)),
        s.weight(np.ones(4, np.float32)),
    )
    copy = s.add("Identity", shift)
    a, b = s.conv("x", 3, 4, False), s.conv("x", 3, 4, False)
    a = s.add("BatchNormalization", f"{a},{s.weight(s.normal(4))},{shift},{mean},{variance}")
    b = s.add("BatchNormalization", f"{b},{s.weight(s.normal(4))},{copy},{mean},{variance}")
    x = s.relu(s.add("Add", f"{a},{b}"))
    x = s.relu(
        s.add(
            "BatchNormalization",
            f"{s.conv(x, 4, 4, False)},{s.weight(s.normal(4))},{s.weight(s.normal(4))},{mean},{variance}",
        )
    )
    return s.file(s.head(x, 4 * 36))


def _one_copy() -> onnx.ModelProto:
    """The variance of two normalizations, read by both through one Identity."""
    s = Sketch()
    x, copy = "x", s.add("Identity", s.weight(s.normal(6) ** 2 + 1))
    for channels in (3, 6):
        x = s.conv(x, channels, 6, False)
        x = s.relu(
            s.add("BatchNormalization", ",".join((x, *(s.weight(s.normal(6)) for _ in range(3)), copy)))
        )
    return s.file(s.head(x, 6 * 36))


def _old() -> onnx.ModelProto:
    """IR version 3: initializers are inputs too."""
    s = Sketch()
    mean, variance = s.weight(np.zeros(4, np.float32)), s.weight(np.ones(4, np.float32))
    x = s.conv("x", 3, 4, False)
    for _ in range(2):
        x = s.add(
            "BatchNormalization",
            f"{s.conv(x, 4, 4, False)},{s.weight(s.normal(4))},{s.weight(s.normal(4))},{mean},{variance}",
        )
    made = s.file(s.head(s.relu(x), 4 * 36), opset=8)
    made.ir_version = 3
    for tensor in made.graph.initializer:
        made.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    return made


def _half() -> onnx.ModelProto:
    s = Sketch()
    y = s.head(s.relu(s.norm(s.conv("x", 3, 4, False), 4)), 4 * 36)
    s.weights = {name: value.astype(np.float16) for name, value in s.weights.items()}
    return s.file(y, kind=TensorProto.FLOAT16)


STRUCTURES: dict[str, tuple[Make, int]] = {  # and how many groups of channels can be removed
    "sequence": (_sequence, 6 + 4),
    "residual": (_residual, 4 + 5 + 5),
    "concat": (_concat, 3 + 4 + 4),
    "grouped": (_grouped, 4 + 6 + 4),
    "depthwise": (_depthwise, 5 + 4),
    "transposed": (_transposed, 4 + 3 + 3),
    "depthwise transposed": (_depthwise_transposed, 4),
    "reshaped": (_reshaped, 4),
    "reshaped while running": (_reshaped_while_running, 4),
    "one shape": (_one_shape, 4 + 4),
    "elementwise": (_elementwise, 6),
    "channels last": (_channels_last, 4 + 6),
    "equal tensors": (_equal_tensors, 4 + 4),
    "one copy": (_one_copy, 6 + 6),
    "IR version 3": (_old, 4 + 4 + 4),
    "float16": (_half, 4),
}
