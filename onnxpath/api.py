"""The Python interface: the same results as the commands; `api_files` has what makes files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from onnxpath.files.runtime import Runtime
    from onnxpath.importer.source import Source
    from onnxpath.model.domain import Domain
    from onnxpath.model.interface import Interface
    from onnxpath.model.network import Network
    from onnxpath.records import (
        Bound,
        Certificates,
        Check,
        Comparison,
        Generalization,
        Inspection,
        Lipschitz,
        PathCosts,
        PathMetric,
        PathNorms,
    )


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
    from onnxpath.model.network import Network

    if isinstance(source, Network):
        return source
    from onnxpath.importer import load as read

    fixed = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    return read(
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
    from onnxpath.analyses.metric.norm import path_norms
    from onnxpath.engine.session import Device

    qs = [q] if isinstance(q, (int, float)) else list(q)
    return path_norms(
        load(model), [float(x) for x in qs], Device(provider, precision, threads), per_output, r
    )


def path_metric(
    a: Source, b: Source, *, input_bound: float = 1.0, l2: bool = False, samples: int = 0, seed: int = 0,
    provider: str = "auto", precision: str = "float32", threads: int = 0,
) -> PathMetric:  # fmt: skip
    """‖Φ(θ_a) - Φ(θ_b)‖₁: exact for monotone pairs, otherwise a certified interval; per output and per layer.

    l2: also ‖Φ(θ_a) - Φ(θ_b)‖₂ with its certified error, for any pair (field `l2`).
    samples: also an unbiased estimate from that many sampled paths, with a 99 % confidence interval (field
        `estimate`).

    Source: paper, Theorem B.1, Theorem 3.1 and Appendix F; docs/theory.md, sections 2, 3 and 5. Raises
    MismatchError when the two networks have different structures.
    """
    from onnxpath.analyses.metric.metric import path_metric as measure
    from onnxpath.engine.session import Device

    networks = load(a, quantizers=True), load(b, quantizers=True)
    return measure(*networks, Device(provider, precision, threads), input_bound, l2, samples, seed)


def _files(a: Source, b: Source) -> tuple[Source, Source] | None:
    """What is run beside the networks; None where one of them is a network that no file holds any more."""
    from onnxpath.files.described import file_of

    found = file_of(a), file_of(b)
    return None if None in found else found


def _runtime(provider: str, options: Mapping[str, str] | None, threads: int) -> Runtime:
    from onnxpath.files.runtime import Runtime

    return Runtime(provider, tuple((options or {}).items()), threads)


def bound(
    a: Source, b: Source, domain: Domain, *, norm: str = "inf", search: int = 20, seed: int = 0,
    margin: bool = False,
    confidence: float = 0.99, compare: bool = False, provider: str = "auto", precision: str = "float32",
    threads: int = 0,
    file_provider: str = "cpu", file_options: Mapping[str, str] | None = None,
) -> Bound:  # fmt: skip
    """How much the outputs of two networks can differ over a domain: certified for every output neuron,
    beside the largest difference found by running both.

    domain: `Domain.radius`, `.box`, `.samples` or `.around`. norm: "1", "2" or "inf", of the difference over
        all outputs.
    search: steps of gradient ascent. margin: on how many given inputs B provably predicts A's class.
    confidence: of the upper limit of the share of inputs whose class differs. compare: every known bound that
    applies. Activations with a Lipschitz constant are admitted beside the paper's model. file_provider,
    file_options: how the files themselves are run (docs/running.md). Source: docs/theory.md, section 4.
    Raises MismatchError when the two networks have different structures, UsageError for a domain that does
    not fit them, ViolationError (a bug) when a difference is found above the bound.
    """
    from onnxpath.analyses.bound.bound import bound as measure
    from onnxpath.engine.session import Device

    networks = load(a, extended=True), load(b, extended=True)
    return measure(
        *networks, domain, Device(provider, precision, threads), norm=norm, search=search, seed=seed,
        margin=margin, confidence=confidence,
        compare=compare, files=_files(a, b), runtime=_runtime(file_provider, file_options, threads),
    )  # fmt: skip


def compare(
    a: Source, b: Source, inputs: Any = None, *, shapes: Mapping[str, Sequence[int]] | None = None,
    low: float | None = None,
    high: float | None = None, seed: int = 0, file_provider: str = "cpu",
    file_options: Mapping[str, str] | None = None, threads: int = 0,
) -> Comparison:  # fmt: skip
    """Both files as ONNX Runtime runs them, whatever they contain: their interfaces, the differences of every
    output, and the predicted classes that differ. Nothing is proved.

    inputs: arrays [n, ...] by input name, or one array; without them inputs are made for the declared types
    and shapes, from `seed`, with numbers between low and high, and sizes of free axes from `shapes`. Raises
    ModelError where ONNX Runtime does not run one of them (docs/running.md).
    """
    from onnxpath.analyses.compare import compare as measure
    from onnxpath.errors import UsageError

    files = _files(a, b)
    if files is None:
        raise UsageError(
            "compare runs files: give paths, bytes or an onnx.ModelProto, not networks that no file holds"
        )
    interfaces = _interface(a), _interface(b)
    runtime = _runtime(file_provider, file_options, threads)
    return measure(
        *files, inputs, runtime=runtime, shapes=shapes, low=low, high=high, seed=seed, interfaces=interfaces
    )


def _interface(source: Source) -> Interface | None:
    """What a file declares, with the functions at its end; None where no network can be read out of it."""
    from onnxpath.errors import OnnxPathError

    try:
        return load(source, extended=True).interface
    except OnnxPathError:
        return None


def certify(
    a: Source, b: Source, inputs: Any, epsilon: Any, *, low: Any = None, high: Any = None, effort: int = 2,
    tighten: bool = False,
    search: int | None = None, seed: int = 0, time_limit: float | None = None, resume: str | None = None,
    force: bool = False,
    provider: str = "auto", precision: str = "float32", threads: int = 0, file_provider: str = "cpu",
    file_options: Mapping[str, str] | None = None,
) -> Certificates:  # fmt: skip
    """On which inputs do two networks provably predict the same class on the whole box of half-width
    `epsilon` around them?

    inputs: arrays [n, ...] by input name, or one array. epsilon, low, high: numbers, one per channel, or
    arrays; boxes are cut to [low, high]. effort: 0 intervals, 1 backward propagation of the difference, 2 and
    3 linear relaxations. time_limit: seconds.
    resume: a file that keeps what is finished; force: replace one there that is none of this run.
    file_provider, file_options: how the files themselves are run (docs/running.md). Source: docs/certify.md.
    Raises MismatchError, UnsupportedError, UsageError.
    """
    from onnxpath.analyses.certify.certifier import Options
    from onnxpath.analyses.certify.certify import certify as examine
    from onnxpath.engine.session import Device
    from onnxpath.model.domain import Domain

    networks = load(a, extended=True), load(b, extended=True)
    device, options = (
        Device(provider, precision, threads),
        Options(effort, search, seed, tighten, time_limit, resume, force),
    )
    return examine(
        *networks, Domain.around(inputs, epsilon, low, high), device, options, _files(a, b),
        runtime=_runtime(file_provider, file_options, threads),
    )  # fmt: skip


def inspect(
    model: Source, *, list_paths: int = 0, provider: str = "auto", precision: str = "float32",
    threads: int = 0
) -> Inspection:  # fmt: skip
    """What the network is in the paper's model: neurons by kind, parameters, depth, number of paths.

    list_paths: list all paths of a network that has at most this many; UsageError if it has more.
    """
    from onnxpath.analyses.inspect import inspect as examine
    from onnxpath.engine.session import Device

    return examine(load(model), Device(provider, precision, threads), list_paths)


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
    from onnxpath.analyses.theory.lipschitz import lipschitz as measure
    from onnxpath.engine.session import Device

    network, other = load(a), None if b is None else load(b)
    return measure(network, other, input_bound=input_bound, device=Device(provider, precision, threads))


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
    from onnxpath.analyses.theory.generalization import RADII
    from onnxpath.analyses.theory.generalization import generalization as measure
    from onnxpath.engine.session import Device

    device = Device(provider, precision, threads)
    return measure(
        load(model), samples, input_bound, loss_lipschitz, margin, target, tuple(radii) or RADII, device
    )


def check(
    a: Source, b: Source, *, max_relative: float | str | None = None, max_metric: float | None = None,
    max_path_norm_increase: float | str | None = None, max_bound: float | None = None,
    max_flip_rate: float | str | None = None,
    min_agree: float | str | None = None, max_difference: float | None = None, domain: Domain | None = None,
    inputs: Any = None,
    norm: str = "inf", confidence: float = 0.99, allow_interface_change: Sequence[str] = (),
    allow_unfaithful: bool = False,
    provider: str = "auto", precision: str = "float32", threads: int = 0, file_provider: str = "cpu",
    file_options: Mapping[str, str] | None = None,
) -> Check:  # fmt: skip
    """Whether the pair keeps every budget that is given: `.passed`, `.failures`.

    Ratios may be text such as "10%". domain: of max_bound, and of min_agree, for which it is made of boxes
    around inputs. inputs: samples for max_flip_rate and max_difference, arrays [n, ...] by input name or one
    array; those of the domain by default. What is compared with a limit is a certified end (docs/check.md),
    or what was seen of the files where that is worse. Both files are run; one that computes something else
    than its weights say fails, unless allow_unfaithful, and so does a change of the interface, unless its
    kind is in allow_interface_change (names, order, types, shapes, count, tail). Raises UsageError without a
    budget, MismatchError when the two networks have different structures.
    """
    from onnxpath.analyses.check.budgets import QUANTITIES, limit
    from onnxpath.analyses.check.checking import check as examine
    from onnxpath.analyses.check.gates import Gate
    from onnxpath.engine.session import Device

    written = {
        "relative": max_relative, "metric": max_metric, "path-norm-increase": max_path_norm_increase,
        "bound": max_bound,
        "flip-rate": max_flip_rate, "agree": min_agree, "difference": max_difference,
    }  # fmt: skip
    limits = {name: limit(QUANTITIES[name], value) for name, value in written.items() if value is not None}
    if inputs is None and domain is not None and (max_flip_rate is not None or max_difference is not None):
        inputs = domain.inputs
    name = os.fsdecode(b) if isinstance(b, (str, os.PathLike)) else "pair"
    gate = Gate(
        name, a, b, limits, domain, inputs, norm, confidence,
        runtime=_runtime(file_provider, file_options, threads),
        allow_interface=frozenset(allow_interface_change), allow_unfaithful=allow_unfaithful,
    )  # fmt: skip
    return examine([gate], Device(provider, precision, threads))


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
    from onnxpath.analyses.prune.costs import path_costs as compute
    from onnxpath.engine.session import Device

    return compute(load(model), Device(provider, precision, threads), weights)
