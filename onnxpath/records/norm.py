"""The record of `onnxpath.path_norm`, document `onnxpath.norm/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, finite, number


@dataclass(frozen=True)
class NormOutput:
    """Norms ‖Φ^{→v}‖_q of every neuron v of one output, in the order of `PathNorms.norms`; values are
    flattened row-major. errors: their certified relative errors, likewise; infinite where the value is an
    upper bound only."""

    name: str
    shape: tuple[int, ...]
    values: tuple[tuple[Scaled, ...], ...]
    errors: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Norm:
    """‖Φ‖_q over all output neurons; the certified relative error of `value`."""

    q: float
    value: Scaled
    relative_error: float


@dataclass(frozen=True)
class PathNorms:
    """Result of `onnxpath.path_norm`. r: the norm over output neurons of a mixed norm; None for ‖Φ‖_q
    itself."""

    path: str
    sha256: str
    norms: tuple[Norm, ...]
    tool: Tool
    outputs: tuple[NormOutput, ...] = ()
    notes: tuple[str, ...] = ()
    r: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.norm/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.norm/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256},
            "norms": [
                {"q": n.q, **number(n.value), "relative_error": finite(n.relative_error)} for n in self.norms
            ],
        }
        if self.r is not None:
            document["r"] = "inf" if self.r == float("inf") else self.r
        if self.outputs:
            document["outputs"] = [
                {
                    "name": output.name,
                    "shape": list(output.shape),
                    "norms": [
                        {
                            "q": norm.q,
                            "values": [number(v) for v in values],
                            "relative_errors": [finite(error) for error in errors],
                        }
                        for norm, values, errors in zip(self.norms, output.values, output.errors, strict=True)
                    ],
                }
                for output in self.outputs
            ]
        document["notes"] = list(self.notes)
        return document
