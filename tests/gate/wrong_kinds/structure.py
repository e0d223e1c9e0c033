"""Wrong structure: edges, activations, copies and branches."""

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gate.editing import (
    Kinds,
    Variant,
    after,
    becomes,
    constants,
    copied,
    layer,
    made_by,
    put,
    readers,
    renamed,
    settled,
    shape,
    store,
)

KINDS = Kinds()


def _activations(model: ModelProto, node: NodeProto) -> bool:
    return all(made_by(model, name) is not None for name in node.input)


# -- sums
# --------------------------------------------------------------------------------------------------


@KINDS.each("Add", "edge: of a residual sum, to what comes one node earlier")
def _earlier(model: ModelProto, node: NodeProto) -> bool | None:
    if not _activations(model, node):
        return False
    source = made_by(model, node.input[1])
    if source is None or source.op_type != "Relu":
        return False
    node.input[1] = source.input[0]
    return None


@KINDS.each("Add", "edge: of a residual sum, from the branch")
def _branch(model: ModelProto, node: NodeProto) -> bool | None:
    if not _activations(model, node):
        return False
    inner = next(
        (other for other in model.graph.node if other.op_type == "Relu" and node.input[1] != other.output[0]),
        None,
    )
    if inner is None or shape(model, inner.output[0]) != shape(model, node.input[1]):
        return False
    node.input[1] = inner.output[0]
    return None


@KINDS.each("Add Sub", "edge: of a residual sum, left out")
def _identity(model: ModelProto, node: NodeProto) -> bool | None:
    if not _activations(model, node):
        return False
    becomes(node, "Identity", 1)
    return None


def _operator(ops: str, other: str) -> None:
    @KINDS.each(ops, f"sum: {other} for {ops}")
    def _change(model: ModelProto, node: NodeProto) -> bool | None:
        if not _activations(model, node):
            return False
        node.op_type = other
        return None


for _ops, _other in (
    ("Add", "Sub"),
    ("Add", "Max"),
    ("Add", "Mul"),
    ("Add", "Mean"),
    ("Sub", "Add"),
    ("Sub", "Mul"),
):
    _operator(_ops, _other)


@KINDS.each("Sub", "sum: operands of a difference swapped")
def _operands(model: ModelProto, node: NodeProto) -> bool | None:
    if not _activations(model, node):
        return False
    node.input[:] = list(node.input)[::-1]
    return None


@KINDS.each("Relu", "edge: a residual sum that was not there")
def _new_sum(model: ModelProto, node: NodeProto) -> bool | None:
    before = made_by(model, node.input[0])
    if before is None or not before.input or shape(model, before.input[0]) != shape(model, node.output[0]):
        return False
    after(model, node.output[0], "Add", before.input[0])
    return None


# -- activations
# ----------------------------------------------------------------------------------------------------------


def _for_relu(op: str, title: str, **attributes: object) -> None:
    @KINDS.each("Relu", f"Relu: {title}", paths=op != "QuantizeLinear")
    def _change(model: ModelProto, node: NodeProto) -> None:
        becomes(node, op, **attributes)


for _op, _title, _attributes in (
    ("Identity", "left out", {}), ("LeakyRelu", "LeakyRelu instead", {"alpha": 0.1}),
    ("Abs", "Abs instead", {}),
    ("Sigmoid", "Sigmoid instead", {}), ("Elu", "Elu instead", {}),
    ("ThresholdedRelu", "above 0.2 only", {"alpha": 0.2}),
    ("Neg", "Neg instead", {}), ("Softplus", "Softplus instead", {}),
):  # fmt: skip
    _for_relu(_op, _title, **_attributes)


@KINDS.each("Relu", "Relu: Clip(0, 0.3) instead")
def _clip(model: ModelProto, node: NodeProto) -> None:
    becomes(node, "Clip")
    node.input.extend([store(model, "least", np.float32(0)), store(model, "largest", np.float32(0.3))])


@KINDS.each("Conv ConvTranspose Gemm Add", "Relu: added behind a layer")
def _added(model: ModelProto, node: NodeProto) -> bool | None:
    if layer(model, node) is None and node.op_type != "Add":
        return False
    after(model, node.output[0], "Relu")
    return None


@KINDS.each("MaxPool", "pool: in front of the Relu, with another sign")
def _negated(model: ModelProto, node: NodeProto) -> None:
    after(model, node.input[0], "Neg")
    after(model, node.output[0], "Neg")


# -- copies, branches, constants
# ------------------------------------------------------------------------------------------


@KINDS.each("Conv Gemm MatMul MaxPool AveragePool", "node: applied twice")
def _twice(model: ModelProto, node: NodeProto) -> bool | None:
    if shape(model, node.input[0]) != shape(model, node.output[0]):
        return False
    second, tensor = NodeProto(), node.output[0]
    second.CopyFrom(node)
    node.output[0] = second.input[0] = f"{tensor}_once"
    second.name = f"{node.name} again"
    model.graph.node.append(second)
    return None


@KINDS.each("Conv Gemm MatMul", "node: skipped")
def _skipped(model: ModelProto, node: NodeProto) -> bool | None:
    if shape(model, node.input[0]) != shape(model, node.output[0]):
        return False
    becomes(node, "Identity", 1)
    return None


def _with_dead_branch(source: ModelProto, k: int) -> ModelProto | None:
    """The model with a copy of node k, of other weights, that nothing reads."""
    model = copied(source)
    node = model.graph.node[k]
    name = layer(model, node)
    if name is None:
        return None
    copy = model.graph.node.add()
    copy.CopyFrom(node)
    copy.name, copy.output[0] = f"{node.name} dead", f"{node.output[0]}_dead"
    copy.input[1] = store(model, f"{name}_dead", constants(model)[name][::-1].copy())
    return model


@KINDS.kind("branch: the dead one swapped in")
def _dead(source: ModelProto):  # noqa: ANN202 - yields variants
    for k, node in enumerate(source.graph.node):
        a, b = _with_dead_branch(source, k), _with_dead_branch(source, k)
        if a is None or b is None:
            continue
        for reader in readers(b, node.output[0]):
            renamed(reader.input, node.output[0], f"{node.output[0]}_dead")
        if any(value.name == node.output[0] for value in b.graph.output):
            b.graph.node[k].output[0], b.graph.node[-1].output[0] = (
                b.graph.node[-1].output[0],
                b.graph.node[k].output[0],
            )
        yield Variant(node.name, settled(b), settled(a))


def _selected(source: ModelProto, k: int, chosen: bool) -> ModelProto | None:
    """Node k inside an If with a constant condition: its own weights, or reversed ones."""
    model = copied(source)
    node = model.graph.node[k]
    name = layer(model, node)
    if name is None:
        return None
    other = store(model, f"{name}_else", constants(model)[name][::-1].copy())
    condition = store(model, "condition", np.array(chosen))
    branches = []
    for title, weight in (("then", name), ("else", other)):
        inner = NodeProto()
        inner.CopyFrom(node)
        inner.name, inner.input[1], inner.output[0] = (
            f"{node.name} {title}",
            weight,
            f"{node.output[0]}_{title}",
        )
        branches.append(
            helper.make_graph(
                [inner], title, [], [helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, None)]
            )
        )
    put(node, **{item.name: None for item in node.attribute})
    node.op_type, node.input[:] = "If", [condition]
    put(node, then_branch=branches[0], else_branch=branches[1])
    return model


@KINDS.kind("branch: the other one of an If")
def _if(source: ModelProto):  # noqa: ANN202 - yields variants
    for k, node in enumerate(source.graph.node):
        a, b = _selected(source, k, True), _selected(source, k, False)
        if a is not None and b is not None:
            yield Variant(node.name, b, a)


@KINDS.kind("constant: a Constant node of another value")
def _constant(source: ModelProto):  # noqa: ANN202 - yields variants
    for node in source.graph.node:
        name = layer(source, node)
        if name is None:
            continue
        model, array = copied(source), constants(source)[name]
        model.graph.initializer.remove(
            next(tensor for tensor in model.graph.initializer if tensor.name == name)
        )
        array = array.copy()
        array[0] *= -1
        model.graph.node.insert(
            0,
            helper.make_node(
                "Constant", [], [name], f"constant {name}", value=numpy_helper.from_array(array)
            ),
        )
        yield Variant(node.name, settled(model))


def _listed(source: ModelProto, name: str, array: np.ndarray) -> ModelProto:
    """The model with one weight also listed as an input, whose default this is."""
    model = copied(source)
    store(model, name, array)
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape))
    return model


@KINDS.kind("constant: another default of a weight that is also an input")
def _default(source: ModelProto):  # noqa: ANN202 - yields variants
    for node in source.graph.node:
        name = layer(source, node)
        if name is not None:
            array = constants(source)[name]
            yield Variant(node.name, _listed(source, name, array * 1.2), _listed(source, name, array))


def _function(source: ModelProto, op: str, **attributes: object) -> ModelProto:
    """The model with every Relu written as a function of the file, whose body is `op`."""
    model = copied(source)
    body = [helper.make_node(op, ["X"], ["Y"], "body", **attributes)]
    opsets = [helper.make_opsetid("", model.opset_import[0].version)]
    model.functions.append(helper.make_function("local", "Act", ["X"], ["Y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type, node.domain = "Act", "local"
    return model


@KINDS.kind("function: another body")
def _body(source: ModelProto):  # noqa: ANN202 - yields variants
    if any(node.op_type == "Relu" for node in source.graph.node):
        a = _function(source, "Relu")
        yield Variant("LeakyRelu", _function(source, "LeakyRelu", alpha=0.1), a)
        yield Variant("Identity", _function(source, "Identity"), a)
        yield Variant("Neg", _function(source, "Neg"), a)
