"""Re-encodings that are not read yet: they are refused or, where that is said, found to be another network.
Nobody calls them equal.

Each is a spelling that coverage work is to read. Once it is, its kind moves to `harmless.py`.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, NodeProto, helper, numpy_helper

from gate.editing import (
    Kinds,
    Variant,
    after,
    becomes,
    constants,
    copied,
    get,
    layer,
    put,
    readers,
    settled,
    shape,
    store,
)

KNOWN = Kinds()
FOUND_DIFFERENT = ("hidden neurons in another order",)
"""Read as another network (exit code 1), not refused (2)."""


@KNOWN.each("MatMul", "MatMul and Add of rank 3 as Reshape, Gemm, Reshape")
def _rank_three(model: ModelProto, node: NodeProto) -> bool | None:
    before, behind = shape(model, node.input[0]) or [], readers(model, node.output[0])
    if len(before) != 3 or behind[0].op_type != "Add":
        return False
    flat, wide = (
        store(model, f"{node.name} {title}", np.array(sizes))
        for title, sizes in (("flat", [-1, before[-1]]), ("wide", shape(model, node.output[0])))
    )
    after(model, node.output[0], "Reshape", wide)
    model.graph.node.append(
        helper.make_node("Reshape", [node.input[0], flat], [f"{node.name} rows"], f"{node.name} reshape")
    )
    node.input[0] = f"{node.name} rows"
    becomes(node, "Gemm")
    node.input.append(behind[0].input[1])
    becomes(behind[0], "Identity", 1)
    return None


@KNOWN.kind("FusedConv and FusedGemm of ONNX Runtime's extended optimization")
def _fused(source: ModelProto) -> Iterator[Variant]:
    if not any(
        node.op_type in ("Conv", "Gemm") and readers(source, node.output[0])[:1] for node in source.graph.node
    ):
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.optimized_model_filepath = 4, str(path)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(source.SerializeToString(), options, providers=["CPUExecutionProvider"])
        model = onnx.load(path)
    if any(node.op_type in ("FusedConv", "FusedGemm") for node in model.graph.node):
        yield Variant("model", model)


@KNOWN.each("Div", "a normalizer merged into the first layer")
def _merged(model: ModelProto, node: NodeProto) -> bool | None:
    """(x - m) / s in front of a convolution without padding is its weight / s, and a shift of its bias."""
    found, conv = constants(model), readers(model, node.output[0])[0]
    name = layer(model, conv)
    if name is None or get(conv, "pads") or node.input[1] not in found:
        return False
    sub = next(other for other in model.graph.node if other.output[0] == node.input[0])
    weight = found[name].astype(np.float64) / found[node.input[1]]
    shift = (weight * found[sub.input[1]]).sum((1, 2, 3))
    store(model, name, weight)
    store(model, conv.input[2], found[conv.input[2]] - shift)
    for gone in (sub, node):
        becomes(gone, "Identity", 1)
    return None


@KNOWN.kind("a sparse initializer")
def _sparse(source: ModelProto) -> Iterator[Variant]:
    for node in source.graph.node:
        name = layer(source, node)
        if name is None or constants(source)[name].ndim != 2:
            continue
        model, array = copied(source), constants(source)[name]
        model.graph.initializer.remove(
            next(tensor for tensor in model.graph.initializer if tensor.name == name)
        )
        values = numpy_helper.from_array(array.reshape(-1), name)
        places = numpy_helper.from_array(np.arange(array.size), f"{name} places")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, array.shape))
        yield Variant(node.name, model)


@KNOWN.kind("DepthToSpace of one channel, where both modes are the same")
def _modes(source: ModelProto) -> Iterator[Variant]:
    for k, node in enumerate(source.graph.node):
        if node.op_type == "DepthToSpace":
            a = copied(source)
            conv, found = (
                next(other for other in a.graph.node if node.input[0] in other.output),
                constants(source),
            )
            for name in conv.input[1:]:
                store(a, name, found[name][: get(node, "blocksize") ** 2])
            for reader in readers(a, node.output[0]):
                becomes(reader, "Identity")
            b = copied(a)
            put(b.graph.node[k], mode="CRD")
            yield Variant(node.name, settled(b), settled(a))


@KNOWN.kind("a fixed batch of 8")
def _batch(source: ModelProto) -> Iterator[Variant]:
    if any(node.op_type in ("Reshape", "Resize") for node in source.graph.node):
        return
    model = copied(source)
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = 8
    yield Variant("model", settled(model))


@KNOWN.each("Flatten", "Flatten of channels last, the next weight permuted")
def _flatten(model: ModelProto, node: NodeProto) -> bool | None:
    sizes, gemm = shape(model, node.input[0]) or [], readers(model, node.output[0])[0]
    name = layer(model, gemm)
    if len(sizes) != 4 or name is None or not get(gemm, "transB", 0) or sizes[2] == 1:
        return False
    weight = constants(model)[name]
    store(model, name, weight.reshape(-1, *sizes[1:]).transpose(0, 2, 3, 1).reshape(weight.shape))
    after(model, node.input[0], "Transpose", perm=[0, 2, 3, 1])
    return None


def _hidden(source: ModelProto) -> Iterator[tuple[NodeProto, NodeProto, str, str]]:
    """Pairs of Gemm, Relu, Gemm: both nodes, and their weights as [outputs, inputs]."""
    for node in source.graph.node:
        name = layer(source, node)
        relu = readers(source, node.output[0])
        following = readers(source, relu[0].output[0]) if relu and relu[0].op_type == "Relu" else []
        other = layer(source, following[0]) if following else None
        if (
            name
            and other
            and node.op_type == following[0].op_type == "Gemm"
            and get(node, "transB", 0)
            and get(following[0], "transB", 0)
        ):
            yield node, following[0], name, other


@KNOWN.kind("hidden neurons in another order")
def _permuted(source: ModelProto) -> Iterator[Variant]:
    for node, _, name, other in _hidden(source):
        found, model = constants(source), copied(source)
        order = np.roll(np.arange(len(found[name])), 3)
        store(model, name, found[name][order])
        store(model, node.input[2], found[node.input[2]][order])
        store(model, other, found[other][:, order])
        yield Variant(node.name, model)


@KNOWN.kind("a neuron that nothing reads removed")
def _removed(source: ModelProto) -> Iterator[Variant]:
    """In A its outgoing weights are 0; in B it is gone."""
    for node, _, name, other in _hidden(source):
        found, a, b = constants(source), copied(source), copied(source)
        outgoing = found[other].copy()
        outgoing[:, -1] = 0
        store(a, other, outgoing)
        for key, array in (
            (name, found[name][:-1]),
            (node.input[2], found[node.input[2]][:-1]),
            (other, outgoing[:, :-1]),
        ):
            store(b, key, array)
        yield Variant(node.name, settled(b), a)
