"""Spatial profiles: how much less border cells hold than the bound of their channel (docs/theory.md, section
6).

A lane with a profile s obeys value(c, i) <= 2**log2[c] · s(i) and lost(c, i) <= 2**flush[c] · s(i), 0 < s <=
1. Through a convolution, with K[o, k] = Σ_c |W[o, c, k]| 2**log2[c],

    value(o, j) <= R[o, j] = Σ_k K[o, k] s(cell k of window j) + bias,     log2'[o] = max_j R,
    s'(j) = max_o R[o, j] / max_j R[o, j],

where padded cells hold nothing. A sum of lanes has R[c, j] = Σ_n 2**log2_n[c] s_n(j); what underflow lost
stays the same part w of the bounds, lost <= 2**w R. So the bound of a deep stack of padded convolutions grows
as its values do, and not by the kernel sum at every layer. Used in networks deep enough for the difference to
matter.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from onnxpath.lanes.lanes import Lane
from onnxpath.model.network import Site
from onnxpath.ops import OPERATORS

_CELLS = 4096
_LEAST = 2.0**-20


def applies(site: Site) -> bool:
    """Whether the profile of this node's output is computed."""
    operator = OPERATORS[site.node.op]
    slides = operator.windows is not None and operator.groups(site) == 1
    return slides and prod(site.output_shape[2:]) <= _CELLS


def summed(lanes: Sequence[Lane], magnitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(flush, profile) of a sum of lanes, some with profiles, of the given log2 bound."""
    shape = next(lane.profile.shape for lane in lanes if lane.profile is not None)
    flat = [np.broadcast_to(lane.log2, magnitude.shape) for lane in lanes]
    with np.errstate(invalid="ignore"):
        parts = [np.where(np.isfinite(part), np.exp2(part - magnitude), 0.0).reshape(-1) for part in flat]
        worst = [
            np.where(np.isfinite(lane.flush), lane.flush - part, -np.inf).max()
            for lane, part in zip(lanes, flat, strict=True)
        ]
    cells = np.stack(
        [np.ones(prod(shape)) if lane.profile is None else lane.profile.reshape(-1) for lane in lanes]
    )
    made = (np.stack(parts, axis=1) @ cells).max(axis=0).reshape(shape) * (1 + 1e-9)
    return magnitude + max(worst), np.maximum(np.minimum(made, 1.0), _LEAST)


def through(
    site: Site, weight: np.ndarray, magnitude: np.ndarray, profile: np.ndarray | None, bias: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log2 of the products alone, log2 with the bias, profile) of a convolution's output.

    weight: non-negative (O, I, ...). magnitude: log2 per input channel. bias: log2 per output channel, or
        None.
    """
    cells = np.ones(site.input_shapes[0][2:]) if profile is None else profile
    finite = magnitude[np.isfinite(magnitude)]
    top = float(finite.max()) if finite.size else 0.0
    column = np.where(np.isfinite(magnitude), np.exp2(np.maximum(magnitude - top, -900.0)), 0.0)
    o, i = weight.shape[:2]
    kernels = np.einsum("oik,i->ok", weight.reshape(o, i, -1), column, dtype=np.float64)
    windows = OPERATORS[site.node.op].windows
    assert windows is not None  # see `applies`
    values = kernels @ windows(site, cells) * (1 + 1e-9)
    with np.errstate(divide="ignore"):
        alone = np.log2(values.max(axis=1)) + top
    if bias is not None:
        values = values + np.exp2(np.minimum(bias - top, 900.0))[:, None]
    largest = values.max(axis=1)
    used = largest > 0
    shape = site.output_shape[2:]
    made = (values[used] / largest[used, None]).max(axis=0).reshape(shape) if used.any() else np.ones(shape)
    with np.errstate(divide="ignore"):
        return alone, np.log2(largest) + top + 1e-9, np.maximum(np.minimum(made, 1.0), _LEAST)
