"""Assertions for test suites: budgets of `onnxpath check`, with the same explanation when one is exceeded.

    from onnxpath.testing import assert_bound, assert_path_metric

    assert_path_metric("old.onnx", "new.onnx", max_relative="1%")
    assert_bound("old.onnx", "new.onnx", low=0, high=1, max_bound=0.5)

Under pytest they are fixtures, too. Every function returns the record (`onnxpath.records.Check`) and takes
`provider`, `precision` and `threads`. A file that cannot be read, or networks of different structures, raise
their own error.
"""

import os
from typing import Any

from onnxpath.analyses.check import gates
from onnxpath.api.pairs import check
from onnxpath.cli import verdicts
from onnxpath.errors import UsageError
from onnxpath.files import npz as arrays
from onnxpath.importer.source import Source
from onnxpath.model.domain import Domain
from onnxpath.records import Check


def _keep(a: Source, b: Source, **budgets: Any) -> Check:
    __tracebackhide__ = True
    result = check(a, b, **budgets)
    if not result.passed:
        raise AssertionError(
            "\n".join(verdicts.explanation(pair) for pair in result.pairs if not pair.passed)
        )
    return result


def assert_path_metric(
    a: Source, b: Source, *, max_relative: float | str | None = None, max_metric: float | None = None,
    max_path_norm_increase: float | str | None = None, **device: Any,
) -> Check:  # fmt: skip
    """Assert that the path-metric of two networks is small: relative to the larger path-norm, by itself, or
    as a growth of the path-norm. Ratios may be text such as "1%"."""
    __tracebackhide__ = True
    return _keep(
        a,
        b,
        max_relative=max_relative,
        max_metric=max_metric,
        max_path_norm_increase=max_path_norm_increase,
        **device,
    )


def assert_bound(
    a: Source, b: Source, domain: Domain | None = None, *, max_bound: float, radius: Any = None,
    low: Any = None, high: Any = None,
    inputs: Any = None, epsilon: Any = None, norm: str = "inf", **device: Any,
) -> Check:  # fmt: skip
    """Assert that the outputs of two networks differ by at most max_bound, in `norm`, on every input of a
    domain.

    The domain is a `Domain`, or radius, or low and high, or inputs (arrays or an .npz file), or inputs and
    epsilon.
    """
    __tracebackhide__ = True
    inputs = arrays.read(inputs) if isinstance(inputs, (str, os.PathLike)) else inputs
    named = {"radius": radius, "low": low, "high": high, "inputs": inputs, "epsilon": epsilon}
    if domain is not None and any(value is not None for value in named.values()):
        raise UsageError("a domain is given twice: as a Domain, and as radius, low, high, inputs or epsilon")
    return _keep(
        a,
        b,
        domain=gates.domain(named) if domain is None else domain,
        max_bound=max_bound,
        norm=norm,
        **device,
    )


def assert_flip_rate(
    a: Source, b: Source, inputs: Any, *, max_flip_rate: float | str, confidence: float = 0.99, **device: Any
) -> Check:
    """Assert that the predicted classes differ for at most this share of the distribution that `inputs`
    (arrays or an .npz file) were drawn from, at this confidence."""
    __tracebackhide__ = True
    inputs = arrays.read(inputs) if isinstance(inputs, (str, os.PathLike)) else inputs
    return _keep(a, b, inputs=inputs, max_flip_rate=max_flip_rate, confidence=confidence, **device)


def assert_agree(
    a: Source,
    b: Source,
    inputs: Any,
    epsilon: Any,
    *,
    min_agree: float | str,
    low: Any = None,
    high: Any = None,
    **device: Any,
) -> Check:
    """Assert that both networks provably predict one class on the whole box of half-width epsilon, cut to low
    and high, around at least this share of the inputs (arrays or an .npz file)."""
    __tracebackhide__ = True
    inputs = arrays.read(inputs) if isinstance(inputs, (str, os.PathLike)) else inputs
    return _keep(a, b, domain=Domain.around(inputs, epsilon, low, high), min_agree=min_agree, **device)
