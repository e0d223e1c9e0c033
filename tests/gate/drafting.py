"""Writing a small model: every method adds a node, and returns the name of what it makes.

Weights are normal numbers divided by the root of their fan-in, drawn from the seed, so that a model is the
same bytes everywhere.
"""

from math import prod

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17


class Draft:
    """A model in the making. Tensors and nodes are named after what they are: `Conv_2`, with the weight
    `Conv_2.weight`."""

    def __init__(self, seed: int, opset: int = OPSET):
        self.rng, self.opset = np.random.default_rng(seed), opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, name: str, values: object, kind: type = np.float32) -> str:
        self.constants[name] = np.asarray(values, kind)
        return name

    def normal(self, name: str, shape: tuple[int, ...], scale: float = 1.0) -> str:
        return self.constant(name, self.rng.standard_normal(shape) * scale)

    def node(
        self, op: str, inputs: str | list[str], output: str | list[str] | None = None, **attributes: object
    ) -> str:
        title = f"{op}_{len(self.nodes)}"
        outputs = [title + ".y"] if output is None else [output] if isinstance(output, str) else output
        self.nodes.append(
            helper.make_node(
                op, [inputs] if isinstance(inputs, str) else inputs, outputs, title, **attributes
            )
        )
        return outputs[0]

    def conv(
        self,
        x: str,
        shape: tuple[int, ...],
        bias: bool = True,
        op: str = "Conv",
        output: str | None = None,
        **attributes: object,
    ) -> str:
        """shape: [out, in / group, height, width]; of a ConvTranspose [in, out / group, height, width]."""
        title = f"{op}_{len(self.nodes)}"
        fan_in = prod(shape[1:]) if op == "Conv" else shape[0]
        channels = shape[0] if op == "Conv" else shape[1]
        inputs = [x, self.normal(f"{title}.weight", shape, 1.4 * fan_in**-0.5)]
        inputs += [self.normal(f"{title}.bias", (channels,), 0.3)] if bias else []
        return self.node(op, inputs, output, **attributes)

    def gemm(
        self,
        x: str,
        inner: int,
        outer: int,
        output: str | None = None,
        transposed: bool = True,
        gain: float = 1.4,
    ) -> str:
        title = f"Gemm_{len(self.nodes)}"
        weight = self.normal(
            f"{title}.weight", (outer, inner) if transposed else (inner, outer), gain * inner**-0.5
        )
        return self.node(
            "Gemm", [x, weight, self.normal(f"{title}.bias", (outer,), 0.3)], output, transB=int(transposed)
        )

    def linear(self, x: str, inner: int, outer: int, output: str | None = None) -> str:
        """MatMul and Add."""
        weight = self.normal(f"MatMul_{len(self.nodes)}.weight", (inner, outer), 1.4 * inner**-0.5)
        product = self.node("MatMul", [x, weight])
        return self.node("Add", [product, self.normal(f"Add_{len(self.nodes)}.bias", (outer,), 0.3)], output)

    def norm(self, x: str, channels: int) -> str:
        """BatchNormalization with statistics that matter."""
        title = f"BatchNormalization_{len(self.nodes)}"
        parts = [
            x,
            self.normal(f"{title}.scale", (channels,), 0.3),
            self.normal(f"{title}.shift", (channels,), 0.3),
        ]
        self.constants[f"{title}.scale"] += np.float32(1)
        parts.append(self.normal(f"{title}.mean", (channels,), 0.3))
        return self.node(
            "BatchNormalization",
            [*parts, self.constant(f"{title}.var", self.rng.uniform(0.4, 2.0, channels))],
        )

    def quantized(self, x: str, scale: float, zero: int, kind: type = np.uint8) -> str:
        """QuantizeLinear and DequantizeLinear of an activation."""
        title = f"grid_{len(self.nodes)}"
        grid = [self.constant(f"{title}.scale", scale), self.constant(f"{title}.zero", zero, kind)]
        return self.node("DequantizeLinear", [self.node("QuantizeLinear", [x, *grid]), *grid])

    def integers(self, shape: tuple[int, ...], bias_scale: float, axis: int | None = None) -> list[str]:
        """A weight, and its bias, behind DequantizeLinear: per index of `axis`, or one scale. bias_scale: the
        step of the input.

        The weight keeps to 7 bits, so that no processor saturates sums of two products.
        """
        title = f"weight_{len(self.nodes)}"
        real = self.rng.standard_normal(shape) * 1.4 * prod(shape[1:]) ** -0.5
        rest = None if axis is None else tuple(k for k in range(len(shape)) if k != axis)
        scale = (np.abs(real).max(rest) / 63).astype(np.float32)
        whole = np.rint(
            real
            / (scale if axis is None else scale.reshape([-1 if k == axis else 1 for k in range(len(shape))]))
        )
        zero, where = np.zeros(scale.shape), {} if axis is None else {"axis": axis}
        stored = [self.constant(f"{title}.integers", whole, np.int8), self.constant(f"{title}.scale", scale)]
        stored.append(self.constant(f"{title}.zero", zero, np.int8))
        found = [self.node("DequantizeLinear", stored, **where)]
        step = np.broadcast_to(scale * np.float32(bias_scale), (shape[0],)).astype(np.float32)
        bias = np.rint(self.rng.standard_normal(shape[0]) * 0.3 / step)
        stored = [self.constant(f"{title}.bias", bias, np.int32), self.constant(f"{title}.bias_scale", step)]
        return [*found, self.node("DequantizeLinear", stored, axis=0)]

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def model(self, inputs: dict[str, list], outputs: list[str]) -> onnx.ModelProto:
        """The model, with the shapes of its outputs inferred; an input's dimension that is a name is
        symbolic."""
        graph = helper.make_graph(
            self.nodes, "network",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )  # fmt: skip
        return declared(
            helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", self.opset)]),
            outputs,
        )


def declared(model: onnx.ModelProto, outputs: list[str]) -> onnx.ModelProto:
    """The same model with these outputs, of the types and shapes that onnx infers."""
    del model.graph.output[:], model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in (*graph.value_info, *graph.input)}
    for name in outputs:
        model.graph.output.append(known.get(name) or onnx.ValueInfoProto(name=name))
    return model
