"""The sweep over layers and widths, and the layers to blame: both in one ONNX Runtime session for all
variants."""

from collections.abc import Sequence
from dataclasses import replace

from onnxpath.analyses.quantize.blame import blame
from onnxpath.analyses.quantize.layers import Layer
from onnxpath.analyses.quantize.local import Local
from onnxpath.analyses.quantize.sensitivity import Variant, sensitivity
from onnxpath.analyses.quantize.settings import Settings
from onnxpath.analyses.quantize.variants import Error, Runner
from onnxpath.analyses.quantize.work import Base, Work, radius
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.model.domain import Domain
from onnxpath.records import Blame, Sweep, SweptLayer, SweptWidth


def analysed(
    base: Base, found: Sequence[Layer], settings: Settings, work: Work, device: Device
) -> tuple[Sweep | None, Blame | None, Scaled | None]:
    """The sweep and the blame, where they are asked for, and the path-norm."""
    if not work.analysis:
        return None, None, None
    runner = Runner(base.network, base.samples, device)
    points = replace(base.points, largest_output=runner.size)
    costed = sensitivity(
        base.network, found, settings.bits, settings.rounding, device, radius(work, base.network)
    )
    variants, errors = [], []
    for variant, rounded in costed.variants:
        variants.append(variant)
        if work.sweep:
            errors.append(runner.error([(found[variant.layer], rounded)]))
    swept = shame = None
    if work.sweep:
        swept = Sweep(_swept(found, variants, errors), points, _described(work.domain))
    if work.blame:
        bits = 8 if 8 in settings.bits else settings.bits[-1]
        own = [variant for variant in variants if variant.bits == bits]
        local = Local(base.network, found, base.samples, device)
        shame = blame(base.network, found, bits, settings.rounding, own, runner, local, points, device)
    return swept, shame, costed.norm


def _described(domain: Domain | None) -> dict | None:
    return None if domain is None else dict(domain.describe)


def _swept(
    found: Sequence[Layer], variants: Sequence[Variant], errors: Sequence[Error]
) -> tuple[SweptLayer, ...]:
    total: dict[int, Scaled] = {}
    for variant in variants:
        total[variant.bits] = total.get(variant.bits, Scaled(0.0)) + variant.metric
    rows: list[list[SweptWidth]] = [[] for _ in found]
    for variant, error in zip(variants, errors, strict=True):
        whole = total[variant.bits]
        rows[variant.layer].append(
            SweptWidth(
                variant.bits, variant.metric, variant.exact, variant.relative_error,
                variant.metric.over(whole) if whole.mantissa else 0.0,
                variant.bound, error.largest, error.mean, found[variant.layer].bytes(variant.bits),
            )
        )  # fmt: skip
    return tuple(
        SweptLayer(layer.name, layer.tensor, layer.array.size, layer.bytes(None), tuple(row))
        for layer, row in zip(found, rows, strict=True)
    )
