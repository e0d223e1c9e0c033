"""What was seen of both files when they were run: part of the documents of `bound`, `certify` and `check`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpath.results.base import finite


@dataclass(frozen=True)
class FileSide:
    """One file beside the network that was read out of it.

    faithful: whether the file computes what its network says at every point that was run; None where that could not be told: ONNX Runtime
    does not run the file, say. deviation: the largest |file - network| over outputs and points; allowance: what rounding may make of it there;
    output, index: where it is, by the file's name of the output and the position of the point. reason: why it is not faithful, or not known to be.
    """

    faithful: bool | None
    deviation: float | None = None
    allowance: float | None = None
    output: str | None = None
    index: int | None = None
    reason: str = ""

    @property
    def word(self) -> str:
        return {True: "faithful", False: "UNFAITHFUL", None: "not confirmed"}[self.faithful]

    def to_dict(self) -> dict[str, Any]:
        where = None if self.output is None else {"output": self.output, "index": self.index}
        return {
            "faithful": self.faithful, "deviation": None if self.deviation is None else finite(self.deviation),
            "allowance": None if self.allowance is None else finite(self.allowance), "where": where, "reason": self.reason,
        }  # fmt: skip


@dataclass(frozen=True)
class FilesSeen:
    """Both files as ONNX Runtime runs them.

    sources: where the points come from: "given" inputs, "seeded" ones, "found" ones of a search. points: how many were run. difference: the largest |a - b|
    over all numbers of the declared outputs, infinite where one side has no number or other shapes; None where a file was not run.
    output, index: where it is. differing: at how many points the predicted classes differ; None where the outputs name no class. runtime: how they were run.
    """

    a: FileSide
    b: FileSide
    sources: tuple[str, ...]
    points: int
    difference: float | None
    output: str | None
    index: int | None
    differing: int | None
    runtime: Mapping[str, Any]

    @property
    def faithful(self) -> bool:
        return self.a.faithful is True and self.b.faithful is True

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(side.reason for side in (self.a, self.b) if side.reason)

    def to_dict(self) -> dict[str, Any]:
        where = None if self.output is None else {"output": self.output, "index": self.index}
        return {
            "a": self.a.to_dict(), "b": self.b.to_dict(), "inputs": list(self.sources), "points": self.points,
            "difference": None if self.difference is None else finite(self.difference),
            "comparable": self.difference is not None and self.difference < float("inf"),
            "where": where, "differing": self.differing, "runtime": dict(self.runtime),
        }  # fmt: skip
