"""What a lowering rule sees: one node of the file, the constants and shapes known so far, and a place to put
canonical nodes.

A rule is a function `rule(context, node)` registered for one or more operator types by `@lowers("Conv", ...)`
in a file of `importer/rules/`. It reads the node's attributes and constant operands, emits canonical nodes
with `context.emit`, and binds the node's output with `context.bind`. It refuses with `context.refuse`
(outside the model) or `context.invalid` (a broken file); both name the node. The driver has already evaluated
nodes whose inputs are all constant, and has the output's shape from ONNX shape inference in
`node.output_shapes`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer.decode.memory import Budget
from onnxpath.importer.decode.tensors import HALVES
from onnxpath.model.network import Node, Parameter, Shape
from onnxpath.ops.quantizer import Grid


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor known at import, with the names of the file's initializers or constants that it was computed
    from."""

    array: np.ndarray
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class FileNode:
    """A node as the file holds it. Missing optional inputs and outputs are ''. `output_shapes`: None where
    unknown."""

    name: str
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    output_shapes: tuple[Shape | None, ...] = ()

    def attribute(self, key: str, default: Any = None) -> Any:
        return self.attributes.get(key, default)

    def input(self, index: int) -> str:
        """The name of an input, '' when it is absent."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(eq=False)
class Context:
    """The state of one import. `aliases` maps tensor names of the file to canonical tensors or constants.

    withheld: names of outputs that no rule can provide (the indices of a MaxPool), with the refusal for a
        node that reads one.
    quantizers: quantized activations are admitted; `codes` then holds the step and range of every tensor of
    integers, whose alias is the tensor of the numbers that they stand for; `dynamic` holds the names of scale
    and zero point of those that are quantized dynamically.
    rectified: the ReLU put before the quantizers of a tensor, by that tensor.
    extended: activations outside the paper's model are admitted; `producers` then holds the nodes of the file
        met so far, by output.
    halves: the types (TensorProto.DataType) of constants that the file holds as float16 or bfloat16;
        half_activations: the tensors that it computes
    so, half_nodes: the nodes that do.
    tensors, normalizations, spelled: see `onnxpath.model.network.Origin`.
    """

    path: str
    opset: int
    budget: Budget = field(default_factory=Budget)
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    constants: dict[str, Constant] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    keep_batchnorm: bool = False
    kept: set[str] = field(default_factory=set)
    withheld: dict[str, str] = field(default_factory=dict)
    extended: bool = False
    quantizers: bool = False
    codes: dict[str, Grid] = field(default_factory=dict)
    dynamic: dict[str, tuple[str, ...]] = field(default_factory=dict)
    producers: dict[str, FileNode] = field(default_factory=dict)
    rectified: dict[str, str] = field(default_factory=dict)
    half_activations: set[str] = field(default_factory=set)
    half_nodes: list[str] = field(default_factory=list)

    def rule(self, op_type: str) -> "Rule | None":
        """The lowering rule of an operator in this mode."""
        found = RULES.get(op_type) or (EXTENDED.get(op_type) if self.extended else None)
        return found or (QUANTIZERS.get(op_type) if self.quantizers else None)

    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    normalizations: dict[str, tuple[Parameter, ...]] = field(default_factory=dict)
    halves: dict[str, int] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)

    def stored(self, name: str, array: np.ndarray) -> np.ndarray:
        """Remember an array as the file holds it, under the name of the tensor that it is in the file."""
        if array.dtype.kind == "f":
            self.tensors[name] = array
        return array

    def kind(self, name: str, data_type: int) -> None:
        """Remember that the file holds a constant in half precision, whose value is read as float32."""
        if data_type in HALVES:
            self.halves[name] = data_type

    def follow_halves(self, node: FileNode) -> None:
        """Remember whether a node computes in half precision: its operands are of one type, a Cast and the
        step of a quantizer give another."""
        reads = any(name in self.half_activations for name in node.inputs)
        gives = reads
        if node.op_type == "Cast":
            gives = node.attribute("to") in HALVES
        elif node.op_type == "DequantizeLinear":
            gives = node.input(1) in self.halves
        if gives:
            self.half_activations.update(name for name in node.outputs if name)
        if gives or (reads and node.op_type != "Cast"):
            self.half_nodes.append(node.name)

    def constant(self, name: str) -> Constant | None:
        """The constant of that name, or None when it is an activation (or absent)."""
        return self.constants.get(name)

    def tensor(self, name: str) -> str:
        """The canonical tensor that a tensor of the file stands for."""
        if name in self.withheld:
            raise UnsupportedError(self.withheld[name])
        return self.aliases[name]

    def shape(self, name: str) -> Shape:
        """The shape of a tensor of the file, constant or activation."""
        if name in self.constants:
            return self.constants[name].array.shape
        return self.shapes[self.tensor(name)]

    def emit(
        self, node: FileNode, op: str, inputs: list[str], shape: Shape, *,
        weight: Parameter | None = None, bias: Parameter | None = None, **attributes: Any,
    ) -> str:  # fmt: skip
        """Append a canonical node that reads canonical tensors; returns the canonical name of its output."""
        output = f"{node.name or node.outputs[0]}"
        if output in self.shapes:
            output = next(
                f"{output}:{k}" for k in range(1, len(self.nodes) + 3) if f"{output}:{k}" not in self.shapes
            )
        if any(d <= 0 for d in shape):
            self.invalid(node, f"its output has the empty shape {list(shape)}")
        self.budget.check_tensor(shape, f"{self.label(node)}: its output")
        self.shapes[output] = tuple(int(d) for d in shape)
        self.spelled[output] = next(name for name in node.outputs if name)
        self.nodes.append(
            Node(node.name or node.outputs[0], op, tuple(inputs), output, attributes, weight, bias)
        )
        return output

    def bind(self, name: str, tensor: str) -> None:
        """Let a tensor of the file stand for a canonical tensor."""
        self.aliases[name] = tensor

    def withhold(self, node: FileNode, index: int, why: str) -> None:
        """Refuse the network only if something reads this output of the node."""
        if index < len(node.outputs) and node.outputs[index]:
            self.withheld[node.outputs[index]] = (
                f"{self.label(node)}: its output '{node.outputs[index]}' is used, but {why}"
            )

    def parameter(
        self, name: str, constant: Constant, array: np.ndarray | None = None, fixed: bool = False
    ) -> Parameter:
        """A parameter of the network from a constant (or from `array`, a view or float64 function of it)."""
        value = constant.array if array is None else array
        if value.dtype not in (np.float32, np.float64):
            value = value.astype(np.float32 if value.dtype.itemsize <= 2 else np.float64)
        return Parameter(name, value, sources=constant.sources or (name,), fixed=fixed)

    def fixed(self, name: str, array: np.ndarray) -> Parameter:
        """A coefficient that belongs to the architecture."""
        return Parameter(name, np.asarray(array, np.float64), fixed=True)

    def label(self, node: FileNode) -> str:
        return f"{self.path}: node '{node.name or node.outputs[0]}' ({node.op_type})"

    def refuse(self, node: FileNode, why: str) -> NoReturn:
        raise UnsupportedError(f"{self.label(node)}: {why}")

    def invalid(self, node: FileNode, why: str) -> NoReturn:
        raise ModelError(f"{self.label(node)}: {why}")


Rule = Callable[[Context, FileNode], None]
RULES: dict[str, Rule] = {}
EXTENDED: dict[str, Rule] = {}
"""Rules of extended mode only: activations outside the paper's model."""
QUANTIZERS: dict[str, Rule] = {}
"""Rules for quantized activations."""


def lowers(*op_types: str, extended: bool = False, quantizers: bool = False) -> Callable[[Rule], Rule]:
    """Register a lowering rule for these operator types of the default ONNX domain; `extended`: in extended
    mode only; `quantizers`: where quantized activations are admitted."""
    rules = EXTENDED if extended else QUANTIZERS if quantizers else RULES

    def register(rule: Rule) -> Rule:
        for op_type in op_types:
            rules[op_type] = rule
        return rule

    return register
