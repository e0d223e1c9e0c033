"""Building the ONNX graph of a pass.

Weights, and everything else whose value depends on the parameters, are graph inputs bound to arrays (`bind`);
integers and small constants are initializers. Nothing large ever passes through protobuf.

ONNX Runtime looks for the name of every tensor among those of all inputs and outputs, one after the other:
these are longer than others, so that their lengths already tell them apart.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxpath.engine.dump import described
from onnxpath.engine.quiet import quiet_graphsurgeon

OPSET = 18
IR_VERSION = 9


class GraphBuilder:
    """An ONNX graph under construction; implements `ops.operator.Graph`.

    dtype: float32 or float64, of all activations. native_conv: whether the provider has Conv and its
    relatives in that precision (otherwise operators spell them with MatMul).
    """

    def __init__(self, dtype: np.dtype, native_conv: bool):
        quiet_graphsurgeon()
        self.dtype = np.dtype(dtype)
        self.native_conv = native_conv
        self._name, self._about = described()
        self.feeds: dict[str, np.ndarray] = {}
        self._nodes: list[gs.Node] = []
        self._tensors: dict[str, gs.Tensor] = {}
        self._inputs: list[gs.Variable] = []
        self._outputs: list[gs.Variable] = []
        self._cache: dict[tuple, str] = {}
        self._constants: dict[int, tuple[np.ndarray, str]] = {}
        self._named: set[str] = set()

    def _fresh(self, prefix: str) -> str:
        return f"{prefix}{len(self._tensors)}"

    def _variable(self, prefix: str, dtype: np.dtype | None = None) -> gs.Variable:
        variable = gs.Variable(self._fresh(prefix), dtype=dtype or self.dtype)
        self._tensors[variable.name] = variable
        return variable

    def op(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        output = self._variable("t")
        self._nodes.append(
            gs.Node(op_type, output.name, attributes, [self._tensors[i] for i in inputs], [output])
        )
        return output.name

    def compare(self, op_type: str, inputs: list[str]) -> str:
        """A comparison: a tensor of booleans."""
        output = self._variable("b", np.dtype(np.bool_))
        self._nodes.append(gs.Node(op_type, output.name, {}, [self._tensors[i] for i in inputs], [output]))
        return output.name

    def wide(self, op_type: str, inputs: list[str], **attributes: object) -> str:
        """A node whose result is float64 whatever the graph's precision: Cast, and sums of what was cast."""
        output = self._variable("d", np.dtype(np.float64))
        self._nodes.append(
            gs.Node(op_type, output.name, attributes, [self._tensors[i] for i in inputs], [output])
        )
        return output.name

    def shape_like(self, x: str, rest: Sequence[int]) -> str:
        """The shape (length of the first axis of x, *rest), as integers."""
        integers = np.dtype(np.int64)
        length, shape = self._variable("s", integers), self._variable("s", integers)
        self._nodes.append(
            gs.Node("Shape", length.name, {"start": 0, "end": 1}, [self._tensors[x]], [length])
        )
        self._nodes.append(
            gs.Node("Concat", shape.name, {"axis": 0}, [length, self._tensors[self.ints(rest)]], [shape])
        )
        return shape.name

    def split(self, x: str, sizes: list[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [x]
        outputs = [self._variable("t") for _ in sizes]
        inputs = [self._tensors[x], self._tensors[self.ints(sizes)]]
        self._nodes.append(gs.Node("Split", outputs[0].name, {"axis": axis}, inputs, outputs))
        return [output.name for output in outputs]

    def parts(self, x: str, count: int, axis: int) -> list[str]:
        """`count` equal parts along an axis of any length."""
        outputs = [self._variable("t") for _ in range(count)]
        self._nodes.append(
            gs.Node(
                "Split", outputs[0].name, {"axis": axis, "num_outputs": count}, [self._tensors[x]], outputs
            )
        )
        return [output.name for output in outputs]

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
        constant = gs.Constant(self._fresh("c"), array)
        self._tensors[constant.name] = constant
        return constant.name

    def input(self, name: str, shape: Sequence[int | str]) -> str:
        """An input that is given at every run; a named dimension may have any length.

        Known sizes let ONNX Runtime plan memory; with unknown ones its planner takes quadratic time on deep
        graphs.
        """
        variable = gs.Variable(name, dtype=self.dtype, shape=list(shape))
        self._tensors[name] = variable
        self._inputs.append(variable)
        return name

    def bind(self, array: np.ndarray) -> str:
        """An input bound to an array of the graph's dtype: a weight, a bias, a power of two."""
        variable = gs.Variable(self._fresh("parameter"), dtype=self.dtype, shape=list(array.shape))
        self._tensors[variable.name] = variable
        self._inputs.append(variable)
        self.feeds[variable.name] = array
        return variable.name

    def factor(self, array: np.ndarray) -> str:
        """Bound powers of two: one input for every value, which nobody binds anew."""
        key = ("factor", array.shape, array.tobytes())
        if key not in self._cache:
            self._cache[key] = self.bind(array)
        return self._cache[key]

    def output(self, tensor: str) -> str:
        """Mark a tensor as an output of the graph; returns the output's name."""
        found = self._tensors[tensor]
        if tensor in self._named or not found.inputs:
            # an Identity lets one tensor be several outputs, and an input be an output
            found = self._tensors[self.op("Identity", [tensor])]
        self._named.add(found.name)
        found.name = f"output_of_{found.name}"
        self._tensors[found.name] = found
        self._named.add(found.name)
        self._outputs.append(found)
        return found.name

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    def _live(self) -> list[gs.Node]:
        """The nodes that the outputs depend on."""
        needed = {tensor.name for tensor in self._outputs}
        alive = []
        for node in reversed(self._nodes):
            if any(tensor.name in needed for tensor in node.outputs):
                needed.update(tensor.name for tensor in node.inputs)
                alive.append(node)
        return alive[::-1]

    def model(self) -> onnx.ModelProto:
        """The graph without what no output needs; inputs stay, so that feeds fit."""
        graph = gs.Graph(self._live(), self._inputs, self._outputs, self._name, self._about, OPSET)
        return gs.export_onnx(graph, do_type_check=False, ir_version=IR_VERSION)
