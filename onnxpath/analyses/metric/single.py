"""The norm of every single output neuron, to a certificate of its own.

The pass that gives the path-norm has one exponent per channel and loses nothing that matters beside the
largest cells; a neuron far below them may have lost all it has. Where a value is not known to the error of
the norm it is computed again in float64, where a channel spans 600 decades. A 0 is reported where no path
without a zero weight ends; what is smaller than even float64 tells is an upper bound, and said to be one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from onnxpath.engine.plan import Reading
from onnxpath.engine.scaled import Scaled

Pass = Callable[[], Mapping[str, Reading]]
Reached = Callable[[], Mapping[str, np.ndarray]]


@dataclass(frozen=True, eq=False)
class Entries:
    """Every entry of a reading: its value, and the relative error that is certified of it; infinite where the
    value is an upper bound only."""

    values: tuple[Scaled, ...]
    errors: np.ndarray


def entries(reading: Reading) -> Entries:
    """The entries of a reading, flattened."""
    mantissa = reading.values.mantissa
    lost = np.broadcast_to(reading.lost.log2 if reading.losses is None else reading.losses, mantissa.shape)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log2 = np.log2(mantissa) + reading.values.exponent
        part = np.where(np.isneginf(lost), 0.0, np.exp2(lost - log2))
    errors = reading.rho + np.where(mantissa == 0, np.where(np.isneginf(lost), 0.0, np.inf), part)
    return Entries(
        tuple(reading.values.flatten()),
        np.where((mantissa == 0) & np.isneginf(lost), 0.0, errors).reshape(-1),
    )


def _bounds(reading: Reading, found: Entries) -> tuple[Scaled, ...]:
    """Certified upper bounds of the entries."""
    losses = np.broadcast_to(
        reading.lost.log2 if reading.losses is None else reading.losses, reading.values.mantissa.shape
    ).reshape(-1)
    grown = (1 + reading.rho) * (1 + 1e-12)
    return tuple(
        value.times(grown) + Scaled.power(float(lost))
        for value, lost in zip(found.values, losses, strict=True)
    )


def single(
    readings: Mapping[str, Reading], limit: float, wide: Pass | None, reached: Reached
) -> dict[str, Entries]:
    """The entries of every output. limit: the relative error that is good enough. wide: the same pass in
    float64 (None where it was already); reached: whether any path ends at an entry."""
    found = {name: entries(reading) for name, reading in readings.items()}
    if wide is not None and any((item.errors > limit).any() for item in found.values()):
        for name, reading in wide().items():
            better, before = entries(reading), found[name]
            pick = better.errors < before.errors
            values = tuple(
                new if use else old for new, old, use in zip(better.values, before.values, pick, strict=True)
            )
            found[name] = Entries(values, np.where(pick, better.errors, before.errors))
            if not (found[name].errors < 1).all():
                readings = {**readings, name: reading}
    if all((item.errors < 1).all() for item in found.values()):
        return found
    ends = reached()
    for name, item in found.items():
        zero, vague = ~ends[name].reshape(-1), ~(item.errors < 1)
        bounds = _bounds(readings[name], entries(readings[name]))
        values = tuple(
            Scaled(0.0) if none else bound if open_ else value
            for value, bound, none, open_ in zip(item.values, bounds, zero, vague, strict=True)
        )
        found[name] = Entries(values, np.where(zero, 0.0, np.where(vague, np.inf, item.errors)))
    return found
