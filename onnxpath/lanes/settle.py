"""Running a pass so that its exponents fit (docs/theory.md, section 6).

The channel-level bound of a lane's magnitude can exceed its true maximum by a little in every layer: zero
padding takes from border cells what the bound grants them. After some hundred layers the exponents no longer
fit, values underflow, and the certificate says so (`lost` is no longer negligible). Then the pass is run
again with the maxima and minima of all lanes measured. A measured maximum, inflated by its own certificate,
is a rigorous bound of that lane, from which the next layers' bounds and exponents start afresh; a measured
minimum turns what underflow lost into a part of the value, and a part of a non-negative lane stays that part
in everything it flows into. Every round settles some hundred more layers.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from onnxpath.engine.certificate import relative_error
from onnxpath.engine.plan import Output, Plan, Reading
from onnxpath.engine.session import Device
from onnxpath.lanes.lanes import Calibration
from onnxpath.lanes.tracer import Tracer

Label = TypeVar("Label", bound=Hashable)
Extra = TypeVar("Extra")
Build = Callable[[Calibration], tuple[Tracer, dict[Label, Output], Extra]]

_ROUNDS = 40
_NEGLIGIBLE = 2.0**-30


def fits(reading: Reading) -> bool:
    """Whether underflow cost the reading nothing that matters beside its rounding."""
    if not np.isfinite(reading.values.mantissa).all():
        return False
    total = reading.total()
    if total.mantissa == 0:
        return reading.lost.mantissa == 0
    return reading.lost.over(total) < max(_NEGLIGIBLE, reading.rho / 64)


def _learn(tracer: Tracer, found: Mapping, device: Device, before: Calibration) -> Calibration | None:
    """Rigorous bounds of every measured lane; None when they are no better than before."""
    caps, floors, better = dict(before.caps), dict(before.floors), False
    for probe in tracer.probes:
        lane, k = probe.lane, probe.number
        error = relative_error(lane.roundings, device.dtype) + 2 * lane.relative
        top, bottom = (found[end, k].values for end in ("top", "bottom"))
        if not np.isfinite(top.mantissa).all():
            continue
        with np.errstate(divide="ignore", invalid="ignore"):
            high, low = (np.log2(end.mantissa) + end.exponent for end in (top, bottom))
            cap = np.logaddexp2(high + np.log2(1 + error), lane.flush + 1) + 1e-9
            floor = np.where(low > lane.flush + 20, low + np.log2(1 - min(error, 0.5)) - 1, -np.inf)
        old_cap, old_floor = caps.get(k, np.inf), floors.get(k, -np.inf)
        better = better or bool((cap < old_cap - 1).any() or (floor > old_floor + 1).any())
        caps[k], floors[k] = np.minimum(cap, old_cap), np.maximum(floor, old_floor)
    return Calibration(caps, floors, True) if better else None


def _extreme(reading: Reading, end: str) -> Reading:
    values = reading.values
    mantissa = getattr(values.mantissa, "max" if end == "top" else "min")(axis=0, keepdims=True)
    return replace(reading, values=replace(values, mantissa=mantissa))


def evaluate(
    build: Build[Label, Extra],
    inputs: Mapping[str, np.ndarray],
    device: Device,
    matter: Callable[[Label], bool] = lambda label: True,
    chunk: int = 0,
) -> tuple[dict[Label, Reading], Extra]:
    """Trace and run a pass, as often as its exponents need. `matter`: which outputs must fit; `chunk`: see
    `Plan.run`.

    Returns the readings and what `build` kept of the last trace.
    """
    calibration, rounds = Calibration(), 0
    while True:
        tracer, outputs, extra = build(calibration)
        probes = {
            (end, probe.number): Output(getattr(probe, end), probe.lane.exponent)
            for probe in tracer.probes
            for end in ("top", "bottom")
        }
        found = Plan(tracer.graph, tracer.graph_exponents, {**outputs, **probes}, device).run(inputs, chunk)
        readings = {label: found[label] for label in outputs}
        rounds += 1
        if rounds == _ROUNDS or all(fits(reading) for label, reading in readings.items() if matter(label)):
            return readings, extra
        if chunk:  # every chunk measured its own extremes
            found |= {key: _extreme(found[key], key[0]) for key in probes}
        learned = (
            _learn(tracer, found, device, calibration)
            if calibration.measure
            else replace(calibration, measure=True)
        )
        if learned is None:
            return readings, extra
        calibration = learned
