"""Shapes of the network's inputs: static ones from the file, a symbolic batch is 1, the rest from the caller.

Axis 0 is the batch axis of an input. A symbolic dimension elsewhere is a batch too when axis 0 of an input
has its name, or when its name contains 'batch'. A name given a size by the caller has that size wherever it
occurs.
"""

from collections.abc import Mapping

import onnx
from onnx import TensorProto

from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.importer.decode.memory import Budget
from onnxpath.importer.decode.tensors import FLOATS, type_name
from onnxpath.importer.structure.nodes import FileGraph
from onnxpath.model.network import Shape

Declared = list[int | str | None]
_INTEGERS = (
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
    TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64, TensorProto.BOOL,
)  # fmt: skip


def _declared(info: onnx.ValueInfoProto) -> Declared | None:
    """Sizes, names, or None for an anonymous dimension; None for an unknown rank."""
    if not info.type.tensor_type.HasField("shape"):
        return None
    found: Declared = []
    for dim in info.type.tensor_type.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value > 0:
            found.append(dim.dim_value)
        else:
            found.append(dim.dim_param or None)
    return found


def _spelled(declared: Declared) -> str:
    return "x".join(str(d) if d is not None else "?" for d in declared) or "scalar"


def _check_type(graph: FileGraph, info: onnx.ValueInfoProto) -> None:
    path, name = graph.path, info.name
    if info.type.WhichOneof("value") != "tensor_type":
        raise UnsupportedError(f"{path}: the input '{name}' is not a tensor")
    kind = info.type.tensor_type.elem_type
    if kind in FLOATS:
        return
    readers = [node for node, _ in graph.nodes if name in node.inputs]
    casts = all(node.op_type == "Cast" and node.attribute("to") in FLOATS for node in readers)
    if kind not in _INTEGERS or not casts:
        raise UnsupportedError(
            f"{path}: the input '{name}' holds {type_name(kind)}; inputs are floats, or integers that are"
            " cast to float first"
        )


def _check_given(path: str, name: str, declared: Declared | None, given: Shape) -> None:
    if not all(isinstance(d, int) and d > 0 for d in given):
        raise UsageError(
            f"the shape {'x'.join(map(str, given))} of the input '{name}' is not made of positive numbers"
        )
    if declared is None:
        return
    if len(declared) != len(given) or any(
        isinstance(d, int) and d != g for d, g in zip(declared, given, strict=True)
    ):
        raise UsageError(
            f"{path}: the input '{name}' has the shape {_spelled(declared)}; {'x'.join(map(str, given))} does"
            " not fit it"
        )


def input_shapes(
    graph: FileGraph, shapes: Mapping[str, Shape], budget: Budget
) -> tuple[dict[str, Shape], list[str]]:
    """The shape of every input that the outputs need, and notes."""
    path = graph.path
    for name in shapes:
        if name not in graph.inputs:
            raise UsageError(
                f"{path}: has no input '{name}' to give a shape to; its inputs are:"
                f" {', '.join(graph.inputs) or 'none'}"
            )
    read = {name for node, _ in graph.nodes for name in node.inputs} | set(graph.uses)
    declared: dict[str, Declared | None] = {}
    for name, info in graph.inputs.items():
        if name in read or name in graph.outputs:
            _check_type(graph, info)
            declared[name] = _declared(info)
    sizes: dict[str, int] = {dims[0]: 1 for dims in declared.values() if dims and isinstance(dims[0], str)}
    for name, given in shapes.items():
        dims = _declared(graph.inputs[name])
        _check_given(path, name, dims, tuple(given))
        for dim, size in zip(dims or (), given, strict=False):
            if isinstance(dim, str):
                sizes[dim] = size
    found: dict[str, Shape] = {}
    notes = []
    for name, dims in declared.items():
        found[name] = tuple(shapes[name]) if name in shapes else _resolved(path, name, dims, sizes)
        if dims and isinstance(dims[0], int) and dims[0] > 1 and len(dims) > 1:
            notes.append(f"the input '{name}' has a fixed batch of {dims[0]}, which is kept")
        budget.check_tensor(found[name], f"{path}: the input '{name}'")
    return found, notes


def _resolved(path: str, name: str, dims: Declared | None, sizes: dict[str, int]) -> Shape:
    if dims is None:
        raise UsageError(
            f"{path}: the input '{name}' has no declared shape: give it with --shape {name}=1x3x224x224"
        )
    known: Declared = []
    for axis, dim in enumerate(dims):
        if isinstance(dim, str):
            known.append(sizes.get(dim, 1 if axis == 0 or "batch" in dim.lower() else dim))
        else:
            known.append(1 if dim is None and axis == 0 else dim)
    unknown = [axis for axis, dim in enumerate(known) if not isinstance(dim, int)]
    if unknown:
        axes = f"axis {unknown[0]}" if len(unknown) == 1 else f"axes {', '.join(map(str, unknown))}"
        example = "x".join(str(d) if isinstance(d, int) else "N" for d in known)
        raise UsageError(
            f"{path}: the input '{name}' has the shape {_spelled(dims)}, of which {axes} has no size: give it"
            f" with --shape {name}={example}"
        )
    return tuple(d for d in known if isinstance(d, int))
