"""Writing weights as integers behind DequantizeLinear.

A tensor T of the file (an initializer or a Constant) is replaced by integers n and steps s, and a node that
computes it again:

    T = DequantizeLinear(n, s),       per tensor, or with `axis` per channel; zero point 0, so that none is
                                      stored.

The axis counts from the back, and one step is a list of one number: ONNX Runtime turns DequantizeLinear
before a MatMul, spelled otherwise, into its operator MatMulNBits, which by default rounds the *activations*
to 8 bits. So what runs is what the file says.

Whatever reads T reads the node. Where T is no float32 tensor a Cast to its type follows. int8 needs opset 10,
an axis 13, int4 and int16 opset 21: an older file is converted by onnx's version converter, which the result
says.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, version_converter

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.exporter.document import Document
from onnxpath.exporter.writing import Written, write_changed
from onnxpath.importer.decode.content import graphs
from onnxpath.importer.decode.reading import open_source
from onnxpath.importer.decode.tensors import stored_size

if TYPE_CHECKING:
    import onnx

_KINDS: dict[int, str] = {
    TensorProto.FLOAT: "float32",
    TensorProto.DOUBLE: "float64",
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
}
_STORED = {4: (TensorProto.INT4, 21), 8: (TensorProto.INT8, 13), 16: (TensorProto.INT16, 21)}
# The oldest IR version that an opset belongs to.
_IR = {13: 7, 21: 10}


@dataclass(frozen=True, eq=False)
class Integers:
    """What a tensor becomes: whole numbers (any real dtype), float32 steps, the axis of the steps (None: one
    for all), bits of storage."""

    values: np.ndarray
    step: np.ndarray
    axis: int | None
    bits: int


def stored_kinds(source: "str | os.PathLike[str] | bytes | onnx.ModelProto") -> dict[str, str]:
    """float32, float64, float16 or bfloat16 for every floating-point tensor of a file that is an initializer
    or the value of a Constant."""
    with open_source(source, hashed=False) as opened:
        kinds = {tensor.name: tensor.data_type for tensor in opened.model.graph.initializer}
        for node in opened.model.graph.node:
            if node.op_type == "Constant":
                kinds |= {
                    node.output[0]: next((a.t.data_type for a in node.attribute if a.name == "value"), 0)
                }
    return {name: found for name, kind in kinds.items() if (found := _KINDS.get(kind)) is not None}


def tensor_bytes(source: "str | os.PathLike[str] | bytes | onnx.ModelProto") -> int:
    """Bytes of all initializers and Constants of a file."""
    with open_source(source, hashed=False) as opened:
        found = list(opened.model.graph.initializer)
        found += [
            a.t
            for node in opened.model.graph.node
            if node.op_type == "Constant"
            for a in node.attribute
            if a.name == "value"
        ]
        return sum(stored_size(opened.path, tensor) for tensor in found)


def write_quantized(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    tensors: Mapping[str, Integers],
    out: str | os.PathLike[str],
) -> Written:
    """Write a copy of a model with some tensors as integers; see `write_changed`.

    Raises UnsupportedError when a model of an old opset cannot be converted, or does not hold a tensor where
    it can be replaced.
    """
    notes: list[str] = []

    def change(document: Document) -> None:
        needed = max((_STORED[item.bits][1] for item in tensors.values()), default=0)
        note = upgrade(document.model, document.path, needed)
        notes.extend([note] if note else [])
        _replace(document, tensors)

    written = write_changed(source, change, out)
    return Written(written.path, written.sha256, (*notes, *written.notes))


def opset_of(model: ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)


def upgrade(model: ModelProto, path: str, needed: int) -> str | None:
    """Convert a model to an opset in place where its own is older; a note on it. Weights are left as they
    are, wherever they lie."""
    opset = opset_of(model)
    if opset >= needed:
        return None
    before = {tensor.name: tensor for tensor in model.graph.initializer}
    try:
        made = version_converter.convert_version(model, needed)
    except Exception as error:
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UnsupportedError(
            f"{path}: integers of this width need opset {needed}, and the file, of opset {opset}, cannot be"
            f" converted: {why}"
        ) from error
    made.ir_version = max(made.ir_version, model.ir_version, _IR.get(needed, 10))
    for tensor in made.graph.initializer:
        if tensor.name in before:
            tensor.CopyFrom(before[tensor.name])
    del made.metadata_props[:]
    made.metadata_props.extend(model.metadata_props)
    for key in ("producer_name", "producer_version", "domain", "doc_string"):
        setattr(made, key, getattr(model, key))
    made.model_version = model.model_version
    model.CopyFrom(made)
    return f"the file was converted from opset {opset} to {needed}, which integers of this width need"


def _replace(document: Document, tensors: Mapping[str, Integers]) -> None:
    graph = document.model.graph
    document.model.ir_version = max(document.model.ir_version, 7)  # DequantizeLinear of an axis belongs to it
    initializers, constants = document.initializers(), document.constants()
    taken = {
        name
        for part in graphs(graph)
        for node in part.node
        for name in (*node.input, *node.output, node.name)
    }
    taken |= set(initializers) | {info.name for info in (*graph.input, *graph.output)}
    nodes: list[NodeProto] = []
    gone: set[str] = set()

    def fresh(name: str) -> str:
        found = name
        while found in taken:
            found += "_"
        taken.add(found)
        return found

    for name, item in tensors.items():
        if name in initializers:
            kind, shape = initializers[name].data_type, tuple(initializers[name].dims)
            graph.initializer.remove(initializers[name])
            document.arrays.pop(name, None)
        else:
            value = _value(document, name, constants.get(name))
            kind, shape = value.data_type, tuple(value.dims)
            gone.add(name)
        if item.values.shape != shape:
            raise ModelError(
                f"{document.path}: the tensor '{name}' has shape {list(shape)}, not {list(item.values.shape)}"
            )
        parts = [_integers(fresh(f"{name}_quantized"), item), _floats(fresh(f"{name}_scale"), item.step)]
        graph.initializer.extend(parts)
        made = name if kind == TensorProto.FLOAT else fresh(f"{name}_dequantized")
        node = helper.make_node(
            "DequantizeLinear", [part.name for part in parts], [made], name=fresh(f"{name}_DequantizeLinear")
        )
        node.attribute.extend(helper.make_attribute(key, value) for key, value in _axis(item, shape).items())
        nodes.append(node)
        if made != name:
            nodes.append(helper.make_node("Cast", [made], [name], name=fresh(f"{name}_Cast"), to=kind))
    kept = [node for node in graph.node if not gone.intersection(node.output)]
    inputs = [info for info in graph.input if info.name not in tensors]
    copies = (
        [NodeProto.FromString(node.SerializeToString()) for node in (*nodes, *kept)],
        [ValueInfoProto.FromString(info.SerializeToString()) for info in inputs],
    )
    del graph.node[:], graph.input[:]
    graph.node.extend(copies[0])
    graph.input.extend(copies[1])


def _value(document: Document, name: str, constant: NodeProto | None) -> TensorProto:
    """The tensor that a Constant holds. Raises UnsupportedError where there is none."""
    if constant is None or constant.op_type != "Constant":
        raise UnsupportedError(f"{document.path}: has no initializer or Constant named '{name}' to quantize")
    value = next((a.t for a in constant.attribute if a.name == "value"), None)
    if value is None:
        raise UnsupportedError(
            f"{document.path}: the Constant '{name}' holds a list of numbers, which cannot be quantized"
        )
    return value


def _axis(item: Integers, shape: tuple[int, ...]) -> dict[str, int]:
    """The axis of the steps, counted from the back."""
    if item.axis is not None:
        return {"axis": item.axis - len(shape)}
    return {"axis": -1} if shape and shape[-1] == 1 else {}


def _integers(name: str, item: Integers) -> TensorProto:
    kind = _STORED[item.bits][0]
    flat = np.ascontiguousarray(item.values).reshape(-1)
    if item.bits == 4:
        low = (flat.astype(np.int8) & 0xF).astype(np.uint8)
        low = np.append(low, np.uint8(0)) if low.size % 2 else low
        data = (low[0::2] | (low[1::2] << 4)).astype(np.uint8).tobytes()
    else:
        data = flat.astype("<i1" if item.bits == 8 else "<i2").tobytes()
    return TensorProto(name=name, data_type=kind, dims=item.values.shape, raw_data=data)


def _floats(name: str, array: np.ndarray) -> TensorProto:
    return TensorProto(
        name=name,
        data_type=TensorProto.FLOAT,
        dims=array.shape or (1,),
        raw_data=array.astype("<f4").tobytes(),
    )
