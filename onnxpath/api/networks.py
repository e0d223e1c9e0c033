"""The Python interface to what is said of one network, and of the paper's Lipschitz bounds."""

from collections.abc import Mapping, Sequence

import numpy as np

from onnxpath import importer
from onnxpath.analyses import inspect as inspecting
from onnxpath.analyses.metric.norm import path_norms
from onnxpath.analyses.prune import costs
from onnxpath.analyses.theory.generalization import RADII, generalization
from onnxpath.analyses.theory.lipschitz import lipschitz
from onnxpath.engine.session import Device
from onnxpath.importer.source import Source
from onnxpath.model.network import Network
from onnxpath.records import Generalization, Inspection, Lipschitz, PathCosts, PathNorms


def load(
    source: Source,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    output_names: Sequence[str] = (),
    keep_batchnorm: bool = False,
    extended: bool = False,
    quantizers: bool = False,
) -> Network:
    """Read an ONNX model as a `Network`.

    shapes: full shape, batch included, of inputs whose dimensions are symbolic. output_names: outputs to keep
        (default all).
    keep_batchnorm: do not fold BatchNormalization into the layer before it. extended: admit activations
    outside the paper's model that have a Lipschitz constant (docs/operators.md): for bounds only, path-norm
    and path-metric are not defined there. quantizers: admit quantized activations, which `path_metric` leaves
    out and `bound` counts (docs/quantization.md; extended mode includes them). A `Network` is returned as it
    is. Raises ModelError (unreadable or invalid file), UnsupportedError (an operator outside the model),
    UsageError.
    """
    if isinstance(source, Network):
        return source
    fixed = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    return importer.load(
        source,
        shapes=fixed,
        output_names=tuple(output_names),
        keep_batchnorm=keep_batchnorm,
        extended=extended,
        quantizers=quantizers,
    )


def path_norm(
    model: Source, q: float | Sequence[float] = 1.0, *, r: float | None = None, per_output: bool = False,
    provider: str = "auto",
    precision: str = "float32", threads: int = 0,
) -> PathNorms:  # fmt: skip
    """‖Φ(θ)‖_q summed over all output neurons, for one q >= 0 or several; q = 0 counts paths. r: instead the
    mixed norm ‖(‖Φ^{→v}‖_q)_v‖_r over the output neurons v, r > 0 or infinite.

    The record holds values with log10 (finite at any depth) and certified relative errors. Source: paper,
    Section 2 and Appendix A; docs/theory.md, section 1.
    """
    qs = [q] if isinstance(q, (int, float)) else list(q)
    return path_norms(
        load(model), [float(x) for x in qs], Device(provider, precision, threads), per_output, r
    )


def path_costs(
    model: Source, *, weights: Mapping[str, np.ndarray] | np.ndarray | None = None, provider: str = "auto",
    precision: str = "float32", threads: int = 0,
) -> PathCosts:  # fmt: skip
    """Φ-costs ‖Φ(θ) - Φ(θ - θ_i e_i)‖₁ of every weight, bias, output channel and layer, by one forward and
    one adjoint pass.

    The arrays of the record are mantissas; a cost is mantissa · 2**`exponent` (finite at any depth). weights:
    numbers >= 0 for the output neurons, by output or for the only one (one per channel, or an array that
    broadcasts to the output), to count some outputs more than others. Source: paper, Section 4;
    docs/theory.md, section 7.
    """
    return costs.path_costs(load(model), Device(provider, precision, threads), weights)


def inspect(
    model: Source, *, list_paths: int = 0, provider: str = "auto", precision: str = "float32",
    threads: int = 0
) -> Inspection:  # fmt: skip
    """What the network is in the paper's model: neurons by kind, parameters, depth, number of paths.

    list_paths: list all paths of a network that has at most this many; UsageError if it has more.
    """
    return inspecting.inspect(load(model), Device(provider, precision, threads), list_paths)


def lipschitz_bounds(
    a: Source,
    b: Source | None = None,
    *,
    input_bound: float = 1.0,
    provider: str = "auto",
    precision: str = "float32",
    threads: int = 0,
) -> Lipschitz:
    """Upper bounds of a network's Lipschitz constants in its input and, with `b`, every known bound on the
    difference of the outputs for ‖x‖_∞ <= input_bound: Theorem 3.1, Lemma E.1, Theorem E.1, Corollary F.1,
    Equation (1), products of operator norms.

    Source: paper, Appendices E and F; docs/lipschitz.md. Raises MismatchError when the two networks have
        different structures.
    """
    network, other = load(a), None if b is None else load(b)
    return lipschitz(network, other, input_bound=input_bound, device=Device(provider, precision, threads))


def generalization_bounds(
    model: Source, samples: int, *, input_bound: float = 1.0, loss_lipschitz: float | None = None,
    margin: float | None = None,
    target: float = 1.0, radii: Sequence[float] = (), provider: str = "auto", precision: str = "float32",
    threads: int = 0,
) -> Generalization:  # fmt: skip
    """Bounds on the expected generalization gap of a network trained on `samples` inputs with |x_i| <=
    input_bound.

    loss_lipschitz: of the loss in the output, ℓ2; or margin: γ of the margin loss; default cross-entropy, √2.
    target: the gap that `samples_needed` is for. radii: where to evaluate the covering number, relative to r.
    Source: paper, Theorem 5.1 and Appendices G and H; Gonon et al. (2024), Theorem 3.1;
    docs/generalization.md.
    """
    device = Device(provider, precision, threads)
    return generalization(
        load(model), samples, input_bound, loss_lipschitz, margin, target, tuple(radii) or RADII, device
    )
