"""The Python interface to what is said of two networks."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from onnxpath.analyses.bound import bound as bounding
from onnxpath.analyses.certify import certify as certifying
from onnxpath.analyses.certify.certifier import Options
from onnxpath.analyses.check import checking
from onnxpath.analyses.check.budgets import QUANTITIES, limit
from onnxpath.analyses.check.gates import Gate
from onnxpath.analyses.metric import metric
from onnxpath.api.networks import load
from onnxpath.api.running import files_of, runtime_of
from onnxpath.engine.session import Device
from onnxpath.importer.source import Source
from onnxpath.model.domain import Domain
from onnxpath.records import Bound, Certificates, Check, PathMetric


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
    networks = load(a, quantizers=True), load(b, quantizers=True)
    return metric.path_metric(*networks, Device(provider, precision, threads), input_bound, l2, samples, seed)


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
    networks = load(a, extended=True), load(b, extended=True)
    return bounding.bound(
        *networks, domain, Device(provider, precision, threads), norm=norm, search=search, seed=seed,
        margin=margin, confidence=confidence,
        compare=compare, files=files_of(a, b), runtime=runtime_of(file_provider, file_options, threads),
    )  # fmt: skip


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
    networks = load(a, extended=True), load(b, extended=True)
    device = Device(provider, precision, threads)
    options = Options(effort, search, seed, tighten, time_limit, resume, force)
    return certifying.certify(
        *networks, Domain.around(inputs, epsilon, low, high), device, options, files_of(a, b),
        runtime=runtime_of(file_provider, file_options, threads),
    )  # fmt: skip


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
        runtime=runtime_of(file_provider, file_options, threads),
        allow_interface=frozenset(allow_interface_change), allow_unfaithful=allow_unfaithful,
    )  # fmt: skip
    return checking.check([gate], Device(provider, precision, threads))
