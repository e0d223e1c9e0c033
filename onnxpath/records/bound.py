"""The record of `onnxpath.bound`, document `onnxpath.bound/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool
from onnxpath.records.document import Record
from onnxpath.records.files import FilesSeen
from onnxpath.records.metric import Layer


@dataclass(frozen=True)
class BoundSide(Record):
    """One of the two networks."""

    LAYOUT = """
    path  as given
    sha256  of the file's bytes
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class BoundOutput(Record):
    """Certified bounds on |f_A(x)_v - f_B(x)_v| over the domain, for every neuron v of one output, flattened
    row-major."""

    LAYOUT = """
    name  an output of A
    name_b  its counterpart in B
    shape
    bounds  certified bound on |f_A(x)_v − f_B(x)_v| over the whole domain for every neuron v, flattened
        row-major; null beyond float64
    """

    name: str
    name_b: str
    shape: tuple[int, ...]
    bounds: tuple[float, ...]


@dataclass(frozen=True)
class Largest(Record):
    """The certified bound in the requested norm over all outputs, and the largest difference found. ratio:
    certified / found.

    files: the largest difference of both files' own outputs on the points that were found, in plain ONNX
    Runtime (with its integer kernels where activations are quantized), whose rounding is part of it; None
    where they were not run.
    """

    LAYOUT = """
    certified  certified bound of the norm over the whole domain
    #found  the largest difference that was found by running both networks in float64
    ratio  certified / found; null when nothing was found
    how  `given input`, `corner`, `sample` or `ascent`
    runs  on how many points both networks were run
    #files  the largest difference of both files' own outputs on the points that were found, in plain ONNX
        Runtime, its rounding and its integer kernels included; null where they were not run
    """

    certified: Scaled
    found: float | None
    ratio: float | None
    how: str = ""
    runs: int = 0
    files: float | None = None


@dataclass(frozen=True)
class InputBound(Record):
    """What holds for one given input (or the box around it): certified bound and difference found, in the
    requested norm."""

    LAYOUT = """
    index  position among the given inputs
    certified  of this input, or the box around it
    #found
    """

    index: int
    certified: Scaled
    found: float | None


@dataclass(frozen=True)
class Flips(Record):
    """How often the predicted class differs on the given inputs, and the Clopper-Pearson upper limit of that
    share for the distribution they were drawn from, at one-sided `confidence`."""

    LAYOUT = """
    differ  inputs whose class differs
    inputs  of how many
    share
    confidence  one-sided
    upper_limit  Clopper-Pearson, of the share for the distribution that the inputs were drawn from
    """

    differ: int
    inputs: int
    confidence: float
    upper_limit: float

    @property
    def share(self) -> float:
        return self.differ / self.inputs


@dataclass(frozen=True)
class Margin(Record):
    """The change of the differences y_i - y_j, i the class A predicts, for every given input.

    agree: on how many inputs A's smallest margin min_j (y_i - y_j) exceeds its certified change, so that B
        provably predicts
    i too. margins, changes: per input, A's smallest margin and the certified change of the pair (i, j) that
    comes closest to flipping (largest change - margin).
    """

    LAYOUT = """
    agree  on how many inputs B provably predicts A's class
    inputs  of how many
    margins  A's smallest margin, by input
    changes  the certified change of the pair of classes that comes closest to flipping, by input
    """

    agree: int
    inputs: int
    margins: tuple[float, ...]
    changes: tuple[float, ...]


@dataclass(frozen=True)
class Compared(Record):
    """One bound of `--compare`: its value (None when it was left out) and the condition it needs, or why it
    was left out."""

    LAYOUT = """
    name  of the bound
    source  where it is from
    value  null where it does not apply
    condition  what it needs, or why it does not apply
    """

    name: str
    source: str
    value: Scaled | None
    condition: str


@dataclass(frozen=True)
class Injection(Layer):
    """What a layer, or a quantizer, brings into the bound. kind: "weights", "rounding" or "saturation"."""

    LAYOUT = """
    name  a layer, or a quantizer
    share  the part that it brings in; shares sum to 1, or all are 0
    metric  `share` times the whole
    kind  `weights`, and for quantizers of activations `rounding` or `saturation`
    """

    kind: str = "weights"


@dataclass(frozen=True)
class QuantizerRange(Record):
    """A quantizer of one network, or of both, over the domain.

    side: "a" or "b". step, low, high: of its grid. saturation: "impossible" where no input of the domain
    takes a neuron beyond [low, high], "certain" where all inputs of some box (some given input) do, else
    "possible". overflow: how far beyond a neuron can be at most.
    certain: for how many boxes it is.
    """

    LAYOUT = """
    name
    side  `a` or `b`
    step  of its grid: of a dynamic one, and of one grid per channel, the largest
    low  the outermost end
    high  likewise
    saturation  `impossible`, `possible` or `certain` over the domain
    overflow  how far beyond [low, high] a neuron can be at most
    certain  for how many boxes (given inputs) saturation is certain
    """

    name: str
    side: str
    step: float
    low: float
    high: float
    saturation: str
    overflow: float
    certain: int


@dataclass(frozen=True)
class Bound(Record):
    """Result of `onnxpath.bound`: how much the outputs of A and B can differ over a domain.

    norm: of the difference over all output neurons, "1", "2" or "inf". method: the route that gave the
        smallest bound.
    extensions: names of the nodes whose activation is outside the paper's model. layers: what each layer
        injects, as a share.
    quantizers: of activations, in either network. seen: both files as they run, None where there are none.
        interface: what a program sees change.
    """

    SCHEMA = "onnxpath.bound/1"
    LAYOUT = """
    tool
    a  the network A
    b  the network B
    domain  `kind`: `radius`, `box`, `inputs` or `boxes`, and the numbers that were given; arrays as
        `{min, max}`
    norm  `1`, `2` or `inf`, of the difference over all output neurons; what `largest` and `inputs` are in
    outputs
    largest
    method  the route that gave the smallest bound (docs/theory.md, section 4)
    layers  parts of the sum of all neurons' bounds, for the box with the largest bound. Where intervals
        or ℓ2 norms gave the bound, which say nothing of layers, it is shared out as the sharp pass does
    extensions  nodes with an activation beyond the paper's model
    parts=quantized_parts?  where activations are quantized: shares of `weights`, `rounding` and `saturation`
        (docs/quantization.md)
    quantizers?  every quantizer of activations of both networks
    inputs?  with `--inputs`: every input (or the box around it) by itself
    flips?  with `--inputs` and class scores
    margin?  with `--margin`
    files=seen
    interface
    compare=compared?  with `--compare`: bounds on the 1-norm, tightest first
    notes
    """

    a: BoundSide
    b: BoundSide
    domain: dict[str, Any]
    norm: str
    outputs: tuple[BoundOutput, ...]
    largest: Largest
    method: str
    layers: tuple[Injection, ...]
    tool: Tool
    inputs: tuple[InputBound, ...] = ()
    flips: Flips | None = None
    margin: Margin | None = None
    compared: tuple[Compared, ...] = ()
    extensions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quantizers: tuple[QuantizerRange, ...] = ()
    seen: FilesSeen | None = None
    interface: tuple[Change, ...] = ()

    def parts(self) -> dict[str, float]:
        """The shares of weights, of the rounding of activations, and of their saturation."""
        return {
            kind: sum(layer.share for layer in self.layers if layer.kind == kind)
            for kind in ("weights", "rounding", "saturation")
        }

    @property
    def quantized_parts(self) -> dict[str, float]:
        """`parts` where activations are quantized, nothing elsewhere."""
        return self.parts() if self.quantizers else {}
