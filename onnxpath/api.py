"""The Python interface: the same results as the commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import onnx  # noqa: TID251 - for the type of an argument only

    from onnxpath.domain import Domain
    from onnxpath.network import Network
    from onnxpath.results import Inspection, PathCosts, PathMetric, PathNorms, Pruned, Rescaling

    Source = str | os.PathLike | bytes | onnx.ModelProto | Network


def load(
    source: Source, *, shapes: Mapping[str, Sequence[int]] | None = None, output_names: Sequence[str] = (), keep_batchnorm: bool = False
) -> Network:
    """Read an ONNX model as a `Network`.

    shapes: full shape, batch included, of inputs whose dimensions are symbolic. output_names: outputs to keep (default all).
    keep_batchnorm: do not fold BatchNormalization into the layer before it. A `Network` is returned as it is.
    Raises ModelError (unreadable or invalid file), UnsupportedError (an operator outside the model), UsageError.
    """
    from onnxpath.network import Network

    if isinstance(source, Network):
        return source
    from onnxpath.importer import load as read

    fixed = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    return read(source, shapes=fixed, output_names=tuple(output_names), keep_batchnorm=keep_batchnorm)


def path_norm(
    model: Source, q: float | Sequence[float] = 1.0, *, per_output: bool = False, provider: str = "auto",
    precision: str = "float32", threads: int = 0,
) -> PathNorms:  # fmt: skip
    """‖Φ(θ)‖_q summed over all output neurons, for one q >= 0 or several; q = 0 counts paths.

    The record holds values with log10 (finite at any depth) and certified relative errors. Source: paper, Section 2 and
    Appendix A; docs/theory.md, section 1.
    """
    from onnxpath.engine.session import Device
    from onnxpath.norm import path_norms

    qs = [q] if isinstance(q, (int, float)) else list(q)
    return path_norms(load(model), [float(x) for x in qs], Device(provider, precision, threads), per_output)


def path_metric(
    a: Source, b: Source, *, input_bound: float = 1.0, provider: str = "auto", precision: str = "float32", threads: int = 0
) -> PathMetric:
    """‖Φ(θ_a) - Φ(θ_b)‖₁: exact for monotone pairs, otherwise a certified interval; per output and per layer.

    Source: paper, Theorem B.1, Theorem 3.1 and Appendix F; docs/theory.md, sections 2, 3 and 5. Raises MismatchError when
    the two networks have different structures.
    """
    from onnxpath.engine.session import Device
    from onnxpath.metric import path_metric as measure

    return measure(load(a), load(b), Device(provider, precision, threads), input_bound)


def inspect(model: Source, *, provider: str = "auto", precision: str = "float32", threads: int = 0) -> Inspection:
    """What the network is in the paper's model: neurons by kind, parameters, depth, number of paths."""
    from onnxpath.engine.session import Device
    from onnxpath.inspection import inspect as examine

    return examine(load(model), Device(provider, precision, threads))


def path_costs(
    model: Source, *, weights: Mapping[str, np.ndarray] | np.ndarray | None = None, provider: str = "auto",
    precision: str = "float32", threads: int = 0,
) -> PathCosts:  # fmt: skip
    """Φ-costs ‖Φ(θ) - Φ(θ - θ_i e_i)‖₁ of every weight, bias, output channel and layer, by one forward and one adjoint pass.

    The arrays of the record are mantissas; a cost is mantissa · 2**`exponent` (finite at any depth). weights: numbers >= 0 for the
    output neurons, by output or for the only one (one per channel, or an array that broadcasts to the output), to count some
    outputs more than others. Source: paper, Section 4; docs/theory.md, section 7.
    """
    from onnxpath.costs import path_costs as compute
    from onnxpath.engine.session import Device

    return compute(load(model), Device(provider, precision, threads), weights)


def prune(
    model: str | os.PathLike | bytes | onnx.ModelProto, out: str | os.PathLike | None = None, *,
    sparsity: float | Sequence[float] | None = None, criterion: str = "path", scope: str = "global", pattern: str = "unstructured",
    include: Sequence[str] = (), exclude: Sequence[str] = (), biases: bool = False, iterations: int = 1, seed: int = 0,
    weights: Mapping[str, np.ndarray] | np.ndarray | None = None, domain: Domain | None = None, force: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None, provider: str = "auto", precision: str = "float32", threads: int = 0,
) -> Pruned:  # fmt: skip
    """Set weights to zero and certify what that costs; write the result to `out` (nothing is written where it is None).

    sparsity: the share of zeros among the prunable weights, 0 <= S < 1; for several, `out` gets the sparsity before its ending.
    criterion: "path" (Φ-costs), "magnitude" or "random". scope: "global" or "layer". pattern: "unstructured", "N:M", which keeps
    N of every M input channels, or "channels", which leave the file (sparsity is the share of channels then). include, exclude:
    patterns for names of layers or tensors. biases: prune them too. iterations: steps between which the costs are computed anew. weights: of the output neurons, for the ranking (see `path_costs`). domain: bound the
    outputs' difference over it. force: allow `out` to be the model itself.

    Raises UsageError for values that mean nothing, when nothing can be pruned, and for a target that cannot be written. Source: paper,
    Section 4; docs/theory.md, section 7.
    """
    from onnxpath import pruned
    from onnxpath.criteria import Settings
    from onnxpath.engine.session import Device

    settings = Settings(criterion, scope, pattern, tuple(include), tuple(exclude), biases, iterations, seed)
    asked = list(sparsity) if isinstance(sparsity, Sequence) else [sparsity]
    device = Device(provider, precision, threads)
    network = load(model, shapes=shapes)
    return pruned.prune(model, network, out, asked, settings, device, cotangent=weights, domain=domain, force=force)


def rescale(
    model: str | os.PathLike | bytes | onnx.ModelProto, out: str | os.PathLike, mode: str = "random", *, seed: int = 0,
    factors: Sequence[float] = (1.0, 128.0, 4096.0), powers_of_two: bool = False, shapes: Mapping[str, Sequence[int]] | None = None,
    force: bool = False, provider: str = "auto", precision: str = "float32", threads: int = 0,
) -> Rescaling:  # fmt: skip
    """Write a copy of a model whose hidden channels are rescaled: the same function, the same Φ, other weights.

    mode: "random" (λ drawn from `factors` by `seed`; paper, Appendix D), "normalize" (ℓ1 norm 1 of what enters a channel;
    Algorithm 1) or "equalize" (equal ranges of rows and the columns that read them). powers_of_two: round λ to powers of two,
    which changes no bit of the outputs where BatchNormalization is folded. force: allow `out` to be the model itself.

    Raises UnsupportedError when no group of channels can be rescaled, UsageError for a target that cannot be written, ModelError
    when the rescaled weights do not fit the file's number format. Source: docs/theory.md, section 5.
    """
    from onnxpath.engine.session import Device
    from onnxpath.file_rescaling import rescale as write

    device = Device(provider, precision, threads)
    return write(model, out, mode, seed=seed, factors=factors, powers_of_two=powers_of_two, shapes=shapes, device=device, force=force)
