"""Building the ONNX graph of a pass.

Weights, and everything else whose value depends on the parameters, are graph inputs bound to arrays (`bind`);
integers and small constants are initializers. Nothing large ever passes through protobuf.

ONNX Runtime looks for the name of every tensor among those of all inputs and outputs, one after the other:
these are longer than others, so that their lengths already tell them apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxpath.engine.dump import described

OPSET = 18
IR_VERSION = 9


@dataclass(frozen=True)
class _Node:
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


class GraphBuilder:
    """An ONNX graph under construction; implements `ops.graph.Graph`.

    dtype: float32 or float64, of all activations. native_conv: whether the provider has Conv and its
    relatives in that precision (otherwise operators spell them with MatMul).
    """

    def __init__(self, dtype: np.dtype, native_conv: bool):
        self.dtype = np.dtype(dtype)
        self.native_conv = native_conv
        self._name, self._about = described()
        self.feeds: dict[str, np.ndarray] = {}
        self._nodes: list[_Node] = []
        self._types: dict[str, np.dtype] = {}
        self._initializers: dict[str, np.ndarray] = {}
        self._inputs: dict[str, list[int | str]] = {}
        self._outputs: dict[str, str] = {}
        self._computed: set[str] = set()
        self._cache: dict[tuple, str] = {}
        self._constants: dict[int, tuple[np.ndarray, str]] = {}

    def _fresh(self, prefix: str, dtype: np.dtype | None = None) -> str:
        name = f"{prefix}{len(self._types)}"
        self._types[name] = self.dtype if dtype is None else dtype
        return name

    def _node(
        self, op_type: str, inputs: Iterable[str], outputs: Iterable[str], **attributes: object
    ) -> None:
        node = _Node(op_type, tuple(inputs), tuple(outputs), attributes)
        assert all(name in self._types for name in node.inputs), node
        self._nodes.append(node)
        self._computed.update(node.outputs)

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        output = self._fresh("t")
        self._node(op_type, inputs, [output], **attributes)
        return output

    def compare(self, op_type: str, inputs: list[str]) -> str:
        """A comparison: a tensor of booleans."""
        output = self._fresh("b", np.dtype(np.bool_))
        self._node(op_type, inputs, [output])
        return output

    def wide(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        """A node whose result is float64 whatever the graph's precision: Cast, and sums of what was cast."""
        output = self._fresh("d", np.dtype(np.float64))
        self._node(op_type, inputs, [output], **attributes)
        return output

    def shape_like(self, x: str, rest: Sequence[int]) -> str:
        """The shape (length of the first axis of x, *rest), as integers."""
        integers = np.dtype(np.int64)
        length, shape = self._fresh("s", integers), self._fresh("s", integers)
        self._node("Shape", [x], [length], start=0, end=1)
        self._node("Concat", [length, self.ints(rest)], [shape], axis=0)
        return shape

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [x]
        outputs = [self._fresh("t") for _ in sizes]
        self._node("Split", [x, self.ints(sizes)], outputs, axis=axis)
        return outputs

    def parts(self, x: str, count: int, axis: int) -> list[str]:
        """`count` equal parts along an axis of any length."""
        outputs = [self._fresh("t") for _ in range(count)]
        self._node("Split", [x], outputs, axis=axis, num_outputs=count)
        return outputs

    def ints(self, values: Iterable[int]) -> str:
        values = tuple(int(v) for v in values)
        key = ("ints", values)
        if key not in self._cache:
            self._cache[key] = self._initializer(np.array(values, np.int64))
        return self._cache[key]

    def scalar(self, value: float) -> str:
        key = ("scalar", float(value))
        if key not in self._cache:
            self._cache[key] = self._initializer(np.array(value, self.dtype))
        return self._cache[key]

    def constant(self, array: np.ndarray) -> str:
        """An initializer of the graph's dtype, one for every array however often it is asked for."""
        if id(array) not in self._constants:
            self._constants[id(array)] = array, self._initializer(array.astype(self.dtype, copy=False))
        return self._constants[id(array)][1]

    def _initializer(self, array: np.ndarray) -> str:
        name = self._fresh("c", array.dtype)
        self._initializers[name] = array
        return name

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """An input that is given at every run; a named dimension may have any length.

        Known sizes let ONNX Runtime plan memory; with unknown ones its planner takes quadratic time on deep
        graphs.
        """
        self._types[name] = self.dtype
        self._inputs[name] = list(shape)
        return name

    def bind(self, array: np.ndarray) -> str:
        """An input bound to an array of the graph's dtype: a weight, a bias, a power of two."""
        name = self.input(self._fresh("parameter"), array.shape)
        self.feeds[name] = array
        return name

    def factor(self, array: np.ndarray) -> str:
        """Bound powers of two: one input for every value, which nobody binds anew."""
        key = ("factor", array.shape, array.tobytes())
        if key not in self._cache:
            self._cache[key] = self.bind(array)
        return self._cache[key]

    def output(self, tensor: str) -> str:
        """Mark a tensor as an output of the graph; returns the output's name."""
        if tensor in self._outputs or tensor not in self._computed:
            # an Identity lets one tensor be several outputs, and an input be an output
            tensor = self.op("Identity", [tensor])
        self._outputs[tensor] = name = f"output_of_{tensor}"
        return name

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def _live(self) -> list[_Node]:
        """The nodes that the outputs depend on."""
        needed = set(self._outputs)
        alive = []
        for node in reversed(self._nodes):
            if not needed.isdisjoint(node.outputs):
                needed.update(node.inputs)
                alive.append(node)
        return alive[::-1]

    def model(self) -> onnx.ModelProto:
        """The graph without what no output needs; inputs stay, so that feeds fit."""
        live, named = self._live(), self._outputs
        used = {name for node in live for name in node.inputs}
        nodes = [
            helper.make_node(
                node.op_type, [named.get(name, name) for name in node.inputs],
                [named.get(name, name) for name in node.outputs], node.outputs[0], **node.attributes,
            )
            for node in live
        ]  # fmt: skip
        graph = helper.make_graph(
            nodes, self._name,
            [self._declared(name, shape) for name, shape in self._inputs.items()],
            [self._declared(name, None, output) for name, output in named.items()],
            [numpy_helper.from_array(a, name) for name, a in self._initializers.items() if name in used],
            doc_string=self._about,
        )  # fmt: skip
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)

    def _declared(
        self, name: str, shape: list[int | str] | None, output: str | None = None
    ) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(self._types[name])
        return helper.make_tensor_value_info(output or name, kind, shape)
