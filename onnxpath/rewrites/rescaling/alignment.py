"""Aligning one network's rescaling to another's (docs/theory.md, section 5).

Aligning Q to P: in topological order, λ of a group is the median over its first producer's coordinates
(non-zero in both) of |P| / |Q|, the input channels' own λ taken into account. A median that is a power of two
to 1e-6 is taken as one, and the rescaling is then exact in floating point.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from onnxpath.model.matching import Pairing, Parameters
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling.groups import Groups, channel, groups, lambdas, learned, rescaled

_SAMPLE = 64


def _sample(weight: Parameter, axis: int) -> tuple[slice, ...]:
    """A strided selection of about `_SAMPLE` coordinates for every index of `axis`."""
    size = weight.size // weight.shape[axis]
    index = [slice(None)] * len(weight.shape)
    order = sorted((k for k in range(len(weight.shape)) if k != axis), key=lambda k: -weight.shape[k])
    for k in order:
        step = max(1, min(weight.shape[k], size // _SAMPLE))
        index[k] = slice(None, None, step)
        size //= step
    return tuple(index)


def _log_ratio(p: np.ndarray, q: np.ndarray, axis: int) -> np.ndarray:
    """log2 |p| / |q| with one row per index of `axis`; nan where either is zero."""
    p, q = (np.moveaxis(np.abs(x.astype(np.float64)), axis, 0).reshape(x.shape[axis], -1) for x in (p, q))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((p > 0) & (q > 0), np.log2(p) - np.log2(q), np.nan)


def _median(ratio: np.ndarray) -> np.ndarray:
    """The lower median of every row, nan where a row has no entry. It is one of the entries, which keeps
    exact rescalings exact."""
    found = np.full(len(ratio), np.nan)
    some = ~np.isnan(ratio).all(axis=1)
    if some.any():
        ordered = np.sort(ratio[some], axis=1)
        counts = (~np.isnan(ordered)).sum(axis=1)
        found[some] = ordered[np.arange(len(ordered)), (counts - 1) // 2]
    return found


@dataclass(frozen=True, eq=False)
class Alignment:
    """The twin's parameters rescaled towards the first network. exact: all factors are powers of two."""

    twin: dict[str, Parameters]
    exact: bool


def _snap(log2: np.ndarray) -> np.ndarray:
    near = np.rint(log2)
    return np.where(np.abs(log2 - near) < 1.5e-6, near, log2)


def align(pairing: Pairing, worthwhile: float) -> Alignment | None:
    """Rescale the twin to match the first network; None when that does not bring sampled coordinates
    `worthwhile` times closer (in the mean of |log |p| / |q||)."""
    found, log2, gain = _factors(pairing)
    return None if gain < worthwhile or not log2.any() else _rescaled(pairing, found, log2)


def alignments(pairing: Pairing) -> list[Alignment]:
    """The twin rescaled to match the first network, by the factors themselves and by the powers of two next
    to them.

    A twin that a rescaling by powers of two led away from another one gets the same second candidate as that
    one, and any rescaled copy the same first one. Parameters that a factor rounds say so (`Parameter.error`).
    Empty where nothing moves.
    """
    found, log2, _ = _factors(pairing)
    whole = np.rint(log2)
    made = [_rescaled(pairing, found, log2)] if log2.any() else []
    if whole.any() and not np.array_equal(whole, log2):
        made.append(_rescaled(pairing, found, whole))
    return [
        candidate if candidate.exact else Alignment(_outward(candidate.twin), False) for candidate in made
    ]


# A rescaled coordinate went through at most four float64 roundings.
_ROUNDED = 2.0**-50


def _outward(twin: dict[str, Parameters]) -> dict[str, Parameters]:
    def rounded(parameter: Parameter | None) -> Parameter | None:
        return None if parameter is None or parameter.scale is None else replace(parameter, error=_ROUNDED)

    return {name: (rounded(weight) or weight, rounded(bias) or bias) for name, (weight, bias) in twin.items()}


def _factors(pairing: Pairing) -> tuple[Groups, np.ndarray, float]:
    """The groups, log2 of every group's factor, and how much closer that brings sampled coordinates."""
    network = pairing.a
    found = groups(network, pairing.twin)
    log2 = np.full(found.count, np.nan)
    log2[0] = 0.0
    spread = np.zeros(2)
    for node in learned(network):
        spread += _determine(network, node, pairing.twin[node.output], found, log2)
    log2 = np.nan_to_num(log2, nan=0.0)
    before, after = spread
    return found, log2, before / after if after > 0 else (1.0 if before == 0 else np.inf)


def _rescaled(pairing: Pairing, found: Groups, log2: np.ndarray) -> Alignment:
    twin = dict(pairing.twin)
    for node in learned(pairing.a):
        twin[node.output] = rescaled(pairing.a, node, *pairing.twin[node.output], found, log2)
    return Alignment(twin, bool(np.array_equal(log2, np.rint(log2))))


def _determine(network: Network, node: Node, twin: Parameters, found: Groups, log2: np.ndarray) -> np.ndarray:
    """Set λ of the groups that this node is the first to produce; the mean |log ratio| before and after."""
    site = Site.of(network, node)
    weight, bias = twin
    if OPERATORS[node.op].axes(site) is None:
        return _determine_elementwise(network, node, twin, found, log2)
    if weight is None or node.weight is None:
        return np.zeros(2)
    lam_in, lam_out = lambdas(network, node, found, log2)
    axis, _ = OPERATORS[node.op].weight_axes(site)
    index = _sample(node.weight, axis)
    # coordinates of input channels whose λ nothing determines (they are zero in one of the two) say nothing:
    # nan
    source, _ = OPERATORS[node.op].shift(site, lam_in, np.zeros(len(lam_out)))
    raw = _log_ratio(node.weight.block(index), weight.block(index), axis)
    steps = tuple(s if n > 1 else slice(None) for s, n in zip(index, source.shape, strict=True))
    sampled = np.broadcast_to(source[steps], node.weight.block(index).shape)
    ratio = raw + np.moveaxis(sampled, axis, 0).reshape(raw.shape)
    median = _median(ratio)
    if len(median) != len(lam_out):  # one row of the stored weight serves a channel of every group
        parts = np.array_split(np.arange(ratio.shape[1]), len(lam_out) // len(median))
        median = np.concatenate([_median(ratio[:, part]) for part in parts])
    if bias is not None and node.bias is not None and bias.shape == median.shape:
        own = _median(_log_ratio(node.bias.array()[:, None], bias.array()[:, None], 0))
        median = np.where(np.isnan(median), own, median)
    channels = channel(found.ids[node.output], OPERATORS[node.op].contracted(site)[1], len(median))
    _settle(log2, channels, median)
    if np.isnan(lam_in).any() and site.node.attributes.get("group", 1) == 1:
        _settle_inputs(network, node, twin, found, log2)
    after = ratio - np.nan_to_num(log2[channels])[: len(ratio), None] if len(median) == len(ratio) else ratio
    return _means(raw, after)


def _settle_inputs(network: Network, node: Node, twin: Parameters, found: Groups, log2: np.ndarray) -> None:
    """Give undetermined input channels the λ that aligns the weights which read them."""
    site = Site.of(network, node)
    lam_in, lam_out = lambdas(network, node, found, log2)
    _, target = OPERATORS[node.op].shift(site, lam_in, np.nan_to_num(lam_out))
    assert twin[0] is not None
    p, q = node.coefficients.array(), twin[0].array()
    _, axis = OPERATORS[node.op].weight_axes(site)
    rows = _log_ratio(p, q, axis) - np.moveaxis(np.broadcast_to(target, p.shape), axis, 0).reshape(
        p.shape[axis], -1
    )
    ids = channel(found.ids[node.inputs[0]], OPERATORS[node.op].contracted(site)[0], len(lam_in))
    _settle(log2, ids, -_median(rows))


def _means(raw: np.ndarray, aligned: np.ndarray) -> np.ndarray:
    present = ~(np.isnan(raw) | np.isnan(aligned))
    return np.array([np.abs(part[present]).mean() if present.any() else 0.0 for part in (raw, aligned)])


def _settle(log2: np.ndarray, groups_of: np.ndarray, values: np.ndarray) -> None:
    """Give undetermined groups the first finite value offered."""
    for group, value in zip(groups_of.reshape(-1), _snap(values).reshape(-1), strict=True):
        if np.isnan(log2[group]) and np.isfinite(value):
            log2[group] = value


def _determine_elementwise(
    network: Network, node: Node, twin: Parameters, found: Groups, log2: np.ndarray
) -> np.ndarray:
    p, q = (node.weight, twin[0]) if node.weight is not None and twin[0] is not None else (node.bias, twin[1])
    if p is None or q is None:
        return np.zeros(2)
    ids = found.ids[node.output]
    raw = _log_ratio(p.array()[None], q.array()[None], 0).reshape(p.shape)
    ratio = raw + np.nan_to_num(log2[found.ids[node.inputs[0]]]) if p is node.weight else raw
    shape = np.broadcast_shapes(ratio.shape, ids.shape)
    _settle(log2, np.broadcast_to(ids, shape), np.broadcast_to(ratio, shape))
    if (
        p is node.weight and node.bias is not None and twin[1] is not None
    ):  # channels whose factor is 0 have a bias still
        own = _log_ratio(node.bias.array()[None], twin[1].array()[None], 0).reshape(node.bias.shape)
        wide = np.broadcast_shapes(own.shape, ids.shape)
        _settle(log2, np.broadcast_to(ids, wide), np.broadcast_to(own, wide))
    return _means(
        np.broadcast_to(raw, shape),
        np.broadcast_to(ratio, shape) - np.nan_to_num(log2[np.broadcast_to(ids, shape)]),
    )


def _pairs(pairing: Pairing) -> Iterator[tuple[str, Parameter, Parameter]]:
    """Parameters that both networks have and that are not one object, by node output."""
    for node in learned(pairing.a):
        for p, q in zip((node.weight, node.bias), pairing.twin[node.output], strict=True):
            if p is not None and q is not None and not (p.base is q.base and p.scale is q.scale):
                yield node.output, p, q


def changed(pairing: Pairing) -> set[str]:
    """Outputs of the nodes whose parameters differ."""
    found = set()
    for node in learned(pairing.a):
        if any(
            (p is None) != (q is None)
            for p, q in zip((node.weight, node.bias), pairing.twin[node.output], strict=True)
        ):
            found.add(node.output)
    for output, p, q in _pairs(pairing):
        if output not in found and not np.array_equal(p.array(), q.array()):
            found.add(output)
    return found


def monotone_on_sample(pairing: Pairing) -> bool:
    """Whether a sample of the coordinates shows no coordinate shrinking while another grows, and no sign
    change."""
    grows = shrinks = False
    for _, p, q in _pairs(pairing):
        index = (
            tuple(slice(None, None, max(1, n // 64)) for n in p.shape)
            if p.size > 1 << 14
            else (slice(None),) * len(p.shape)
        )
        a, b = p.block(index), q.block(index)
        shrinks = shrinks or bool((np.abs(b) < np.abs(a)).any())
        grows = grows or bool((np.abs(b) > np.abs(a)).any())
        if (grows and shrinks) or bool((np.sign(a) * np.sign(b) < 0).any()):
            return False
    return True


def opposed_on_sample(network: Network, twin: Mapping[str, Parameters], share: float) -> bool:
    """Whether, in a sample of some layer's weights, those of opposite signs (or zero in one network) make up
    more than `share` of what the two networks' moduli exceed their common minimum by."""
    for node in network.nodes:
        p, q = node.weight, twin.get(node.output, (None, None))[0]
        if p is None or q is None:
            continue
        index = (
            tuple(slice(None, None, max(1, n // 32)) for n in p.shape)
            if p.size > 1 << 14
            else (slice(None),) * len(p.shape)
        )
        a, b = p.block(index).astype(np.float64), q.block(index).astype(np.float64)
        opposed = np.sign(a) * np.sign(b) <= 0
        a, b = np.abs(a), np.abs(b)
        against = np.where(opposed, a + b, 0.0).sum()
        if against > share * (against + np.where(opposed, 0.0, np.abs(a - b)).sum()):
            return True
    return False
