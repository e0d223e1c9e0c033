"""Path-norms ‖Φ(θ)‖_q = (Σ_v Σ_{p→v} |Φ_p|^q)^(1/q), by one absolute pass per q (docs/theory.md, section
1)."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.single import Entries, single
from onnxpath.engine.plan import Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.lanes import absolute, settle
from onnxpath.model.network import Network
from onnxpath.model.paths import require_paths
from onnxpath.records import Norm, NormOutput, PathNorms
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.condense import condense

# Beyond these not even exponents of |w|^q are numbers to compute with.
LEAST_Q, LARGEST_Q = 1e-9, 1e6


def evaluate(
    network: Network, q: float, device: Device, inputs: Mapping[str, np.ndarray] | None = None
) -> dict[str, Reading]:
    """F_{|θ|^q}(r) at every output, for r = `inputs` (non-negative, [batch, ...]) or all ones.

    Raises UsageError for q that is negative, not finite or beyond `LARGEST_Q`, and negative or non-finite
    inputs.
    """
    if not (q == 0 or LEAST_Q <= q <= LARGEST_Q):
        raise UsageError(f"q must be 0 or from {LEAST_Q:g} to {LARGEST_Q:g}, not {q}")
    if inputs is None:
        # numbers of paths stay whole: means over cells would round them
        small = collapse(network) if q == 0 else condense(network)
        readings = absolute.evaluate(small, q, device, absolute.ones(small))
        return {name: readings[tensor] for name, tensor in zip(network.outputs, small.outputs, strict=True)}
    for name in network.inputs:
        array = np.asarray(inputs[name]) if name in inputs else None
        shape = network.shapes[name]
        if array is None or array.shape[1:] != shape[1:] or (not network.batched and array.shape != shape):
            found = "nothing" if array is None else list(array.shape)
            raise UsageError(
                f"input '{name}' of {network.path} needs an array of shape {list(shape)} (any batch), got"
                f" {found}"
            )
        if not np.isfinite(array).all() or (array < 0).any():
            raise UsageError(f"input '{name}' must hold finite numbers >= 0")
    raised = {name: np.asarray(inputs[name], np.float64) ** q for name in network.inputs}
    return absolute.evaluate(network, q, device, raised)


def _sum(readings: Mapping[str, Reading]) -> tuple[Scaled, float]:
    """Σ over all outputs, and the certified relative error of that sum."""
    total, lost, rho = Scaled(0.0), Scaled(0.0), 0.0
    for reading in readings.values():
        total = total + reading.total()
        lost = lost + reading.lost.times(reading.values.mantissa.size)
        rho = max(rho, reading.rho)
    error = rho + (lost.over(total) if total.mantissa else (0.0 if not lost.mantissa else float("inf")))
    return total, error


def _certified(network: Network, q: float, device: Device, error: float) -> float:
    """The error, if there is one: a number without a certificate is not reported."""
    if error < float("inf"):
        return error
    advice = "use --precision float64" if device.precision == "float32" else "use a q closer to 1"
    raise UsageError(
        f"{network.path}: the powers |w|^{q:g} spread too far for a certified result in {device.precision};"
        f" {advice}"
    )


def _root_error(error: float, root: float) -> float:
    """The relative error of t^(1/root) when t is known to a relative error."""
    if not error < 1:
        return float("inf")
    with np.errstate(over="ignore"):
        return float(max(np.expm1(np.log1p(error) / root), -np.expm1(np.log1p(-error) / root)))


def _logs(reading: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log2 of every entry, of its certified upper bound and of its certified lower bound."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = (np.log2(reading.values.mantissa) + reading.values.exponent).reshape(-1)
        high = np.logaddexp2(value + np.log2((1 + reading.rho) * (1 + 1e-12)), reading.lost.log2)
        left = 1 - reading.rho - np.exp2(reading.lost.log2 - value)
        return value, high, np.where(left > 0, value + np.log2(np.maximum(left, 0.0)), -np.inf)


def _mixed(readings: Mapping[str, Reading], q: float, r: float) -> tuple[Scaled, float]:
    """‖(‖Φ^{→v}‖_q)_v‖_r, and its certified relative error: the norm is monotone in every entry."""
    columns = zip(*(_logs(reading) for reading in readings.values()), strict=True)
    found, high, low = (_norm_log2(np.concatenate(column) / q, r) for column in columns)
    if found == -np.inf:
        return Scaled(0.0), 0.0 if high == -np.inf else float("inf")
    with np.errstate(over="ignore"):
        # logarithms, and sums of many powers, are rounded too
        return Scaled.power(found), float(max(np.exp2(high - found) - 1, 1 - np.exp2(low - found))) + 1e-11


def _norm_log2(values: np.ndarray, r: float) -> float:
    return (
        float(values.max(initial=-np.inf))
        if r == np.inf
        else float(np.logaddexp2.reduce(r * values, initial=-np.inf)) / r
    )


def _readings(network: Network, q: float, device: Device) -> dict[str, Reading]:
    """The outputs; those of which float32 lost something that matters, in float64."""
    readings = evaluate(network, q, device)
    if device.precision == "float64" or all(settle.fits(reading) for reading in readings.values()):
        return readings
    wide = evaluate(network, q, Device("cpu", "float64", device.threads))
    return {name: reading if settle.fits(reading) else wide[name] for name, reading in readings.items()}


def _ends(network: Network, device: Device) -> dict[str, np.ndarray]:
    """Whether any path without a zero weight ends at an output neuron."""
    small = collapse(network)
    found = absolute.reached(small, device)
    return {name: found[tensor] for name, tensor in zip(network.outputs, small.outputs, strict=True)}


def _neurons(
    network: Network, q: float, device: Device, readings: Mapping[str, Reading]
) -> dict[str, Entries]:
    """Σ_{p→v} |Φ_p|^q of every output neuron v, each to the error of the pass."""
    wide = Device("cpu", "float64", device.threads)
    again = None if device.precision == "float64" else lambda: evaluate(network, q, wide)
    return single(
        readings,
        1.125 * max(reading.rho for reading in readings.values()),
        again,
        lambda: _ends(network, device),
    )


def path_norms(
    network: Network,
    qs: Sequence[float] = (1.0, 2.0),
    device: Device | None = None,
    per_output: bool = False,
    r: float | None = None,
) -> PathNorms:
    """Path-norms of a network for every q >= 0 (q = 0 counts the paths without a zero weight).

    r: report the mixed norm ‖(‖Φ^{→v}‖_q)_v‖_r over the output neurons v instead, r > 0 or infinite.
    """
    if r is not None and not (r == np.inf or LEAST_Q <= r <= LARGEST_Q):
        raise UsageError(f"r must be from {LEAST_Q:g} to {LARGEST_Q:g}, or inf, not {r}")
    require_paths(network)
    device = device or Device()
    norms: list[Norm] = []
    columns: dict[str, list[tuple[Scaled, ...]]] = {name: [] for name in network.outputs}
    errors: dict[str, list[tuple[float, ...]]] = {name: [] for name in network.outputs}
    for q in qs:
        readings = _readings(network, q, device)
        root = q if q > 0 else 1.0
        if not any(reading.total().mantissa for reading in readings.values()) and not any(
            end.any() for end in _ends(network, device).values()
        ):
            value, error = Scaled(0.0), 0.0  # whatever underflow may have lost
        elif r is None:
            total, error = _sum(readings)
            value, error = total.root(root), _root_error(error, root)
        else:
            value, error = _mixed(readings, root, r)
        norms.append(Norm(float(q), value, _certified(network, q, device, error)))
        if per_output:
            for name, item in _neurons(network, q, device, readings).items():
                columns[name].append(tuple(v.root(root) for v in item.values))
                errors[name].append(tuple(_root_error(e, root) for e in item.errors.tolist()))
    outputs = ()
    if per_output:
        outputs = tuple(
            NormOutput(label, network.shapes[name], tuple(columns[name]), tuple(errors[name]))
            for label, name in zip(network.output_names, network.outputs, strict=True)
        )
    return PathNorms(
        network.path, network.sha256, tuple(norms), tool.describe(device), outputs, network.notes, r
    )
