"""The DAG model of a network (paper, Appendix A; docs/theory.md, section 1).

A `Network` is a topologically sorted list of canonical nodes. Every node computes one tensor; what it
computes is named by `Node.op`, a key of `onnxpath.ops.OPERATORS`:

    weighted    Conv ConvTranspose MatMul Scale y = W x + b edges with weights, identity neurons with biases
    movement    Concat Slice Reshape Transpose Gather Pad Expand               edges with weight 1
    sum         Add SumPool ReduceSum Unfold                y = sum of x       edges with weight 1
    relu        Relu                                        y = max(0, x)      ReLU neurons
    max         MaxPool ReduceMax Max y = max over x 1-max-pool neurons, edges with weight 1
    activation  Activation PRelu y = f(x) outside the paper's model: bounds only
    quantizer   Quantizer y = q(x) rounding to a grid: outside it, too

Shapes include the leading batch axis, of size 1 for files whose batch is symbolic.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from onnxpath.errors import MissingFactError
from onnxpath.model.interface import Interface

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Parameter:
    """A weight or bias tensor: `base * scale`, kept as the file's own array and a small float64 factor.

    base: float32 or float64 array, usually a view of the file's bytes; never modified.
    scale: float64, broadcastable to `base`, or None for 1. Folded BatchNormalization and rescalings live
        here, so that they cost no copy of the weights.
    sources: names of the initializers or constants of the file that the value was computed from, the main one
        first.
    fixed: True for coefficients that belong to the architecture (averaging, interpolation), which are not
        learned.
    error: relative error of the value, as that of a rescaling by factors that are not powers of two; 0 where
        it is exact.
    """

    name: str
    base: np.ndarray
    scale: np.ndarray | None = None
    sources: tuple[str, ...] = ()
    fixed: bool = False
    error: float = 0.0

    @property
    def shape(self) -> Shape:
        return self.base.shape

    @property
    def size(self) -> int:
        return self.base.size

    def array(self) -> np.ndarray:
        """The value: `base` itself when there is no scale (no copy), float64 otherwise."""
        return self.base if self.scale is None else self.base * self.scale

    def block(self, index: tuple[slice, ...]) -> np.ndarray:
        """The value of one block, so that large tensors can be streamed."""
        part = self.base[index]
        if self.scale is None:
            return part
        scale = self.scale
        steps = tuple(s if n > 1 else slice(None) for s, n in zip(index, scale.shape, strict=False))
        return part * scale[steps]

    def scaled(self, factor: np.ndarray) -> "Parameter":
        """This parameter times `factor` (float64, broadcastable, same rank)."""
        return replace(self, scale=factor if self.scale is None else self.scale * factor)


def either(p: Parameter | None, q: Parameter | None) -> Parameter:
    """The parameter of a pair's first network, or of its second where the first has none: one of them has."""
    found = p if p is not None else q
    assert found is not None
    return found


@dataclass(frozen=True, eq=False)
class Node:
    """One canonical operation. `name` is the file's name for it, for people; `output` is unique in the
    network."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    weight: Parameter | None = None
    bias: Parameter | None = None

    @property
    def coefficients(self) -> Parameter:
        """The weight of a node that has one. Raises MissingFactError for any other."""
        if self.weight is None:
            raise MissingFactError(self.op, "a weight")
        return self.weight

    def parameters(self) -> Iterator[Parameter]:
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                yield parameter


@dataclass(frozen=True, eq=False)
class Origin:
    """How the file spells a network, for those who write files (onnxpath.exporter).

    nodes, shapes, outputs: the network before simplification, where every activation of the file has a tensor
        of its own.
    aliases: that tensor, by the file's name of the activation.
    tensors: floating-point arrays as they were read, by the name of the initializer, Constant or
        ConstantOfShape (of one cell then); halves as float32. A parameter that the file stores is a view of
        one of them.
    normalizations: scale, bias, mean and variance of every BatchNormalization, by the tensor it computes.
    spelled: an output of the file's node that a canonical node is part of, by the canonical node's output.
    exposed: tensors of the file that outputs without any input are computed from: the network does not tell
        what changing them does.
    """

    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    outputs: tuple[str, ...]
    aliases: Mapping[str, str]
    tensors: Mapping[str, np.ndarray]
    normalizations: Mapping[str, tuple[Parameter, ...]]
    spelled: Mapping[str, str]
    exposed: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Network:
    """A network in canonical form.

    path: where it came from, for messages. sha256: of the file's bytes. content: a digest of everything that
        was read, external data included; the sha256 itself where there is none.
    inputs, outputs: canonical tensors. Inputs are called as the file calls them; an output may be called as
        the file calls some other tensor: `output_names` are the file's names.
    shapes: static shape of every tensor, the batch axis included.
    batched: every operation treats axis 0 as a batch axis, so that several samples may be run at once.
    notes: what the importer did that a reader of the result should know.
    folded, cut: names of file nodes that were merged into others, or left off the end: for people. Names of
        nodes are not names of tensors.
    output_names: the file's names of the outputs. declared: names of all inputs and outputs that the file
        declares.
    tails: the tensor of the file whose numbers the network gives for an output, by the file's name of the
        output: the output itself, or what the nodes left off read. Outputs that are left out because they
        equal another one are listed, too; one that no tensor of the file holds is not: the file holds
        integers that stand for the numbers, or the importer wrote the nodes before it anew, or they are
        inside a function.
    interface: what the file declares, and the functions it puts behind the network's outputs.
    origin: how the file spells it; None for a network that no file holds.
    halves: how many nodes of the file compute in float16 or bfloat16, whose rounding is no part of any bound.
    """

    path: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    shapes: Mapping[str, Shape]
    batched: bool = True
    notes: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    opset: int = 0
    output_names: tuple[str, ...] = ()
    declared: frozenset[str] = frozenset()
    tails: Mapping[str, str] = field(default_factory=dict)
    interface: Interface = Interface((), ())
    origin: Origin | None = None
    halves: int = 0
    content: str = ""

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        return {node.output: node for node in self.nodes}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def lowered(self) -> "Network":
        """The network before simplification, with a tensor for every activation of the file; requires
        `origin`."""
        origin = self.origin
        assert origin is not None
        needed, nodes = set(origin.outputs), []
        for node in reversed(origin.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                nodes.append(node)
        produced = {node.output for node in nodes}
        inputs = tuple(name for name in origin.shapes if name in needed and name not in produced)
        shapes = {name: shape for name, shape in origin.shapes.items() if name in needed}
        return replace(self, inputs=inputs, outputs=origin.outputs, nodes=tuple(nodes[::-1]), shapes=shapes)

    def parameters(self) -> dict[tuple[str, ...], Parameter]:
        """Learned parameters, by the tensors of the file they are computed from: once however many nodes use
        them."""
        found: dict[tuple[str, ...], Parameter] = {}
        for node in self.nodes:
            for parameter in node.parameters():
                if not parameter.fixed:
                    found.setdefault(parameter.sources or (parameter.name,), parameter)
        return found

    def size_of(self, tensor: str) -> int:
        return int(np.prod(self.shapes[tensor], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Site:
    """A node with the shapes around it: what an operator needs to know to emit itself or its adjoint."""

    node: Node
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    batched: bool = True

    @classmethod
    def of(cls, network: Network, node: Node) -> "Site":
        return cls(
            node,
            tuple(network.shapes[name] for name in node.inputs),
            network.shapes[node.output],
            network.batched,
        )

    def __getitem__(self, attribute: str) -> Any:
        return self.node.attributes[attribute]
