"""Which channels of a network can be removed from its file, and which go together.

A channel is removed with everything that produces it. What is left computes what the file computes with those
weights and biases at 0: the channel is 0 then, through Relu, pooling, Add, Concat, Reshape and data movement,
so that cutting it off, and the weights that read it, changes nothing.

Channels go together when they share a rescaling group (Add, Concat views, pooling), and further when

    an element-wise weight or bias ties input and output        BatchNormalization, Mul, Add of a constant
    a depthwise convolution ties a channel to its outputs       one kernel per channel
    a grouped convolution ties equal positions of its groups    groups stay of one size.

Channels stay that reach an input or an output, that an operator of the file mixes in a way this module cannot
shrink, or whose weights the file computes from others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from onnxpath.errors import UnsupportedError
from onnxpath.exporter.placement import Placement, locate, origin_of
from onnxpath.importer.decode.reading import open_source
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.ops.operator import compress
from onnxpath.rewrites.rescaling.groups import Groups, Union, across, groups, learned, sides, statistic

_WEIGHTED = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "BatchNormalization",
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Sum",
    "Max",
    "Mean",
)
_PLAIN = (
    "Relu", "Clip", "LeakyRelu", "ThresholdedRelu", "Identity", "Dropout", "Cast", "CastLike", "Neg",
    "Flatten", "Unsqueeze",
    "Transpose", "MaxPool", "AveragePool", "GlobalMaxPool", "GlobalAveragePool", "LpPool", "GlobalLpPool",
    "ReduceMean",
    "ReduceMax", "ReduceSum", "Pad", "Upsample",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ChannelGroups:
    """Groups of channels that are removed together: ids of the tensors of the network (`canonical`) and of
    those of `network.lowered`; id 0 for channels that stay."""

    canonical: Groups
    lowered: Groups

    def free(self) -> set[int]:
        return self.canonical.free()


@dataclass(frozen=True, eq=False)
class Operand:
    """A parameter of a node of the file: which of its cells belong to which channels.

    reader: an output of the file's node. ids: groups, broadcastable to the parameter; one array, or those of
        both its sides.
    """

    reader: str
    parameter: Parameter
    ids: tuple[np.ndarray, ...]
    place: Placement | None


def channel_groups(source: object, network: Network) -> ChannelGroups:
    """The groups of channels of a network that can be removed from the file it was read from (a path, bytes,
    or ModelProto)."""
    with open_source(source, hashed=False) as opened:
        return grouped(opened.model, network)


def grouped(model: ModelProto, network: Network) -> ChannelGroups:
    """`channel_groups` of a parsed model."""
    origin, lowered = origin_of(network), network.lowered
    own, raw = groups(network), groups(lowered)
    union = Union()
    count = own.count + raw.count
    union.fresh(count)
    canonical = {name: array.astype(np.int64) for name, array in own.ids.items()}
    ids = {name: np.where(array == 0, 0, array + own.count) for name, array in raw.ids.items()}
    for name, array in canonical.items():
        if name in ids:  # an output that copies another one is pinned as that one is
            union.join(*across(array, ids[name]))
    for node in lowered.nodes:
        _tie(union, lowered, node, ids)
    found = Groups(ids, count + 1)
    index = FileIndex(model.graph)
    for operand in operands(network, found):
        if not _readable(index, operand):
            for array in operand.ids:
                _pin(union, array)
    for node in model.graph.node:
        if not _shrinks(index, network, node):
            for name in (*node.input, *node.output):
                if name in origin.aliases and origin.aliases[name] in ids:
                    _pin(union, ids[origin.aliases[name]])
    if model.functions:
        for array in ids.values():
            _pin(union, array)
    while True:
        roots = union.roots()
        crossed = [array for array in ids.values() if _axes(roots[array]) > 1 and roots[array].any()]
        if not crossed:
            break
        for array in crossed:
            _pin(union, array)
    return ChannelGroups(
        *(
            Groups({name: compress(roots[a]) for name, a in part.items()}, len(roots))
            for part in (canonical, ids)
        )
    )


def _pin(union: Union, array: np.ndarray) -> None:
    union.join(array, np.zeros_like(array))


def _axes(array: np.ndarray) -> int:
    """Along how many axes it varies."""
    return sum(n > 1 for n in compress(array).shape)


def _tie(union: Union, network: Network, node: Node, ids: Mapping[str, np.ndarray]) -> None:
    """Join what one node keeps together."""
    if OPERATORS[node.op].kind != "weighted":
        return
    inside, out = ids[node.inputs[0]], ids[node.output]
    if OPERATORS[node.op].diagonal:
        union.join(*across(inside, out))
    parts = OPERATORS[node.op].groups(Site.of(network, node))
    if parts == 1:
        return
    shapes = network.shapes[node.inputs[0]], network.shapes[node.output]
    before, after = (
        np.broadcast_to(array[0], (shape[1], *array.shape[2:])).reshape(parts, -1, *array.shape[2:])
        for array, shape in zip((inside, out), shapes, strict=True)
    )
    if before.shape[1] == 1:
        union.join(*across(before, after))
    else:
        for array in (before, after):
            union.join(np.broadcast_to(array[:1], array.shape), array)


def operands(network: Network, found: Groups) -> Iterator[Operand]:
    """What the learned nodes of the file read, BatchNormalization's four tensors included."""
    origin, lowered = origin_of(network), network.lowered
    numbers = np.arange(found.count)
    for node in learned(lowered):
        site, reader = Site.of(lowered, node), origin.spelled[node.output]
        read: list[tuple[Parameter, tuple[np.ndarray, ...]]] = []
        if node.output in origin.normalizations:
            for parameter in origin.normalizations[node.output]:
                read.append((parameter, (statistic(site, found.ids[node.output], parameter.shape),)))
        else:
            if node.weight is not None and not node.weight.fixed:
                read.append((node.weight, sides(site, found, numbers, numbers)))
            if node.bias is not None and not node.bias.fixed:
                read.append((node.bias, (bias_ids(site, found, node.bias),)))
        for parameter, ids in read:
            yield Operand(reader, parameter, ids, _place(network, parameter))


def bias_ids(site: Site, found: Groups, bias: Parameter) -> np.ndarray:
    array, rank = found.ids[site.node.output], len(bias.shape)
    if OPERATORS[site.node.op].channel_bias:
        return np.broadcast_to(array[0].reshape(-1), bias.shape)
    return array.reshape(array.shape[array.ndim - rank :])


def _place(network: Network, parameter: Parameter) -> Placement | None:
    try:
        place = locate(network, parameter)
    except UnsupportedError:
        return None
    return None if place.repeats else place


def _readable(index: "FileIndex", operand: Operand) -> bool:
    """The node itself reads the tensor that holds the parameter."""
    if operand.place is None or operand.reader not in index.producers:
        return False
    return operand.place.tensor in [index.held(name) for name in index.producers[operand.reader].input]


class FileIndex:
    """Nodes and initializers of a file's graph, by name."""

    def __init__(self, graph: GraphProto) -> None:
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.initializers = {tensor.name: tensor for tensor in graph.initializer}

    def held(self, name: str) -> str:
        """The tensor of the file that a node reads under this name: Identity nodes stand between when
        exporters store equal tensors once."""
        while (node := self.producers.get(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        return name

    def integers(self, name: str) -> list[int] | None:
        """The value of a constant list of int64; None for anything else."""
        tensor = self.initializers.get(name)
        if tensor is not None:
            return _listed(tensor)
        node = self.producers.get(name)
        if node is None:
            return None
        if node.op_type in ("Unsqueeze", "Identity"):
            return self.integers(node.input[0])
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    return _listed(attribute.t)
                if attribute.name in ("value_int", "value_ints"):
                    return [attribute.i] if attribute.name == "value_int" else list(attribute.ints)
        return None

    def reshape_target(self, node: NodeProto) -> list["Entry"] | None:
        """The entries of a Reshape's shape; None where they cannot be told."""
        name = node.input[1] if len(node.input) > 1 else ""
        values = self.integers(name)
        if values is not None:
            return [Entry(value, None, k) for k, value in enumerate(values)]
        producer = self.producers.get(name)
        if producer is None or producer.op_type != "Concat":
            return None
        entries: list[Entry] = []
        for k, part in enumerate(producer.input):
            values = self.integers(part)
            if values is not None and len(values) != 1:
                return None
            entries.append(Entry(None if values is None else values[0], producer, k))
        return entries


def _listed(tensor: TensorProto) -> list[int] | None:
    if tensor.data_type != TensorProto.INT64:
        return None
    return [int(value) for value in numpy_helper.to_array(tensor).reshape(-1)]


@dataclass(frozen=True)
class Entry:
    """A number in the shape of a Reshape: its value (None when it is computed while the file runs), the
    Concat that puts it there (None when the shape is one tensor), and at which place."""

    value: int | None
    concat: NodeProto | None
    position: int


def _shrinks(index: FileIndex, network: Network, node: NodeProto) -> bool:
    """Whether the node computes the same with fewer channels, once its parameters have fewer."""
    activations = [name for name in node.input if name in origin_of(network).aliases]
    if not activations or node.op_type in ("Shape", "Size"):
        return node.op_type != "Size" or not activations
    if node.domain not in ("", "ai.onnx") or not any(
        name in origin_of(network).aliases for name in node.output
    ):
        return False  # foreign, or read for something that is not part of the network
    if node.op_type in _PLAIN:
        return True
    if node.op_type in _WEIGHTED:
        return True
    if node.op_type == "Concat":
        return len(activations) == len(node.input)
    if node.op_type == "Squeeze":
        return len(node.input) > 1 or any(attribute.name == "axes" for attribute in node.attribute)
    if node.op_type == "Resize":
        return len(node.input) < 4 or not node.input[3]
    if node.op_type == "Reshape":
        return index.reshape_target(node) is not None
    return False
