"""What a file declares (`onnxpath.model.interface`): its inputs and outputs, and the functions behind the
network's own outputs.

Steps at the end are written so that equal functions are equal steps, whatever their spelling:

    Softmax(axis), opset < 13        over all axes from that one on Flatten(k), Softmax, Reshape back over the
                                     axes k, k + 1, ...
    Softmax(axis), opset >= 13       over that one Log of Softmax LogSoftmax
    a negative axis                  counted from the front an axis of one number, behind others left out

Identity, casts to float32 and float64 (the declared type tells) and quantizers, whose effect is a number, are
no steps.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx

from onnxpath.importer.decode.tensors import type_name
from onnxpath.importer.lower.context import FileNode
from onnxpath.model.interface import Interface, Port, Step

_NAMES = {"float": "float32", "double": "float64"}


def element_type(kind: int) -> str:
    """The name of an element type, as NumPy spells it; "" where none is given."""
    if kind == onnx.TensorProto.UNDEFINED:
        return ""
    try:
        name = onnx.TensorProto.DataType.Name(kind).lower()
    except ValueError:
        return type_name(kind)
    return _NAMES.get(name, name)


def port(info: onnx.ValueInfoProto) -> Port:
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return Port(info.name, (kind or "").removesuffix("_type"))
    tensor = info.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(d.dim_value if d.dim_value > 0 else d.dim_param or None for d in tensor.shape.dim)
    return Port(info.name, element_type(tensor.elem_type), shape)


def interface(
    graph: onnx.GraphProto,
    selected: Iterable[str],
    tails: Mapping[str, tuple[Step, ...]],
    rounding: Mapping[str, float],
) -> Interface:
    """Inputs (those with a stored value are none), and the outputs that were selected, in the order of the
    file."""
    stored, wanted = {tensor.name for tensor in graph.initializer}, set(selected)
    return Interface(
        tuple(port(info) for info in graph.input if info.name not in stored),
        tuple(port(info) for info in graph.output if info.name in wanted),
        dict(tails),
        dict(rounding),
    )


def steps(chain: Sequence[FileNode], shape: Sequence[int], opset: int) -> tuple[Step, ...]:
    """The functions that nodes left off the end are, first one first; shape: of the tensor that the first one
    reads."""
    found: list[Step] = []
    flat: int | None = None
    for node in chain:
        if node.op_type == "Flatten":
            flat = int(node.attribute("axis", 1))
            flat = flat + len(shape) if flat < 0 else flat
        elif node.op_type == "Reshape":
            flat = None
        elif node.op_type in ("Softmax", "LogSoftmax"):
            found.append(Step(node.op_type, _softmax_axes(node, shape, opset, flat)))
        elif node.op_type == "Log" and found and found[-1].function == "Softmax":
            found[-1] = Step("LogSoftmax", found[-1].axes)
        elif node.op_type == "ArgMax":
            rank, keep, last = (
                len(shape),
                int(node.attribute("keepdims", 1)),
                int(node.attribute("select_last_index", 0)),
            )
            more = (("keepdims", keep), *((("select_last_index", last),) if last else ()))
            found.append(Step("ArgMax", (int(node.attribute("axis", 0)) % max(rank, 1),), more))
        elif node.op_type == "Cast":
            kind = element_type(int(node.attribute("to", 1)))
            if kind not in ("float32", "float64"):
                found.append(Step("Cast", None, (("to", kind),)))
        elif node.op_type == "Sigmoid":
            found.append(Step("Sigmoid"))
    return tuple(found)


def _softmax_axes(node: FileNode, shape: Sequence[int], opset: int, flat: int | None) -> tuple[int, ...]:
    rank = len(shape)
    if flat is not None:
        axis = int(node.attribute("axis", 1 if opset < 13 else -1)) % 2
        axes = range(flat, rank) if axis else range(flat) if opset >= 13 else range(rank)
    elif opset < 13:
        axes = range(int(node.attribute("axis", 1)) % max(rank, 1), rank)
    else:
        axes = range(k := int(node.attribute("axis", -1)) % max(rank, 1), k + 1)
    wide = [k for k in axes if k == 0 or shape[k] != 1]
    return tuple(wide) or tuple(axes)[-1:]
