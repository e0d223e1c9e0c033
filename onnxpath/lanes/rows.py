"""Rows of weights at channel level: what one neuron of an output channel receives (docs/lipschitz.md, section
1).

For a weighted node and non-negative values per input channel, every function below bounds from above, for all
neurons v of an output channel at once, a sum or a maximum over the antecedents u of v:

    Σ_u |w_uv|,     Σ_u |w_uv| 2^(values_u),     Σ_u |p_uv s_u - q_uv t_u|,     max_u values_u.

A neuron near a padded border has fewer antecedents than the kernel has entries; it is bounded by the whole
kernel. Results are in log2 (float64, -inf for 0) where values are, shaped to broadcast to the node's output,
and rounded up by `SLACK`.
"""

from collections.abc import Callable

import numpy as np

from onnxpath.lanes.coefficients import blocks
from onnxpath.lanes.magnitude import along, largest_along, log2, vector
from onnxpath.model.network import Parameter, Site
from onnxpath.ops import OPERATORS

# Covers float64 sums of up to some million terms, and one exp2 or log2.
SLACK = 1e-9
# Exponents below this, relative to the largest, are raised to it.
_FLOOR = -900.0


def grid(log2_factors: np.ndarray) -> np.ndarray:
    """Factors rounded up to few bits, so that their differences are exact in float64: to 2^-40, or 2^-30
    beyond 2^2000."""
    fine = np.abs(log2_factors) < 2000
    return np.where(
        fine, np.ceil(log2_factors * 2.0**40) * 2.0**-40, np.ceil(log2_factors * 2.0**30) * 2.0**-30
    )


def _part(array: np.ndarray, index: tuple[slice, ...]) -> np.ndarray:
    """The block of an array that broadcasts against another one."""
    return array[tuple(s if n > 1 else slice(None) for s, n in zip(index, array.shape, strict=True))]


def collect(site: Site, value: Callable[[tuple[slice, ...]], np.ndarray]) -> np.ndarray:
    """Σ over the weights of every output channel; `value(index)` makes a block of summands in the weight's
    shape."""
    operator, base = OPERATORS[site.node.op], site.node.coefficients.base
    axis, inner = operator.weight_axes(site)
    if min(axis, inner) == base.ndim - 2 > 0:  # leading axes: every slice is a matrix of its own
        rows = value((slice(None),) * base.ndim).sum(inner)
        return rows.reshape(-1, rows.shape[-1]).max(0)
    channels = site.output_shape[operator.contracted(site)[1]]
    if base.shape[axis] != channels:  # a row of the weight holds those of a channel of every group
        return operator.matrix(site, value((slice(None),) * base.ndim)).sum(2).reshape(channels)
    others = tuple(k for k in range(base.ndim) if k != axis)
    total = np.zeros(base.shape[axis])
    for index in blocks(base):
        total[index[axis]] += value(index).sum(others)
    return total


def _elementwise(site: Site) -> bool:
    return OPERATORS[site.node.op].diagonal


def by_channel(site: Site, values: np.ndarray) -> np.ndarray:
    """The largest value of every input channel, as a vector over the axis that the node contracts."""
    axis = OPERATORS[site.node.op].contracted(site)[0]
    return vector(largest_along(values, axis), axis, site.input_shapes[0][axis])


def to_output(site: Site, values: np.ndarray) -> np.ndarray:
    """A vector over output channels, shaped to broadcast to the output."""
    return along(values, OPERATORS[site.node.op].contracted(site)[1], len(site.output_shape))


def weighted_sum(site: Site, weight: Parameter | None, values: np.ndarray | None = None) -> np.ndarray:
    """log2 Σ_u |w_uv| 2^(values_u); without values, log2 Σ_u |w_uv|."""
    if _elementwise(site):
        gain = (
            np.zeros((1,) * len(site.output_shape))
            if weight is None
            else log2(np.abs(weight.array().astype(np.float64)))
        )
        return gain + SLACK if values is None else values + gain + SLACK
    assert weight is not None
    if values is None:
        total = collect(site, lambda index: np.abs(weight.block(index).astype(np.float64)))
        return to_output(site, log2(total) + SLACK)
    channels = by_channel(site, values)
    top = channels.max()
    if not np.isfinite(top):
        return np.full((1,) * len(site.output_shape), -np.inf)
    scaled = np.exp2(np.maximum(channels - top, _FLOOR)) * np.isfinite(channels)
    factor, _ = OPERATORS[site.node.op].shift(
        site, scaled, np.ones(site.output_shape[OPERATORS[site.node.op].contracted(site)[1]])
    )
    total = collect(site, lambda index: np.abs(weight.block(index).astype(np.float64)) * _part(factor, index))
    return to_output(site, log2(total) + top + SLACK)


def same(p: Parameter | None, q: Parameter | None) -> bool:
    """Whether two parameters are equal, number by number."""
    if p is q:
        return True
    if p is None or q is None or (p.scale is None) != (q.scale is None):
        return False
    return np.array_equal(p.base, q.base) and (
        p.scale is None or q.scale is None or np.array_equal(p.scale, q.scale)
    )


def gap(site: Site, p: Parameter | None, q: Parameter | None) -> np.ndarray:
    """log2 Σ_u |p_uv - q_uv|; a missing weight of an elementwise node is 1."""
    if same(p, q):
        return np.full((1,) * len(site.output_shape), -np.inf)
    if _elementwise(site):
        return log2(np.abs(value(p, 1.0) - value(q, 1.0))) + SLACK
    assert p is not None and q is not None
    return to_output(site, log2(collect(site, lambda index: np.abs(_difference(p, q, index)))) + SLACK)


def _difference(p: Parameter, q: Parameter, index: tuple[slice, ...]) -> np.ndarray:
    return p.block(index).astype(np.float64) - q.block(index)


def value(parameter: Parameter | None, missing: float) -> np.ndarray:
    """The parameter in float64; a scalar where it is missing."""
    return np.array(missing) if parameter is None else parameter.array().astype(np.float64)


def largest(site: Site, values: np.ndarray) -> np.ndarray:
    """max over the antecedents u of values_u, for a weighted node; broadcastable to the output."""
    if _elementwise(site):
        return values
    operator = OPERATORS[site.node.op]
    groups, out = operator.groups(site), site.output_shape[operator.contracted(site)[1]]
    return to_output(site, np.repeat(by_channel(site, values).reshape(groups, -1).max(1), out // groups))


def bias_log2(site: Site, bias: Parameter | None) -> np.ndarray:
    """log2 |b_v|."""
    if bias is None:
        return np.full((1,) * len(site.output_shape), -np.inf)
    return log2(np.abs(OPERATORS[site.node.op].wide_bias(site, value(bias, 0.0))))


def bias_gap(site: Site, p: Parameter | None, q: Parameter | None) -> np.ndarray:
    """log2 |b_v - b'_v|."""
    if same(p, q):
        return np.full((1,) * len(site.output_shape), -np.inf)
    gap = np.atleast_1d(value(p, 0.0) - value(q, 0.0))
    return log2(np.abs(OPERATORS[site.node.op].wide_bias(site, gap))) + SLACK


def normalized_gap(
    site: Site,
    p: Parameter | None,
    q: Parameter | None,
    source: tuple[np.ndarray, np.ndarray],
    target: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """log2 Σ_u |p_uv 2^(source_p,u - target_p,v) - q_uv 2^(source_q,u - target_q,v)|.

    source, target: log2 of the normalizing factors of either network, before and after the node; a factor of
    0 (-inf) stands for a neuron whose weights are all 0.
    """
    sides = list(zip(source, target, strict=True))
    if not _elementwise(site):
        operator = OPERATORS[site.node.op]
        out = operator.contracted(site)[1]
        sides = [
            operator.shift(
                site, by_channel(site, before), vector(largest_along(after, out), out, site.output_shape[out])
            )
            for before, after in sides
        ]
    ends = [_range(before, after, OPERATORS[site.node.op].dense) for before, after in sides]
    top, low = max(0.0, *(high for _, high in ends)), min(least for least, _ in ends)
    if not np.isfinite(low):  # no edge is alive
        return np.full((1,) * len(site.output_shape), -np.inf)
    if _elementwise(site):
        a, b = (_exp2_difference(before, after, top) for before, after in sides)
        found = log2(np.abs(value(p, 1.0) * a - value(q, 1.0) * b)) + top + SLACK
    else:
        assert p is not None and q is not None

        def difference(index: tuple[slice, ...]) -> np.ndarray:
            a, b = (
                _exp2_difference(_part(before, index), _part(after, index), top) for before, after in sides
            )
            return np.abs(p.block(index).astype(np.float64) * a - q.block(index).astype(np.float64) * b)

        found = to_output(site, log2(collect(site, difference)) + top + SLACK)
    if low - top < _FLOOR:  # what exp2 lost
        rows = np.maximum(weighted_sum(site, p), weighted_sum(site, q))
        found = np.logaddexp2(found, rows + top + _FLOOR + 1)
    return found


def _range(before: np.ndarray, after: np.ndarray, every: bool) -> tuple[float, float]:
    """The smallest and largest finite before - after; `every`: each of the one meets each of the other."""
    if not every:
        with np.errstate(invalid="ignore"):
            before, after = before - after, np.zeros(1)
    parts = [array[np.isfinite(array)] for array in (before, after)]
    if not all(part.size for part in parts):
        return np.inf, -np.inf
    return float(parts[0].min() - parts[1].max()), float(parts[0].max() - parts[1].min())


def _exp2_difference(before: np.ndarray, after: np.ndarray, top: float) -> np.ndarray:
    """2^(before - after - top), 0 where either is -inf."""
    with np.errstate(invalid="ignore", over="ignore"):
        shift = before - after
        return np.where(np.isfinite(shift), np.exp2(shift - top), 0.0)
