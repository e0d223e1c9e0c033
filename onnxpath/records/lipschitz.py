"""The record of `onnxpath.lipschitz`, document `onnxpath.lipschitz/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool, number
from onnxpath.records.bound import Compared


@dataclass(frozen=True)
class InputLipschitz:
    """A network, and upper bounds of its Lipschitz constants: Σ_v |R(x)_v - R(y)_v| <= `summed` ‖x - y‖_∞ and
    every
    |R(x)_v - R(y)_v| <= `largest` ‖x - y‖_∞."""

    path: str
    sha256: str
    summed: Scaled
    largest: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {
            "path": self.path, "sha256": self.sha256,
            "input_lipschitz": {"sum": number(self.summed), "largest": number(self.largest)},
        }  # fmt: skip


@dataclass(frozen=True)
class Lipschitz:
    """Result of `onnxpath.lipschitz`: of one network its Lipschitz constants in the input; of two also every
    bound of Σ_v |R_A(x)_v - R_B(x)_v| for ‖x‖_∞ <= input_bound, tightest first, and those that do not apply,
    with the reason.
    """

    a: InputLipschitz
    b: InputLipschitz | None
    input_bound: float
    bounds: tuple[Compared, ...]
    tool: Tool
    notes: tuple[str, ...] = ()
    interface: tuple[Change, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.lipschitz/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.lipschitz/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
        }
        if self.b is not None:
            document["b"] = self.b.to_dict()
            document["input_bound"] = self.input_bound
            document["bounds"] = [item.to_dict() for item in self.bounds]
            document["interface"] = [change.to_dict() for change in self.interface]
        document["notes"] = list(self.notes)
        return document
