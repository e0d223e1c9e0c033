"""Which cells of a tensor are alike, along every spatial axis (docs/theory.md, section 1).

For constant inputs, and for any parameters, two kinds of cells of the absolute network need no numbers of
their own. Per axis:

    equal values      cells that see equal cells through every kernel offset hold the same value in every
                      channel
    equal cotangents  cells that are read the same number of times, through every kernel offset, by cells with
                      equal cotangents have the same cotangent: the outputs depend on their sum alone

The absolute network is linear, so that both hold through ReLUs and max-pooling (sums there). Cells of a
product of axes are alike where their coordinates are, axis by axis.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from onnxpath.model.network import Network, Node

# The class of every cell along one axis, numbered in the order in which they occur.
Labels = tuple[int, ...]

_POINTWISE = ("Relu", "Add", "Max", "Scale", "Concat")
_REDUCTIONS = ("ReduceSum", "ReduceMax")


def labelled(signatures: Iterable[Hashable]) -> Labels:
    known: dict[Hashable, int] = {}
    return tuple(known.setdefault(signature, len(known)) for signature in signatures)


def distinct(length: int) -> Labels:
    return tuple(range(length))


def windows(network: Network, node: Node) -> tuple[np.ndarray, ...] | None:
    """Per spatial axis the input cell that every output cell sees through every kernel offset, (out, kernel),
    -1 in the padding; None for a node that is no window operator."""
    before, after = network.shapes[node.inputs[0]], network.shapes[node.output]
    if node.op in _REDUCTIONS:
        if len(after) != len(before) or any(axis < 2 for axis in node.attributes["axes"]):
            return None
        return tuple(
            np.arange(n)[None, :] if k + 2 in node.attributes["axes"] else np.arange(n)[:, None]
            for k, n in enumerate(before[2:])
        )
    if node.op not in ("Conv", "MaxPool", "SumPool"):
        return None
    kernel = node.weight.shape[2:] if node.weight is not None else node.attributes["kernel"]
    found = []
    for k, size in enumerate(kernel):
        stride, dilation, pad = (node.attributes[key][k] for key in ("strides", "dilations", "pads"))
        cells = stride * np.arange(after[2 + k])[:, None] + dilation * np.arange(size)[None, :] - pad
        found.append(np.where((cells >= 0) & (cells < before[2 + k]), cells, -1))
    return tuple(found)


def pointwise(network: Network, node: Node) -> bool:
    """Whether every output cell comes from the input cells in its place, by coefficients that do not vary
    over space."""
    shapes = [network.shapes[name][2:] for name in node.inputs]
    if node.op not in _POINTWISE or any(shape != network.shapes[node.output][2:] for shape in shapes):
        return False
    if node.op == "Concat" and node.attributes["axis"] != 1:
        return False
    return all(n == 1 for parameter in node.parameters() for n in parameter.shape[2:])


def _each(network: Network, tensor: str, axis: Callable[[int, int], Labels]) -> tuple[Labels, ...]:
    return tuple(axis(k, n) for k, n in enumerate(network.shapes[tensor][2:]))


def equal_values(network: Network) -> dict[str, tuple[Labels, ...]]:
    """The classes of cells with equal values on constant inputs, by tensor and spatial axis."""
    found: dict[str, tuple[Labels, ...]] = {
        name: _each(network, name, lambda k, n: (0,) * n) for name in network.inputs
    }
    for node in network.nodes:
        seen, before = windows(network, node), [found[name] for name in node.inputs]
        if seen is not None:
            made = tuple(
                labelled(tuple(axis[c] if c >= 0 else -1 for c in row) for row in cells.tolist())
                for axis, cells in zip(before[0], seen, strict=True)
            )
        elif pointwise(network, node):
            made = _each(
                network,
                node.output,
                lambda k, n, before=before: labelled(zip(*(axes[k] for axes in before), strict=True)),
            )
        else:
            made = _each(network, node.output, lambda k, n: distinct(n))
        found[node.output] = made
    return found


def equal_cotangents(network: Network) -> dict[str, tuple[Labels, ...]]:
    """The classes of cells with equal cotangents of every output cell, by tensor and spatial axis."""
    read: dict[str, list[list[Sequence[Hashable]]]] = {
        name: [[] for _ in network.shapes[name][2:]]
        for name in (*network.inputs, *(node.output for node in network.nodes))
    }
    for name in network.outputs:
        for k, n in enumerate(network.shapes[name][2:]):
            read[name][k].append(distinct(n))
    found: dict[str, tuple[Labels, ...]] = {}
    for node in reversed(network.nodes):
        after = found[node.output] = _classes(network, node.output, read)
        seen, alike = windows(network, node), pointwise(network, node)
        for name in node.inputs:
            for k, n in enumerate(network.shapes[name][2:]):
                if seen is not None:
                    read[name][k].append(_readers(n, seen[k], after[k], node.op == "Conv"))
                else:
                    read[name][k].append(after[k] if alike else distinct(n))
    return found | {name: _classes(network, name, read) for name in network.inputs}


def _classes(
    network: Network, tensor: str, read: Mapping[str, list[list[Sequence[Hashable]]]]
) -> tuple[Labels, ...]:
    return _each(
        network,
        tensor,
        lambda k, n: labelled(zip(*read[tensor][k], strict=True)) if read[tensor][k] else (0,) * n,
    )


def _readers(length: int, seen: np.ndarray, after: Labels, offsets: bool) -> list[Hashable]:
    """For every input cell, how it is read: (kernel offset, class of the output cell), as often as it
    happens."""
    found: list[list[tuple[int, int]]] = [[] for _ in range(length)]
    for position, row in enumerate(seen.tolist()):
        for offset, cell in enumerate(row):
            if cell >= 0:
                found[cell].append((offset if offsets else 0, after[position]))
    return [tuple(sorted(readers)) for readers in found]
