"""Editing models: the pieces that wrong kinds and re-encodings are written with.

A *kind* makes variants of a source model, one for every place where it applies; `each` makes one for every
node of some operators, `whole` one of the model. What an edit does to shapes is inferred again, and nodes are
put into an order in which they can run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from gate.drafting import declared

Files = dict[str, bytes]


@dataclass(frozen=True)
class Variant:
    """A changed model. place: of the change. a: the source as it has to be spelled for this pair, where that
    is another way than the network's own. files: what lies beside the models, external data."""

    place: str
    b: ModelProto
    a: ModelProto | None = None
    a_files: Files = field(default_factory=dict)
    b_files: Files = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One way to change a model. subject: the file it is in. paths: the path-metric is about what it
    changes."""

    name: str
    subject: str
    variants: Callable[[ModelProto], Iterator[Variant]]
    paths: bool = True


class Kinds(dict[str, Kind]):
    """Kinds by name, as their files register them."""

    def add(
        self, name: str, make: Callable, variants: Callable[[ModelProto], Iterator[Variant]], paths: bool
    ) -> None:
        assert name not in self, name
        self[name] = Kind(name, make.__module__.rsplit(".", 1)[-1], variants, paths)

    def kind(self, name: str, paths: bool = True) -> Callable:
        """make(source) yields variants."""

        def register(make: Callable) -> Callable:
            self.add(name, make, make, paths)
            return make

        return register

    def whole(self, name: str, paths: bool = True) -> Callable:
        """change(model) edits a copy; False where it does not apply."""

        def register(change: Callable) -> Callable:
            def variants(source: ModelProto) -> Iterator[Variant]:
                model = copied(source)
                if change(model) is not False:
                    yield Variant("model", settled(model))

            self.add(name, change, variants, paths)
            return change

        return register

    def each(self, operators: str, name: str, paths: bool = True) -> Callable:
        """change(model, node) edits one node of a copy; False where it does not apply."""
        wanted = operators.split()

        def register(change: Callable) -> Callable:
            def variants(source: ModelProto) -> Iterator[Variant]:
                for k, node in enumerate(source.graph.node):
                    if node.op_type in wanted:
                        model = copied(source)
                        if change(model, model.graph.node[k]) is not False:
                            yield Variant(node.name, settled(model))

            self.add(name, change, variants, paths)
            return change

        return register

    def weight(self, name: str, slot: int = 1, paths: bool = True) -> Callable:
        """change(array, rng) returns another array for the weight (slot 1) or bias (slot 2) of a layer; None
        where it does not apply."""

        def register(change: Callable) -> Callable:
            def variants(source: ModelProto) -> Iterator[Variant]:
                for k, node in enumerate(source.graph.node):
                    found = layer(source, node, slot)
                    if found is None:
                        continue
                    array = change(constants(source)[found], np.random.default_rng(k))
                    if array is not None:
                        model = copied(source)
                        store(model, found, array)
                        yield Variant(node.name, settled(model))

            self.add(name, change, variants, paths)
            return change

        return register


# -- models
# --------------------------------------------------------------------------------------------------


def copied(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def constants(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor).copy() for tensor in model.graph.initializer}


def store(model: ModelProto, name: str, array: np.ndarray) -> str:
    """Put a constant in place of one of that name, or beside the others; its type is kept."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(
                numpy_helper.from_array(np.asarray(array, numpy_helper.to_array(tensor).dtype), name)
            )
            return name
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return name


def replaced(model: ModelProto, name: str, array: np.ndarray) -> str:
    """`store` with another type."""
    for tensor in list(model.graph.initializer):
        if tensor.name == name:
            model.graph.initializer.remove(tensor)
    return store(model, name, array)


def layer(model: ModelProto, node: NodeProto, slot: int = 1) -> str | None:
    """The name of the float weight (slot 1) or bias (slot 2; that of a MatMul is in the Add behind it) of a
    linear node."""
    known = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    if slot == 2 and node.op_type == "Add":
        found = node.input[1]
    elif node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and len(node.input) > slot:
        found = node.input[slot]
    else:
        return None
    return found if known.get(found) == TensorProto.FLOAT else None


def outputs_of(node: NodeProto) -> int:
    """The axis of a layer's weight along which its outputs lie."""
    if node.op_type == "Conv":
        return 0
    return 0 if node.op_type == "Gemm" and get(node, "transB", 0) else 1


def get(node: NodeProto, name: str, default: object = None) -> object:
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def put(node: NodeProto, **attributes: object) -> None:
    """Set attributes; None removes one."""
    for name, value in attributes.items():
        for item in [item for item in node.attribute if item.name == name]:
            node.attribute.remove(item)
        if value is not None:
            node.attribute.append(helper.make_attribute(name, value))


def becomes(node: NodeProto, op: str, inputs: int | None = None, **attributes: object) -> None:
    """Another operator in the place of this one, with its first `inputs` operands and these attributes
    only."""
    node.op_type = op
    del node.attribute[:]
    if inputs is not None:
        del node.input[inputs:]
    put(node, **attributes)


def made_by(model: ModelProto, tensor: str) -> NodeProto | None:
    return next((node for node in model.graph.node if tensor in node.output), None)


def readers(model: ModelProto, tensor: str) -> list[NodeProto]:
    return [node for node in model.graph.node if tensor in node.input]


def after(model: ModelProto, tensor: str, op: str, *constants: str, **attributes: object) -> NodeProto:
    """A node between a tensor and everything that reads it, outputs of the file included."""
    inner = f"{tensor}_before_{op}_{len(model.graph.node)}"
    source = made_by(model, tensor)
    if source is None:
        for node in readers(model, tensor):
            renamed(node.input, tensor, inner)
        node = helper.make_node(op, [tensor, *constants], [inner], f"new_{op}_{inner}", **attributes)
    else:
        renamed(source.output, tensor, inner)
        node = helper.make_node(op, [inner, *constants], [tensor], f"new_{op}_{inner}", **attributes)
    model.graph.node.append(node)
    return model.graph.node[-1]


def renamed(names: "list[str]", old: str, new: str) -> None:
    for k, name in enumerate(names):
        if name == old:
            names[k] = new


def shape(model: ModelProto, tensor: str) -> list[int | str] | None:
    """The shape that onnx infers for a tensor; symbolic sizes are their names."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    for value in (*graph.value_info, *graph.input, *graph.output):
        if value.name == tensor and value.type.tensor_type.HasField("shape"):
            return [item.dim_value or item.dim_param for item in value.type.tensor_type.shape.dim]
    return None


def settled(model: ModelProto) -> ModelProto:
    """Nodes in an order that runs, and outputs of the types and shapes that come out."""
    pending, known = (
        list(model.graph.node),
        {"", *(value.name for value in model.graph.input)} | set(constants(model)),
    )
    known |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    ordered: list[NodeProto] = []
    while pending:
        ready = [node for node in pending if set(node.input) <= known]
        if not ready:
            return model  # a file that cannot run, which the caller finds out
        first = NodeProto()
        first.CopyFrom(ready[0])
        ordered.append(first)
        known.update(first.output)
        pending.remove(ready[0])
    del model.graph.node[:]
    model.graph.node.extend(ordered)
    return declared(model, [value.name for value in model.graph.output])
