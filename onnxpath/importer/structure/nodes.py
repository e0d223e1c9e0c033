"""The parsed model -> the nodes that the chosen outputs need, in topological order, read through ONNX
GraphSurgeon.

Needed nodes are found by walking backwards from the outputs; what feeds only other outputs is not looked at.
Tensor data stays in the protobuf: GraphSurgeon gives names, attributes and connectivity.
"""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_graphsurgeon as gs
from onnx import AttributeProto
from onnx.inliner import inline_local_functions
from onnx_graphsurgeon.logger import G_LOGGER

from onnxpath.errors import ModelError, UnsupportedError, UsageError
from onnxpath.importer.decode import functions
from onnxpath.importer.decode.memory import Budget
from onnxpath.importer.decode.reading import Source
from onnxpath.importer.decode.tensors import SUPPORTED, check_type, type_name
from onnxpath.importer.lower.context import FileNode
from onnxpath.importer.lower.rules.refused import reason
from onnxpath.importer.structure import qonnx
from onnxpath.importer.structure.inference import QUANTIZERS
from onnxpath.importer.structure.qoperators import MICROSOFT, in_qdq_form

_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
OLDEST_OPSET = 6


@dataclass(eq=False)
class FileGraph:
    """What was read. `nodes`: needed ones, sorted. `uses`: how many needed nodes and outputs read a
    tensor."""

    path: str
    opset: int
    ir_version: int
    nodes: list[tuple[FileNode, onnx.NodeProto]]
    inputs: dict[str, onnx.ValueInfoProto]
    initializers: dict[str, onnx.TensorProto]
    outputs: list[str]
    uses: Counter[str] = field(default_factory=Counter)


def is_default(domain: str) -> bool:
    return domain in ("", "ai.onnx")


def _header(path: str, model: onnx.ModelProto) -> int:
    """Check versions; returns the opset of the default domain."""
    if not model.HasField("graph") or (not model.ir_version and not model.graph.node):
        raise ModelError(f"{path}: not an ONNX model (it holds no graph)")
    if model.ir_version > onnx.IR_VERSION:
        raise ModelError(
            f"{path}: has IR version {model.ir_version}; onnx {onnx.__version__} reads up to"
            f" {onnx.IR_VERSION}: upgrade the onnx package"
        )
    versions = [entry.version for entry in model.opset_import if is_default(entry.domain)]
    if not versions:
        raise ModelError(f"{path}: does not say which opset of the default domain it uses")
    opset, newest = max(versions), onnx.defs.onnx_opset_version()
    if opset > newest:
        raise ModelError(
            f"{path}: uses opset {opset}; onnx {onnx.__version__} knows opsets up to {newest}: upgrade the"
            " onnx package"
        )
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"{path}: uses opset {opset}; opsets from {OLDEST_OPSET} are supported: convert it with"
            " onnx.version_converter"
        )
    if not model.graph.output:
        raise ModelError(f"{path}: the graph has no outputs")
    return opset


def _inlined(path: str, model: onnx.ModelProto, budget: Budget) -> onnx.ModelProto:
    functions.check(path, model, budget)
    try:
        inlined = inline_local_functions(model)
    except Exception as error:
        raise UnsupportedError(
            f"{path}: its local functions cannot be inlined: {str(error).splitlines()[0]}"
        ) from error
    if inlined.functions and any(
        (n.domain, n.op_type) in {(f.domain, f.name) for f in inlined.functions} for n in inlined.graph.node
    ):
        raise UnsupportedError(f"{path}: its local function '{inlined.functions[0].name}' cannot be inlined")
    return inlined


def _check_text(path: str, graph: onnx.GraphProto) -> None:
    """protobuf hands out names that are not UTF-8 as bytes: such a file is damaged."""
    names = [info.name for info in (*graph.input, *graph.output)] + [
        tensor.name for tensor in graph.initializer
    ]
    names += [dim.dim_param for info in graph.input for dim in info.type.tensor_type.shape.dim]
    for node in graph.node:
        names += (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            names += (attribute.name, attribute.ref_attr_name)
    for tensor in graph.initializer:
        for entry in tensor.external_data:
            names += (entry.key, entry.value)
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"{path}: damaged: the name {name!r} in it is not UTF-8")
    for kind, named in (
        ("an input", graph.input),
        ("an output", graph.output),
        ("an initializer", graph.initializer),
    ):
        if any(not one.name for one in named):
            raise ModelError(f"{path}: {kind} of the graph has no name")


def _producers(path: str, graph: onnx.GraphProto, given: set[str]) -> dict[str, int]:
    """{tensor: index of the node that computes it}; every tensor has one origin."""
    found: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if not name:
                continue
            if name in found or name in given:
                other = (
                    f"node '{_label(graph.node[found[name]])}'"
                    if name in found
                    else "the graph's inputs or initializers"
                )
                raise ModelError(
                    f"{path}: the tensor '{name}' is produced twice: by node '{_label(node)}' and by {other}"
                )
            found[name] = index
    return found


def _label(node: onnx.NodeProto) -> str:
    return node.name or next(iter(node.output), "")


def _initializers(path: str, graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    found: dict[str, onnx.TensorProto] = {}
    for tensor in graph.initializer:
        if tensor.name in found:
            raise ModelError(f"{path}: two initializers are named '{tensor.name}'")
        found[tensor.name] = tensor
    return found


def _selected(path: str, graph: onnx.GraphProto, output_names: tuple[str, ...]) -> list[str]:
    declared = list(dict.fromkeys(output.name for output in graph.output))
    for name in output_names:
        if name not in declared:
            raise UsageError(f"{path}: has no output '{name}'; its outputs are: {', '.join(declared)}")
    return list(dict.fromkeys(output_names)) or declared


def _needed(
    path: str, graph: onnx.GraphProto, outputs: list[str], producers: dict[str, int], given: set[str]
) -> list[int]:
    seen: set[int] = set()
    stack: list[tuple[str, str]] = [(name, "an output of the graph") for name in outputs]
    while stack:
        name, reader = stack.pop()
        if not name or name in given:
            continue
        if name not in producers:
            raise ModelError(
                f"{path}: the tensor '{name}' ({reader}) is produced by no node, input or initializer"
            )
        index = producers[name]
        if index not in seen:
            seen.add(index)
            node = graph.node[index]
            reader = f"an input of node '{_label(node)}'"
            stack.extend((tensor, reader) for tensor in node.input)
    return sorted(seen)


def _standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """A quantizer of com.microsoft does what that of the newest default domain does; QONNX has an operator of
    its own."""
    if not (node.domain == MICROSOFT and node.op_type in QUANTIZERS) and not (
        node.domain in qonnx.DOMAINS and node.op_type == qonnx.QUANT
    ):
        return node
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.domain = ""
    return made


def _refuse_foreign(path: str, nodes: list[onnx.NodeProto]) -> None:
    """Operators that no rule could ever lower: control flow and other domains."""
    for node in nodes:
        if not is_default(node.domain):
            why = reason(node.op_type, node.domain)
            raise UnsupportedError(f"{path}: node '{_label(node)}' ({node.domain}:{node.op_type}): {why}")
        if node.op_type in _CONTROL_FLOW or any(
            a.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) for a in node.attribute
        ):
            raise UnsupportedError(
                f"{path}: node '{_label(node)}' ({node.op_type}): {reason(node.op_type, '')}"
            )
        if any(a.ref_attr_name for a in node.attribute):
            raise ModelError(
                f"{path}: node '{_label(node)}' ({node.op_type}): an attribute refers to a function's,"
                " outside of any function"
            )
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR and attribute.t.data_type not in SUPPORTED:
                kind = type_name(attribute.t.data_type)
                raise UnsupportedError(
                    f"{path}: node '{_label(node)}' ({node.op_type}): its attribute '{attribute.name}' holds"
                    f" {kind}"
                )


def _surgeon_nodes(path: str, model: onnx.ModelProto, needed: list[int]) -> list[gs.Node]:
    """The needed nodes as GraphSurgeon reads them; its logger, which prints to stdout, is kept quiet."""
    if len(needed) != len(model.graph.node) or any(
        tensor.data_type not in SUPPORTED for tensor in model.graph.initializer
    ):
        whole, model = model, onnx.ModelProto()
        model.ir_version = whole.ir_version
        model.opset_import.extend(whole.opset_import)
        model.graph.node.extend(whole.graph.node[index] for index in needed)
    severity = G_LOGGER.severity
    G_LOGGER.severity = G_LOGGER.CRITICAL + 1
    try:
        return list(gs.import_onnx(model).nodes)
    except Exception as error:
        raise ModelError(
            f"{path}: cannot be interpreted:"
            f" {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    finally:
        G_LOGGER.severity = severity


def _file_nodes(surgeon: list[gs.Node], protos: list[onnx.NodeProto]) -> list[FileNode]:
    """Attributes that hold a tensor become the tensor's protobuf, to be read where its value is needed. Every
    node has a name of its own: a node without a name, or with another one's, is called by its output, which
    may be what the file calls a node.
    """
    taken = {node.name for node in surgeon}
    met: set[str] = set()
    found = []
    for node, proto in zip(surgeon, protos, strict=True):
        name = node.name
        if not name or name in met:
            output = next((t.name for t in node.outputs if t.name), node.op)
            name = next(
                text for k in range(len(taken) + 2) if (text := f"{output}:{k}" if k else output) not in taken
            )
            taken.add(name)
        met.add(name)
        attributes: dict[str, Any] = dict(node.attrs)
        for attribute in proto.attribute:
            if attribute.type == AttributeProto.TENSOR:
                attributes[attribute.name] = attribute.t
        found.append(
            FileNode(
                name,
                node.op,
                tuple(t.name for t in node.inputs),
                tuple(t.name for t in node.outputs),
                attributes,
            )
        )
    return found


def sort(path: str, nodes: list[FileNode]) -> list[int]:
    """Kahn's algorithm; ties keep the order of the file."""
    producer = {name: index for index, node in enumerate(nodes) for name in node.outputs if name}
    readers: dict[int, list[int]] = {}
    missing = [0] * len(nodes)
    for index, node in enumerate(nodes):
        for source in {producer[name] for name in node.inputs if name in producer}:
            readers.setdefault(source, []).append(index)
            missing[index] += 1
    ready = [index for index, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers.get(index, ()):
            missing[reader] -= 1
            if missing[reader] == 0:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        at = next(index for index, count in enumerate(missing) if count)
        walked: dict[int, None] = {}
        while at not in walked:
            walked[at] = None
            at = next(
                producer[name] for name in nodes[at].inputs if name in producer and missing[producer[name]]
            )
        names = ", ".join(f"'{node.name}'" for node in [nodes[index] for index in walked][-8:])
        raise ModelError(f"{path}: the graph has a cycle, through the nodes {names}")
    return order


def read_graph(source: Source, output_names: tuple[str, ...]) -> FileGraph:
    """Check the model's structure and select what its outputs need."""
    path, model = source.path, source.model
    opset = _header(path, model)
    if model.functions:
        model = _inlined(path, model, source.tensors.budget)
    _check_text(path, model.graph)
    model = in_qdq_form(model)
    graph = model.graph
    initializers = _initializers(path, graph)
    sparse = {tensor.values.name for tensor in graph.sparse_initializer}
    inputs = {info.name: info for info in graph.input if info.name not in initializers}
    given = {*initializers, *sparse, *inputs}
    outputs = _selected(path, graph, output_names)
    producers = _producers(path, graph, given)
    needed = _needed(path, graph, outputs, producers, given)
    protos = [_standard(graph.node[index]) for index in needed]
    used = {name for node in protos for name in node.input}
    for name in sorted(sparse & used):
        raise UnsupportedError(f"{path}: the initializer '{name}' is sparse; store it as a dense tensor")
    _refuse_foreign(path, protos)
    for name in sorted(used & initializers.keys()):
        check_type(path, initializers[name])
    nodes = _file_nodes(_surgeon_nodes(path, model, needed), protos)
    order = sort(path, nodes)
    uses = Counter(name for node in nodes for name in node.inputs if name)
    return FileGraph(
        path,
        opset,
        model.ir_version,
        [(nodes[i], protos[i]) for i in order],
        inputs,
        initializers,
        outputs,
        uses,
    )
