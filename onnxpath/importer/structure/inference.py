"""Shapes of a node's outputs by ONNX shape inference, one node at a time, after a check of the node against
its schema.

Every float type is treated as float32: what matters is the shape, and files that mix float types are read all
    the same.
"""

from math import prod

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, defs, helper, numpy_helper, shape_inference

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer.decode.memory import Budget
from onnxpath.importer.decode.tensors import FLOATS, SUPPORTED, type_name
from onnxpath.importer.lower.context import Constant, FileNode
from onnxpath.importer.structure.schemas import schema as own_schema
from onnxpath.model.network import Shape

_SMALL_INTEGERS, _SMALL_FLOATS = 4096, 64
_POSITIVE = ("strides", "dilations", "kernel_shape", "group", "blocksize", "num_outputs")
_LIMIT = 1 << 40
# Later versions of these only add types and attributes; files use them before their opset has them
# (com.microsoft).
QUANTIZERS, _QUANTIZERS_OPSET = ("QuantizeLinear", "DequantizeLinear"), 21


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class Inference:
    """Shape inference over one file; remembers the schemas and the types of activations."""

    def __init__(self, path: str, opset: int, ir_version: int, budget: Budget | None = None) -> None:
        self.path = path
        self.budget = budget or Budget()
        self.opset = opset
        self.ir_version = max(ir_version, 3)
        self.imports = [helper.make_opsetid("", opset)]
        self.schemas: dict[str, defs.OpSchema | None] = {}
        self.types: dict[str, onnx.TypeProto] = {}

    def schema(self, op_type: str) -> defs.OpSchema | None:
        if op_type not in self.schemas:
            try:
                opset = max(self.opset, _QUANTIZERS_OPSET) if op_type in QUANTIZERS else self.opset
                self.schemas[op_type] = defs.get_schema(op_type, opset, "")
            except defs.SchemaError:
                self.schemas[op_type] = own_schema(op_type)
        return self.schemas[op_type]

    def invalid(self, node: FileNode, why: str) -> ModelError:
        return ModelError(f"{self.path}: node '{node.name}' ({node.op_type}): {why}")

    def declare(self, name: str, shape: Shape) -> None:
        """An activation of known shape."""
        self.types[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, shape)

    def check(self, node: FileNode, proto: onnx.NodeProto) -> None:
        """The node has the operands and attributes that its operator declares."""
        schema = self.schema(node.op_type)
        if schema is None:
            raise self.invalid(node, f"opset {self.opset} has no operator of this name")
        if not schema.min_input <= len(node.inputs) <= schema.max_input:
            raise self.invalid(
                node, f"has {len(node.inputs)} inputs; {schema.min_input} to {schema.max_input} are expected"
            )
        if not schema.min_output <= len(node.outputs) <= schema.max_output or not any(node.outputs):
            raise self.invalid(
                node,
                f"has {len(node.outputs)} outputs; {schema.min_output} to {schema.max_output} are expected",
            )
        if any(not node.inputs[k] for k in range(schema.min_input)):
            raise self.invalid(node, "a required input is missing")
        seen = set()
        for attribute in proto.attribute:
            known = schema.attributes.get(attribute.name)
            if known is None:
                raise self.invalid(
                    node,
                    f"has an attribute '{attribute.name}', which this operator does not have in opset"
                    f" {self.opset}",
                )
            if attribute.name in seen or attribute.type != getattr(known.type, "value", known.type):
                raise self.invalid(
                    node, f"its attribute '{attribute.name}' has the wrong type, or is given twice"
                )
            seen.add(attribute.name)
            numbers = [attribute.i] if attribute.type == AttributeProto.INT else attribute.ints
            if attribute.name in _POSITIVE and any(not 0 < n < _LIMIT for n in numbers):
                raise self.invalid(
                    node,
                    f"its attribute '{attribute.name}' is {list(numbers)}; positive numbers are expected",
                )
        for name, known in schema.attributes.items():
            if known.required and name not in seen:
                raise self.invalid(node, f"its attribute '{name}' is missing")

    def outputs(
        self, node: FileNode, proto: onnx.NodeProto, constants: dict[str, Constant]
    ) -> tuple[Shape | None, ...]:
        """Static shapes of the outputs, None where inference does not tell. Remembers the outputs' types."""
        schema = self.schema(node.op_type)
        assert schema is not None  # checked before
        types, data = {}, {}
        for name in node.inputs:
            if name in constants:
                array = constants[name].array
                types[name], value = _typed(name, array)
                if value is not None:
                    data[name] = value
            elif name:
                types[name] = self.types.get(
                    name, onnx.TypeProto(tensor_type=onnx.TypeProto.Tensor(elem_type=TensorProto.FLOAT))
                )
        try:
            found = shape_inference.infer_node_outputs(
                schema, proto, types, data, opset_imports=self.imports, ir_version=self.ir_version
            )
        except Exception as error:
            raise self.invalid(node, f"is not valid: {_line(error)}") from error
        shapes: list[Shape | None] = []
        for name in node.outputs:
            kind = found.get(name) if name else None
            shapes.append(self._shape(node, kind) if kind is not None else None)
            if kind is not None:
                self.types[name] = _as_float(kind)
        return tuple(shapes)

    def _shape(self, node: FileNode, kind: onnx.TypeProto) -> Shape | None:
        if kind.WhichOneof("value") != "tensor_type":
            raise UnsupportedError(
                f"{self.path}: node '{node.name}' ({node.op_type}): its output is not a tensor"
            )
        tensor = kind.tensor_type
        if tensor.elem_type and tensor.elem_type not in SUPPORTED:
            raise UnsupportedError(
                f"{self.path}: node '{node.name}' ({node.op_type}): its output holds"
                f" {type_name(tensor.elem_type)}"
            )
        if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            return None
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        self.afford(node, shape)
        return shape

    def afford(self, node: FileNode, shape: Shape, itemsize: int = 4) -> None:
        if any(d < 0 for d in shape):
            raise self.invalid(node, f"its output has the shape {list(shape)}")
        what = f"{self.path}: node '{node.name}' ({node.op_type}): its output"
        self.budget.check_tensor(shape, what)
        self.budget.check(prod(shape) * itemsize, f"{what} of shape {list(shape)}")


def _as_float(kind: onnx.TypeProto) -> onnx.TypeProto:
    if kind.tensor_type.elem_type in FLOATS:
        kind.tensor_type.elem_type = TensorProto.FLOAT
    return kind


def _typed(name: str, array: np.ndarray) -> tuple[onnx.TypeProto, TensorProto | None]:
    """The type of a constant, and its value where shapes may depend on it."""
    if array.dtype.kind == "f":
        kind, small, array = TensorProto.FLOAT, _SMALL_FLOATS, array
    else:
        kind, small = helper.np_dtype_to_tensor_dtype(array.dtype), _SMALL_INTEGERS
    value = None
    if array.size <= small:
        value = numpy_helper.from_array(
            np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else None).reshape(array.shape),
            name,
        )
    return helper.make_tensor_type_proto(kind, array.shape), value
