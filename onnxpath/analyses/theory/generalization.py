"""Generalization bounds from path-norms (paper, Section 5, Appendices G and H; docs/generalization.md derives
every constant).

n samples, ‖x‖_∞ <= B, a loss that is L-Lipschitz in the output (ℓ2), parameters with path-norm at most r;
expected gap at most

    Theorem 5.1           24√2 L max(B, 1) r n^(-1/2) ∫₀¹ √(#params ln 2 + N ln(1 + 4 max(D, d_out) / u)) du
    sharper cover         the same with  ∫₀¹ √(#params ln 2 + N_h ln(1 + 4 H / u) + N_o ln(1 + 4 / u)) du
    Gonon et al. (2024)   4 L max(B, 1) r C n^(-1/2), C² = D ln((3 + 2P) K) + ln((3 + 2P) / (1 + P) · (d_in +
                          1) d_out)

N = N_h + N_o numbers are covered: #params, and one per channel for every branch that enters a sum without
weights (they are not 1 any more after normalization). In the first two r is the norm of whole kernels, which
is ‖Φ‖₁ where nothing is padded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, log, sqrt

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.norm import evaluate
from onnxpath.analyses.theory import architecture
from onnxpath.analyses.theory.architecture import Architecture
from onnxpath.analyses.theory.normalized import channel_norm
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.model.network import Network
from onnxpath.records.generalization import Covering, Gap, Generalization, Rate

CROSS_ENTROPY = sqrt(2.0)
DUDLEY = 24 * sqrt(2.0)
# Covering numbers are listed at these radii, relative to r.
RADII = (1.0, 0.1, 0.01, 0.001)
VACUOUS = (
    "these bounds hardly depend on the distribution of the inputs: they are vacuous for overparameterized"
    " networks, which can fit random labels (paper, Section 5); 'samples needed' says how far they are from"
    " saying anything"
)
FIXED = "r has to be fixed before training; like the paper, this uses the norm of the trained network"


def margin_lipschitz(margin: float) -> float:
    """√2 / γ: clip(1 - (y_c - max_{j≠c} y_j) / γ, 0, 1) is that Lipschitz in y, in the ℓ2 norm."""
    return sqrt(2.0) / margin


@dataclass(frozen=True)
class Enclosure:
    """A number between two others, up to float64 rounding, which both ends allow for."""

    lower: float
    upper: float


def entropy_integral(
    constant: float, terms: Sequence[tuple[float, float]], points: int = 20_000
) -> Enclosure:
    """∫₀¹ √(constant + Σ m ln(1 + a / u)) du for terms (m, a), enclosed.

    The integrand is convex and decreasing when constant >= 0: the midpoint rule is below, the trapezoid rule
    above, and on [0, ε] the mean of a root is at most the root of the mean, ∫₀^ε ln(1 + a/u) du = ε ln(1 +
    a/ε) + a ln(1 + ε/a).
    """

    def integrand(u: np.ndarray) -> np.ndarray:
        total = np.full_like(u, constant)
        for m, a in terms:
            total += m * np.log1p(a / u)
        return np.sqrt(total)

    small = 1e-12
    u = np.exp(np.linspace(log(small), 0.0, points))
    u[0], u[-1] = small, 1.0
    width, values = np.diff(u), integrand(u)
    mean = constant + sum(
        m * (np.log1p(a / small) + a / small * np.log1p(small / a)) for m, a in terms if a > 0
    )
    lower = float((width * integrand((u[1:] + u[:-1]) / 2)).sum()) + small * float(values[0])
    upper = float((width * (values[1:] + values[:-1])).sum()) / 2 + small * sqrt(mean)
    return Enclosure(lower * (1 - 1e-12), upper * (1 + 1e-12))


def covering_log(found: Architecture, relative: float) -> float:
    """ln of the covering number of Φ(Θ) in one orthant, at radius t = relative · r (Theorem H.1): N ln(1 + 4
    max(D, d_out) r / t)."""
    return (found.hidden + found.output) * float(np.log1p(4 * _width(found) / relative))


def _width(found: Architecture) -> int:
    return max(found.depth, found.outputs, found.levels)


def theorem_51(found: Architecture) -> float:
    """24√2 times the integral of Theorem 5.1, rounded up."""
    covered = found.hidden + found.output
    return DUDLEY * entropy_integral(found.parameters * log(2.0), [(covered, 4.0 * _width(found))]).upper


def sharper(found: Architecture) -> float:
    """24√2 times the integral with hidden and output rows covered apart, rounded up."""
    terms = [(found.hidden, 4.0 * found.levels), (found.output, 4.0)]
    return DUDLEY * entropy_integral(found.parameters * log(2.0), terms).upper


def gonon_2024(found: Architecture) -> float:
    """4 C of Gonon et al. (2024), Theorem 3.1."""
    order = 3 + 2 * found.pools
    square = found.depth * log(order * found.kernel) + log(
        order / (1 + found.pools) * (found.inputs + 1) * found.outputs
    )
    return 4 * sqrt(square) * (1 + 1e-12)


def rates(found: Architecture) -> list[tuple[str, str, float, str | None]]:
    """The rows of Table 3: source, rate, its value, and why it does not apply here (None where it does)."""
    d_in, depth = found.inputs, found.depth
    plain = "has biases" if found.biased else f"has {found.outputs} outputs" if found.outputs != 1 else None
    plain = plain or ("has max-pooling" if found.pools else None)
    shape = None if found.layered else "is not a chain of fully connected layers"

    def layers(wanted: int) -> str | None:
        return plain or shape or (None if depth == wanted else f"has depth {depth}, not {wanted}")

    linear, general = sqrt(log(d_in)), "DAG with biases, max-pooling and any number of outputs"
    integral = entropy_integral(log(2.0), [(1.0, 4.0 * _width(found))]).upper
    return [
        ("Kakade et al. 2008; Bach 2024: linear regression", "√ln d_in", linear, layers(1)),
        ("E et al. 2022; Bach 2017: two layers", "√ln d_in", linear, layers(2)),
        ("Neyshabur et al. 2015: DAG without biases, one output", "2^D √ln d_in",
        2.0**depth * linear if depth < 1000 else np.inf, plain),
        ("Golowich et al. 2018; Barron & Klusowski 2019: layers without biases, one output", "√(D + ln d_in)",
         sqrt(depth + log(d_in)), plain or shape),
        (f"Gonon et al. 2024: {general}", "√(D ln K + ln(d_in d_out))",
        sqrt(depth * log(found.kernel) + log(d_in * found.outputs)), None),
        (f"this paper, Theorem 5.1: {general}", "√#params ∫₀¹ √(ln 2 + ln(1 + 4 max(D, d_out) / u)) du",
         sqrt(found.parameters) * integral, None),
    ]  # fmt: skip


def _check(samples: int, input_bound: float, lipschitz: float, target: float) -> None:
    if samples < 1:
        raise UsageError(f"the number of samples must be at least 1, not {samples}")
    if not (isfinite(input_bound) and input_bound >= 0):
        raise UsageError(f"the input bound must be a finite number >= 0, not {input_bound}")
    for name, value in (("loss's Lipschitz constant", lipschitz), ("target", target)):
        if not (isfinite(value) and value > 0):
            raise UsageError(f"the {name} must be a finite number > 0, not {value}")


def _path_norm(network: Network, device: Device) -> Scaled:
    total = Scaled(0.0)
    for reading in evaluate(network, 1.0, device).values():
        total = total + reading.upper(reading.total(), reading.values.mantissa.size)
    return total


def generalization(
    network: Network, samples: int, input_bound: float = 1.0, loss_lipschitz: float | None = None,
    margin: float | None = None,
    target: float = 1.0, radii: Sequence[float] = RADII, device: Device | None = None,
) -> Generalization:  # fmt: skip
    """Bounds on the expected generalization gap of a network with this architecture and path-norm.

    loss_lipschitz: L of the loss in its output, ℓ2; default √2, that of cross-entropy. margin: γ of the
        margin loss, L = √2/γ.
    target: a gap below this says something (1: the range of the margin loss). radii: where to evaluate the
    covering number, relative to r. Raises UsageError for arguments that make no sense, UnsupportedError for
    networks outside the paper's model.
    """
    device = device or Device()
    loss, lipschitz = _loss(loss_lipschitz, margin)
    _check(samples, input_bound, lipschitz, target)
    for radius in radii:
        if not (isfinite(radius) and radius > 0):
            raise UsageError(f"a radius of a covering must be a finite number > 0, not {radius}")
    found = architecture.read(network)
    norm = _path_norm(network, device)
    whole = channel_norm(network)
    scale = lipschitz * max(input_bound, 1.0) / sqrt(samples) * (1 + 1e-12)

    def gap(name: str, source: str, r: Scaled, constant: float) -> Gap:
        value = r.times(scale * constant)
        ratio = Scaled.power(2 * value.times(1 / target).log2)
        return Gap(name, source, constant, r, value, ratio.times(samples) if value.mantissa else Scaled(1.0))

    gaps = (
        gap("Theorem 5.1", "paper, Theorem 5.1", whole, theorem_51(found)),
        gap("Theorem 5.1, rows covered apart", "docs/generalization.md, section 5", whole, sharper(found)),
        gap("Gonon et al. 2024", "Gonon et al. 2024, Theorem 3.1", norm, gonon_2024(found)),
    )
    table = tuple(
        Rate(source, rate, None if why else norm.times(value * max(input_bound, 1.0) / sqrt(samples)), why)
        for source, rate, value, why in rates(found)
    )
    covering = tuple(Covering(x, whole.times(x), covering_log(found, x)) for x in radii)
    notes = list(network.notes) + [VACUOUS, FIXED]
    if found.irregular:
        notes.append(
            f"zero padding: at {len(found.irregular)} nodes (first '{found.irregular[0]}') neurons of one"
            " channel have different numbers of antecedents, so that no directed regular partition shares"
            " their weights (Definition G.3); Theorem 5.1 is evaluated with the norm of whole kernels"
            " instead of ‖Φ‖₁"
        )
    return Generalization(
        network.path, network.sha256, samples, input_bound, loss, lipschitz, target, found, norm, whole, gaps,
        table, covering,
        tool.describe(device), tuple(notes),
    )  # fmt: skip


def _loss(lipschitz: float | None, margin: float | None) -> tuple[str, float]:
    """The name of the loss, and L."""
    if margin is None:
        return ("cross-entropy", CROSS_ENTROPY) if lipschitz is None else ("given", lipschitz)
    if lipschitz is not None:
        raise UsageError("give either the loss's Lipschitz constant or a margin, not both")
    if not (isfinite(margin) and margin > 0):
        raise UsageError(f"the margin must be a finite number > 0, not {margin}")
    return f"margin loss, γ = {margin:g}", margin_lipschitz(margin)
