"""The record of `onnxpath.path_costs`, document `onnxpath.costs/1`, and its arrays for `--costs FILE.npz`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, finite, number


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

    def to_dict(self, exponent: int) -> dict[str, Any]:
        total, largest = (
            float(end) for end in (self.mantissa.sum(dtype=np.float64), self.mantissa.max(initial=0))
        )
        return {
            "name": self.name, "layer": self.layer, "kind": self.kind, "exact": self.exact,
            "shape": list(self.mantissa.shape),
            "sum": number(Scaled(total, exponent)), "max": number(Scaled(largest, exponent)),
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class LayerCost:
    """A layer: the cost of removing each output channel alone (`neurons`, mantissas), and of removing all of
    them."""

    name: str
    neurons: np.ndarray
    cost: Scaled

    def to_dict(self, exponent: int) -> dict[str, Any]:
        ends = (
            Scaled(float(end), exponent)
            for end in (self.neurons.min(initial=np.inf), self.neurons.max(initial=0))
        )
        low, high = (number(end) for end in ends)
        return {
            "name": self.name,
            "cost": number(self.cost),
            "neurons": int(self.neurons.size),
            "min": low,
            "max": high,
        }


@dataclass(frozen=True, eq=False)
class PathCosts:
    """Result of `onnxpath.path_costs`. relative_error: certified, of every cost (what float32 flushed to zero
    apart)."""

    path: str
    sha256: str
    path_norm: Scaled
    exponent: int
    parameters: tuple[ParameterCost, ...]
    layers: tuple[LayerCost, ...]
    relative_error: float
    tool: Tool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.costs/1` document: sums and extremes; the arrays are in `arrays`."""
        return {
            "schema": "onnxpath.costs/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256, "path_norm": number(self.path_norm)},
            "parameters": [parameter.to_dict(self.exponent) for parameter in self.parameters],
            "layers": [layer.to_dict(self.exponent) for layer in self.layers],
            "relative_error": finite(self.relative_error),
            "notes": list(self.notes),
        }

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
