"""The record of `onnxpath.bound`, document `onnxpath.bound/1`."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change
from onnxpath.records.base import Tool, finite, number
from onnxpath.records.files import FilesSeen
from onnxpath.records.metric import Layer


@dataclass(frozen=True)
class BoundSide:
    """One of the two networks."""

    path: str
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256}


@dataclass(frozen=True)
class BoundOutput:
    """Certified bounds on |f_A(x)_v - f_B(x)_v| over the domain, for every neuron v of one output, flattened
    row-major."""

    name: str
    name_b: str
    shape: tuple[int, ...]
    bounds: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "name_b": self.name_b, "shape": list(self.shape),
            "bounds": [finite(b) for b in self.bounds],
        }  # fmt: skip


@dataclass(frozen=True)
class Largest:
    """The certified bound in the requested norm over all outputs, and the largest difference found. ratio:
    certified / found.

    files: the largest difference of both files' own outputs on the points that were found, in plain ONNX
    Runtime (with its integer kernels where activations are quantized), whose rounding is part of it; None
    where they were not run.
    """

    certified: Scaled
    found: float | None
    ratio: float | None
    how: str = ""
    runs: int = 0
    files: float | None = None

    def to_dict(self) -> dict[str, Any]:
        found, files = (
            None if value is None else number(Scaled(value)) for value in (self.found, self.files)
        )
        return {
            "certified": number(self.certified), "found": found, "ratio": self.ratio, "how": self.how,
            "runs": self.runs, "files": files,
        }  # fmt: skip


@dataclass(frozen=True)
class InputBound:
    """What holds for one given input (or the box around it): certified bound and difference found, in the
    requested norm."""

    index: int
    certified: Scaled
    found: float | None

    def to_dict(self) -> dict[str, Any]:
        found = None if self.found is None else number(Scaled(self.found))
        return {"index": self.index, "certified": number(self.certified), "found": found}


@dataclass(frozen=True)
class Flips:
    """How often the predicted class differs on the given inputs, and the Clopper-Pearson upper limit of that
    share for the distribution they were drawn from, at one-sided `confidence`."""

    differ: int
    inputs: int
    confidence: float
    upper_limit: float

    @property
    def share(self) -> float:
        return self.differ / self.inputs

    def to_dict(self) -> dict[str, Any]:
        return {
            "differ": self.differ, "inputs": self.inputs, "share": self.share, "confidence": self.confidence,
            "upper_limit": self.upper_limit,
        }  # fmt: skip


@dataclass(frozen=True)
class Margin:
    """The change of the differences y_i - y_j, i the class A predicts, for every given input.

    agree: on how many inputs A's smallest margin min_j (y_i - y_j) exceeds its certified change, so that B
        provably predicts
    i too. margins, changes: per input, A's smallest margin and the certified change of the pair (i, j) that
    comes closest to flipping (largest change - margin).
    """

    agree: int
    inputs: int
    margins: tuple[float, ...]
    changes: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "agree": self.agree, "inputs": self.inputs, "margins": [finite(m) for m in self.margins],
            "changes": [finite(c) for c in self.changes],
        }  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """One bound of `--compare`: its value (None when it was left out) and the condition it needs, or why it
    was left out."""

    name: str
    source: str
    value: Scaled | None
    condition: str

    def to_dict(self) -> dict[str, Any]:
        value = None if self.value is None else number(self.value)
        return {"name": self.name, "source": self.source, "value": value, "condition": self.condition}


@dataclass(frozen=True)
class Injection(Layer):
    """What a layer, or a quantizer, brings into the bound. kind: "weights", "rounding" or "saturation"."""

    kind: str = "weights"

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "kind": self.kind}


@dataclass(frozen=True)
class QuantizerRange:
    """A quantizer of one network, or of both, over the domain.

    side: "a" or "b". step, low, high: of its grid. saturation: "impossible" where no input of the domain
    takes a neuron beyond [low, high], "certain" where all inputs of some box (some given input) do, else
    "possible". overflow: how far beyond a neuron can be at most.
    certain: for how many boxes it is.
    """

    name: str
    side: str
    step: float
    low: float
    high: float
    saturation: str
    overflow: float
    certain: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "side": self.side, "step": self.step, "low": self.low, "high": self.high,
            "saturation": self.saturation,
            "overflow": finite(self.overflow), "certain": self.certain,
        }  # fmt: skip


@dataclass(frozen=True)
class Bound:
    """Result of `onnxpath.bound`: how much the outputs of A and B can differ over a domain.

    norm: of the difference over all output neurons, "1", "2" or "inf". method: the route that gave the
        smallest bound.
    extensions: names of the nodes whose activation is outside the paper's model. layers: what each layer
        injects, as a share.
    quantizers: of activations, in either network. seen: both files as they run, None where there are none.
        interface: what a program sees change.
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

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.bound/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.bound/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "domain": self.domain,
            "norm": self.norm,
            "outputs": [output.to_dict() for output in self.outputs],
            "largest": self.largest.to_dict(),
            "method": self.method,
            "layers": [layer.to_dict() for layer in self.layers],
            "extensions": list(self.extensions),
        }
        if self.quantizers:
            document["parts"] = self.parts()
            document["quantizers"] = [item.to_dict() for item in self.quantizers]
        if self.inputs:
            document["inputs"] = [item.to_dict() for item in self.inputs]
        for key, part in (("flips", self.flips), ("margin", self.margin)):
            if part is not None:
                document[key] = part.to_dict()
        document["files"] = None if self.seen is None else self.seen.to_dict()
        document["interface"] = [change.to_dict() for change in self.interface]
        if self.compared:
            document["compare"] = [item.to_dict() for item in self.compared]
        document["notes"] = list(self.notes)
        return document
