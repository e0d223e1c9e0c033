"""What a quantized file means: its outputs by the definition of its operators, which no processor's integer
kernels round or saturate.

On x86-64 processors without VNNI the kernels into which ONNX Runtime fuses quantizers add two products of
uint8 and int8 in 16 bits, which saturate; elsewhere they add them in 32. A test about the definition must not
depend on which processor it runs on. So quantizers are not fused (no graph optimization: DequantizeLinear, an
operator on floats, QuantizeLinear), and operators on integers are spelled that way:

    QLinearConv(x, w, b) = quantize(Conv(dequantize(x), dequantize(w), b · s_x s_w)),
    MatMulInteger(x, w) = MatMul(x - z_x, w - z_w),

the second with integers as float32 numbers, whose sums are exact below 2²⁴. Nothing here is the package's: it
is an oracle.
"""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper


class Spelling:
    """The nodes that stand in the place of one node."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node, self.made = node, []
        self.attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}

    def given(self, index: int) -> str:
        return self.node.input[index] if index < len(self.node.input) else ""

    def emit(self, op: str, operands: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"{self.node.output[0]}/{len(self.made)}"
        self.made.append(helper.make_node(op, operands, [output], **attributes))
        return output

    def read(self, index: int, axis: int = 1) -> str:
        """The floats of the integers at this place, before their scale and zero point."""
        return self.emit("DequantizeLinear", [self.given(k) for k in range(index, index + 3)], axis=axis)

    def bias(self, index: int, *scales: int) -> list[str]:
        """Integers of 32 bits whose step is the product of two scales."""
        if not self.given(index):
            return []
        step = self.emit("Mul", [self.given(k) for k in scales])
        return [self.emit("Mul", [self.float(index), step])]

    def float(self, index: int) -> str:
        return self.emit("Cast", [self.given(index)], to=TensorProto.FLOAT)

    def steps(self, index: int, zero: int) -> str:
        """Integers less their zero point, as floats."""
        return (
            self.emit("Sub", [self.float(index), self.float(zero)]) if self.given(zero) else self.float(index)
        )

    def write(self, value: str, scale: int) -> None:
        """The output: the value on the grid whose scale is at this place, before its zero point; as it is
        where there is none."""
        if self.given(scale):
            self.emit(
                "QuantizeLinear", [value, self.given(scale), self.given(scale + 1)], self.node.output[0]
            )
        else:
            self.made[-1].output[0] = self.node.output[0]


def _convolution(s: Spelling) -> None:
    s.write(s.emit("Conv", [s.read(0), s.read(3, axis=0), *s.bias(8, 1, 4)], **s.attributes), 6)


def _gemm(s: Spelling) -> None:
    weight = s.read(3, axis=0 if s.attributes.get("transB") else 1)
    s.write(s.emit("Gemm", [s.read(0), weight, *s.bias(6, 1, 4)], **s.attributes), 7)


def _concat(s: Spelling) -> None:
    s.write(s.emit("Concat", [s.read(k) for k in range(2, len(s.node.input), 3)], **s.attributes), 0)


def _of_two(op: str) -> Callable[[Spelling], None]:
    return lambda s: s.write(s.emit(op, [s.read(0), s.read(3)]), 6)


def _of_one(op: str) -> Callable[[Spelling], None]:
    def spelled(s: Spelling) -> None:
        kept = {key: value for key, value in s.attributes.items() if key not in ("channels_last", "opset")}
        assert not s.attributes.get("channels_last")
        s.write(s.emit(op, [s.read(0)], **kept), 3)

    return spelled


def _integers(op: str) -> Callable[[Spelling], None]:
    def spelled(s: Spelling) -> None:
        product = s.emit(op, [s.steps(0, 2), s.steps(1, 3)], **s.attributes)
        s.emit("Cast", [product], s.node.output[0], to=TensorProto.INT32)

    return spelled


_SPELLINGS: dict[str, Callable[[Spelling], None]] = {
    "QLinearConv": _convolution, "QGemm": _gemm, "QLinearConcat": _concat, "QLinearMatMul": _of_two("MatMul"),
    "QLinearAdd": _of_two("Add"),
    "QLinearMul": _of_two("Mul"), "MatMulInteger": _integers("MatMul"), "ConvInteger": _integers("Conv"),
    **{f"QLinear{op}": _of_one(op) for op in ("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid",
    "Softmax")},
}  # fmt: skip


def defined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with operators on floats in the place of those that multiply or add integers."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.node[:]
    for node in model.graph.node:
        if node.op_type in _SPELLINGS:
            spelling = Spelling(node)
            _SPELLINGS[node.op_type](spelling)
            found.graph.node.extend(spelling.made)
        else:
            assert not node.op_type.startswith("QLinear"), node.op_type
            found.graph.node.append(node)
    return found


def meant(source: onnx.ModelProto | str, x: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
    """The first output of a file, float64 [n, -1], as its operators are defined. x: n samples of its one
    input, which are run one by one, or n batches by input, [n, batch, ...]."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    model = defined(onnx.load(source) if isinstance(source, str) else source)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = x if isinstance(x, dict) else {session.get_inputs()[0].name: x[:, None]}
    runs = [dict(zip(inputs, rows, strict=True)) for rows in zip(*inputs.values(), strict=True)]
    return np.concatenate([session.run(None, feeds)[0].reshape(1, -1) for feeds in runs]).astype(np.float64)
