"""Normalization (Algorithm 1 of Gonon et al., 2024; docs/lipschitz.md, section 2).

In topological order, a hidden neuron v is divided by λ_v = |b_v| + Σ_u |w_uv| and its outgoing weights are multiplied by it; a
neuron with λ_v = 0 gets outgoing weights 0. Then ‖Φ^{→v}‖₁ is 1 or 0 for every hidden v, while R and Φ do not change.

*Channel level* (`normalize`): one λ per rescaling group (`onnxpath.rescaling`), so that weight sharing survives and the result
is a network of the same file format. λ is the row of the whole kernel: neurons near a padded border, which have fewer
antecedents, end below 1. A group that several nodes produce (a residual sum) is normalized for the first of them.
"""

import numpy as np

from onnxpath.network import Network, Site
from onnxpath.passes import rows
from onnxpath.passes.magnitude import add_log2
from onnxpath.rescaling import Groups, groups, learned


def normalize(network: Network, found: Groups | None = None) -> np.ndarray:
    """log2 of the factor that every rescaling group is multiplied by, float64 [found.count], for `rescaling.rescaled`.

    found: `rescaling.groups(network)`, if known. 0 (a factor of 1) for groups that must not be rescaled and for channels whose
    weights are all zero.
    """
    found = found or groups(network)
    log2 = np.zeros(found.count)
    settled = np.zeros(found.count, bool)
    settled[0] = True
    for node in learned(network):
        site, ids = Site.of(network, node), found.ids[node.output]
        before = -log2[found.ids[node.inputs[0]]]
        size = add_log2(rows.weighted_sum(site, node.weight, before), rows.bias_log2(site, node.bias)) - 2 * rows.SLACK
        largest = np.full(found.count, -np.inf)
        np.maximum.at(largest, *(part.reshape(-1) for part in np.broadcast_arrays(ids, size)))
        made = np.zeros(found.count, bool)
        made[ids] = True
        log2 = np.where(made & ~settled & np.isfinite(largest), -largest, log2)
        settled |= made
    return log2
