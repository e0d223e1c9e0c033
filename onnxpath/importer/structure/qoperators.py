"""The QOperator format in the QDQ form: every operator on integers is the one on floats between
DequantizeLinear and QuantizeLinear.

    QLinearConv(x, w, b) = quantize(Conv(dequantize(x), dequantize(w), b · s_x s_w)),       and so on:

that is what ONNX defines QLinearConv and QLinearMatMul to compute, and com.microsoft QGemm, QLinearAdd,
QLinearConcat, QLinearAveragePool, QLinearGlobalAveragePool, QLinearLeakyRelu, QLinearSigmoid and
QLinearSoftmax. A node that cannot be written so is left as it is, and refused by name.
"""

from collections.abc import Callable

import onnx

from onnxpath.importer.structure import packed
from onnxpath.importer.structure.rewriting import Writer

MICROSOFT = "com.microsoft"


def _convolution(w: Writer) -> None:
    x, kernel, bias = w.read(0), w.read(3, axis=0), w.bias(8, 1, 4)
    w.write(w.compute("Conv", [x, kernel, *([bias] if bias else [])]), 6)


def _matmul(w: Writer) -> None:
    w.write(w.compute("MatMul", [w.read(0), w.read(3, axis=1)]), 6)


def _gemm(w: Writer) -> bool:
    if "alpha" in w.attributes and w.attributes["alpha"].f != 1:
        return False
    operands = [w.read(0), w.read(3, axis=0 if w.integer("transB") else 1)]
    bias = w.bias(6, 1, 4)
    operands += [bias] if bias else []
    if w.input(7):
        w.write(w.compute("Gemm", operands), 7)
    else:
        w.compute("Gemm", operands, output=w.node.output[0])
    return True


def _add(w: Writer) -> None:
    w.write(w.compute("Add", [w.read(0), w.read(3)]), 6)


def _concat(w: Writer) -> bool:
    if (len(w.node.input) - 2) % 3:
        return False
    w.write(w.compute("Concat", [w.read(k) for k in range(2, len(w.node.input), 3)]), 0)
    return True


def _of_one(op: str, *dropped: str) -> Callable[[Writer], bool]:
    """Operators of one operand."""

    def rule(w: Writer) -> bool:
        if w.integer("channels_last"):
            return False
        w.write(w.compute(op, [w.read(0)], ("channels_last", *dropped)), 3)
        return True

    return rule


_RULES: dict[tuple[str, str], Callable[[Writer], bool | None]] = {
    (MICROSOFT, "MatMulNBits"): packed.rewrite,
    ("", "QLinearConv"): _convolution,
    ("", "QLinearMatMul"): _matmul,
    (MICROSOFT, "QGemm"): _gemm,
    (MICROSOFT, "QLinearAdd"): _add,
    (MICROSOFT, "QLinearConcat"): _concat,
    (MICROSOFT, "QLinearAveragePool"): _of_one("AveragePool"),
    (MICROSOFT, "QLinearGlobalAveragePool"): _of_one("GlobalAveragePool"),
    (MICROSOFT, "QLinearLeakyRelu"): _of_one("LeakyRelu"),
    (MICROSOFT, "QLinearSigmoid"): _of_one("Sigmoid"),
    (MICROSOFT, "QLinearSoftmax"): _of_one("Softmax", "opset"),
}
_FEWEST = {
    "QLinearConv": 8,
    "QLinearMatMul": 8,
    "QGemm": 6,
    "QLinearAdd": 8,
    "QLinearConcat": 5,
    "MatMulNBits": 3,
}


def _dynamic(graph: onnx.GraphProto, taken: set[str]) -> dict[int, list[onnx.NodeProto]]:
    """Products of dynamically quantized activations: what stands in the place of nodes, by index.

    Cast(MatMulInteger(q, W, z, w)) · (s · t), where DynamicQuantizeLinear(x) gives q, s and z, is t ·
    MatMul((q - z) s, W - w), and so for ConvInteger.
    """
    made = {name: (k, node) for k, node in enumerate(graph.node) for name in node.output}
    readers: dict[str, list[int]] = {}
    for k, node in enumerate(graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(k)
    ends = {item.name for item in graph.output}
    sizes = {item.name: list(item.dims) for item in graph.initializer}
    instead: dict[int, list[onnx.NodeProto]] = {}

    def only_reader(node: onnx.NodeProto, op: str) -> int | None:
        found = readers.get(node.output[0], [])
        alone = len(found) == 1 and node.output[0] not in ends and graph.node[found[0]].op_type == op
        return found[0] if alone else None

    for k, node in enumerate(graph.node):
        if (
            node.domain
            or node.op_type not in ("MatMulInteger", "ConvInteger")
            or len(node.input) < 3
            or node.input[0] not in made
        ):
            continue
        source = made[node.input[0]][1]
        zero = node.input[3] if len(node.input) > 3 else ""
        cast = only_reader(node, "Cast")
        product = None if cast is None else only_reader(graph.node[cast], "Mul")
        if (
            source.op_type != "DynamicQuantizeLinear"
            or list(source.output[::2]) != [node.input[0], node.input[2]]
            or cast is None
            or product is None
        ):
            continue
        if node.op_type == "ConvInteger" and zero and sizes.get(zero) not in ([], [1]):
            continue
        factors = [name for name in graph.node[product].input if name != graph.node[cast].output[0]]
        scales = made.get(factors[0], (0, None))[1] if factors else None
        if scales is None or scales.op_type != "Mul" or source.output[1] not in scales.input:
            continue
        step = next((name for name in scales.input if name != source.output[1]), "")
        w = Writer(node, taken)
        y = _dequantized(w, node, source, zero)
        w.emit("Mul", [y, step], graph.node[product].output[0], graph.node[product].name)
        instead |= {k: w.made, cast: [], product: []}
    return instead


def _dequantized(w: Writer, node: onnx.NodeProto, source: onnx.NodeProto, zero: str) -> str:
    """(q - z) s times W - w, the product on floats that one on integers stands for."""
    x = w.emit("DequantizeLinear", list(source.output[:3]), w.name("dequantized"), "")
    weight = w.emit("Cast", [node.input[1]], w.name("weight"), "", to=onnx.TensorProto.FLOAT)
    if zero:
        number = w.emit("Cast", [zero], w.name("zero"), "", to=onnx.TensorProto.FLOAT)
        weight = w.emit("Sub", [weight, number], w.name("steps"), "")
    return w.compute("MatMul" if node.op_type == "MatMulInteger" else "Conv", [x, weight])


def in_qdq_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without operators on integers that can be written with floats; itself where it has none."""

    def key(node: onnx.NodeProto) -> tuple[str, str]:
        return "" if node.domain == "ai.onnx" else node.domain, node.op_type

    integer = any(node.op_type in ("MatMulInteger", "ConvInteger") for node in model.graph.node)
    if not integer and not any(key(node) in _RULES for node in model.graph.node):
        return model
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken.update(item.name for item in (*graph.initializer, *graph.input))
    nodes: list[onnx.NodeProto] = []
    instead = _dynamic(graph, taken) if integer else {}
    for k, node in enumerate(graph.node):
        if k in instead:
            nodes += instead[k]
            continue
        rule = _RULES.get(key(node))
        if (
            rule is not None
            and len(node.output) == 1
            and node.output[0]
            and len(node.input) >= _FEWEST.get(node.op_type, 4)
        ):
            writer = Writer(node, taken)
            if rule(writer) is not False:
                nodes += writer.made
                continue
        nodes.append(node)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made
