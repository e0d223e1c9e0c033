"""Algorithm 1 of the paper at channel level: every hidden channel's incoming weights and bias get ℓ1 norm 1.

In topological order, with the weights already divided by what came before,

    λ_c = Σ |W[c]| + |b_c|,    row c and its bias are divided by λ_c, the weights that read channel c
                               multiplied by it.

λ_c is that of an interior neuron: neurons at the border of a padded convolution share their channel's, so
that weights stay shared. A channel with λ_c = 0 is always 0: the weights that read it become 0. A group of
channels tied by Add, Concat or pooling takes the λ of the first node that produces it. The function and Φ
stay what they are.
"""

from collections import Counter

import numpy as np

from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling.groups import Groups, channel, learned


def normalize(network: Network, found: Groups) -> tuple[np.ndarray, np.ndarray]:
    """The factors (up, down) of every group, float64: up = 1 / λ where it is produced, down = λ where it is
    read.

    A dead group has up = 1 and down = 0. Group 0 and groups that nothing produces keep 1.
    """
    up, down = np.ones(found.count), np.ones(found.count)
    open_ = Counter(
        int(g) for node in learned(network) if _produces(node) for g in np.unique(found.ids[node.output])
    )
    settled = {0}
    for node in learned(network):
        if not _produces(node):
            continue
        ids, norms = row_norms(network, node, found, down)
        sums: dict[int, float] = {}
        for group, norm in zip(ids.tolist(), norms.tolist(), strict=True):
            sums[group] = max(sums.get(group, 0.0), norm)
        for group, norm in sums.items():
            open_[group] -= 1
            if group in settled:
                continue
            if norm > 0 and np.isfinite(norm):
                up[group], down[group] = 1 / norm, norm
                settled.add(group)
            elif norm == 0 and not open_[group]:
                down[group] = 0.0
                settled.add(group)
    return up, down


def _produces(node: Node) -> bool:
    """Its output's channels are not just its input's."""
    return node.op != "Scale" or node.bias is not None or not (node.weight is None or node.weight.fixed)


def row_norms(network: Network, node: Node, found: Groups, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Group ids and Σ |W[c]| down[in] + |b_c| of every output channel c of a learned node, both flat."""
    site, operator = Site.of(network, node), OPERATORS[node.op]
    bias = np.zeros(1) if node.bias is None else np.abs(np.asarray(node.bias.array(), np.float64))
    if operator.axes(site) is None:
        inside, out = found.ids[node.inputs[0]], found.ids[node.output]
        own = node.weight is None or node.weight.fixed  # its input is the same group
        norms = (
            bias if own else np.abs(np.asarray(node.coefficients.array(), np.float64)) * down[inside] + bias
        )
        shape = np.broadcast_shapes(norms.shape, out.shape)
        return np.broadcast_to(out, shape).reshape(-1), np.broadcast_to(norms, shape).reshape(-1)
    source, target = operator.contracted(site)
    columns = down[channel(found.ids[node.inputs[0]], source, site.input_shapes[0][source])]
    matrix = operator.matrix(site, np.abs(node.coefficients.array()))
    parts, _, width = matrix.shape
    norms = np.einsum("goi,gi->go", matrix, columns.reshape(parts, width)).reshape(-1)
    channels = channel(found.ids[node.output], target, site.output_shape[target])
    return channels, norms + _per_channel(site, bias, target)


def _per_channel(site: Site, bias: np.ndarray, target: int) -> np.ndarray:
    """The largest |bias| of every output channel."""
    length = site.output_shape[target]
    if OPERATORS[site.node.op].channel_bias or bias.size == 1:
        return np.broadcast_to(bias.reshape(-1), (length,))
    axis = target - len(site.output_shape) + bias.ndim
    if axis < 0 or bias.shape[axis] == 1:
        return np.full(length, bias.max())
    return np.moveaxis(bias, axis, 0).reshape(length, -1).max(axis=1)
