"""Re-encodings: other spellings of the same function, which no gate may hold against a file.

Where ONNX Runtime computes in another order the outputs differ by float32 rounding, and by nothing else.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from gate.editing import Kinds, Variant, after, constants, copied, renamed, replaced, shape, store
from gate.wrong_kinds.storage import external

HARMLESS = Kinds()


# -- names, order, words
# --------------------------------------------------------------------------------------------------


@HARMLESS.whole("names of nodes, tensors and weights")
def _names(model: ModelProto) -> None:
    kept = {value.name for value in (*model.graph.input, *model.graph.output)} | {""}
    for tensor in model.graph.initializer:
        tensor.name = f"w.{tensor.name[::-1]}"
    stored = {tensor.name[2:][::-1] for tensor in model.graph.initializer}
    for k, node in enumerate(model.graph.node):
        node.name = f"n{97 - k}"
        for names in (node.input, node.output):
            names[:] = [
                name if name in kept else f"w.{name[::-1]}" if name in stored else f"t.{name[::-1]}"
                for name in names
            ]


@HARMLESS.whole("nodes without names")
def _nameless(model: ModelProto) -> None:
    for node in model.graph.node:
        node.name = ""


@HARMLESS.kind("order of nodes and weights")
def _order(source: ModelProto) -> Iterator[Variant]:
    """The last node that may come next, always; weights backwards."""
    model = copied(source)
    pending, known = (
        list(source.graph.node),
        {"", *constants(source), *(value.name for value in source.graph.input)},
    )
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.initializer.extend(reversed(source.graph.initializer))
    while pending:
        last = max(k for k, node in enumerate(pending) if set(node.input) <= known)
        known.update(pending[last].output)
        model.graph.node.append(pending.pop(last))
    yield Variant("model", model)


@HARMLESS.whole("doc strings, metadata, producer")
def _words(model: ModelProto) -> None:
    model.doc_string, model.producer_name, model.graph.name = "about", "another", "renamed"
    model.metadata_props.add(key="author", value="somebody")
    for node in model.graph.node:
        node.doc_string = "why"


@HARMLESS.kind("types and shapes of inner tensors written down")
def _inferred(source: ModelProto) -> Iterator[Variant]:
    yield Variant("model", onnx.shape_inference.infer_shapes(source))


@HARMLESS.whole("a symbolic batch")
def _symbolic(model: ModelProto) -> bool | None:
    """Where nothing else fixes the batch."""
    if (
        any(node.op_type in ("Reshape", "Resize") for node in model.graph.node)
        or model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    ):
        return False
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    return None


@HARMLESS.kind("opset converted")
def _opset(source: ModelProto) -> Iterator[Variant]:
    for version in (13, 18, 21):
        try:
            yield Variant(str(version), onnx.version_converter.convert_version(source, version))
        except RuntimeError:
            continue  # what the converter cannot write


# -- storage
# --------------------------------------------------------------------------------------------------


@HARMLESS.kind("weights in Constant nodes")
def _constants(source: ModelProto) -> Iterator[Variant]:
    model = copied(source)
    for tensor in model.graph.initializer:
        model.graph.node.insert(
            0, helper.make_node("Constant", [], [tensor.name], f"constant {tensor.name}", value=tensor)
        )
    del model.graph.initializer[:]
    yield Variant("model", model)


@HARMLESS.whole("weights listed as inputs")
def _listed(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))


@HARMLESS.kind("weights in external data")
def _external(source: ModelProto) -> Iterator[Variant]:
    model, files, _ = external(source)
    yield Variant("model", model, b_files=files)


@HARMLESS.whole("weights in typed fields")
def _typed(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(
            helper.make_tensor(tensor.name, tensor.data_type, array.shape, array.reshape(-1).tolist())
        )


@HARMLESS.kind("float16 weights behind a Cast")
def _half(source: ModelProto) -> Iterator[Variant]:
    """Both files hold numbers that float16 can."""
    a, b = copied(source), copied(source)
    for tensor in source.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 3:
            half = array.astype(np.float16)
            store(a, tensor.name, half.astype(np.float32))
            replaced(b, tensor.name, half)
            for node in b.graph.node:
                renamed(node.input, tensor.name, f"{tensor.name}_float")
            b.graph.node.insert(
                0,
                helper.make_node(
                    "Cast",
                    [tensor.name],
                    [f"{tensor.name}_float"],
                    f"cast {tensor.name}",
                    to=TensorProto.FLOAT,
                ),
            )
    yield Variant("model", b, a)


@HARMLESS.whole("one weight for two equal biases")
def _shared(model: ModelProto) -> None:
    found: dict[bytes, str] = {}
    for tensor in model.graph.initializer:
        first = found.setdefault(
            tensor.raw_data + bytes(tensor.dims) + bytes([tensor.data_type]), tensor.name
        )
        for node in model.graph.node:
            renamed(node.input, tensor.name, first)


@HARMLESS.whole("a dead branch and an unused weight")
def _dead(model: ModelProto) -> None:
    store(model, "unused", np.ones(3, np.float32))
    node = next(node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul"))
    copy = model.graph.node.add()
    copy.CopyFrom(node)
    copy.name, copy.output[0] = "dead", "dead"


# -- nodes that do nothing
# ------------------------------------------------------------------------------------------------


def _nothing(name: str, op: str, **attributes: object) -> None:
    @HARMLESS.whole(name)
    def _change(model: ModelProto) -> None:
        for node in list(model.graph.node):
            if node.op_type in ("Relu", "Conv", "Gemm", "MaxPool"):
                after(model, node.output[0], op, **attributes)


_nothing("Identity everywhere", "Identity")
_nothing("Dropout of inference everywhere", "Dropout")
_nothing("Cast to the same type everywhere", "Cast", to=TensorProto.FLOAT)


@HARMLESS.whole("Transpose and back")
def _transposes(model: ModelProto) -> None:
    for node in list(model.graph.node):
        tensor = node.output[0]
        rank = len(shape(model, tensor) or ()) if node.op_type == "Relu" else 0
        if rank > 2:
            after(model, tensor, "Transpose", perm=[0, *range(2, rank), 1])
            after(model, tensor, "Transpose", perm=[0, rank - 1, *range(1, rank - 1)])


@HARMLESS.whole("Unsqueeze and Squeeze")
def _axes(model: ModelProto) -> None:
    axis = store(model, "an_axis", np.array([1]))
    for node in list(model.graph.node):
        tensor = node.output[0]
        if node.op_type == "Relu":
            after(model, tensor, "Unsqueeze", axis)
            after(model, tensor, "Squeeze", axis)


@HARMLESS.whole("Relu twice")
def _relu_twice(model: ModelProto) -> None:
    for node in list(model.graph.node):
        if node.op_type == "Relu":
            after(model, node.output[0], "Relu")


@HARMLESS.kind("Relu as a function of the file")
def _function(source: ModelProto) -> Iterator[Variant]:
    if any(node.op_type == "Relu" for node in source.graph.node):
        model = copied(source)
        body = helper.make_node("Relu", ["X"], ["Y"], "body")
        model.functions.append(helper.make_function("local", "Act", ["X"], ["Y"], [body], model.opset_import))
        model.opset_import.append(helper.make_opsetid("local", 1))
        for node in model.graph.node:
            if node.op_type == "Relu":
                node.op_type, node.domain = "Act", "local"
        yield Variant("model", model)
