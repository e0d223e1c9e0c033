"""`prune` as people call it: from a file to pruned files with their certificates, costs, comparison and
figure."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxpath import exporter
from onnxpath.analyses import drawing, tool
from onnxpath.analyses.prune import figure
from onnxpath.analyses.prune.certificate import Outcome, prepare, run, run_channels
from onnxpath.analyses.prune.channels import same_paths
from onnxpath.analyses.prune.costs import Cotangent, Measured, measure, summarised
from onnxpath.analyses.prune.criteria import Settings, check_sparsity
from onnxpath.analyses.prune.overlap import overlaps
from onnxpath.analyses.prune.prunable import stored
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.exporter.removal import remove_channels
from onnxpath.files import overwriting
from onnxpath.files.writing import replaced
from onnxpath.importer.source import File
from onnxpath.model.domain import Domain
from onnxpath.model.network import Network
from onnxpath.records import Pruned, PrunedFile


@dataclass(frozen=True)
class Extras:
    """What else is wanted: the costs in an .npz file, the comparison of criteria, a figure."""

    costs: str | None = None
    compare: bool = False
    report: str | None = None


def names(out: str, sparsities: Sequence[float | None]) -> list[str]:
    """The files to write: OUT for one sparsity, otherwise OUT with the sparsity before its ending."""
    if len(sparsities) == 1:
        return [out]
    stem, ending = os.path.splitext(out)
    return [f"{stem}-{sparsity:g}{ending}" for sparsity in sparsities]


def _check(source: File, paths: Sequence[str | None], extras: Extras, force: bool) -> None:
    """Everything that can be told beforehand about the files to write."""
    if extras.report is not None:
        drawing.check(extras.report)
    models = [path for path in paths if path is not None]
    exporter.check_targets(source, models, ((extras.costs, "npz"), (extras.report, "figure")), force)


def prune(
    source: File, network: Network, out: str | os.PathLike[str] | None,
    sparsities: Sequence[float | None], settings: Settings,
    device: Device, *, cotangent: Cotangent = None, domain: Domain | None = None,
    extras: Extras | None = None, force: bool = False,
) -> Pruned:  # fmt: skip
    """Prune to every sparsity, and write the files with their certificates (nothing where `out` is None).

    source: what `network` was read from. Everything that can be wrong with the call is found before anything
        is computed.
    """
    extras = extras or Extras()
    for sparsity in sparsities:
        check_sparsity(sparsity, settings)
    if len(set(sparsities)) < len(sparsities):
        raise UsageError("a sparsity is given twice")
    paths = [None] * len(sparsities) if out is None else names(os.fsdecode(os.fspath(out)), sparsities)
    _check(source, paths, extras, force)
    found, notes = (
        prepare(network, settings) if not settings.channels or extras.compare or extras.report else ([], [])
    )
    if domain is not None:
        domain.resolve(network)
    measured = [measure(network, device)]
    norm = measured[0].norm
    summary, more = _stored_costs(network, measured[0], extras.costs)
    notes += more
    compared = overlaps(network, found, measured[0], device, settings.seed) if extras.compare else ()
    cloud = None
    if extras.report is not None:
        values = [item.place.view(stored(network, item)) for item in found]
        cloud = figure.cloud(values, [item.costs(measured[0].costs) for item in found], measured[0].exponent)
    files: list[PrunedFile] = []
    for k, (sparsity, path) in enumerate(zip(sparsities, paths, strict=True)):
        first = measured if k + 1 == len(sparsities) else list(measured)
        given = {"first": first, "cotangent": cotangent, "domain": domain}
        if settings.channels:
            outcome = run_channels(source, network, settings, sparsity, device, **given)
        else:
            outcome = run(network, found, settings, sparsity, device, **given)
        file, more = _written(source, network, outcome, path, force)
        files.append(file)
        norm = outcome.certificate.path_norm
        notes += [note for note in (*outcome.notes, *more) if note not in notes]
    if extras.report is not None and cloud is not None:
        with replaced(extras.report) as file:
            file.write(figure.draw(cloud, [file.certificate for file in files], extras.report))
    if compared and not compared[0].kept:
        notes.append("no channel of this network can be rescaled: there is no comparison after a rescaling")
    return Pruned(
        network.path, network.sha256, norm, tuple(files), tool.describe(device), (*network.notes, *notes),
        summary, compared,
    )  # fmt: skip


def _stored_costs(
    network: Network, measured: Measured, path: str | None
) -> tuple[dict[str, Any] | None, list[str]]:
    """The path costs, written to `path`: a summary of them, and notes; nothing where it is None."""
    if path is None:
        return None, []
    costs = summarised(network, measured)
    with replaced(path) as file:
        overwriting.save_arrays(file, costs.arrays())
    return costs.to_dict(), [note for note in costs.notes if note not in network.notes]


def _written(
    source: File, network: Network, outcome: Outcome, path: str | None, force: bool
) -> tuple[PrunedFile, tuple[str, ...]]:
    certificate = outcome.certificate
    if path is None:
        return PrunedFile(certificate), ()
    certified = exporter.Certified("onnxpath.certificate", certificate.to_dict())
    if outcome.removed is None:
        written = exporter.write(source, outcome.edits, path, force=force, certified=certified)
    else:
        written = remove_channels(
            source, network, outcome.removed, path, force, certified=certified,
            verify=lambda staged: same_paths(staged, network, certificate.pruned_path_norm),
        )  # fmt: skip
    return PrunedFile(certificate, path, written.sha256), written.notes
