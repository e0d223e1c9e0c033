"""Path-norms ‖Φ(θ)‖_q = (Σ_v Σ_{p→v} |Φ_p|^q)^(1/q), by one absolute pass per q (docs/theory.md, section 1)."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath import tool
from onnxpath.collapse import collapse
from onnxpath.engine.plan import Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.network import Network
from onnxpath.passes import absolute
from onnxpath.results import Norm, NormOutput, PathNorms

# Beyond these not even exponents of |w|^q are numbers to compute with.
LEAST_Q, LARGEST_Q = 1e-9, 1e6


def evaluate(network: Network, q: float, device: Device, inputs: Mapping[str, np.ndarray] | None = None) -> dict[str, Reading]:
    """F_{|θ|^q}(r) at every output, for r = `inputs` (non-negative, [batch, ...]) or all ones.

    Raises UsageError for q that is negative, not finite or beyond `LARGEST_Q`, and negative or non-finite inputs.
    """
    if not (q == 0 or LEAST_Q <= q <= LARGEST_Q):
        raise UsageError(f"q must be 0 or from {LEAST_Q:g} to {LARGEST_Q:g}, not {q}")
    if inputs is None:
        small = collapse(network)
        readings = absolute.evaluate(small, q, device, absolute.ones(small))
        return {name: readings[tensor] for name, tensor in zip(network.outputs, small.outputs, strict=True)}
    for name in network.inputs:
        array = np.asarray(inputs[name]) if name in inputs else None
        shape = network.shapes[name]
        if array is None or array.shape[1:] != shape[1:] or (not network.batched and array.shape != shape):
            found = "nothing" if array is None else list(array.shape)
            raise UsageError(f"input '{name}' of {network.path} needs an array of shape {list(shape)} (any batch), got {found}")
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
    raise UsageError(f"{network.path}: the powers |w|^{q:g} spread too far for a certified result in {device.precision}; {advice}")


def _root_error(error: float, root: float) -> float:
    """The relative error of t^(1/root) when t is known to a relative error."""
    if not error < 1:
        return float("inf")
    with np.errstate(over="ignore"):
        return float(max(np.expm1(np.log1p(error) / root), -np.expm1(np.log1p(-error) / root)))


def path_norms(network: Network, qs: Sequence[float] = (1.0, 2.0), device: Device | None = None, per_output: bool = False) -> PathNorms:
    """Path-norms of a network for every q >= 0 (q = 0 counts the paths without a zero weight)."""
    network.require_paths()
    device = device or Device()
    norms: list[Norm] = []
    columns: dict[str, list[tuple[Scaled, ...]]] = {name: [] for name in network.outputs}
    for q in qs:
        readings = evaluate(network, q, device)
        total, error = _sum(readings)
        root = q if q > 0 else 1.0
        norms.append(Norm(float(q), total.root(root), _certified(network, q, device, _root_error(error, root))))
        for name in network.outputs:
            columns[name].append(tuple(v.root(root) for v in readings[name].values.flatten()))
    outputs = ()
    if per_output:
        outputs = tuple(
            NormOutput(label, network.shapes[name], tuple(columns[name]))
            for label, name in zip(network.output_names, network.outputs, strict=True)
        )
    return PathNorms(network.path, network.sha256, tuple(norms), tool.describe(device), outputs, network.notes)
