"""What produced a result, part of every document, and records that several documents share."""

from dataclasses import dataclass

from onnxpath.engine.scaled import Scaled
from onnxpath.records.document import Record


@dataclass(frozen=True)
class Tool(Record):
    """What produced a result. products: why sums of products err by no more than what is certified: "ieee" or
    "probed"."""

    LAYOUT = """
    name  `onnxpath`
    version  of onnxpath
    onnx  its version, `unknown` where it is not installed as a package
    onnxruntime  likewise
    provider  `cpu` or `cuda`: where the passes really ran. What is always evaluated in float64 (the ℓ2
        metric, estimates, intervals of quantizers) ran on the CPU
    precision  `float32` or `float64`
    products  why sums of products err by no more than the certificates say: `ieee`, kernels of the CPU;
        `probed`, matrix products on a GPU with TF32 off, after a probe of that GPU (docs/theory.md,
        section 6.2)
    """

    version: str
    onnx: str
    onnxruntime: str
    provider: str
    precision: str
    products: str

    @property
    def name(self) -> str:
        return "onnxpath"


@dataclass(frozen=True)
class Place(Record):
    """Where a difference is: the output, by the file's name, and the position of the point."""

    output: str
    index: int | None


@dataclass(frozen=True)
class UnitBound(Record):
    """A certified bound for ‖x‖_∞ <= input_bound."""

    LAYOUT = """
    input_bound
    *bound
    """

    bound: Scaled
    input_bound: float = 1.0
