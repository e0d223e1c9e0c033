"""The records of `onnxpath.quantize`, document `onnxpath.quantize/1`, and the certificate that is written
into the new file."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, finite, number
from onnxpath.records.files import FileSide
from onnxpath.records.metric import Interval
from onnxpath.records.rescaling import OutputDifference


@dataclass(frozen=True)
class QuantizedLayer:
    """One tensor of the file. bits: of its grid, None where it stays as it is; steps: how many it has; share,
    metric: its part of the path-metric of the pair."""

    name: str
    tensor: str
    parameters: int
    bits: int | None
    steps: int
    share: float
    metric: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "tensor": self.tensor, "parameters": self.parameters, "bits": self.bits,
            "steps": self.steps,
            "share": self.share, "metric": number(self.metric),
        }  # fmt: skip


@dataclass(frozen=True)
class QuantizedBound:
    """The largest difference of an output over a domain: certified, and found by running both networks and
    both files. parts: shares of weights, rounding and saturation of activations."""

    domain: dict[str, Any]
    certified: Scaled
    found: float | None
    files: float | None
    parts: dict[str, float]
    method: str

    def to_dict(self) -> dict[str, Any]:
        found, files = (
            None if value is None else number(Scaled(value)) for value in (self.found, self.files)
        )
        return {
            "domain": self.domain, "largest": number(self.certified), "found": found, "files": files,
            "parts": self.parts,
            "method": self.method,
        }  # fmt: skip


@dataclass(frozen=True)
class LimitedBudget:
    """What mixed precision had to keep: a limit of the metric or the bound, and what the file reaches (never
    above it)."""

    quantity: str
    limit: Scaled
    reached: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {"quantity": self.quantity, "limit": number(self.limit), "reached": number(self.reached)}


@dataclass(frozen=True)
class QuantizationCertificate:
    """What quantizing cost, measured on the file that was written, read again.

    mode: "weights", or "static" where activations are quantized too. path_metric: of the weights. bound: Σ_v
    |R(x)_v - R_quantized(x)_v| for ‖x‖_∞ <= 1, None where activations are quantized (only a domain's bound
    counts their rounding). weight_bytes: of all floating-point and integer tensors of both files.
    """

    sha256: str
    mode: str
    bits: tuple[int, ...]
    granularity: str
    rounding: str
    equalized: bool
    calibration: int | None
    layers: tuple[QuantizedLayer, ...]
    bytes_before: int
    bytes_after: int
    path_norm: Scaled
    quantized_path_norm: Scaled
    path_metric: Interval
    relative: float
    bound: Scaled | None
    tool: Tool
    budget: LimitedBudget | None = None
    domain: QuantizedBound | None = None

    @property
    def saved(self) -> float:
        """The share of the weights' bytes that the file no longer has."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.quantization-certificate/1` document. It names no path, so that it depends on the
        file and the options alone."""
        document: dict[str, Any] = {
            "schema": "onnxpath.quantization-certificate/1",
            "tool": self.tool.to_dict(),
            "source": {"sha256": self.sha256},
            "mode": self.mode,
            "bits": list(self.bits),
            "granularity": self.granularity,
            "rounding": self.rounding,
            "equalized": self.equalized,
            "calibration_samples": self.calibration,
            "weight_bytes": {"before": self.bytes_before, "after": self.bytes_after, "saved": self.saved},
            "path_norm": number(self.path_norm),
            "quantized_path_norm": number(self.quantized_path_norm),
            "path_metric": self.path_metric.to_dict(),
            "relative": self.relative,
            "bound": None if self.bound is None else {"input_bound": 1.0, **number(self.bound)},
        }
        for key, part in (("budget", self.budget), ("domain_bound", self.domain)):
            if part is not None:
                document[key] = part.to_dict()
        document["layers"] = [layer.to_dict() for layer in self.layers]
        return document


@dataclass(frozen=True)
class QuantizedFile:
    """The quantized network: its certificate, the file that holds it (None when none was written), and the
    largest difference of both files' outputs on the points in ONNX Runtime (None where it does not run them).
    held: the new file as it runs there beside what it says.
    """

    certificate: QuantizationCertificate
    outputs: OutputDifference | None
    path: str | None = None
    sha256: str | None = None
    held: FileSide | None = None

    def to_dict(self) -> dict[str, Any]:
        outputs = None if self.outputs is None else self.outputs.to_dict()
        held = None if self.held is None else self.held.to_dict()
        return {
            "path": self.path,
            "sha256": self.sha256,
            "outputs": outputs,
            "as_run": held,
            "certificate": self.certificate.to_dict(),
        }


@dataclass(frozen=True)
class SweptWidth:
    """One layer alone with one width.

    metric: the path-metric it costs, with its certified relative error (`exact`), or the certified upper end;
    share: of the sum over all layers of that width; bound: of the outputs' differences, summed, over the
    domain; found: the largest difference on the points, and the mean over points of the largest one of each;
    bytes: of the weights as they would be stored.
    """

    bits: int
    metric: Scaled
    exact: bool
    relative_error: float
    share: float
    bound: Scaled | None
    found: float
    mean: float
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "bits": self.bits, "metric": number(self.metric), "exact": self.exact,
            "relative_error": finite(self.relative_error),
            "share": self.share, "bound": None if self.bound is None else number(self.bound),
            "found": finite(self.found),
            "mean": finite(self.mean), "bytes": self.bytes,
        }  # fmt: skip


@dataclass(frozen=True)
class SweptLayer:
    name: str
    tensor: str
    parameters: int
    bytes: int
    widths: tuple[SweptWidth, ...]

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "tensor": self.tensor, "parameters": self.parameters, "bytes": self.bytes,
            "widths": [width.to_dict() for width in self.widths],
        }  # fmt: skip


@dataclass(frozen=True)
class Points:
    """The inputs that errors were found on: how many, where they come from, and the largest output of the
    network there."""

    count: int
    origin: str
    largest_output: float

    def to_dict(self) -> dict[str, Any]:
        return {"count": self.count, "origin": self.origin, "largest_output": finite(self.largest_output)}


@dataclass(frozen=True)
class Sweep:
    """Every layer with every width, the others as they are. domain: of the bounds, None where there are
    none."""

    layers: tuple[SweptLayer, ...]
    points: Points
    domain: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "points": self.points.to_dict(),
            "layers": [layer.to_dict() for layer in self.layers],
        }


@dataclass(frozen=True)
class BlamedLayer:
    """A layer left as it is while all others are quantized.

    alone: the path-metric of quantizing it alone. left: the certified path-metric of the pair without it, and
        `bought`, what that is less
    than with it. local: of quantizing it alone, what the outputs' differences on the points add up to at most
    (in floating point, not certified; None where several nodes read it). found_left, found_alone: the largest
    differences found without it, and with it alone. rank,
    found_rank: its place in the order of `bought`, and in that of `found_left` (brute force), 1 first.
    """

    name: str
    tensor: str
    alone: Scaled
    left: Scaled
    bought: Scaled
    local: Scaled | None
    found_left: float
    found_alone: float
    rank: int
    found_rank: int

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "tensor": self.tensor, "rank": self.rank, "alone": number(self.alone),
            "left": number(self.left),
            "bought": number(self.bought), "local": None if self.local is None else number(self.local),
            "found_left": finite(self.found_left), "found_alone": finite(self.found_alone),
            "found_rank": self.found_rank,
        }  # fmt: skip


@dataclass(frozen=True)
class Blame:
    """Which layers to exclude first. metric, found: of all layers quantized. correlation: Spearman's, of what
    excluding a layer buys in the metric and in the found error; correlation_alone, correlation_local: of the
    metric, and of `local`, with the found error of each layer alone. None for fewer than 2 layers, or where
    all of them are equal."""

    bits: int
    metric: Scaled
    found: float
    layers: tuple[BlamedLayer, ...]
    points: Points
    correlation: float | None
    correlation_alone: float | None
    correlation_local: float | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "bits": self.bits, "metric": number(self.metric), "found": finite(self.found),
            "points": self.points.to_dict(),
            "correlation": self.correlation, "correlation_alone": self.correlation_alone,
            "correlation_local": self.correlation_local,
            "layers": [layer.to_dict() for layer in self.layers],
        }  # fmt: skip


@dataclass(frozen=True)
class Quantized:
    """Result of `onnxpath.quantize`."""

    path: str
    sha256: str
    path_norm: Scaled
    tool: Tool
    file: QuantizedFile | None = None
    sweep: Sweep | None = None
    blame: Blame | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.quantize/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.quantize/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256, "path_norm": number(self.path_norm)},
        }
        for key, part in (("file", self.file), ("sweep", self.sweep), ("blame", self.blame)):
            if part is not None:
                document[key] = part.to_dict()
        document["notes"] = list(self.notes)
        return document
