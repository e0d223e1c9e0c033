"""A rescaling of a network's channels, written into the tensors of its file.

The canonical network folds BatchNormalization and products with constants; the file does not. So the factors
are spread over the network before simplification, where every activation of the file has channels of its own:
a tensor that the canonical network no longer has (the output of a convolution that a BatchNormalization
follows) takes the factors of the next one, as in Appendix D of the paper. With λ of the channels that go in
and out, a file's tensors change by

    weight of Conv, Gemm, MatMul, Mul    λ_out / λ_in          bias    λ_out
    BatchNormalization                   scale λ_out / λ_in    mean    λ_in    bias    λ_out    variance 1,

which is y = γ (x - μ) / √(σ² + ε) + β with λ_out y on the left and λ_in x on the right. Groups whose tensors
cannot follow keep λ = 1: one that repeats a cell, one read in different ways, a value that the file computes
from constants. A tensor that is read in the same way at several places (exporters store equal biases once)
joins the groups that it serves.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from onnxpath.errors import UnsupportedError
from onnxpath.exporter.placement import Placement, locate, origin_of
from onnxpath.model.network import Network, Parameter, Site
from onnxpath.ops import OPERATORS
from onnxpath.rewrites.rescaling.groups import (
    Groups,
    Union,
    across,
    elementwise,
    groups,
    learned,
    multipliers,
    sides,
    statistic,
)


@dataclass(frozen=True, eq=False)
class FileGroups:
    """The groups of a network that its file can rescale: `canonical` ids for the tensors of the network,
    `lowered` ids for those of `network.lowered`. One numbering; id 0 keeps λ = 1. pinned: how many groups of
    the network do so because of the file.
    """

    canonical: Groups
    lowered: Groups
    pinned: int


@dataclass(frozen=True, eq=False)
class _Role:
    """A parameter that a node reads from the file: what it is multiplied by depends on its kind. place: None
    when no tensor of the file holds it cell by cell. readers: how many parameters, and outputs of the file,
    are computed from that tensor.
    """

    site: Site
    kind: Literal["weight", "bias", "mean"]
    parameter: Parameter
    place: Placement | None
    readers: int

    def factor(self, found: Groups, up: np.ndarray, down: np.ndarray) -> np.ndarray:
        """up[out] down[in] of a weight, up[out] of a bias, up[in] of a mean; broadcastable to the
        parameter."""
        node, shape = self.site.node, self.parameter.shape
        if self.parameter is node.weight or self.parameter is node.bias:
            weight, bias = multipliers(self.site, found, up, down, shape)
            factor = weight if self.kind == "weight" else bias
            return factor if factor.ndim == len(shape) else factor.reshape(shape)
        inside, out = found.ids[node.inputs[0]], found.ids[node.output]
        factor = {"mean": up[inside], "bias": up[out]}.get(self.kind)
        factor = elementwise(found, node, up, down) if factor is None else factor
        return statistic(self.site, factor, shape)

    def ids(self, found: Groups) -> list[np.ndarray]:
        """Ids of the groups that the factor depends on, broadcastable to the parameter."""
        numbers = np.arange(found.count)
        if self.kind != "weight":
            return [self.factor(found, numbers, numbers)]
        if self.parameter is self.site.node.weight:
            return list(sides(self.site, found, numbers, numbers))
        node, shape = self.site.node, self.parameter.shape
        return [statistic(self.site, found.ids[name], shape) for name in (node.inputs[0], node.output)]


def file_groups(network: Network) -> FileGroups:
    """The rescaling groups of a network, joined where its file ties them."""
    lowered = network.lowered
    own, raw = groups(network), groups(lowered)
    union = Union()
    union.fresh(own.count + raw.count)
    canonical = {name: ids.astype(np.int64) for name, ids in own.ids.items()}
    ids = {name: np.where(array == 0, 0, array + own.count) for name, array in raw.ids.items()}
    for name, array in canonical.items():
        if name in ids:  # an output that copies another one is pinned as that one is
            union.join(*across(array, ids[name]))
    for node in lowered.nodes:
        if OPERATORS[node.op].diagonal and node.inputs[0] not in network.shapes:
            union.join(*across(ids[node.inputs[0]], ids[node.output]))
    free = len({union.find(k) for k in own.free()} - {0})
    _tie(union, Groups(ids, own.count + raw.count + 1), _roles(network))
    roots = union.roots()
    settled, below = (
        Groups({name: roots[array] for name, array in part.items()}, len(roots)) for part in (canonical, ids)
    )
    return FileGroups(settled, below, free - len(settled.free()))


def _roles(network: Network) -> list[_Role]:
    """What the learned nodes read from the file; parameters that are 0 may be multiplied by anything."""
    origin, lowered = origin_of(network), network.lowered
    read: list[tuple[Site, Any, Parameter]] = []
    readers: Counter[str] = Counter(origin.exposed)
    for node in learned(lowered):
        site = Site.of(lowered, node)
        if node.output in origin.normalizations:
            scale, bias, mean, variance = origin.normalizations[node.output]
            read += [(site, "weight", scale), (site, "bias", bias), (site, "mean", mean)]
            readers.update(variance.sources)
        else:
            read += [
                (site, kind, p)
                for kind, p in (("weight", node.weight), ("bias", node.bias))
                if p is not None and not p.fixed
            ]
    for _, _, parameter in read:
        readers.update(parameter.sources)
    roles = []
    for site, kind, parameter in read:
        if np.any(parameter.base):
            place = _place(network, parameter)
            roles.append(_Role(site, kind, parameter, place, readers[place.tensor] if place else 0))
    return roles


def _place(network: Network, parameter: Parameter) -> Placement | None:
    try:
        place = locate(network, parameter)
    except UnsupportedError:
        return None
    return None if place.repeats else place


def _tie(union: Union, found: Groups, roles: list[_Role]) -> None:
    """Join groups that need the same λ because one tensor of the file serves both, and pin those whose tensor
    cannot follow."""
    sharing: dict[str, list[_Role]] = {}
    for role in roles:
        if role.place is not None:
            sharing.setdefault(role.place.tensor, []).append(role)
    for role in roles:
        others = sharing[role.place.tensor] if role.place is not None else []
        ids = role.ids(found)
        if (
            role.place is not None
            and len(others) == role.readers
            and all(_alike(role, other) for other in others)
        ):
            if role is not others[0]:
                for mine, first in zip(ids, others[0].ids(found), strict=True):
                    union.join(*across(mine, first))
        elif not (role.kind == "weight" and OPERATORS[role.site.node.op].diagonal and _same(union, *ids)):
            for array in ids:
                union.join(array, np.zeros_like(array))


def _alike(a: _Role, b: _Role) -> bool:
    """Both read the same cells of one tensor in the same way."""
    return a.kind == b.kind and a.place == b.place


def _same(union: Union, a: np.ndarray, b: np.ndarray) -> bool:
    """The factor up[out] down[in] of these channels is 1."""
    a, b = across(a, b)
    return all(
        union.find(int(x)) == union.find(int(y)) for x, y in zip(a.reshape(-1), b.reshape(-1), strict=True)
    )


def edits(network: Network, found: FileGroups, up: np.ndarray, down: np.ndarray) -> dict[str, np.ndarray]:
    """New values of the file's tensors (halves as float32) when every group g is multiplied by up[g] where it
    is produced and by down[g] where it is read; by the tensor's name. `up` and `down` of group 0 must be
    1."""
    tensors = origin_of(network).tensors
    changed: dict[str, np.ndarray] = {}
    for role in _roles(network):
        factor = role.factor(found.lowered, up, down)
        if role.place is None or role.place.tensor in changed or (factor == 1).all():
            continue
        stored = tensors[role.place.tensor]
        array = stored.astype(np.float64, order="C")
        view = role.place.view(array)
        view *= factor
        with np.errstate(over="ignore"):  # an infinity is refused when it is stored
            changed[role.place.tensor] = array.astype(stored.dtype)
    return changed
