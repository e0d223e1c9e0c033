"""The record of `onnxpath.rescale`, document `onnxpath.rescale/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.records.base import Tool, finite
from onnxpath.records.metric import Interval, Side


@dataclass(frozen=True)
class Factors:
    """λ over the channels that were rescaled: the smallest, the largest, and whether all are powers of two
    (then exact)."""

    smallest: float
    largest: float
    powers_of_two: bool


@dataclass(frozen=True)
class OutputDifference:
    """The largest difference of an output of the two files that ONNX Runtime computed, and the largest
    output."""

    samples: int
    difference: float
    largest_output: float

    def to_dict(self) -> dict[str, Any]:
        relative = (
            self.difference / self.largest_output
            if self.largest_output
            else (0.0 if not self.difference else float("inf"))
        )
        return {
            "samples": self.samples, "difference": finite(self.difference),
            "largest_output": finite(self.largest_output),
            "relative": finite(relative),
        }  # fmt: skip


@dataclass(frozen=True)
class Rescaling:
    """Result of `onnxpath.rescale`.

    a, b: the model and the file that was written. mode: "random", "normalize" or "equalize". groups: of
    channels that can be rescaled together; changed: those with λ ≠ 1; pinned: those that the file keeps from
    being rescaled; dead: groups that are always 0, whose readers' weights became 0. tensors: of the file,
    that changed. path_metric: between the two files.
    outputs: None when ONNX Runtime cannot run the model.
    """

    a: Side
    b: Side
    mode: str
    seed: int | None
    groups: int
    changed: int
    pinned: int
    dead: int
    factors: Factors
    tensors: tuple[str, ...]
    path_metric: Interval
    relative: float
    outputs: OutputDifference | None
    tool: Tool
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.rescale/1` document."""
        return {
            "schema": "onnxpath.rescale/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "mode": self.mode,
            "seed": self.seed,
            "groups": {"free": self.groups, "changed": self.changed, "pinned": self.pinned,
            "dead": self.dead},
            "factors": {
                "smallest": self.factors.smallest, "largest": self.factors.largest,
                "powers_of_two": self.factors.powers_of_two,
            },
            "tensors": list(self.tensors),
            "path_metric": self.path_metric.to_dict(),
            "relative": self.relative,
            "outputs": self.outputs.to_dict() if self.outputs is not None else None,
            "notes": list(self.notes),
        }  # fmt: skip
