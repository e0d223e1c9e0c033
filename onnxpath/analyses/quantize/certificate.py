"""The certificate of a quantized file: everything in it is measured on the file, read again.

The numbers of a weight-only file have to be those that were meant, one by one; then its path-metric to the
network is that of section 3 of docs/theory.md, and the bounds are those of section 4. In a static file
activations are quantized too: its path-metric is that of its weights, and only the bound over a domain counts
what the activations' rounding and saturation add.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.bound.bound import bound
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.quantize import grids
from onnxpath.analyses.quantize.budgeting import Widths, reached
from onnxpath.analyses.quantize.layers import Layer, quantized
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.analyses.quantize.work import Base, Work
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.exporter.placement import locate
from onnxpath.exporter.quantizing import tensor_bytes
from onnxpath.files.outputs import largest_difference, on_samples
from onnxpath.files.runtime import Runtime
from onnxpath.files.side import Side
from onnxpath.importer import load
from onnxpath.model.domain import Domain, samples
from onnxpath.model.matching import match, unquantized
from onnxpath.model.network import Network, Parameter
from onnxpath.records import (
    FileSide,
    LimitedBudget,
    OutputDifference,
    PathMetric,
    QuantizationCertificate,
    QuantizedBound,
    QuantizedLayer,
)

# Steps of the search for the largest difference over a domain.
_STEPS = 20


def certify(
    base: Base,
    found: Sequence[Layer],
    widths: Widths,
    settings: Settings,
    work: Work,
    device: Device,
    path: str,
    limit: Scaled | None,
) -> tuple[QuantizationCertificate, OutputDifference | None, FileSide, list[str]]:
    """The certificate of the file at `path`, the difference of both files' outputs on the points, the file
    held against what it says, and notes. limit: of the budget. Raises ModelError when the file is not what
    was meant."""
    network, static = base.network, work.calibration is not None
    twin = replace(
        load(path, **dict(work.loading), quantizers=static, paired=True), path=f"{network.path}, quantized"
    )
    if static:
        widths = _integers(network, twin, found, widths)
    else:
        _same(quantized(network, widths, found, settings.rounding), twin)
    metric = path_metric(network, twin, device)
    kept = None
    if work.budget is not None and limit is not None:
        value = reached(network, twin, work, device)
        if not value <= limit:
            raise ModelError(
                f"{network.path}: not written: the file's {work.budget.quantity} is 10^{value.log10}, over"
                " the budget"
            )
        kept = LimitedBudget(work.budget.quantity, limit, value)
    domain, notes = _over_domain(base, twin, work, device, path)
    calibration = (
        None if work.calibration is None else len(next(iter(samples(network, work.calibration).values())))
    )
    certificate = QuantizationCertificate(
        base.given.sha256, "static" if static else "weights", settings.bits, settings.granularity,
        settings.rounding, base.equalized,
        calibration, _layers(network, found, widths, metric), tensor_bytes(base.source), tensor_bytes(path),
        metric.a.path_norm, metric.b.path_norm, metric.path_metric, metric.relative,
        None if static else metric.bound, tool.describe(device), kept, domain,
    )  # fmt: skip
    apart, more = _difference(base, path, device)
    held = _held(base, twin, path, device)
    notes += [*more, *_explained(held, static and not settings.reduce_range)]
    return certificate, apart, held, notes


def _layers(
    network: Network, found: Sequence[Layer], widths: Widths, metric: PathMetric
) -> tuple[QuantizedLayer, ...]:
    """What became of every layer, with the parts of the path-metric that the nodes which read it have."""
    shares: dict[str, float] = {}
    for part in metric.layers:
        shares[part.name] = shares.get(part.name, 0.0) + part.share
    layers = []
    for layer in found:
        bits = widths[layer.tensor]
        share = sum(
            shares.get(name, 0.0)
            for name in dict.fromkeys(network.producer[output].name for output in layer.outputs)
        )
        steps = 0 if bits is None else grids.channels(layer.array.shape, layer.axis)
        whole = metric.path_metric.upper.times(share)
        layers.append(QuantizedLayer(layer.name, layer.tensor, layer.array.size, bits, steps, share, whole))
    return tuple(layers)


def _same(expected: Network, found: Network) -> None:
    """The file holds what was meant, number by number."""
    pairing = match(expected, found)
    for node in pairing.a.nodes:
        for own, other in zip(
            (node.weight, node.bias), pairing.twin.get(node.output, (None, None)), strict=True
        ):
            if own is not None and (other is None or not np.array_equal(own.array(), other.array())):
                raise ModelError(
                    f"{expected.path}: not written: the file would hold other numbers for '{node.name}' than"
                    " were meant"
                )


def _integers(network: Network, twin: Network, found: Sequence[Layer], widths: Widths) -> Widths:
    """The widths of the layers whose weights really are no floats of the static file any more. Raises
    ModelError when none is."""
    _, plain = unquantized(network, twin)
    pairing, kept = match(network, plain), dict(widths)
    for layer in found:
        weights = [weight for output in layer.outputs if (weight := pairing.twin[output][0]) is not None]
        if any(_stored(pairing.b, weight) for weight in weights):
            kept[layer.tensor] = None
    if not any(kept.values()):
        raise ModelError(
            f"{network.path}: not written: onnxruntime.quantization left all weights as they are"
        )
    return kept


def _stored(network: Network, parameter: Parameter) -> bool:
    try:
        locate(network, parameter)
    except UnsupportedError:
        return False
    return True


def _over_domain(
    base: Base, twin: Network, work: Work, device: Device, path: str
) -> tuple[QuantizedBound | None, list[str]]:
    """The bound over the domain; of static files over the calibration inputs where there is no domain."""
    domain = work.domain
    if domain is None and work.calibration is not None:
        domain = Domain.samples(work.calibration)
    if domain is None:
        return None, []
    wide = replace(load(path, **dict(work.loading), extended=True, paired=True), path=twin.path)
    record = bound(base.network, wide, domain, device, search=_STEPS, files=(base.source, path))
    largest = record.largest
    notes = [
        note for note in record.notes if not note.startswith(("A: ", "B: "))
    ]  # those of the networks are known
    return (
        QuantizedBound(
            dict(domain.describe),
            largest.certified,
            largest.found,
            largest.files,
            record.parts(),
            record.method,
        ),
        notes,
    )


def _difference(base: Base, path: str, device: Device) -> tuple[OutputDifference | None, list[str]]:
    """The largest difference of both files' outputs on the points, in ONNX Runtime; None, and why, where it
    does not run them."""
    try:
        expected = on_samples(base.source, base.samples, device.threads)
        found = on_samples(path, base.samples, device.threads)
    except ModelError as error:
        return None, [f"the files were not run: {error}"]
    return OutputDifference(base.points.count, *largest_difference(expected, found)), []


def _held(base: Base, twin: Network, path: str, device: Device) -> FileSide:
    """The file that was written, as ONNX Runtime runs it on the points, beside what its own nodes and weights
    say."""
    side = Side(path, twin, Runtime(threads=device.threads))
    for _ in side.run({name: base.samples[name] for name in twin.inputs if name in base.samples}):
        pass
    return side.verdict()


def _explained(held: FileSide, reducible: bool) -> list[str]:
    """A note where the file does not do what it says: integer kernels saturate, or MatMulNBits rounds
    activations."""
    if held.faithful is not False:
        return [held.reason] if held.reason else []
    advice = (
        "--reduce-range writes weights of 7 bits, which do not saturate"
        if reducible
        else (
            "MatMulNBits rounds activations unless the session option session.qdq_matmulnbits_accuracy_level"
            " is 1"
        )
    )
    return [f"{held.reason}; {advice}"]
