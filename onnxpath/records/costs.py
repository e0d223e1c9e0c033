"""The record of `onnxpath.path_costs`, document `onnxpath.costs/1`, and its arrays for `--costs FILE.npz`."""

from dataclasses import dataclass

import numpy as np

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool
from onnxpath.records.document import Record


@dataclass(frozen=True, eq=False)
class ParameterCost:
    """Φ-costs of one weight or bias, entry by entry: `mantissa` · 2**exponent of the record.

    name: the file's tensor. kind: "weight" or "bias". exact: the costs are ‖Φ(θ) - Φ(θ - θ_i e_i)‖₁;
        otherwise upper bounds, because a
    path may use a coordinate twice. node: the output of the canonical node that holds it.
    """

    name: str
    layer: str
    kind: str
    exact: bool
    mantissa: np.ndarray
    node: str


@dataclass(frozen=True, eq=False)
class LayerCost:
    """A layer: the cost of removing each output channel alone (`neurons`, mantissas), and of removing all of
    them."""

    name: str
    neurons: np.ndarray
    cost: Scaled


@dataclass(frozen=True)
class ParameterSum(Record):
    """The Φ-costs of a weight or bias, summed, and the largest."""

    LAYOUT = """
    name  the file's tensor
    layer
    kind  `weight` or `bias`
    exact  false: upper bounds
    shape
    sum
    max=largest
    """

    name: str
    layer: str
    kind: str
    exact: bool
    shape: tuple[int, ...]
    sum: Scaled
    largest: Scaled


@dataclass(frozen=True)
class LayerSum(Record):
    """The cost of removing a layer, and its output channels one by one."""

    LAYOUT = """
    name
    cost  of removing the layer
    neurons  the number of its output channels
    min=smallest  the cost of one of them
    max=largest
    """

    name: str
    cost: Scaled
    neurons: int
    smallest: Scaled
    largest: Scaled


@dataclass(frozen=True, eq=False)
class PathCosts(Record):
    """Result of `onnxpath.path_costs`. relative_error: certified, of every cost (what float32 flushed to zero
    apart)."""

    SCHEMA = "onnxpath.costs/1"
    LAYOUT = """
    tool
    model{path sha256 path_norm}
    parameters=parameter_sums
    layers=layer_sums
    relative_error  certified, of every cost
    notes
    """

    path: str
    sha256: str
    path_norm: Scaled
    exponent: int
    parameters: tuple[ParameterCost, ...]
    layers: tuple[LayerCost, ...]
    relative_error: float
    tool: Tool
    notes: tuple[str, ...] = ()

    @property
    def parameter_sums(self) -> tuple[ParameterSum, ...]:
        def scaled(value: np.floating) -> Scaled:
            return Scaled(float(value), self.exponent)

        return tuple(
            ParameterSum(p.name, p.layer, p.kind, p.exact, p.mantissa.shape,
            scaled(p.mantissa.sum(dtype=np.float64)), scaled(p.mantissa.max(initial=0)))
            for p in self.parameters
        )  # fmt: skip

    @property
    def layer_sums(self) -> tuple[LayerSum, ...]:
        return tuple(
            LayerSum(layer.name, layer.cost, int(layer.neurons.size),
            Scaled(float(layer.neurons.min(initial=np.inf)), self.exponent),
            Scaled(float(layer.neurons.max(initial=0)), self.exponent))
            for layer in self.layers
        )  # fmt: skip

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything by name: `exponent`; mantissas of costs as `weight:NAME`, `bias:NAME` and
        `neurons:LAYER` (with `#2` and so on where a name comes again). A cost is mantissa · 2**exponent."""
        found: dict[str, np.ndarray] = {"exponent": np.array(self.exponent, np.int64)}

        def put(key: str, array: np.ndarray) -> None:
            count = 1
            while (name := key if count == 1 else f"{key}#{count}") in found:
                count += 1
            found[name] = array

        for parameter in self.parameters:
            put(f"{parameter.kind}:{parameter.name}", parameter.mantissa)
        for layer in self.layers:
            put(f"neurons:{layer.name}", layer.neurons)
        return found
