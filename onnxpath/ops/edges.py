"""Antecedents: for neurons of one node, every edge that enters them (docs/theory.md, section 3.7).

Of every operator of the paper's model a function (site, v) -> (u, w, valid): for flat indices v (S,) of
output neurons, the flat indices u (S, K) of the antecedents, flat indices w (S, K) of the edges' weights or
None for weights of 1, and which of them exist (None: all). Antecedents are numbered through all input
tensors, one after the other.
"""

from collections.abc import Callable
from itertools import product
from math import prod

import numpy as np

from onnxpath.model.network import Shape, Site

Edges = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]


def _numbered(shape: Shape) -> np.ndarray:
    return np.arange(prod(shape)).reshape(shape)


def _flat(places: np.ndarray, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """(flat index, whether it lies inside) of places (..., rank) in `shape`."""
    inside = ((places >= 0) & (places < shape)).all(-1)
    flat = np.zeros(places.shape[:-1], np.int64)
    for k, n in enumerate(shape):
        flat = flat * n + places[..., k]
    return np.where(inside, flat, 0), np.asarray(inside)


def _offsets(kernel: Shape, dilations: Shape) -> np.ndarray:
    return np.array(list(product(*(range(k) for k in kernel)))).reshape(-1, len(kernel)) * dilations


def _split(site: Site, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Batch index, channel and position (S, rank) of output neurons."""
    batch, channel, *space = np.unravel_index(v, site.output_shape)
    return batch, channel, np.stack(space, -1)


def _windows(site: Site, position: np.ndarray, kernel: Shape) -> tuple[np.ndarray, np.ndarray]:
    """(flat spatial index, inside) (S, k) of what windows at `position` see."""
    starts = position * site["strides"] - np.array(site["pads"][: len(kernel)])
    return _flat(starts[:, None] + _offsets(kernel, site["dilations"]), site.input_shapes[0][2:])


def _channels(site: Site, batch: np.ndarray, channels: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Flat input index (S, channels, k) for input channels (S, channels) and spatial indices (S, k)."""
    _, count, *space = site.input_shapes[0]
    return (batch[:, None, None] * count + channels[:, :, None]) * prod(space) + cells[:, None]


def _weighted_cells(u: np.ndarray, rows: np.ndarray, inside: np.ndarray) -> Edges:
    """Edges to (S, channels, k) cells with kernels `rows` (S, channels) of the weight."""
    samples, channels, cells = u.shape
    w = rows[:, :, None] * cells + np.arange(cells)
    valid = np.broadcast_to(inside[:, None], u.shape)
    return u.reshape(samples, -1), w.reshape(samples, -1), valid.reshape(samples, channels * cells)


def conv(site: Site, v: np.ndarray) -> Edges:
    out, inner, *kernel = site.node.coefficients.shape
    batch, o, position = _split(site, v)
    cells, inside = _windows(site, position, tuple(kernel))
    own = np.arange(inner)
    channels = (o // (out // site["group"]))[:, None] * inner + own
    return _weighted_cells(_channels(site, batch, channels, cells), o[:, None] * inner + own, inside)


def conv_transpose(site: Site, v: np.ndarray) -> Edges:
    count, out, *kernel = site.node.coefficients.shape  # out: of one group
    batch, o, position = _split(site, v)
    rank, strides = len(kernel), np.array(site["strides"])
    places = (position + np.array(site["pads"][:rank]))[:, None] - _offsets(tuple(kernel), site["dilations"])
    cells, inside = _flat(places // strides, site.input_shapes[0][2:])
    inside &= (places % strides == 0).all(-1)
    inner = count // site["group"]
    channels = (o // out)[:, None] * inner + np.arange(inner)
    return _weighted_cells(
        _channels(site, batch, channels, cells), channels * out + (o % out)[:, None], inside
    )


def matmul(site: Site, v: np.ndarray) -> Edges:
    *lead, row, column = np.unravel_index(v, site.output_shape)
    shape, weight = site.input_shapes[0], site.node.coefficients.shape
    front = site.output_shape[:-2]
    x = np.broadcast_to(_numbered(shape), (*front, *shape[-2:]))
    if len(weight) == 2:
        inner, at = (weight[0], column) if site["side"] == "right" else (weight[1], row)
        step = (weight[1], 1) if site["side"] == "right" else (1, weight[1])
        w = np.arange(inner) * step[0] + at[:, None] * step[1]
    else:
        full = np.broadcast_to(_numbered(weight), (*front, *weight[-2:]))
        w = np.swapaxes(full, -1, -2)[(*lead, column)] if site["side"] == "right" else full[(*lead, row)]
    u = x[(*lead, row)] if site["side"] == "right" else np.swapaxes(x, -1, -2)[(*lead, column)]
    return u, w, None


def scale(site: Site, v: np.ndarray) -> Edges:
    weight = site.node.weight
    if weight is None:
        return v[:, None], None, None
    full = np.broadcast_to(_numbered(weight.shape), site.output_shape)
    return v[:, None], full[np.unravel_index(v, site.output_shape)][:, None], None


def pool(site: Site, v: np.ndarray) -> Edges:
    batch, channel, position = _split(site, v)
    cells, inside = _windows(site, position, site["kernel"])
    return _channels(site, batch, channel[:, None], cells)[:, 0], None, inside


def reduce(site: Site, v: np.ndarray) -> Edges:
    shape, axes = site.input_shapes[0], [axis % len(site.output_shape) for axis in site["axes"]]
    kept = [k for k in range(len(shape)) if k not in axes]
    places = np.unravel_index(v, site.output_shape)
    moved = _numbered(shape).transpose(*kept, *axes)
    return moved[tuple(places[k] for k in kept)].reshape(v.size, -1), None, None


def moved(move: Callable[[Site, list[np.ndarray]], np.ndarray]) -> Callable[[Site, np.ndarray], Edges]:
    """An operator that moves cells: what it makes of their numbers, those of all inputs one after the
    other."""

    def edges(site: Site, v: np.ndarray) -> Edges:
        first, numbers = 0, []
        for shape in site.input_shapes:
            numbers.append(_numbered(shape) + first)
            first += prod(shape)
        u = move(site, numbers).reshape(-1)[v][:, None]
        return np.maximum(u, 0), None, u >= 0

    return edges


def itself(site: Site, v: np.ndarray) -> Edges:
    """Of an operator that works cell by cell."""
    return v[:, None], None, None


def merged(site: Site, v: np.ndarray) -> Edges:
    """Of an operator that merges several tensors of one shape, cell by cell."""
    size = prod(site.output_shape)
    return v[:, None] + size * np.arange(len(site.input_shapes)), None, None
