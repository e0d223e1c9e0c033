"""Pruning with a certificate (paper, Section 4; docs/theory.md, section 7).

Reverse hard thresholding: the coordinates with the smallest Φ-costs (or magnitudes, or random numbers) become
0, over all layers (Φ-GP), per layer (Φ-LP), or N of every M input channels. For a set S of removed
coordinates,

    Σ_v |R_θ(x)_v - R_pruned(x)_v|  <=  max(‖x‖_∞, 1) ‖Φ(θ) - Φ(pruned)‖₁ <= max(‖x‖_∞, 1) Σ_{i in S}
                                        Φ-Cost(i),

where the path-metric in the middle is exact, because pruning is monotone. In several steps, the costs of a
step are those of the network that the step before has left: the sum still is a bound, by the triangle
inequality, and a smaller one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.metric import monotone
from onnxpath.analyses.prune.channels import choose, groups_of, without
from onnxpath.analyses.prune.costs import Cotangent, Measured, exact, measure
from onnxpath.analyses.prune.criteria import Settings, fitting, masks, scores
from onnxpath.analyses.prune.prunable import Target, changed, stored, targets
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.model.matching import match
from onnxpath.model.network import Network
from onnxpath.records import Certificate, DomainBound, PrunedLayer


@dataclass(frozen=True, eq=False)
class Outcome:
    """New values of the file's tensors, the certificate, and notes. removed: groups of channels that leave
    the file instead."""

    edits: dict[str, np.ndarray]
    certificate: Certificate
    notes: tuple[str, ...] = ()
    removed: frozenset[int] | None = None


def run(
    network: Network, found: Sequence[Target], settings: Settings, sparsity: float | None, device: Device,
    *, first: list[Measured], cotangent: Cotangent = None, domain: Domain | None = None,
) -> Outcome:  # fmt: skip
    """Prune to one sparsity. first: the costs of the network, in a list that is emptied, so that they can be
    dropped once they are used. cotangent: weights of the outputs, for the ranking alone."""
    edits = {item.tensor: stored(network, item).copy() for item in found}
    views = [item.place.view(edits[item.tensor]) for item in found]
    removed, spent, error = [0] * len(found), [Scaled(0.0)] * len(found), 0.0
    current, measured = network, first.pop()
    for step in range(1, settings.iterations + 1):
        if step > 1:
            current = changed(network, edits)
            measured = measure(current, device)
        goal = None if sparsity is None else 1 - (1 - sparsity) ** (step / settings.iterations)
        costs = [item.costs(measured.costs) for item in found]
        ranking = costs
        if cotangent is not None and settings.criterion == "path":
            weighted = measure(current, device, cotangent)
            ranking = [item.costs(weighted.costs) for item in found]
        gone = masks(found, views, scores(views, ranking, settings), settings, goal)
        for k, (view, mask, cost) in enumerate(zip(views, gone, costs, strict=True)):
            mask &= view != 0
            removed[k] += int(np.count_nonzero(mask))
            spent[k] = spent[k] + Scaled(float(cost.sum(dtype=np.float64, where=mask)), measured.exponent)
            view[mask] = 0
        error = max(error, measured.error)
    layers = tuple(
        PrunedLayer(
            item.layer, item.tensor, item.size, int(item.size - np.count_nonzero(view)), count, cost,
            exact(network, [use for use, _ in item.uses]),
        )
        for item, view, count, cost in zip(found, views, removed, spent, strict=True)
    )  # fmt: skip
    del measured, gone, costs, ranking
    pruned = changed(network, edits)
    total = Scaled(0.0)
    for cost in spent:
        total = total + cost
    notes = (
        ("nothing was removed: the network is as sparse already",)
        if not any(removed) and sparsity != 0
        else ()
    )
    return Outcome(
        edits, _certificate(network, pruned, settings, sparsity, layers, total, error, device, domain), notes
    )


def run_channels(
    source: object, network: Network, settings: Settings, sparsity: float | None, device: Device,
    *, first: list[Measured], cotangent: Cotangent = None, domain: Domain | None = None,
) -> Outcome:  # fmt: skip
    """Remove channels; the arguments are those of `run`, and what the network was read from."""
    assert sparsity is not None
    found, measured = groups_of(source, network).canonical, first.pop()
    removed, layers, total = choose(network, found, settings, sparsity, device, measured, cotangent)
    pruned = without(network, found, removed)
    certificate = _certificate(
        network, pruned, settings, sparsity, layers, total, measured.error, device, domain
    )
    return Outcome({}, certificate, () if removed else ("no channel was removed",), frozenset(removed))


def _certificate(
    network: Network, pruned: Network, settings: Settings, sparsity: float | None,
    layers: tuple[PrunedLayer, ...], total: Scaled,
    error: float, device: Device, domain: Domain | None,
) -> Certificate:  # fmt: skip
    found = monotone.path_metric(network, pruned, device)
    if (
        total < found.metric.upper
    ):  # by rounding, or by costs too small for float32: the sum of all costs is at least the metric
        total, error = found.metric.upper, max(error, found.metric.relative_error)
    relative = found.metric.upper.over(found.norm) if found.norm.mantissa else 0.0
    return Certificate(
        network.sha256, settings.criterion, settings.scope if settings.groups is None else "pattern",
        settings.pattern, sparsity,
        settings.iterations, settings.seed if settings.criterion == "random" else None, layers, total, error,
        found.norm,
        found.remaining, found.metric, relative, found.upper, tool.describe(device),
        None if domain is None else domain_bound(network, pruned, domain, device),
        {name: network.shapes[name] for name in network.inputs},
        {label: network.shapes[name] for label,
        name in zip(network.output_names, network.outputs, strict=True)}, network.cut,
    )  # fmt: skip


def domain_bound(network: Network, pruned: Network, domain: Domain, device: Device) -> DomainBound:
    """Certified bounds on the outputs' difference over a domain (docs/theory.md, section 4)."""
    pairing = match(network, pruned)

    found = difference_bounds.bounds(pairing, domain.resolve(network), device).all()
    largest, total = (max(found.norms(kind), key=lambda value: value.log2) for kind in ("inf", "1"))
    return DomainBound(dict(domain.describe), largest, total)


def prepare(network: Network, settings: Settings) -> tuple[list[Target], list[str]]:
    """What will be pruned, and notes on what will not."""
    found, notes = targets(network, settings.include, settings.exclude, settings.biases)
    fit, more = fitting(network, found, settings)
    return fit, notes + more
