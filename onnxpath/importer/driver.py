"""Source -> Network: read, select, resolve shapes, fold constants, lower node by node, simplify, check."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from onnxpath.errors import ModelError, OnnxPathError, UnsupportedError
from onnxpath.importer.decode.reading import Source, open_source
from onnxpath.importer.decode.tensors import HALVES
from onnxpath.importer.lower.context import Constant, Context, FileNode
from onnxpath.importer.lower.folding import RANDOM, Folder, foldable
from onnxpath.importer.lower.gates import DEFERRED, Match, Miss, recognise
from onnxpath.importer.lower.rules.extended import spelled
from onnxpath.importer.lower.rules.quantizers import check_codes
from onnxpath.importer.lower.rules.refused import reason
from onnxpath.importer.simplify.batching import batched
from onnxpath.importer.simplify.canonical import Draft, simplify
from onnxpath.importer.simplify.finite import check_finite
from onnxpath.importer.structure.declared import interface, steps
from onnxpath.importer.structure.inference import QUANTIZERS, Inference
from onnxpath.importer.structure.inputs import input_shapes
from onnxpath.importer.structure.nodes import FileGraph, read_graph
from onnxpath.importer.structure.tail import Tail, cut_tail
from onnxpath.model.interface import Interface
from onnxpath.model.network import Network, Node, Origin, Shape


def load_network(
    source: object,
    *,
    shapes: Mapping[str, Shape],
    output_names: tuple[str, ...],
    keep_batchnorm: bool,
    paired: bool,
    extended: bool,
    quantizers: bool,
) -> Network:
    """See `onnxpath.importer.load`."""
    with open_source(source) as opened, np.errstate(all="ignore"):
        try:
            if paired:
                shapes, output_names = _own(opened.model.graph, shapes, output_names)
            return _import(opened, shapes, output_names, keep_batchnorm, extended, quantizers)
        except UnicodeDecodeError as error:
            raise ModelError(f"{opened.path}: damaged: a name in it is not UTF-8") from error
        except MemoryError as error:
            raise ModelError(f"{opened.path}: does not fit into this machine's memory") from error
        except OnnxPathError as error:
            line = _one_line(str(error))
            if line == str(error):
                raise
            raise type(error)(line) from error


def _declared(graph: onnx.GraphProto) -> frozenset[str]:
    return frozenset(info.name for info in (*graph.input, *graph.output))


def _own(
    graph: onnx.GraphProto, shapes: Mapping[str, Shape], output_names: tuple[str, ...]
) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """The shapes and output names that are this file's."""
    names = _declared(graph)
    return {name: shape for name, shape in shapes.items() if name in names}, tuple(
        name for name in output_names if name in names
    )


def _one_line(text: str) -> str:
    """Names come from the file and may hold anything; messages are one printable line."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _import(
    source: Source,
    shapes: Mapping[str, Shape],
    output_names: tuple[str, ...],
    keep_batchnorm: bool,
    extended: bool,
    quantizers: bool,
) -> Network:
    graph = read_graph(source, output_names)
    tail = cut_tail(graph)
    outputs, budget = tail.outputs, source.tensors.budget
    given, shape_notes = input_shapes(graph, shapes, budget)
    options = {"keep_batchnorm": keep_batchnorm, "extended": extended, "quantizers": quantizers}
    context = Context(graph.path, graph.opset, budget, **options)
    context.notes += tail.notes + shape_notes
    inference = Inference(graph.path, graph.opset, graph.ir_version, budget)
    for name, shape in given.items():
        context.shapes[name] = shape
        context.aliases[name] = name
        inference.declare(name, shape)
        if graph.inputs[name].type.tensor_type.elem_type in HALVES:
            context.half_activations.add(name)
    _refuse_unsupported(context, graph, inference)
    folder = Folder(context, inference, source.tensors)
    for node, proto in graph.nodes:
        _load_initializers(context, graph, source, node.inputs)
        _lower(context, folder, inference, graph, node, proto)
    _load_initializers(context, graph, source, outputs)
    names, tensors = _outputs(context, outputs, tail.altered, graph.outputs)
    origin = _origin(context, source.model.graph, tensors, outputs)
    draft = simplify(Draft(context.nodes, context.shapes, list(given), tensors, context.kept))
    _copies(draft, names)
    context.folded += draft.folded
    check_finite(context.path, draft.nodes)
    used = _used_inputs(context, draft, given)
    budget.check_network(context.path, draft.nodes, draft.outputs, draft.shapes)
    _note_folded(context, graph)
    _note_halves(context)
    return Network(
        path=context.path,
        sha256=source.digest.result(),
        inputs=used,
        outputs=tuple(draft.outputs),
        nodes=tuple(draft.nodes),
        shapes=draft.shapes,
        batched=batched(draft.nodes, used, draft.outputs, draft.shapes),
        notes=tuple(context.notes),
        folded=tuple(context.folded),
        cut=tail.names,
        opset=graph.opset,
        output_names=tuple(names),
        declared=_declared(source.model.graph),
        tails=_tails(context, source.model.graph, outputs),
        interface=_interface(context, graph, source, tail),
        origin=origin,
        halves=len(context.half_nodes),
        content=source.content.result(),
    )


def _interface(context: Context, graph: FileGraph, source: Source, tail: Tail) -> Interface:
    before = {name: tensor for tensor, names in tail.outputs.items() for name in names}

    def shape(name: str) -> Shape:
        tensor = before[name]
        return context.constants[tensor].array.shape if tensor in context.constants else context.shape(tensor)

    def step(node: FileNode) -> float:
        _load_initializers(context, graph, source, node.inputs)
        scale = context.constants.get(node.inputs[1])
        return float("inf") if scale is None else float(np.abs(scale.array).max(initial=0.0))

    tails = {name: steps(chain, shape(name), graph.opset) for name, chain in tail.chains.items()}
    rounding = {
        name: sum(step(node) for node in chain if node.op_type in QUANTIZERS)
        for name, chain in tail.chains.items()
    }
    return interface(
        source.model.graph, before, {name: found for name, found in tails.items() if found}, rounding
    )


def _tails(context: Context, graph: onnx.GraphProto, outputs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """See `Network.tails`. The nodes looked at may have been written anew: only what the file itself holds
    can be read there."""
    held = {name for node in graph.node for name in node.output} | {info.name for info in graph.input}
    numbers = (
        tensor
        for tensor in outputs
        if tensor in held and tensor not in context.constants and tensor not in context.codes
    )
    return {name: tensor for tensor in numbers for name in outputs[tensor]}


def _origin(context: Context, graph: onnx.GraphProto, outputs: list[str], declared: Iterable[str]) -> Origin:
    """Constants inside the file's functions have no name in the file's graph, and are left out."""
    held = {tensor.name for tensor in graph.initializer}
    held.update(
        name for node in graph.node if node.op_type in ("Constant", "ConstantOfShape") for name in node.output
    )
    tensors = {name: array for name, array in context.tensors.items() if name in held}
    shapes, aliases = dict(context.shapes), dict(context.aliases)
    exposed = frozenset(
        source for name in declared if name in context.constants for source in context.constants[name].sources
    )
    return Origin(
        tuple(context.nodes), shapes, tuple(outputs), aliases, tensors, dict(context.normalizations),
        dict(context.spelled), exposed
    )  # fmt: skip


def _refuse_unsupported(context: Context, graph: FileGraph, inference: Inference) -> None:
    """Before any tensor is read: every node can be evaluated now, or has a rule."""
    known = set(graph.initializers)
    for node, proto in graph.nodes:
        label = f"{graph.path}: node '{node.name}' ({node.op_type})"
        constant = foldable(node, known)
        ruled = context.rule(node.op_type) is not None or (context.extended and node.op_type in DEFERRED)
        if node.op_type in RANDOM or (not constant and not ruled):
            raise UnsupportedError(f"{label}: {reason(node.op_type, '')}")
        inference.check(node, proto)
        if constant:
            known.update(node.outputs)


def _load_initializers(context: Context, graph: FileGraph, source: Source, names: Iterable[str]) -> None:
    for name in names:
        if name in graph.initializers and name not in context.constants:
            context.kind(name, graph.initializers[name].data_type)
            context.constants[name] = Constant(
                context.stored(name, source.tensors.initializer(graph.initializers[name])), (name,)
            )


def _lower(
    context: Context,
    folder: Folder,
    inference: Inference,
    graph: FileGraph,
    node: FileNode,
    proto: onnx.NodeProto,
) -> None:
    """Evaluate the node, or let its rule emit canonical nodes."""
    try:
        if foldable(node, context.constants):
            folder.fold(node, proto)
            return
        if not context.extended:
            _readable(context, node)
        check_codes(context, node)
        context.follow_halves(node)
        inferred = inference.outputs(node, proto, context.constants)
        file_node = FileNode(node.name, node.op_type, node.inputs, node.outputs, node.attributes, inferred)
        if context.extended:
            _lower_extended(context, file_node)
        else:
            _ruled(context, file_node)
        for name, shape in zip(node.outputs, inferred, strict=True):
            if name in context.aliases:
                found = context.shape(name)
                # onnx counts windows that start in the end padding; ONNX Runtime, whose values count, drops
                # them
                if shape is not None and shape != found and not node.attribute("ceil_mode", 0):
                    context.invalid(
                        node,
                        f"its output '{name}' has the shape {list(found)}, but {list(shape)} by ONNX shape"
                        " inference",
                    )
                if name not in context.codes:
                    inference.declare(name, found)
            elif graph.uses[name] and name not in context.constants and name not in context.withheld:
                context.refuse(node, f"its output '{name}' is used, which is not supported")
    except OnnxPathError:
        raise
    except Exception as error:
        text = (str(error).strip() or "no detail").splitlines()[0]
        raise ModelError(
            f"{context.label(node)}: cannot be interpreted: {type(error).__name__}: {text}"
        ) from error


def _readable(context: Context, node: FileNode) -> None:
    """Raises the refusal of an operand that is withheld."""
    dynamic = node.op_type == "DequantizeLinear" and context.dynamic.get(node.inputs[0])
    for name in node.inputs:
        if name and name not in context.constants and not (dynamic and name in dynamic):
            context.tensor(name)


def _ruled(context: Context, node: FileNode) -> None:
    rule = context.rule(node.op_type)
    if rule is None:
        context.refuse(node, reason(node.op_type, ""))
    rule(context, node)


def _lower_extended(context: Context, node: FileNode) -> None:
    """As an activation that ends at this node, else by its rule. What is refused may still be a part of an
    activation that ends later: the refusal is kept, and raised when something else reads the output."""
    context.producers.update((name, node) for name in node.outputs if name)
    try:
        found = recognise(context, node)
        if isinstance(found, Match) and node.output_shapes[0] == context.shape(found.x):
            spelled(context, node, found)
            return
        if isinstance(found, Miss):
            context.refuse(node, found.reason)
        _readable(context, node)
        _ruled(context, node)
    except UnsupportedError as error:
        for name in node.outputs:
            if name:
                context.withheld[name] = str(error)


def _outputs(
    context: Context, outputs: Mapping[str, Sequence[str]], altered: frozenset[str], order: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Names in the file (in its order), and canonical tensors, of the outputs that depend on an input.
    Outputs of one tensor are all there, but for those whose values are not the tensor's (altered): they are
    left out where there is another one."""
    found: dict[str, list[str]] = {}
    for tensor, names in outputs.items():
        if tensor in context.constants:
            context.notes.append(f"the output '{names[0]}' does not depend on any input and is left out")
            continue
        found.setdefault(context.tensor(tensor), []).extend(names)
    if not found:
        raise ModelError(f"{context.path}: no output depends on an input, so there is no network to look at")
    made: list[tuple[str, str]] = []
    for canonical, names in found.items():
        same = [name for name in names if name not in altered]
        kept, left = (same, [name for name in names if name in altered]) if same else (names[:1], names[1:])
        context.notes += [
            f"the output '{name}' equals the output '{kept[0]}' and is left out" for name in left
        ]
        made += [(name, canonical) for name in kept]
    position = {name: k for k, name in enumerate(order)}
    made.sort(key=lambda pair: position[pair[0]])
    return [name for name, _ in made], [canonical for _, canonical in made]


def _copies(draft: Draft, names: Sequence[str]) -> None:
    """An output that is the same tensor as one before it becomes a tensor of its own, a copy: paths to both
    are counted."""
    seen: set[str] = set()
    for k, (name, tensor) in enumerate(zip(names, draft.outputs, strict=True)):
        if tensor in seen:
            output = next(
                text
                for i in range(len(draft.shapes) + 2)
                if (text := f"{tensor}|output {k + i}") not in draft.shapes
            )
            draft.nodes.append(Node(name, "Reshape", (tensor,), output))
            draft.shapes[output] = draft.shapes[tensor]
            draft.outputs[k] = output
        seen.add(tensor)


def _used_inputs(context: Context, draft: Draft, given: Mapping[str, Shape]) -> tuple[str, ...]:
    read = {name for node in draft.nodes for name in node.inputs} | set(draft.outputs)
    for name in given:
        if name not in read:
            context.notes.append(f"the input '{name}' is not used by the outputs and is left out")
            draft.shapes.pop(name, None)
    for name in given:
        if name in read and not draft.shapes[name]:
            raise UnsupportedError(
                f"{context.path}: its input '{name}' is a single number without an axis: give it one"
                " (shape [1])"
            )
    return tuple(name for name in given if name in read)


def _note_folded(context: Context, graph: FileGraph) -> None:
    normalizations = {node.name for node, _ in graph.nodes if node.op_type == "BatchNormalization"}
    count = len(normalizations.intersection(context.folded))
    if count:
        context.notes.append(f"{count} BatchNormalization folded into the operators before")


def _note_halves(context: Context) -> None:
    if context.half_nodes:
        context.notes.append(
            f"{len(context.half_nodes)} nodes compute in half precision, the first is"
            f" '{context.half_nodes[0]}': the rounding of their arithmetic is no part of metrics and bounds,"
            " which are those of the numbers that the file holds"
        )
