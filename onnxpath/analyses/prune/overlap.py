"""How much the pruned sets of three criteria have in common (paper, Table 1), before and after a random
rescaling (Appendix D).

MP removes the smallest magnitudes of every layer, Φ-LP the smallest Φ-costs of every layer, Φ-GP the smallest
Φ-costs of all. A rescaling of neurons by λ in {1, 128, 4096} changes neither the function nor a single
Φ-cost, so that the Φ-sets stay what they are; magnitudes, and with them MP's set, change.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from onnxpath.analyses.prune.costs import Measured, measure
from onnxpath.analyses.prune.criteria import Settings, masks, scores
from onnxpath.analyses.prune.prunable import Target
from onnxpath.engine.session import Device
from onnxpath.model.network import Network, Site
from onnxpath.ops import OPERATORS
from onnxpath.records import Overlap
from onnxpath.rewrites.rescaling.groups import groups, learned, multipliers, rescaled

LEVELS = (0.1, 0.2, 0.4, 0.6, 0.8)
FACTORS = (1.0, 128.0, 4096.0)
_SETS = {"MP": ("magnitude", "layer"), "Φ-LP": ("path", "layer"), "Φ-GP": ("path", "global")}


def randomly_rescaled(network: Network, seed: int, choices: Sequence[float] = FACTORS) -> Network | None:
    """The network with every rescaling group's λ drawn from `choices`, stored as a file would store it (the
    weights themselves, not a folded factor, are multiplied); None where no group can be rescaled."""
    found = groups(network)
    if not found.free():
        return None
    log2 = np.random.default_rng(seed).choice(np.log2(choices), found.count)
    log2[0] = 0.0
    made = {}
    for node in learned(network):
        weight, bias = rescaled(network, node, node.weight, node.bias, found, log2)
        site = Site.of(network, node)
        if node.weight is not None and not OPERATORS[node.op].diagonal:
            base = node.weight.base * multipliers(site, found, np.exp2(log2), np.exp2(-log2))[0]
            weight = replace(node.weight, base=base.astype(node.weight.base.dtype))
        made[node.output] = replace(node, weight=weight, bias=bias)
    return replace(network, nodes=tuple(made.get(node.output, node) for node in network.nodes))


def _sets(
    network: Network, found: Sequence[Target], measured: Measured, level: float
) -> dict[str, list[np.ndarray]]:
    values = [
        getattr(network.producer[use[0][0]], use[0][1]).base for use in (item.uses[0] for item in found)
    ]
    costs = [item.costs(measured.costs) for item in found]
    made = {}
    for name, (criterion, scope) in _SETS.items():
        settings = Settings(criterion, scope)
        made[name] = masks(found, values, scores(values, costs, settings), settings, level)
    return made


def _common(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> float:
    """|A ∩ B| / max(|A|, |B|); 1 for two empty sets."""
    both = sum(int(np.count_nonzero(x & y)) for x, y in zip(a, b, strict=True))
    larger = max(sum(int(np.count_nonzero(x)) for x in side) for side in (a, b))
    return both / larger if larger else 1.0


def overlaps(
    network: Network, found: Sequence[Target], measured: Measured, device: Device, seed: int
) -> tuple[Overlap, ...]:
    """Table 1 for a network and what of it can be pruned; measured: its costs."""
    other = randomly_rescaled(network, seed)
    again = measure(other, device) if other is not None else None
    rows = []
    for level in LEVELS:
        before = _sets(network, found, measured, level)
        after = _sets(other, found, again, level) if other is not None and again is not None else None
        rows.append(
            Overlap(
                level, _common(before["MP"], before["Φ-GP"]), _common(before["MP"], before["Φ-LP"]),
                None if after is None else _common(after["MP"], after["Φ-GP"]),
                None if after is None else _common(after["MP"], after["Φ-LP"]),
                {} if after is None else {name: _common(before[name], after[name]) for name in _SETS},
            )
        )  # fmt: skip
    return tuple(rows)
