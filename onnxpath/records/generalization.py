"""The record of `onnxpath.generalization`, document `onnxpath.generalization/1`."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, number

if TYPE_CHECKING:
    from onnxpath.analyses.theory.architecture import Architecture


@dataclass(frozen=True)
class Gap:
    """A bound on the expected gap: constant · L max(B, 1) r / √n. samples_needed: the n at which it falls to
    the target."""

    name: str
    source: str
    constant: float
    r: Scaled
    value: Scaled
    samples_needed: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "source": self.source, "constant": self.constant, "r": number(self.r),
            "gap": number(self.value),
            "samples_needed": number(self.samples_needed),
        }  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """A row of the paper's Table 3, up to a universal constant and the loss: None, with the reason, where it
    does not apply."""

    source: str
    rate: str
    value: Scaled | None
    reason: str | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source, "rate": self.rate,
            "value": None if self.value is None else number(self.value), "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class Covering:
    """The covering-number bound of Theorem H.1 at radius t = relative · r: ln and log10 of the number of
    balls, in one orthant."""

    relative: float
    radius: Scaled
    ln: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "relative": self.relative,
            "radius": number(self.radius),
            "ln": self.ln,
            "log10": self.ln / log(10.0),
        }


@dataclass(frozen=True)
class Generalization:
    """Result of `onnxpath.generalization`.

    norm: ‖Φ‖₁, rounded up; whole: the norm of whole kernels, r of Theorem 5.1. lipschitz: L; loss: where it
        comes from.
    """

    path: str
    sha256: str
    samples: int
    input_bound: float
    loss: str
    lipschitz: float
    target: float
    architecture: Architecture
    norm: Scaled
    whole: Scaled
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    covering: tuple[Covering, ...]
    tool: Tool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.generalization/1` document."""
        a = self.architecture
        return {
            "schema": "onnxpath.generalization/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256},
            "samples": self.samples,
            "input_bound": self.input_bound,
            "loss": {"name": self.loss, "lipschitz": self.lipschitz},
            "target": self.target,
            "architecture": {
                "depth": a.depth, "kernel": a.kernel, "pools": a.pools, "parameters": a.parameters,
                "covered": a.hidden + a.output,
                "d_in": a.inputs, "d_out": a.outputs, "biases": a.biased, "layered": a.layered,
                "irregular_nodes": len(a.irregular),
            },
            "path_norm": number(self.norm),
            "whole_kernel_norm": number(self.whole),
            "gaps": [gap.to_dict() for gap in self.gaps],
            "rates": [rate.to_dict() for rate in self.rates],
            "covering": [item.to_dict() for item in self.covering],
            "notes": list(self.notes),
        }  # fmt: skip
