"""The path-metric of quantizing one layer alone, for every layer and every width, from one forward and one
adjoint pass.

Let Q be P with other numbers in the cells of one tensor, and let no path meet two nodes that read it. A path
p then has at most one coordinate i with p_i ≠ q_i; with π_p the product of the moduli of its others,

    |Φ_p(P) - Φ_p(Q)| = |p_i - q_i| π_p        whatever the signs of p_i and q_i,

so that (docs/theory.md, section 3.2, case 2)

    ‖Φ(P) - Φ(Q)‖₁ = Σ_i |p_i - q_i| Σ_{p ∋ i} π_p = Σ_i |Δ_i| ∂‖Φ(P)‖₁/∂|θ_i| = Σ_i Φ-Cost(i) |Δ_i| / |θ_i|,

exactly, Φ-Cost(i) = |θ_i| ∂‖Φ‖₁/∂|θ_i| (section 7). The cost pass gives the Φ-costs of all layers at once,
and each variant is an inner product. The last form holds because a zero stays zero on a symmetric grid (Δ_i =
0 there), and |Δ_i| <= |θ_i|. All terms are non-negative: the relative error is that of the costs. With |x| or
the radii of a box for the input, Σ_i is Σ_p |x_p0| |Φ_p(P) - Φ_p(Q)|: since signs agree, a bound on Σ_v
|R_P(x)_v - R_Q(x)_v| by Theorem C.1 (section 2).

A tensor that some path meets twice needs a difference pass of its own: its numbers are upper ends.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxpath.analyses.metric.metric import path_metric
from onnxpath.analyses.prune.costs import Measured, exact, measure
from onnxpath.analyses.prune.prunable import changed
from onnxpath.analyses.quantize import grids
from onnxpath.analyses.quantize.layers import Layer
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.model.network import Network


@dataclass(frozen=True)
class Variant:
    """One layer (index) with one width, the others as they are.

    metric: the path-metric, `exact` up to `relative_error`, otherwise its certified upper end. bound: Σ_p
        r_p0 |Φ_p - Φ'_p| for the radii of a
    domain, rounded up: no output moves more, nor all together; None without a domain.
    """

    layer: int
    bits: int
    metric: Scaled
    exact: bool
    relative_error: float
    bound: Scaled | None


def _gradients(layer: Layer, measured: Measured) -> list[np.ndarray]:
    """∂‖Φ‖₁/∂|θ| of every target's cells, float64 mantissas; 0 for cells that are 0."""
    found = []
    for target in layer.targets:
        size = np.abs(target.place.view(np.ascontiguousarray(layer.array)))
        cost = target.costs(measured.costs)
        found.append(
            np.divide(
                cost, size, out=np.zeros(size.shape), where=size > 0, dtype=np.float64, casting="unsafe"
            )
        )
    return found


def _product(layer: Layer, rounded: np.ndarray, gradients: Sequence[np.ndarray], exponent: int) -> Scaled:
    total = 0.0
    change = np.abs(layer.array - rounded)
    for target, gradient in zip(layer.targets, gradients, strict=True):
        total += float(np.dot(target.place.view(change).reshape(-1).astype(np.float64), gradient.reshape(-1)))
    return Scaled(total, exponent)


@dataclass(frozen=True, eq=False)
class Costed:
    """The path-norm, and the variants with the tensors that they put in place of a layer's, layer by layer,
    made as they are asked for."""

    norm: Scaled
    variants: Iterator[tuple[Variant, np.ndarray]]


def sensitivity(
    network: Network, found: Sequence[Layer], widths: Sequence[int], rounding: str, device: Device,
    radius: Mapping[str, np.ndarray] | None = None,
) -> Costed:  # fmt: skip
    """Every layer with every width. radius: of a domain, by input (see `pruning.costs.measure`)."""
    measured = measure(network, device)
    weighted = None if radius is None else measure(network, device, radius=radius)
    return Costed(measured.norm, _variants(network, found, widths, rounding, device, measured, weighted))


def _variants(
    network: Network, found: Sequence[Layer], widths: Sequence[int], rounding: str, device: Device,
    measured: Measured,
    weighted: Measured | None,
) -> Iterator[tuple[Variant, np.ndarray]]:  # fmt: skip
    for k, layer in enumerate(found):
        apart = exact(network, [use for target in layer.targets for use, _ in target.uses])
        gradients = _gradients(layer, measured)
        more = None if weighted is None else _gradients(layer, weighted)
        top = grids.largest(layer.array, layer.axis)
        for bits in widths:
            rounded = grids.rounded(layer.array, bits, layer.axis, rounding, layer.kind, top)
            if not apart:
                metric = path_metric(network, changed(network, {layer.tensor: rounded}), device)
                interval = metric.path_metric
                yield Variant(k, bits, interval.upper, interval.exact, interval.relative_error, None), rounded
                continue
            bound = None
            if weighted is not None and more is not None:
                bound = _product(layer, rounded, more, weighted.exponent).times(1 + 2 * weighted.error)
            yield (
                Variant(
                    k,
                    bits,
                    _product(layer, rounded, gradients, measured.exponent),
                    True,
                    measured.error,
                    bound,
                ),
                rounded,
            )
