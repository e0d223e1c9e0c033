"""Cutting channels out of an ONNX file: its tensors become smaller, its nodes stay.

A tensor of the file loses the cells of removed channels; what is left is again a box (rows and columns of a
matrix, filters of a kernel). A tensor that is read at several places where different cells go is stored once
per place. Besides the tensors, the `group` of depthwise convolutions and the numbers in the shapes of Reshape
follow, and shapes that the file notes about activations in between are dropped.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, numpy_helper

from onnxpath.errors import ModelError, UsageError
from onnxpath.exporter.certified import Certified
from onnxpath.exporter.channels import ChannelGroups, FileIndex, Operand, grouped, operands
from onnxpath.exporter.document import Document
from onnxpath.exporter.storing import stored
from onnxpath.exporter.writing import Written, write_changed
from onnxpath.files.outputs import random_inputs
from onnxpath.files.session import FileSession
from onnxpath.importer.decode.content import graphs
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling.groups import Groups, learned

if TYPE_CHECKING:
    import onnx


def remove_channels(
    source: "str | os.PathLike[str] | bytes | onnx.ModelProto",
    network: Network,
    removed: Collection[int],
    out: str | os.PathLike[str],
    force: bool = False,
    verify: Callable[[str], None] | None = None,
    certified: Certified | None = None,
) -> Written:
    """Write a copy of a model without the channels of some groups (ids of `channel_groups(source, network)`).

    network: the model as `onnxpath.load` reads it. The result computes what the model computes with the
    weights and biases that produce those channels at 0; names, metadata, opset and all other tensors stay. It
    runs in ONNX Runtime before it is moved into place. verify, certified: see `write_changed`. Raises
    UsageError for ids that cannot be removed, or that would leave a tensor without channels, and what `write`
    raises.
    """

    def change(document: Document) -> None:
        _cut(document, network, grouped(document.model, network), set(removed))

    def check(path: str) -> None:
        if verify is not None:
            verify(path)
        try:
            session = FileSession(path)
        except ModelError:  # the source does not load either: `write_changed` saw to that
            return
        session.run(random_inputs(session, network.shapes, np.random.default_rng(0)))

    return write_changed(source, change, out, force, check, certified)


def _cut(document: Document, network: Network, found: ChannelGroups, removed: set[int]) -> None:
    _check(network, found, removed)
    lowered, graph = found.lowered, document.model.graph
    gone = np.zeros(lowered.count, bool)
    gone[list(removed)] = True
    readers = _uses(graph)
    cuts: dict[str, list[tuple[str, tuple[np.ndarray, ...]]]] = {}
    for operand in operands(network, lowered):
        kept = _kept(document.path, operand, gone)
        if kept is not None and operand.place is not None:
            cuts.setdefault(operand.place.tensor, []).append((operand.reader, kept))
    for name, places in cuts.items():
        _shrink(document, network, name, places, readers[name])
    _drop_unread(graph, set(cuts))
    by_output = {name: node for node in graph.node for name in node.output}
    assert network.origin is not None
    for node in learned(network.lowered):
        if OPERATORS[node.op].groups(Site.of(network.lowered, node)) > 1:
            _set_group(by_output[network.origin.spelled[node.output]], network, lowered, node, gone)
    changed = {
        name
        for name, tensor in network.origin.aliases.items()
        if tensor in lowered.ids and gone[lowered.ids[tensor]].any()
    }
    for node in list(graph.node):
        if node.op_type == "Reshape" and node.output[0] in changed:
            _set_shape(document, network, lowered, node, gone)
    index = FileIndex(graph)
    stale = changed | {
        name for node in graph.node if not changed.isdisjoint(node.output) for name in node.output
    }  # masks, indices
    noted = [
        info for info in graph.value_info if info.name not in stale and index.held(info.name) not in cuts
    ]
    del graph.value_info[:]
    graph.value_info.extend(noted)


def _check(network: Network, found: ChannelGroups, removed: set[int]) -> None:
    unknown = removed - found.free()
    if unknown:
        raise UsageError(
            f"{network.path}: the channel group {min(unknown)} cannot be removed; `channel_groups` tells"
            " which can"
        )
    for name, array in found.lowered.ids.items():
        ids = np.unique(array)
        if set(ids.tolist()) <= removed:
            raise UsageError(f"{network.path}: '{name}' would have no channel left")


def _readers(graph: GraphProto) -> Counter[str]:
    """How often every tensor is read, by nodes of inner graphs and by the outputs too."""
    found: Counter[str] = Counter()
    for part in graphs(graph):
        found.update(output.name for output in part.output)
        for node in part.node:
            found.update(node.input)
    return found


def _uses(graph: GraphProto) -> Counter[str]:
    """How often every tensor is read, be it through Identity nodes, which do not count themselves."""
    index, found = FileIndex(graph), Counter[str]()
    copies = {node.output[0] for node in graph.node if node.op_type == "Identity"}
    for name, count in _readers(graph).items():
        found[index.held(name)] += count
    for name in copies:
        found[index.held(name)] -= 1
    return found


def _kept(path: str, operand: Operand, gone: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """The indices that stay along every axis of the file's tensor; None when all do."""
    if not any(gone[ids].any() for ids in operand.ids) or operand.place is None:
        return None
    mask = np.zeros(operand.place.stored, bool)
    view = operand.place.view(mask)
    for ids in operand.ids:
        view |= gone[ids]
    if not mask.any():
        return None
    kept = tuple(~mask.all(axis=tuple(j for j in range(mask.ndim) if j != k)) for k in range(mask.ndim))
    if np.prod([k.sum() for k in kept], dtype=np.int64) != mask.size - np.count_nonzero(mask):
        raise ModelError(
            f"{path}: the tensor '{operand.place.tensor}' cannot lose these channels: what is left is no box"
        )
    return tuple(np.flatnonzero(k) for k in kept)


def _shrink(
    document: Document,
    network: Network,
    name: str,
    places: list[tuple[str, tuple[np.ndarray, ...]]],
    readers: int,
) -> None:
    assert network.origin is not None
    array, graph = network.origin.tensors[name], document.model.graph
    same = all(
        all(np.array_equal(a, b) for a, b in zip(kept, places[0][1], strict=True)) for _, kept in places
    )
    if same and len(places) == readers:
        small = array[np.ix_(*places[0][1])]
        document.replace({name: small}, reshaped=True)
        for info in graph.input:
            if info.name == name:
                for dim, length in zip(info.type.tensor_type.shape.dim, small.shape, strict=True):
                    dim.dim_value = length
        return
    kind = _data_type(document, name)
    nodes = {output: node for node in graph.node for output in node.output}
    for reader, kept in places:
        small = array[np.ix_(*kept)]
        made = TensorProto(
            dims=small.shape, data_type=kind, raw_data=stored(document.path, name, small, kind).tobytes()
        )
        _read_instead(document, nodes[reader], name, made)


def _data_type(document: Document, name: str) -> int:
    """The type in which the file stores a tensor."""
    stored_as = document.initializers().get(name)
    if stored_as is None and name in (constants := document.constants()):
        stored_as = next(
            (attribute.t for attribute in constants[name].attribute if attribute.name == "value"), None
        )
    return (
        TensorProto.FLOAT if stored_as is None else stored_as.data_type
    )  # floats of a Constant have no other type


def _read_instead(
    document: Document, node: NodeProto, name: str, tensor: TensorProto, position: int | None = None
) -> None:
    """Let a node read a new initializer where it read `name` (at `position`, or where it occurs)."""
    graph = document.model.graph
    taken = {t.name for t in graph.initializer} | {
        n for other in graph.node for n in (*other.input, *other.output)
    }
    tensor.name = next(f"{name}_{k}" for k in range(1, len(taken) + 2) if f"{name}_{k}" not in taken)
    graph.initializer.append(tensor)
    if document.model.ir_version < 4:  # initializers have to be inputs there
        info = graph.input.add(name=tensor.name)
        info.type.tensor_type.elem_type = tensor.data_type
        for length in tensor.dims:
            info.type.tensor_type.shape.dim.add(dim_value=length)
    if position is None:
        index = FileIndex(graph)
        position = [index.held(other) for other in node.input].index(name)
    node.input[position] = tensor.name


def _drop_unread(graph: GraphProto, names: set[str]) -> None:
    """Drop those tensors, and the Identity nodes behind them, that nothing reads any more."""
    index = FileIndex(graph)
    held = [
        node
        for node in graph.node
        if node.op_type in ("Identity", "Constant") and index.held(node.output[0]) in names
    ]
    for node in held[::-1]:
        if not _readers(graph)[node.output[0]]:
            graph.node.remove(node)
    readers = _readers(graph)
    for tensor in [
        tensor for tensor in graph.initializer if tensor.name in names and not readers[tensor.name]
    ]:
        graph.initializer.remove(tensor)
    for info in [info for info in graph.input if info.name in names and not readers[info.name]]:
        graph.input.remove(info)


def _length(network: Network, found: Groups, tensor: str, axis: int, gone: np.ndarray) -> int:
    """How many cells stay along an axis of a tensor of `network.lowered`."""
    array, length = gone[found.ids[tensor]], network.lowered.shapes[tensor][axis]
    if array.shape[axis] == 1:
        return length
    index = tuple(slice(None) if k == axis else 0 for k in range(array.ndim))
    return length - int(np.count_nonzero(array[index]))


def _set_group(proto: NodeProto, network: Network, found: Groups, node: Node, gone: np.ndarray) -> None:
    """Depthwise kernels lose a group with every channel."""
    channels = network.lowered.shapes[node.inputs[0]][1]
    if channels != OPERATORS[node.op].groups(Site.of(network.lowered, node)):
        return
    for attribute in proto.attribute:
        if attribute.name == "group":
            attribute.i = _length(network, found, node.inputs[0], 1, gone)


def _copied(graph: GraphProto, node: NodeProto) -> str:
    """Put a copy of a node behind it; returns the name of what the copy computes."""
    taken = {name for other in graph.node for name in (other.name, *other.output)}
    position = next(k for k, other in enumerate(graph.node) if other is node or other == node)
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.output[0] = next(
        f"{node.output[0]}_{k}" for k in range(1, len(taken) + 2) if f"{node.output[0]}_{k}" not in taken
    )
    copy.name = (
        next(f"{node.name}_{k}" for k in range(1, len(taken) + 2) if f"{node.name}_{k}" not in taken)
        if node.name
        else ""
    )
    graph.node.insert(position + 1, copy)
    return copy.output[0]


def _set_shape(
    document: Document, network: Network, found: Groups, node: NodeProto, gone: np.ndarray
) -> None:
    """New numbers for the axes of a Reshape's result that became shorter."""
    entries = FileIndex(document.model.graph).reshape_target(node)
    assert entries is not None and network.origin is not None
    concat = next((entry.concat for entry in entries if entry.concat is not None), None)
    if concat is not None and _readers(document.model.graph)[node.input[1]] > 1:
        node.input[1] = _copied(document.model.graph, concat)  # its other readers keep their shape
        entries = FileIndex(document.model.graph).reshape_target(node) or entries
    tensor, source = network.origin.aliases[node.output[0]], network.origin.aliases[node.input[0]]
    fresh: list[int] = []
    for axis, entry in enumerate(entries):
        before, after = network.lowered.shapes[tensor][axis], _length(network, found, tensor, axis, gone)
        copied = entry.value == 0 and _length(network, found, source, axis, gone) == after
        fresh.append(
            after
            if entry.value is not None and entry.value >= 0 and after != before and not copied
            else entry.value or 0
        )
        if entry.concat is not None and fresh[-1] != (entry.value or 0):
            made = numpy_helper.from_array(np.array(fresh[-1:], np.int64))
            _read_instead(document, entry.concat, entry.concat.input[entry.position], made, entry.position)
    if all(entry.concat is None for entry in entries) and fresh != [entry.value for entry in entries]:
        _read_instead(document, node, node.input[1], numpy_helper.from_array(np.array(fresh, np.int64)), 1)
