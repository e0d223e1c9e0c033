"""The record of `onnxpath.compare`, document `onnxpath.compare/1`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpath.model.interface import Change, Port
from onnxpath.records.base import Tool
from onnxpath.records.bound import BoundSide
from onnxpath.records.document import Record


@dataclass(frozen=True)
class Computed(Record):
    """What a file computed for the first input."""

    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Entry(Record):
    """The input, and the entry of the output counted row by row."""

    index: int
    entry: int | None


@dataclass(frozen=True)
class Sizes(Record):
    """Of the differences over all inputs and entries."""

    largest: float | None
    mean: float | None
    quantile_99: float | None


@dataclass(frozen=True)
class Differing(Record):
    """Predicted classes that differ."""

    differ: int
    inputs: int

    LAYOUT = """
    differ
    inputs
    share
    """

    @property
    def share(self) -> float:
        return self.differ / self.inputs


@dataclass(frozen=True)
class Mixed(Record):
    """Of both files, how far outputs for all inputs at once are from those one by one."""

    a: float | None
    b: float | None


@dataclass(frozen=True)
class DescribedFile(BoundSide):
    """A file and what it declares."""

    LAYOUT = """
    path  as given
    sha256  of the file's bytes
    inputs  as declared
    outputs  as declared
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class ComparedOutput(Record):
    """One declared output of both files on all inputs.

    type, shape: of what was computed for the first input, by file. largest, mean, quantile: of |a - b| over
    all inputs and entries, the last one of 99 % of them; None where they cannot be subtracted (other shapes,
    text), largest infinite where one file has a number and the other none. size: the largest |a|, which
    relative differences are relative to. index, entry: where the largest is: the input, and the entry counted
    row by row.
    unequal: how many entries of how many are not the same.
    """

    LAYOUT = """
    name  an output of A
    name_b  its counterpart in B, by name or else by position
    a=computed_a  of what was computed for the first input
    b=computed_b  likewise
    comparable  whether it can be subtracted
    absolute  `largest`, `mean`, `quantile_99` of |a − b| over all inputs and entries; null where there is
        none
    relative=relatives  the same, relative to `size`
    size  the largest |a|
    where  the input, and the entry (row-major), of the largest difference
    unequal  entries that are not the same
    entries  of how many
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
        return None if value is None or not self.size else value / self.size

    @property
    def computed_a(self) -> Computed:
        return Computed(self.types[0], self.shapes[0])

    @property
    def computed_b(self) -> Computed:
        return Computed(self.types[1], self.shapes[1])

    @property
    def where(self) -> Entry | None:
        return None if self.index is None else Entry(self.index, self.entry)

    @property
    def absolute(self) -> Sizes:
        return Sizes(self.largest, self.mean, self.quantile)

    @property
    def relatives(self) -> Sizes:
        return Sizes(*map(self._relative, (self.largest, self.mean, self.quantile)))

    @property
    def relative(self) -> float | None:
        """largest / size; None where there is none."""
        return self._relative(self.largest)


@dataclass(frozen=True)
class Comparison(Record):
    """Result of `onnxpath.compare`: both files as ONNX Runtime runs them.

    ports: inputs and outputs of either file, as declared. interface: what differs of them. source: "given" or
        "seeded" inputs; made: how
    seeded ones were. inputs: how many. differing: on how many of them the predicted classes differ, None
    where the outputs name none. mixed: by file, the largest difference between what it gives for the inputs
    in one batch and one by one, relative to the largest output; None where it takes one at a time.
    """

    SCHEMA = "onnxpath.compare/1"
    LAYOUT = """
    tool
    runtime  how the files were run: `provider`, `options`
    a=described_a  the file A: `path`, `sha256`, and its `inputs` and `outputs` as declared, `{name, type,
        shape}`, null where a file does not say
    b=described_b  the file B
    interface
    inputs{source count=inputs *made}  `given`, or `seeded` with `seed`, `low`, `high` and `shapes`
    comparable  whether every output can be subtracted
    largest  the largest |a − b| of all
    outputs
    classes  predicted classes that differ: `differ`, `inputs`, `share`; null where the outputs name none
    batch  how far a file's outputs for all inputs at once are from those one by one, relative to the
        largest: `a`, `b`; null where it takes one at a time
    notes
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

    @property
    def described_a(self) -> DescribedFile:
        return DescribedFile(self.a.path, self.a.sha256, *self.ports[0])

    @property
    def described_b(self) -> DescribedFile:
        return DescribedFile(self.b.path, self.b.sha256, *self.ports[1])

    @property
    def classes(self) -> Differing | None:
        return None if self.differing is None else Differing(self.differing, self.inputs)

    @property
    def batch(self) -> Mixed:
        return Mixed(*self.mixed)
