"""`--budget`: the widths of the smallest file whose certified metric, or bound over a domain, stays under a
limit."""

from collections.abc import Sequence

from onnxpath.analyses.bound import difference_bounds
from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.quantize import mixed
from onnxpath.analyses.quantize.layers import Layer, quantized
from onnxpath.analyses.quantize.sensitivity import sensitivity
from onnxpath.analyses.quantize.settings import Budget, Settings
from onnxpath.analyses.quantize.work import Work, radius
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.matching import match
from onnxpath.model.network import Network

Widths = dict[str, int | None]
"""Bits by tensor; None where it stays as it is."""


def reached(network: Network, twin: Network, work: Work, device: Device) -> Scaled:
    """What the budget limits, certified from above."""
    assert work.budget is not None
    if work.budget.quantity == "metric":
        return path_metric(network, twin, device).bound
    assert work.domain is not None
    values = (
        difference_bounds.bounds(match(network, twin), work.domain.resolve(network), device)
        .all()
        .norms("inf")
    )
    return max(values, key=lambda value: value.log2)


def within(
    network: Network, found: Sequence[Layer], settings: Settings, work: Work, device: Device
) -> tuple[Widths, Scaled]:
    """The cheapest widths that keep the budget, and the limit as a magnitude. Raises UsageError when no layer
    can be quantized within it."""
    budget = work.budget
    assert budget is not None
    weighted = radius(work, network) if budget.quantity == "bound" else None
    costed = sensitivity(network, found, settings.bits, settings.rounding, device, weighted)
    limit = budget.limit(costed.norm)
    if not limit.mantissa:
        raise UsageError(f"{network.path}: its path-norm is 0, so is every budget that is a part of it")
    options = [[mixed.Option(None, layer.bytes(None), 0.0)] for layer in found]
    for variant, _ in costed.variants:
        cost = variant.bound if budget.quantity == "bound" and variant.bound is not None else variant.metric
        options[variant.layer].append(
            mixed.Option(variant.bits, found[variant.layer].bytes(variant.bits), cost.over(limit))
        )

    def named(choice: list[int]) -> Widths:
        return {layer.tensor: own[k].bits for layer, own, k in zip(found, options, choice, strict=True)}

    def measured(choice: list[int]) -> float:
        return reached(
            network, quantized(network, named(choice), found, settings.rounding), work, device
        ).over(limit)

    choice = mixed.search(options, measured)
    if choice is None or all(bits is None for bits in named(choice).values()):
        raise UsageError(
            f"{network.path}: no layer can be quantized to {_listed(settings)} bits within the budget"
            f" {_written(budget)}"
        )
    return named(choice), limit


def _listed(settings: Settings) -> str:
    return " or ".join(map(str, settings.bits))


def _written(budget: Budget) -> str:
    return (
        f"{budget.quantity}={100 * budget.value:g}%"
        if budget.relative
        else f"{budget.quantity}={budget.value:g}"
    )
