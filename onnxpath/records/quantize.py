"""The records of `onnxpath.quantize`, document `onnxpath.quantize/1`, and the certificate that is written
into the new file."""

from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, UnitBound
from onnxpath.records.document import Record
from onnxpath.records.files import FileSide
from onnxpath.records.metric import Interval
from onnxpath.records.rescaling import OutputDifference


@dataclass(frozen=True)
class QuantizedLayer(Record):
    """One tensor of the file. bits: of its grid, None where it stays as it is; steps: how many it has; share,
    metric: its part of the path-metric of the pair."""

    LAYOUT = """
    name
    tensor  the file's name
    parameters
    bits  null: left as it is
    steps
    share  of the path-metric
    metric
    """

    name: str
    tensor: str
    parameters: int
    bits: int | None
    steps: int
    share: float
    metric: Scaled


@dataclass(frozen=True)
class QuantizedBound(Record):
    """The largest difference of an output over a domain: certified, and found by running both networks and
    both files. parts: shares of weights, rounding and saturation of activations."""

    LAYOUT = """
    domain
    largest=certified  certified bound of the largest difference of an output neuron over the domain
    #found  the largest difference found in both networks
    #files  of both files on those points
    parts  shares of `weights`, `rounding` and `saturation`
    method  the route that gave the bound
    """

    domain: dict[str, Any]
    certified: Scaled
    found: float | None
    files: float | None
    parts: dict[str, float]
    method: str


@dataclass(frozen=True)
class LimitedBudget(Record):
    """What mixed precision had to keep: a limit of the metric or the bound, and what the file reaches (never
    above it)."""

    LAYOUT = """
    quantity  `metric` or `bound`
    limit
    reached  certified from above, at most `limit`
    """

    quantity: str
    limit: Scaled
    reached: Scaled


@dataclass(frozen=True)
class QuantizationCertificate(Record):
    """What quantizing cost, measured on the file that was written, read again.

    mode: "weights", or "static" where activations are quantized too. path_metric: of the weights. bound: Σ_v
    |R(x)_v - R_quantized(x)_v| for ‖x‖_∞ <= 1, None where activations are quantized (only a domain's bound
    counts their rounding). weight_bytes: of all floating-point and integer tensors of both files.
    """

    SCHEMA = "onnxpath.quantization-certificate/1"
    LAYOUT = """
    tool
    source{sha256}  digest of the file that was quantized
    mode  `weights`, or `static`: activations too
    bits
    granularity  of the options
    rounding  of the options
    equalized  channels were multiplied by powers of two first
    calibration_samples=calibration
    weight_bytes{before=bytes_before after=bytes_after saved}  of all initializers and Constants; the
        share saved
    path_norm  ‖Φ‖₁ before
    quantized_path_norm  and after
    path_metric  of the pair; of a static file that of its weights
    relative  path-metric / path-norm
    bound=unit_bound  certified bound of Σ_v |R(x)_v − R_quantized(x)_v| for ‖x‖_∞ ≤ 1; null for static
        files
    budget?  with `--budget`
    domain_bound=domain?  where there is a domain; of static files over the calibration inputs without one
    layers
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
    def unit_bound(self) -> UnitBound | None:
        return None if self.bound is None else UnitBound(self.bound)

    @property
    def saved(self) -> float:
        """The share of the weights' bytes that the file no longer has."""
        return 1 - self.bytes_after / self.bytes_before if self.bytes_before else 0.0


@dataclass(frozen=True)
class QuantizedFile(Record):
    """The quantized network: its certificate, the file that holds it (None when none was written), and the
    largest difference of both files' outputs on the points in ONNX Runtime (None where it does not run them).
    held: the new file as it runs there beside what it says.
    """

    LAYOUT = """
    path  the file written; null without `-o`
    sha256  its digest
    outputs  largest difference of both files' outputs in ONNX Runtime on the points; null when it does
        not run them
    as_run=held  the new file in ONNX Runtime on the points, beside what its own nodes and weights say
    certificate
    """

    certificate: QuantizationCertificate
    outputs: OutputDifference | None
    path: str | None = None
    sha256: str | None = None
    held: FileSide | None = None


@dataclass(frozen=True)
class SweptWidth(Record):
    """One layer alone with one width.

    metric: the path-metric it costs, with its certified relative error (`exact`), or the certified upper end;
    share: of the sum over all layers of that width; bound: of the outputs' differences, summed, over the
    domain; found: the largest difference on the points, and the mean over points of the largest one of each;
    bytes: of the weights as they would be stored.
    """

    LAYOUT = """
    bits  the width
    metric  the path-metric of this layer alone with this width
    exact  false: the certified upper end
    relative_error  certified
    share  of the sum over all layers with that width
    bound  certified, of the outputs' differences, summed, over the domain; null without one
    found  the largest difference of an output on the points
    mean  over points, of the largest one of each
    bytes  of its integers and steps
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


@dataclass(frozen=True)
class SweptLayer(Record):
    LAYOUT = """
    name
    tensor  of the file, that can be quantized
    parameters
    bytes  as it is
    widths  the layer alone with each of `--bits`
    """
    name: str
    tensor: str
    parameters: int
    bytes: int
    widths: tuple[SweptWidth, ...]


@dataclass(frozen=True)
class Points(Record):
    """The inputs that errors were found on: how many, where they come from, and the largest output of the
    network there."""

    LAYOUT = """
    count
    origin  `given` or `random`
    largest_output  of the network there
    """

    count: int
    origin: str
    largest_output: float


@dataclass(frozen=True)
class Sweep(Record):
    """Every layer with every width, the others as they are. domain: of the bounds, None where there are
    none."""

    LAYOUT = """
    domain  of `bound`, as in `onnxpath.bound/1`
    points  the inputs of the found errors
    layers
    """

    layers: tuple[SweptLayer, ...]
    points: Points
    domain: dict[str, Any] | None


@dataclass(frozen=True)
class BlamedLayer(Record):
    """A layer left as it is while all others are quantized.

    alone: the path-metric of quantizing it alone. left: the certified path-metric of the pair without it, and
        `bought`, what that is less
    than with it. local: of quantizing it alone, what the outputs' differences on the points add up to at most
    (in floating point, not certified; None where several nodes read it). found_left, found_alone: the largest
    differences found without it, and with it alone. rank,
    found_rank: its place in the order of `bought`, and in that of `found_left` (brute force), 1 first.
    """

    LAYOUT = """
    name
    tensor
    rank  its place in the order of what excluding it buys
    alone  the path-metric of quantizing it alone
    left  the certified path-metric of quantizing all others
    bought  what that is less
    local  quantized alone: what the outputs' differences on the points add up to at most, in floating
        point, not certified
    found_left  the largest difference without it
    found_alone  and with it alone
    found_rank  its place by `found_left`
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


@dataclass(frozen=True)
class Blame(Record):
    """Which layers to exclude first. metric, found: of all layers quantized. correlation: Spearman's, of what
    excluding a layer buys in the metric and in the found error; correlation_alone, correlation_local: of the
    metric, and of `local`, with the found error of each layer alone. None for fewer than 2 layers, or where
    all of them are equal."""

    LAYOUT = """
    bits
    metric  all layers quantized: certified upper end of the path-metric
    found  and the largest difference found
    points  the inputs of the found errors
    correlation  Spearman's: what excluding layers leaves of the metric, and of the found error
    correlation_alone  of the metric with the found error of each layer alone
    correlation_local  of `local` with it
    layers  in the order of what excluding them buys
    """

    bits: int
    metric: Scaled
    found: float
    layers: tuple[BlamedLayer, ...]
    points: Points
    correlation: float | None
    correlation_alone: float | None
    correlation_local: float | None


@dataclass(frozen=True)
class Quantized(Record):
    """Result of `onnxpath.quantize`."""

    SCHEMA = "onnxpath.quantize/1"
    LAYOUT = """
    tool
    model{path sha256 path_norm}  the network that was quantized
    file?  absent where only `--sweep` or `--blame` were asked for
    sweep?  with `--sweep`
    blame?  with `--blame`
    notes  what was not quantized and why, conversions of the file, kernels that compute something else
    """

    path: str
    sha256: str
    path_norm: Scaled
    tool: Tool
    file: QuantizedFile | None = None
    sweep: Sweep | None = None
    blame: Blame | None = None
    notes: tuple[str, ...] = ()
