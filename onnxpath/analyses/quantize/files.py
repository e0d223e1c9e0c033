"""`quantize` as people call it: from a file to a quantized file with its certificate, the sweep, the layers
to blame, and the figure.

A quantized file is made in a folder of its own, where it is read again and measured. Only what was measured
is then given its certificate and moved into place. With `equalize` the file is rescaled first, by powers of
two: no product of weights along a path, and no bit of an output, changes, so that everything that is measured
against the equalized network holds for the one that was given.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from onnxpath import exporter
from onnxpath.analyses import drawing, tool
from onnxpath.analyses.quantize import figure, grids
from onnxpath.analyses.quantize.analysis import analysed
from onnxpath.analyses.quantize.budgeting import Widths, within
from onnxpath.analyses.quantize.certificate import certify
from onnxpath.analyses.quantize.layers import Layer, layers
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.analyses.quantize.work import Base, Work, equalized, points
from onnxpath.engine.session import Device
from onnxpath.errors import OnnxPathError, UsageError
from onnxpath.exporter.quantizing import Integers, stored_kinds, write_quantized
from onnxpath.files.writing import replaced, temporary_folder
from onnxpath.importer.source import File
from onnxpath.model.domain import samples
from onnxpath.model.network import Network
from onnxpath.ops import OPERATORS
from onnxpath.records import Quantized, QuantizedFile


def _check(settings: Settings, work: Work, writes: bool) -> None:
    """What can be told from the options alone."""
    if writes:
        if work.budget is None and len(settings.bits) > 1:
            raise UsageError(
                "several widths are for --sweep or --budget; give one number of bits to write a file"
            )
        settings.storable()
    if work.blame and len(settings.bits) > 1 and not work.sweep:
        raise UsageError("--blame is about one number of bits")
    if work.budget is not None:
        if work.calibration is not None:
            raise UsageError("--budget is for weights: give the inputs with --inputs instead of --calibrate")
        if work.budget.quantity == "bound" and work.domain is None:
            raise UsageError("a budget of the bound needs a domain: --radius R, or --low L and --high H")
    if writes and work.calibration is not None and settings.rounding != "nearest":
        raise UsageError(
            "static quantization rounds to nearest; --rounding zero is for weights alone, without --calibrate"
        )
    if work.report is not None and not work.sweep:
        raise UsageError("--report draws a sweep; add --sweep")


def _check_files(source: File, out: str | None, report: str | None, force: bool) -> None:
    if report is not None:
        drawing.check(report)
    exporter.check_targets(source, [] if out is None else [out], ((report, "figure"),), force)


def quantize(
    source: File, network: Network, out: str | os.PathLike[str] | None, settings: Settings,
    device: Device, work: Work | None = None,
    force: bool = False,
) -> Quantized:  # fmt: skip
    """Quantize, sweep, blame: see `onnxpath.quantize`. source: what `network` was read from.

    A file is made (and written to `out`, if that is given) unless only an analysis is asked for. What can be
    wrong with the call is found before anything is computed.
    """
    work = work or Work()
    target = None if out is None else os.fsdecode(os.fspath(out))
    writes = target is not None or work.budget is not None or not work.analysis
    _check(settings, work, writes)
    _check_files(source, target, work.report, force)
    device.resolve()

    kinds = stored_kinds(source)
    layers(network, kinds, settings)
    if work.domain is not None:
        work.domain.resolve(network)
    if work.calibration is not None:
        samples(network, work.calibration)
    where = points(network, work, settings.seed)
    with _named(network.path) as folder:
        base, notes = equalized(source, network, work, settings, device, folder, where)
        found, more = layers(base.network, kinds, settings)
        notes = [*network.notes, *notes, *more]
        swept, shame, norm = analysed(base, found, settings, work, device)
        file = None
        if writes:
            file, more = _file(base, found, settings, work, device, folder, target, force)
            notes += [note for note in more if note not in notes]
            norm = file.certificate.path_norm
    if work.report is not None and swept is not None:
        with replaced(work.report) as page:
            page.write(figure.draw(swept, work.report))
    assert norm is not None
    return Quantized(
        network.path, network.sha256, norm, tool.describe(device), file, swept, shame, tuple(notes)
    )


@contextmanager
def _named(path: str) -> Iterator[str]:
    """A folder for the files on the way; errors name the model instead of them."""
    with temporary_folder() as folder:
        try:
            yield folder
        except OnnxPathError as error:
            text = str(error)
            for name in ("equalized", "quantized"):
                text = text.replace(os.path.join(folder, f"{name}.onnx"), f"{path}, {name}")
            if text == str(error):
                raise
            raise type(error)(text) from error


def _file(
    base: Base,
    found: Sequence[Layer],
    settings: Settings,
    work: Work,
    device: Device,
    folder: str,
    target: str | None,
    force: bool,
) -> tuple[QuantizedFile, list[str]]:
    """Make the file, read it again, measure it, and move it into place with its certificate."""
    candidate, limit = os.path.join(folder, "quantized.onnx"), None
    widths: Widths = dict.fromkeys((layer.tensor for layer in found), settings.bits[0])
    if work.budget is not None:
        widths, limit = within(base.network, found, settings, work, device)
    if work.calibration is not None:
        notes = _static(base, found, settings, work, candidate)
    else:
        notes = _weights(base, found, widths, settings, candidate)
    certificate, apart, held, more = certify(base, found, widths, settings, work, device, candidate, limit)
    notes += more
    if target is None:
        return QuantizedFile(certificate, apart, held=held), notes
    certified = exporter.Certified("onnxpath.quantization", certificate.to_dict())
    written = exporter.write(candidate, {}, target, force=force, certified=certified)
    return QuantizedFile(certificate, apart, target, written.sha256, held), [*notes, *written.notes]


def _weights(base: Base, found: Sequence[Layer], widths: Widths, settings: Settings, path: str) -> list[str]:
    tensors = {}
    for layer in found:
        bits = widths[layer.tensor]
        if bits is not None:
            step = grids.steps(grids.largest(layer.array, layer.axis), bits)
            values = grids.integers(
                layer.array, grids.along(step, layer.axis, layer.array.ndim), bits, settings.rounding
            )
            tensors[layer.tensor] = Integers(values, step, layer.axis, grids.storage(bits))
    return list(write_quantized(base.source, tensors, path).notes)


def _static(base: Base, found: Sequence[Layer], settings: Settings, work: Work, path: str) -> list[str]:
    # onnxruntime.quantization takes as long to import as all else, and only static files need it
    from onnxpath.exporter.calibrating import quantize_static  # noqa: PLC0415

    network, origin = base.network, base.network.origin
    assert origin is not None and work.calibration is not None
    wanted = {output for layer in found for output in layer.outputs}
    every = [
        node
        for node in network.nodes
        if node.weight is not None and not node.weight.fixed and not OPERATORS[node.op].diagonal
    ]
    rest = [node for node in every if node.output not in wanted]
    left_out = [origin.spelled[node.output] for node in rest if node.output in origin.spelled]
    tensors = [node.weight.sources[0] for node in rest if node.weight is not None and node.weight.sources]
    given, channel = samples(network, work.calibration), settings.granularity == "channel"
    return list(
        quantize_static(
            base.source, given, path, bits=settings.bits[0], channel=channel, left_out=left_out,
            tensors=tensors,
            reduce_range=settings.reduce_range,
        )
    )  # fmt: skip
