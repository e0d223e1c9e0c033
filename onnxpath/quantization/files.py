"""`quantize` as people call it: from a file to a quantized file with its certificate, the sweep, the layers to blame, and the figure.

A quantized file is made beside nothing: in a folder of its own, where it is read again and measured. Only what was measured is then given its
certificate and moved into place. With `equalize` the file is rescaled first, by powers of two: no product of weights along a path, and no bit of an
output, changes, so that everything that is measured against the equalized network holds for the one that was given.
"""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from onnxpath import exporter, tool
from onnxpath.bounds import difference_bounds
from onnxpath.bounds.bound import bound
from onnxpath.domain import Domain, samples
from onnxpath.engine.file_outputs import largest_difference, on_samples
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UnsupportedError, UsageError
from onnxpath.matching import match
from onnxpath.metrics.metric import path_metric
from onnxpath.network import Network
from onnxpath.pruning.files import beside
from onnxpath.quantization import figure, mixed
from onnxpath.quantization.blame import blame as blamed
from onnxpath.quantization.layers import Layer, layers, quantized
from onnxpath.quantization.sensitivity import Variant, sensitivity
from onnxpath.quantization.settings import Budget, Settings
from onnxpath.quantization.variants import Runner
from onnxpath.results import (
    Blame,
    Interval,
    LimitedBudget,
    OutputDifference,
    Points,
    QuantizationCertificate,
    Quantized,
    QuantizedBound,
    QuantizedFile,
    QuantizedLayer,
    Sweep,
    SweptLayer,
    SweptWidth,
)
from onnxpath.writing import replaced

if TYPE_CHECKING:
    from onnxpath.api import Source

Arrays = Mapping[str, np.ndarray] | np.ndarray
# Random points are at most this many, and fewer where a network is large.
_POINTS = 16
_ELEMENTS = 1 << 22
_STEPS = 20


@dataclass(frozen=True, eq=False)
class Work:
    """What to do besides, or instead of, writing a file.

    calibration: inputs for static quantization. inputs: where errors are found; those of the calibration, or random points, without. domain: of
    bounds. loading: options of `onnxpath.load` that the network was read with.
    """

    sweep: bool = False
    blame: bool = False
    budget: Budget | None = None
    equalize: bool = False
    calibration: Arrays | None = None
    inputs: Arrays | None = None
    domain: Domain | None = None
    report: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def analysis(self) -> bool:
        return self.sweep or self.blame


@dataclass(frozen=True, eq=False)
class _Base:
    """What is quantized: the file and the network in it, equalized if asked for; the network as it was given; points by the network's inputs."""

    source: "Source"
    network: Network
    given: Network
    equalized: bool
    points: Points
    samples: Mapping[str, np.ndarray]


def _check(settings: Settings, work: Work, writes: bool) -> None:
    """What can be told from the options alone."""
    if writes:
        if work.budget is None and len(settings.bits) > 1:
            raise UsageError("several widths are for --sweep or --budget; give one number of bits to write a file")
        settings.storable()
    if work.blame and len(settings.bits) > 1 and not work.sweep:
        raise UsageError("--blame is about one number of bits")
    if work.budget is not None:
        if work.calibration is not None:
            raise UsageError("--budget is for weights: give the inputs with --inputs instead of --calibrate")
        if work.budget.quantity == "bound" and work.domain is None:
            raise UsageError("a budget of the bound needs a domain: --radius R, or --low L and --high H")
    if writes and work.calibration is not None and settings.rounding != "nearest":
        raise UsageError("static quantization rounds to nearest; --rounding zero is for weights alone, without --calibrate")
    if work.report is not None and not work.sweep:
        raise UsageError("--report draws a sweep; add --sweep")


def _check_files(source: "Source", out: str | None, report: str | None, force: bool) -> None:
    targets = []
    if report is not None:
        figure.check(report)
        targets.append(exporter.check_target(source, report))
    if out is not None:
        targets += [exporter.check_target(source, out, force), exporter.check_target(source, beside(out))]
    if len(set(targets)) < len(targets):
        raise UsageError("two of the files to write have the same name")


def quantize(
    source: "Source", network: Network, out: str | os.PathLike[str] | None, settings: Settings, device: Device, work: Work | None = None,
    force: bool = False,
) -> Quantized:  # fmt: skip
    """Quantize, sweep, blame: see `onnxpath.quantize`. source: what `network` was read from.

    A file is made (and written to `out`, if that is given) unless only an analysis is asked for. Everything that can be wrong with the call is
    found before anything is computed.
    """
    work = work or Work()
    target = None if out is None else os.fsdecode(os.fspath(out))
    writes = target is not None or not work.analysis
    _check(settings, work, writes)
    _check_files(source, target, work.report, force)
    device.resolve()
    from onnxpath.exporter.quantizing import stored_kinds

    kinds = stored_kinds(source)  # type: ignore[arg-type]
    layers(network, kinds, settings)
    if work.domain is not None:
        work.domain.resolve(network)
    if work.calibration is not None:
        samples(network, work.calibration)
    points, arrays = _points(network, work, settings.seed)
    with tempfile.TemporaryDirectory(prefix="onnxpath-") as folder:
        base, notes = _equalized(source, network, work, device, folder, points, arrays)
        found, more = layers(base.network, kinds, settings)
        notes = [*network.notes, *notes, *more]
        swept, shame, norm = _analysed(base, found, settings, work, device)
        file = None
        if writes:
            file, more = _file(base, found, settings, work, device, folder, target, force)
            notes += [note for note in more if note not in notes]
    if work.report is not None and swept is not None:
        with replaced(work.report) as page:
            page.write(figure.draw(swept, work.report))
    norm = file.certificate.path_norm if norm is None and file is not None else norm
    assert norm is not None
    return Quantized(network.path, network.sha256, norm, tool.describe(device), file, swept, shame, tuple(notes))


def _points(network: Network, work: Work, seed: int) -> tuple[Points, dict[str, np.ndarray]]:
    """The inputs that errors are found on: those given, or random points of the domain ([-1, 1] without one)."""
    given = work.inputs if work.inputs is not None else work.calibration
    if given is not None:
        arrays = samples(network, given)
        origin = "inputs"
    else:
        region = None if work.domain is None else work.domain.resolve(network)
        rng, arrays = np.random.default_rng(seed), {}
        count = max(1, min(_POINTS, _ELEMENTS // max(int(np.prod(shape)) for shape in network.shapes.values())))
        for name in network.inputs:
            shape = (count, *network.shapes[name][1:]) if network.batched else network.shapes[name]
            low, high = (-1.0, 1.0) if region is None else (region.low[name], region.high[name])
            low, high = (np.broadcast_to(np.asarray(end)[:1] if np.ndim(end) else end, shape) for end in (low, high))
            arrays[name] = rng.uniform(low, high).astype(np.float32).clip(low, high)
        origin = "random"
    return Points(len(next(iter(arrays.values()))), origin, 0.0), arrays


def _equalized(
    source: "Source", network: Network, work: Work, device: Device, folder: str, points: Points, arrays: Mapping[str, np.ndarray]
) -> tuple[_Base, list[str]]:
    plain = _Base(source, network, network, False, points, arrays)
    if not work.equalize:
        return plain, []
    from onnxpath.file_rescaling import rescale
    from onnxpath.importer import load

    path = os.path.join(folder, "equalized.onnx")
    try:
        rescale(source, path, "equalize", powers_of_two=True, shapes=work.loading.get("shapes"), device=device)  # type: ignore[arg-type]
    except UnsupportedError as error:
        return plain, [f"not equalized: {str(error).partition(': ')[2]}"]
    made = replace(load(path, **work.loading), path=network.path)
    return _Base(path, made, network, True, points, arrays), []


def _radius(work: Work, network: Network) -> dict[str, np.ndarray] | None:
    """max |x_i| over the domain, for the bounds of a sweep; one number per channel where it does not vary over space."""
    if work.domain is None:
        return None
    region = work.domain.resolve(network)
    radius = {name: array.max(axis=0, keepdims=True) for name, array in region.radius().items()}
    if region.uniform:
        radius = {name: array[(slice(None), slice(None), *(slice(0, 1),) * (array.ndim - 2))] for name, array in radius.items()}
    return radius


def _analysed(
    base: _Base, found: Sequence[Layer], settings: Settings, work: Work, device: Device
) -> tuple[Sweep | None, Blame | None, Scaled | None]:
    if not work.analysis:
        return None, None, None
    runner = Runner(base.network, base.samples, device)
    points = replace(base.points, largest_output=runner.size)
    variants, norm = sensitivity(base.network, found, settings.bits, settings.rounding, device, _radius(work, base.network))
    swept = shame = None
    if work.sweep:
        swept = _swept(found, variants, settings, runner, points, work.domain)
    if work.blame:
        bits = settings.bits[-1] if len(settings.bits) == 1 else 8 if 8 in settings.bits else settings.bits[-1]
        own = [variant for variant in variants if variant.bits == bits]
        shame = blamed(base.network, found, bits, settings.rounding, own, runner, points, device)
    return swept, shame, norm


def _swept(
    found: Sequence[Layer], variants: Sequence[Variant], settings: Settings, runner: Runner, points: Points, domain: Domain | None
) -> Sweep:
    total = dict.fromkeys(settings.bits, Scaled(0.0))
    for variant in variants:
        total[variant.bits] = total[variant.bits] + variant.metric
    rows: list[list[SweptWidth]] = [[] for _ in found]
    for variant in variants:
        layer = found[variant.layer]
        error = runner.error([(layer, layer.rounded(variant.bits, settings.rounding))])
        whole = total[variant.bits]
        rows[variant.layer].append(
            SweptWidth(
                variant.bits, variant.metric, variant.exact, variant.relative_error, variant.metric.over(whole) if whole.mantissa else 0.0,
                variant.bound, error.largest, error.mean, layer.bytes(variant.bits),
            )
        )  # fmt: skip
    made = [
        SweptLayer(layer.name, layer.tensor, layer.array.size, layer.bytes(None), tuple(row))
        for layer, row in zip(found, rows, strict=True)
    ]
    return Sweep(tuple(made), points, None if domain is None else dict(domain.describe))


def _file(
    base: _Base, found: Sequence[Layer], settings: Settings, work: Work, device: Device, folder: str, target: str | None, force: bool
) -> tuple[QuantizedFile, list[str]]:
    """Make the file, read it again, measure it, and move it into place with its certificate."""
    candidate = os.path.join(folder, "quantized.onnx")
    limit = None
    if work.calibration is not None:
        notes = _static(base, found, settings, work, candidate)
        chosen: dict[str, int | None] = dict.fromkeys((layer.tensor for layer in found), settings.bits[0])
    else:
        if work.budget is None:
            chosen = dict.fromkeys((layer.tensor for layer in found), settings.bits[0])
        else:
            chosen, limit = _within(base.network, found, settings, work, device)
        notes = _weights(base, found, chosen, settings, candidate)
    certificate, more = _certificate(base, found, chosen, settings, work, device, candidate, limit)
    notes += more
    difference, note = _difference(base, candidate, device)
    notes += [note] if note else []
    if target is None:
        return QuantizedFile(certificate, difference), notes
    from onnxpath.exporter.writing import write_changed

    text = json.dumps(certificate.to_dict(), allow_nan=False, separators=(",", ":"))
    written = write_changed(candidate, lambda document: document.describe({"onnxpath.quantization": text}), target, force)
    with replaced(beside(target)) as file:
        file.write((json.dumps(certificate.to_dict(), indent=2, allow_nan=False) + "\n").encode("ascii"))
    return QuantizedFile(certificate, difference, target, written.sha256), [*notes, *written.notes]


def _weights(base: _Base, found: Sequence[Layer], chosen: Mapping[str, int | None], settings: Settings, path: str) -> list[str]:
    from onnxpath.exporter.quantizing import Integers, write_quantized
    from onnxpath.quantization import grids

    tensors = {}
    for layer in found:
        bits = chosen[layer.tensor]
        if bits is not None:
            step = grids.steps(grids.largest(layer.array, layer.axis), bits)
            values = grids.integers(layer.array, grids.along(step, layer.axis, layer.array.ndim), bits, settings.rounding)
            tensors[layer.tensor] = Integers(values, step, layer.axis, grids.storage(bits))
    written = write_quantized(base.source, tensors, path)  # type: ignore[arg-type]
    return list(written.notes)


def _static(base: _Base, found: Sequence[Layer], settings: Settings, work: Work, path: str) -> list[str]:
    from onnxpath.exporter.calibrating import quantize_static

    network, origin = base.network, base.network.origin
    assert origin is not None and work.calibration is not None
    wanted = {output for layer in found for output in layer.outputs}
    every = [node for node in network.nodes if node.weight is not None and not node.weight.fixed and node.op != "Scale"]
    left_out = [origin.spelled[node.output] for node in every if node.output not in wanted and node.output in origin.spelled]
    given = samples(network, work.calibration)
    channel = settings.granularity == "channel"
    return list(quantize_static(base.source, given, path, bits=settings.bits[0], channel=channel, left_out=left_out))  # type: ignore[arg-type]


def _within(
    network: Network, found: Sequence[Layer], settings: Settings, work: Work, device: Device
) -> tuple[dict[str, int | None], Scaled]:
    """The cheapest widths that keep the budget, and the limit as a magnitude."""
    budget = work.budget
    assert budget is not None
    radius = _radius(work, network) if budget.quantity == "bound" else None
    variants, norm = sensitivity(network, found, settings.bits, settings.rounding, device, radius)
    limit = budget.limit(norm)
    options = [[mixed.Option(None, layer.bytes(None), 0.0)] for layer in found]
    for variant in variants:
        cost = variant.bound if budget.quantity == "bound" and variant.bound is not None else variant.metric
        options[variant.layer].append(mixed.Option(variant.bits, found[variant.layer].bytes(variant.bits), cost.over(limit)))

    def named(choice: list[int]) -> dict[str, int | None]:
        return {layer.tensor: own[k].bits for layer, own, k in zip(found, options, choice, strict=True)}

    def measured(choice: list[int]) -> float:
        twin = quantized(network, named(choice), found, settings.rounding)
        return _reached(network, twin, budget, work, device).over(limit)

    choice, _ = mixed.search(options, measured)
    if choice is None or all(bits is None for bits in named(choice).values()):
        raise UsageError(
            f"{network.path}: no layer can be quantized to {', '.join(map(str, settings.bits))} bits within the budget "
            f"{budget.quantity}={budget.value * 100 if budget.relative else budget.value:g}{'%' if budget.relative else ''}"
        )
    return named(choice), limit


def _reached(network: Network, twin: Network, budget: Budget, work: Work, device: Device) -> Scaled:
    """What a budget limits, certified from above."""
    if budget.quantity == "metric":
        return path_metric(network, twin, device).bound
    assert work.domain is not None
    pairing = match(network, twin)
    values = difference_bounds.bounds(pairing, work.domain.resolve(network), device).all().norms("inf")
    return max(values, key=lambda value: value.log2)


def _certificate(
    base: _Base, found: Sequence[Layer], chosen: Mapping[str, int | None], settings: Settings, work: Work, device: Device, path: str,
    limit: Scaled | None,
) -> tuple[QuantizationCertificate, list[str]]:  # fmt: skip
    """Of the file at `path`, as it is read."""
    from onnxpath.exporter.quantizing import tensor_bytes
    from onnxpath.importer import load

    network, static = base.network, work.calibration is not None
    loading = dict(work.loading)
    twin = replace(load(path, **loading, quantizers=static, paired=True), path=f"{network.path}, quantized")
    if not static:
        _same(quantized(network, chosen, found, settings.rounding), twin)
    metric = path_metric(network, twin, device)
    shares = {}
    for layer in metric.layers:
        shares[layer.name] = shares.get(layer.name, 0.0) + layer.share
    made = tuple(
        QuantizedLayer(
            layer.name, layer.tensor, layer.array.size, bits, 0 if bits is None else _steps(layer),
            share := sum(shares.get(network.producer[output].name, 0.0) for output in dict.fromkeys(layer.outputs)),
            metric.path_metric.upper.times(share),
        )
        for layer in found
        for bits in [chosen[layer.tensor]]
    )  # fmt: skip
    reached = None
    if work.budget is not None and limit is not None:
        value = _reached(network, twin, work.budget, work, device)
        if not value <= limit:
            raise ModelError(f"{network.path}: not written: the file reaches {value.log10} (log10), above the budget's {limit.log10}")
        reached = LimitedBudget(work.budget.quantity, limit, value)
    domain, notes = _domain_bound(base, twin, work, device, path)
    calibration = None if work.calibration is None else len(next(iter(samples(network, work.calibration).values())))
    return QuantizationCertificate(
        base.given.sha256, "static" if static else "weights", settings.bits, settings.granularity, settings.rounding, base.equalized,
        calibration, made, tensor_bytes(base.source), tensor_bytes(path), metric.a.path_norm, metric.b.path_norm,  # type: ignore[arg-type]
        _against(base, metric.path_metric, device), metric.relative, None if static else metric.bound, tool.describe(device), reached, domain,
    ), notes  # fmt: skip


def _against(base: _Base, found: Interval, device: Device) -> Interval:
    """The metric to the network that was given: the same, since an equalization by powers of two changes no product along a path."""
    return found


def _steps(layer: Layer) -> int:
    return 1 if layer.axis is None else layer.array.shape[layer.axis]


def _same(expected: Network, found: Network) -> None:
    """The file holds what was meant, number by number."""
    pairing = match(expected, found)
    for node in pairing.a.nodes:
        for own, other in zip((node.weight, node.bias), pairing.twin.get(node.output, (None, None)), strict=True):
            if own is not None and (other is None or not np.array_equal(own.array(), other.array())):
                raise ModelError(f"{expected.path}: not written: the file holds other numbers for '{node.name}' than were meant")


def _domain_bound(base: _Base, twin: Network, work: Work, device: Device, path: str) -> tuple[QuantizedBound | None, list[str]]:
    """The bound over the domain; of static files over the calibration inputs where there is no domain."""
    domain = work.domain
    if domain is None and work.calibration is not None:
        domain = Domain.samples(work.calibration)
    if domain is None:
        return None, []
    from onnxpath.importer import load

    wide = replace(load(path, **dict(work.loading), extended=True, paired=True), path=twin.path)
    record = bound(base.network, wide, domain, device, search=_STEPS, files=(base.source, path))
    notes = [note for note in record.notes if "kernels on this machine" in note or "not run on the files" in note]
    largest = record.largest
    return QuantizedBound(dict(domain.describe), largest.certified, largest.found, largest.files, record.parts(), record.method), notes


def _difference(base: _Base, path: str, device: Device) -> tuple[OutputDifference | None, str]:
    try:
        expected = on_samples(base.source, base.samples, device.threads)
        found = on_samples(path, base.samples, device.threads)
    except ModelError as error:
        return None, f"not run in ONNX Runtime: {error}"
    return OutputDifference(base.points.count, *largest_difference(expected, found)), ""
