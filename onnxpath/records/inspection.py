"""The record of `onnxpath.inspect`, document `onnxpath.inspect/1`."""

from dataclasses import dataclass, field

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool
from onnxpath.records.document import Record


@dataclass(frozen=True)
class Tensor(Record):
    """An input or output of a network."""

    LAYOUT = """
    name  the file's
    shape
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Path(Record):
    """One path: its neurons in order, whether it starts at an input, and its coordinate of Φ."""

    LAYOUT = """
    neurons  in order
    start  `input` or `bias`
    value  its coordinate of Φ
    """

    neurons: tuple[str, ...]
    from_input: bool
    value: float

    @property
    def start(self) -> str:
        return "input" if self.from_input else "bias"


@dataclass(frozen=True)
class Inspection(Record):
    """Result of `onnxpath.inspect`: what the network is in the paper's model. lifting: every path, if they
    were asked for."""

    SCHEMA = "onnxpath.inspect/1"
    LAYOUT = """
    tool
    model{path sha256 opset}  the file, its digest and the opset of the default domain
    inputs  those in use
    outputs  by the file's names
    neurons  `input`, `identity`, `relu`, `max_pool`
    parameters{count=parameters zeros tensors=parameter_tensors}  learned numbers, a tensor used twice
        counted once; how many are 0; learned tensors
    depth  largest number of edges on a path (docs/theory.md, section 1)
    paths  number of paths without a zero weight
    max_pool_kernels  distinct numbers of antecedents of max-pool neurons, largest first
    dimensions{depth kernel pools input=input_dimension output=output_dimension}  depth D, largest window
        of a max-pool K (1 if none), number of kinds of max-pooling P (0 or 1), d_in, d_out
    operators  canonical operators by name, sorted
    rescaling_groups  groups of channels that can be rescaled (docs/theory.md, section 5)
    folded  nodes merged into others
    cut  nodes left off the end: a Softmax, LogSoftmax, Sigmoid, ArgMax, Identity or Cast, outside the
        model or without effect
    notes
    lifting?  with `--paths`: every path without a zero weight
    """

    path: str
    sha256: str
    opset: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    neurons: dict[str, int]
    parameters: int
    zeros: int
    parameter_tensors: int
    depth: int
    paths: Scaled
    max_pool_kernels: tuple[int, ...]
    operators: dict[str, int]
    rescaling_groups: int
    tool: Tool
    input_dimension: int = 0
    output_dimension: int = 0
    lifting: tuple[Path, ...] | None = None
    folded: tuple[str, ...] = ()
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def kernel(self) -> int:
        """K: the largest window of a max-pool neuron; 1 where there is none."""
        return max(self.max_pool_kernels, default=1)

    @property
    def pools(self) -> int:
        """P: the number of kinds of max-pool neurons, those of ONNX files being of one kind."""
        return int(bool(self.max_pool_kernels))
