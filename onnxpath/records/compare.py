"""The record of `onnxpath.compare`, document `onnxpath.compare/1`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpath.model.interface import Change, Port
from onnxpath.records.base import Tool, finite
from onnxpath.records.bound import BoundSide


@dataclass(frozen=True)
class ComparedOutput:
    """One declared output of both files on all inputs.

    type, shape: of what was computed for the first input, by file. largest, mean, quantile: of |a - b| over
    all inputs and entries, the last one of 99 % of them; None where they cannot be subtracted (other shapes,
    text), largest infinite where one file has a number and the other none. size: the largest |a|, which
    relative differences are relative to. index, entry: where the largest is: the input, and the entry counted
    row by row.
    unequal: how many entries of how many are not the same.
    """

    name: str
    name_b: str
    types: tuple[str, str]
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    largest: float | None
    mean: float | None
    quantile: float | None
    size: float
    index: int | None
    entry: int | None
    unequal: int
    entries: int

    @property
    def comparable(self) -> bool:
        return self.largest is not None and self.largest < float("inf")

    def _relative(self, value: float | None) -> float | None:
        return None if value is None or not self.size else finite(value / self.size)

    @property
    def relative(self) -> float | None:
        """largest / size; None where there is none."""
        return self._relative(self.largest)

    def to_dict(self) -> dict[str, Any]:
        absolute = {"largest": self.largest, "mean": self.mean, "quantile_99": self.quantile}
        return {
            "name": self.name, "name_b": self.name_b,
            "a": {"type": self.types[0], "shape": list(self.shapes[0])},
            "b": {"type": self.types[1], "shape": list(self.shapes[1])},
            "comparable": self.comparable,
            "absolute": {key: None if value is None else finite(value) for key, value in absolute.items()},
            "relative": {key: self._relative(value) for key, value in absolute.items()},
            "size": finite(self.size),
            "where": None if self.index is None else {"index": self.index, "entry": self.entry},
            "unequal": self.unequal, "entries": self.entries,
        }  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """Result of `onnxpath.compare`: both files as ONNX Runtime runs them.

    ports: inputs and outputs of either file, as declared. interface: what differs of them. source: "given" or
        "seeded" inputs; made: how
    seeded ones were. inputs: how many. differing: on how many of them the predicted classes differ, None
    where the outputs name none. mixed: by file, the largest difference between what it gives for the inputs
    in one batch and one by one, relative to the largest output; None where it takes one at a time.
    """

    a: BoundSide
    b: BoundSide
    ports: tuple[tuple[tuple[Port, ...], tuple[Port, ...]], tuple[tuple[Port, ...], tuple[Port, ...]]]
    interface: tuple[Change, ...]
    source: str
    made: Mapping[str, Any]
    inputs: int
    outputs: tuple[ComparedOutput, ...]
    differing: int | None
    mixed: tuple[float | None, float | None]
    runtime: Mapping[str, Any]
    tool: Tool
    notes: tuple[str, ...] = ()

    @property
    def comparable(self) -> bool:
        """Whether every output can be subtracted."""
        return all(output.comparable for output in self.outputs) and bool(self.outputs)

    @property
    def largest(self) -> float | None:
        """The largest |a - b| of all outputs; None where they cannot be subtracted."""
        return max(output.largest or 0.0 for output in self.outputs) if self.comparable else None

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.compare/1` document."""
        sides = []
        for side, (inputs, outputs) in zip((self.a, self.b), self.ports, strict=True):
            sides.append(
                {
                    **side.to_dict(),
                    "inputs": [p.to_dict() for p in inputs],
                    "outputs": [p.to_dict() for p in outputs],
                }
            )
        return {
            "schema": "onnxpath.compare/1", "tool": self.tool.to_dict(), "runtime": dict(self.runtime),
            "a": sides[0], "b": sides[1],
            "interface": [change.to_dict() for change in self.interface],
            "inputs": {"source": self.source, "count": self.inputs, **self.made},
            "comparable": self.comparable, "largest": self.largest,
            "outputs": [output.to_dict() for output in self.outputs],
            "classes": None if self.differing is None else {"differ": self.differing, "inputs": self.inputs,
            "share": self.differing / self.inputs},
            "batch": {"a": self.mixed[0], "b": self.mixed[1]},
            "notes": list(self.notes),
        }  # fmt: skip
