"""The record of `onnxpath.rescale`, document `onnxpath.rescale/1`."""

from dataclasses import dataclass

from onnxpath.records.base import Tool
from onnxpath.records.document import Record
from onnxpath.records.metric import Interval, Side


@dataclass(frozen=True)
class Factors(Record):
    """λ over the channels that were rescaled: the smallest, the largest, and whether all are powers of two
    (then exact)."""

    LAYOUT = """
    smallest  of what the channels were multiplied by
    largest
    powers_of_two  whether all are: the rescaling is exact then
    """

    smallest: float
    largest: float
    powers_of_two: bool


@dataclass(frozen=True)
class OutputDifference(Record):
    """The largest difference of an output of the two files that ONNX Runtime computed, and the largest
    output."""

    LAYOUT = """
    samples  random inputs (standard normal) that both files were run on
    difference  the largest difference of an output
    largest_output
    relative  their ratio
    """

    samples: int
    difference: float
    largest_output: float

    @property
    def relative(self) -> float:
        if self.largest_output:
            return self.difference / self.largest_output
        return 0.0 if not self.difference else float("inf")


@dataclass(frozen=True)
class Rescaling(Record):
    """Result of `onnxpath.rescale`.

    a, b: the model and the file that was written. mode: "random", "normalize" or "equalize". groups: of
    channels that can be rescaled together; changed: those with λ ≠ 1; pinned: those that the file keeps from
    being rescaled; dead: groups that are always 0, whose readers' weights became 0. tensors: of the file,
    that changed. path_metric: between the two files.
    outputs: None when ONNX Runtime cannot run the model.
    """

    SCHEMA = "onnxpath.rescale/1"
    LAYOUT = """
    tool
    a  the model
    b  the file that was written
    mode  `random`, `normalize` or `equalize`
    seed  of the random factors
    groups{free=groups changed pinned dead}  groups of channels that can be rescaled (each by one λ);
        those with λ ≠ 1, the dead ones included; those that the file keeps at λ = 1; those that are
        always 0, whose readers became 0
    factors
    tensors  of the file, whose values changed
    path_metric  between the two files: 0, or what storing the new weights rounded
    relative
    outputs  null when ONNX Runtime cannot run the model
    notes
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
