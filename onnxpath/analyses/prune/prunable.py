"""Which tensors of a file can be pruned, and what pruning them makes of its network.

A coordinate of the model is a cell of a tensor of the file (`exporter.locate`); a folded BatchNormalization
multiplies it by a factor, which leaves a zero a zero. A cell may be set to zero when everything that depends
on it does so through such coordinates: a tensor that something else is computed from stays as it is, with a
note that says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np

from onnxpath.errors import UnsupportedError, UsageError
from onnxpath.exporter import Placement, locate
from onnxpath.exporter.placement import origin_of
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS

Use = tuple[str, str]
"""The output of a node, and "weight" or "bias"."""


@dataclass(frozen=True, eq=False)
class Target:
    """Cells of one tensor of the file that may be pruned: as the first of its uses sees them, in that
    parameter's shape.

    uses: every use of these cells, with its own view of the tensor. axis: of the input channels; None for a
    bias. row: how many input channels one neuron reads there, which is less than the axis' length where it
    counts those of several groups.
    """

    tensor: str
    layer: str
    place: Placement
    uses: tuple[tuple[Use, Placement], ...]
    axis: int | None
    row: int = 0

    @property
    def size(self) -> int:
        return int(np.prod(self.place.shape, dtype=np.int64))

    def costs(self, found: Mapping[Use, np.ndarray]) -> np.ndarray:
        """The costs of the cells, all uses added up. A use without an entry leads to no output: it costs
        nothing."""
        known = [(found[use], place) for use, place in self.uses if use in found]
        if len(known) == 1 and known[0][1] is self.place:
            return known[0][0]
        kind = known[0][0].dtype if known else np.dtype(np.float32)
        total = np.zeros(self.place.stored, kind)
        for cost, place in known:
            place.view(total)[...] += cost
        return self.place.view(total)


def _places(network: Network) -> tuple[dict[Use, Placement], dict[str, str]]:
    """Where every parameter is stored, and why tensors that something else is computed from cannot be
    changed."""
    places: dict[Use, Placement] = {}
    entangled = dict.fromkeys(origin_of(network).exposed, "an output of the file is computed from it alone")
    for node in network.nodes:
        for kind in ("weight", "bias"):
            parameter = getattr(node, kind)
            if parameter is None:
                continue
            try:
                place = locate(network, parameter)
            except UnsupportedError:
                place = None
            else:
                places[node.output, kind] = place
            for name in parameter.sources:
                if place is None or name != place.tensor:
                    entangled.setdefault(name, f"the {kind} of '{node.name}' is computed from it")
    return places, entangled


def _together(uses: Sequence[tuple[Use, Placement]]) -> list[list[tuple[Use, Placement]]] | None:
    """The uses of one tensor, by the cells that they share; None when some overlap in part."""
    if len(uses) == 1:
        return [list(uses)]
    cells: list[tuple[np.ndarray, list[tuple[Use, Placement]]]] = []
    for use, place in uses:
        own = np.unique(place.indices())
        for other, members in cells:
            if np.array_equal(own, other):
                members.append((use, place))
                break
            if np.intersect1d(own, other, assume_unique=True).size:
                return None
        else:
            cells.append((own, [(use, place)]))
    return [members for _, members in cells]


def _learned(network: Network, kinds: Sequence[str]) -> list[tuple[Node, str]]:
    """The learned parameters of these kinds, "weight" or "bias", of nodes that contract an axis."""
    return [
        (node, kind)
        for node in network.nodes
        for kind in kinds
        if (parameter := getattr(node, kind)) is not None
        and not parameter.fixed
        and not OPERATORS[node.op].diagonal
    ]


def targets(
    network: Network, include: Sequence[str], exclude: Sequence[str], biases: bool, verb: str = "pruned"
) -> tuple[list[Target], list[str]]:
    """What may be pruned, and notes on what may not: weights of Conv, ConvTranspose and MatMul nodes, and
    biases if asked.

    include, exclude: patterns (* ? [...]) for names of layers or tensors. verb: what notes and errors say is
    done to them. Raises UsageError when a pattern matches nothing, or when nothing is left.
    """
    places, entangled = _places(network)
    by_tensor: dict[str, list[tuple[Use, Placement]]] = {}
    for use, place in places.items():
        by_tensor.setdefault(place.tensor, []).append((use, place))
    kinds = ("weight", "bias") if biases else ("weight",)
    wanted = _learned(network, kinds)
    chosen = _chosen(network, wanted, include, exclude, verb)
    left_out = {
        (node.output, kind): node.name for node, kind in wanted if _matches(network, node, kind, exclude)
    }
    found: list[Target] = []
    notes: list[str] = []
    done: set[Use] = set()
    for node, kind in chosen:
        use = (node.output, kind)
        if use in done:
            continue
        label = f"the {kind} of '{node.name}'"
        if use not in places:
            notes.append(f"{label} is not {verb}: {_reason(network, node, kind)}")
            continue
        place = places[use]
        groups = _together(by_tensor[place.tensor])
        members = [
            one for group in groups or () if any(member == use for member, _ in group) for one in group
        ]
        kept = [left_out[member] for member, _ in members if member in left_out]
        why = None
        if place.tensor in entangled:
            why = entangled[place.tensor]
        elif place.repeats:
            why = "one stored number stands for many coordinates"
        elif groups is None:
            why = "it is used in parts that overlap"
        elif any(member[1] not in kinds for member, _ in members):
            why = "it also is a bias, and biases are kept"
        elif kept:
            why = f"'{kept[0]}', which is excluded, uses it, too"
        if why is not None:
            notes.append(f"'{place.tensor}' is not {verb}: {why}")
            continue
        done |= {member for member, _ in members}
        members = sorted(members, key=lambda item: item[0] != use)
        axis, row = _input(network, node) if kind == "weight" else (None, 0)
        found.append(Target(place.tensor, node.name, place, tuple(members), axis, row))
    if not found:
        raise UsageError(
            f"{network.path}: nothing can be {verb}" + (f": {'; '.join(notes[:3])}" if notes else "")
        )
    return found, notes


def _input(network: Network, node: Node) -> tuple[int, int]:
    """The axis of a weight that counts input channels, and how many of them one neuron reads."""
    site, operator = Site.of(network, node), OPERATORS[node.op]
    channels = site.input_shapes[0][operator.contracted(site)[0]]
    return operator.weight_axes(site)[1], channels // operator.groups(site)


def _reason(network: Network, node: Node, kind: str) -> str:
    try:
        locate(network, getattr(node, kind))
    except UnsupportedError as error:
        return str(error).partition(": ")[2]
    return ""


def _names(network: Network, node: Node, kind: str) -> tuple[str, ...]:
    return (node.name, *getattr(node, kind).sources[:1])


def _chosen(
    network: Network,
    wanted: list[tuple[Node, str]],
    include: Sequence[str],
    exclude: Sequence[str],
    verb: str,
) -> list[tuple[Node, str]]:
    for option, patterns in (("--include", include), ("--exclude", exclude)):
        for pattern in patterns:
            if not any(
                fnmatchcase(name, pattern) for node, kind in wanted for name in _names(network, node, kind)
            ):
                raise UsageError(
                    f"{option} '{pattern}' matches no layer and no tensor that can be {verb} in"
                    f" {network.path}"
                )

    return [
        (node, kind) for node, kind in wanted
        if (not include or _matches(network, node, kind, include)) and not _matches(network, node, kind,
        exclude)
    ]  # fmt: skip


def _matches(network: Network, node: Node, kind: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in _names(network, node, kind) for pattern in patterns)


def changed(network: Network, edits: Mapping[str, np.ndarray]) -> Network:
    """The network with other values in tensors of the file (arrays in the tensors' own shapes); nothing is
    copied.

    Only for tensors of `targets`: parameters that are computed from a tensor would not follow.
    """
    nodes = []
    for node in network.nodes:
        made = {}
        for kind in ("weight", "bias"):
            parameter = getattr(node, kind)
            if parameter is None or not any(name in edits for name in parameter.sources):
                continue
            place = locate(network, parameter)
            if place.tensor in edits:
                made[kind] = replace(parameter, base=place.view(edits[place.tensor]))
        nodes.append(replace(node, **made) if made else node)
    return replace(network, nodes=tuple(nodes))


def stored(network: Network, target: Target) -> np.ndarray:
    """The file's tensor that a target belongs to."""
    return origin_of(network).tensors[target.tensor]
