"""ONNX spellings of convolution, its transpose and sum pooling that hold in every precision.

ONNX Runtime's CPU provider has no float64 Conv, ConvTranspose or AveragePool. Where `g.native_conv` is false
a convolution is a sum over kernel offsets k of matrix products,

    y[o, p] = Σ_k Σ_i W[o, i, k] x[i, s p + d k],

one MatMul on all strided slices of the padded input side by side, or per offset where those are large, and a
transposed convolution is a convolution of the input with s - 1 zeros between its cells.
"""

from itertools import product
from math import prod

import numpy as np

from onnxpath.ops.graph import Graph

Ints = tuple[int, ...]
# Numbers of what all windows of a sample see, up to which a convolution is one matrix product.
_UNFOLDED = 1 << 19


def pad(g: Graph, x: str, pads: Ints, value: float | None = None) -> str:
    """Pad the spatial axes (those after batch and channel) by `pads`, begins then ends; negative pads
    crop."""
    rank = len(pads) // 2
    begin, end = pads[:rank], pads[rank:]
    if any(b < 0 for b in pads):
        axes = [i for i in range(rank) if begin[i] < 0 or end[i] < 0]
        stop = [min(0, end[i]) or np.iinfo(np.int64).max for i in axes]
        x = g.op(
            "Slice",
            [x, g.ints([max(0, -begin[i]) for i in axes]), g.ints(stop), g.ints([i + 2 for i in axes])],
        )
        begin, end = tuple(max(0, b) for b in begin), tuple(max(0, e) for e in end)
    if not any(begin) and not any(end):
        return x
    inputs = [x, g.ints([0, 0, *begin, 0, 0, *end])]
    if value is not None:
        inputs.append(g.scalar(value))
    return g.op("Pad", inputs)


def windows(g: Graph, x: str, kernel: Ints, strides: Ints, dilations: Ints, out: Ints) -> list[str]:
    """For every kernel offset, in row-major order, the padded input cell that each output position sees."""
    axes = g.ints(range(2, 2 + len(kernel)))
    steps = g.ints(strides)
    found = []
    for offset in product(*(range(k) for k in kernel)):
        start = [o * d for o, d in zip(offset, dilations, strict=True)]
        stop = [s0 + (n - 1) * s + 1 for s0, n, s in zip(start, out, strides, strict=True)]
        found.append(g.op("Slice", [x, g.ints(start), g.ints(stop), axes, steps]))
    return found


def inside(spatial: Ints, out: Ints, *, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints) -> bool:
    """Whether no window reaches beyond the input."""
    ends = [
        (m - 1) * s + d * (k - 1) - b
        for m, k, s, d, b in zip(out, kernel, strides, dilations, pads[: len(kernel)], strict=True)
    ]
    return not any(pads[: len(kernel)]) and all(end < n for end, n in zip(ends, spatial, strict=True))


def disjoint(
    kernel: Ints, spatial: Ints, out: Ints, *, strides: Ints, dilations: Ints, pads: Ints, group: int
) -> bool:
    """Whether the windows of a convolution share no cell and cover its input, in such an order that input (N,
    I, k, P), with kernel offsets k and output cells P, is a matrix (I k, P) as it lies in memory: the
    convolution is one matrix product.
    """
    cells = prod(out)
    unfolded = spatial == (*kernel[:-1], kernel[-1] * cells) and out == (*(1,) * (len(out) - 1), cells)
    steps = all(
        d == want or k == 1
        for d, want, k in zip(dilations, (*(1,) * (len(out) - 1), cells), kernel, strict=True)
    )
    return unfolded and steps and (strides[-1] == 1 or cells == 1) and group == 1 and not any(pads)


def _flat(g: Graph, x: str, group: int, channels: int) -> str:
    return g.op("Reshape", [x, g.ints([0, group, channels // group, -1])])


def convolution(
    g: Graph, x: str, w: str, bias: str | None, weight_shape: Ints, spatial: Ints, out: Ints,
    *, strides: Ints, dilations: Ints, pads: Ints, group: int, single: bool = False,
) -> str:  # fmt: skip
    """y = W * x + b for x (N, C, ...), W (O, C/group, ...); `spatial` and `out` are the spatial shapes of x
    and y; single: N = 1."""
    kernel = weight_shape[2:]
    rank = len(kernel)
    # Cells at the end that no window of `out` reaches are cropped, so that there are exactly `out` windows.
    reach = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(out, strides, dilations, kernel, strict=True)
    ]
    spare = [n + b + e - r for n, b, e, r in zip(spatial, pads[:rank], pads[rank:], reach, strict=True)]
    if any(left >= s for left, s in zip(spare, strides, strict=True)):
        pads = (*pads[:rank], *(e - left for e, left in zip(pads[rank:], spare, strict=True)))
    if disjoint(kernel, spatial, out, strides=strides, dilations=dilations, pads=pads, group=group):
        return _product(g, x, w, bias, weight_shape[0], prod(weight_shape[1:]), out, single)
    if g.native_conv:
        inputs = [x, w] + ([bias] if bias else [])
        if any(p < 0 for p in pads):
            x, pads = pad(g, x, pads), (0,) * len(pads)
            inputs[0] = x
        return g.op(
            "Conv",
            inputs,
            kernel_shape=list(kernel),
            strides=list(strides),
            dilations=list(dilations),
            pads=list(pads),
            group=group,
        )
    o, i = weight_shape[0], weight_shape[1]
    x = pad(g, x, pads)
    if prod(weight_shape[1:]) * group * prod(out) <= _UNFOLDED:
        # (N, group, I, k, P) -> (N, group, I k, P)
        seen = [
            g.op("Reshape", [cell, g.ints([0, group, i, 1, -1])])
            for cell in windows(g, x, kernel, strides, dilations, out)
        ]
        columns = g.op(
            "Reshape",
            [
                g.op("Concat", seen, axis=3) if len(seen) > 1 else seen[0],
                g.ints([0, group, i * len(seen), -1]),
            ],
        )
        y = g.op("MatMul", [g.op("Reshape", [w, g.ints([group, o // group, i * len(seen)])]), columns])
        y = g.op("Reshape", [y, g.ints([0, o, *out])])
        return g.op("Add", [y, g.op("Reshape", [bias, g.ints([1, o] + [1] * len(out))])]) if bias else y
    # (O, I, k) -> (k, group, O/group, I)
    flat = g.op("Reshape", [w, g.ints([group, o // group, i, prod(kernel)])])
    per_offset = g.split(g.op("Transpose", [flat], perm=[3, 0, 1, 2]), [1] * prod(kernel), 0)
    y = ""
    for part, seen in zip(per_offset, windows(g, x, kernel, strides, dilations, out), strict=True):
        term = g.op("MatMul", [part, _flat(g, seen, group, i * group)])
        y = g.op("Add", [y, term]) if y else term
    y = g.op("Reshape", [y, g.ints([0, o, *out])])
    if bias:
        y = g.op("Add", [y, g.op("Reshape", [bias, g.ints([1, o] + [1] * len(out))])])
    return y


def _product(g: Graph, x: str, w: str, bias: str | None, o: int, terms: int, out: Ints, single: bool) -> str:
    """A convolution with `disjoint` windows."""
    matrix = g.op("Reshape", [w, g.ints([o, terms])])
    if single:
        columns = g.op("Reshape", [x, g.ints([terms, prod(out)])])
        offset = [g.op("Reshape", [bias, g.ints([o, 1])])] if bias else []
        y = g.op("Gemm" if bias else "MatMul", [matrix, columns, *offset])
    else:
        y = g.op("MatMul", [matrix, g.op("Reshape", [x, g.ints([-1, terms, prod(out)])])])
        y = g.op("Add", [y, g.op("Reshape", [bias, g.ints([o, 1])])]) if bias else y
    return g.op("Reshape", [y, g.ints([-1, o, *out])])


def transposed_convolution(
    g: Graph, x: str, w: str, weight_shape: Ints, spatial: Ints, out: Ints,
    *, strides: Ints, dilations: Ints, pads: Ints, group: int,
) -> str:  # fmt: skip
    """The adjoint of `convolution` with the same attributes: x (N, O, spatial) -> (N, I*group, out) for W (O,
    I, ...)."""
    kernel = weight_shape[2:]
    rank = len(kernel)
    reach = [
        (n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(spatial, strides, dilations, kernel, strict=True)
    ]
    extra = [o - (r - b - e) for o, r, b, e in zip(out, reach, pads[:rank], pads[rank:], strict=True)]
    if disjoint(kernel, out, spatial, strides=strides, dilations=dilations, pads=pads, group=group):
        o, terms = weight_shape[0], prod(weight_shape[1:])
        matrix = g.op("Transpose", [g.op("Reshape", [w, g.ints([o, terms])])], perm=[1, 0])
        y = g.op("MatMul", [matrix, g.op("Reshape", [x, g.ints([-1, o, prod(spatial)])])])
        return g.op("Reshape", [y, g.ints([-1, weight_shape[1], *out])])
    if g.native_conv:
        # Cells of the input that no window reaches receive nothing: `extra` cells at the end, as
        # output_padding where ONNX Runtime takes it (smaller than the stride), else as an explicit Pad.
        native = all(0 <= e < s for e, s in zip(extra, strides, strict=True)) and min(pads) >= 0
        attributes = {
            "kernel_shape": list(kernel),
            "strides": list(strides),
            "dilations": list(dilations),
            "group": group,
        }
        if native:
            return g.op("ConvTranspose", [x, w], pads=list(pads), output_padding=extra, **attributes)
        y = g.op("ConvTranspose", [x, w], **attributes)
    else:
        o, i = weight_shape[0], weight_shape[1]
        y = _stuffed(
            g,
            x,
            w,
            kernel,
            spatial,
            group=group,
            out_channels=o,
            in_channels=i,
            strides=strides,
            dilations=dilations,
        )
    crop = [-b for b in pads[:rank]] + [e - p for e, p in zip(extra, pads[rank:], strict=True)]
    return pad(g, y, tuple(crop))


def _stuffed(
    g: Graph,
    x: str,
    w: str,
    kernel: Ints,
    spatial: Ints,
    *,
    group: int,
    out_channels: int,
    in_channels: int,
    strides: Ints,
    dilations: Ints,
) -> str:
    """The full transposed convolution (no crop) by zero stuffing and one MatMul per offset."""
    rank = len(kernel)
    if any(s > 1 for s in strides):
        spaced = [n for s in spatial for n in (s, 1)]
        x = g.op("Reshape", [x, g.ints([0, out_channels, *spaced])])
        ends = [n for s in strides for n in (0, s - 1)]
        x = g.op("Pad", [x, g.ints([0] * (2 + 2 * rank) + [0, 0, *ends])])
        x = g.op(
            "Reshape", [x, g.ints([0, out_channels, *(n * s for n, s in zip(spatial, strides, strict=True))])]
        )
        x = pad(g, x, (0,) * rank + tuple(1 - s for s in strides))
    grown = [(n - 1) * s + 1 for n, s in zip(spatial, strides, strict=True)]
    reach = tuple(d * (k - 1) for d, k in zip(dilations, kernel, strict=True))
    x = pad(g, x, reach + reach)
    out = tuple(n + r for n, r in zip(grown, reach, strict=True))
    flat = g.op("Reshape", [w, g.ints([group, out_channels // group, in_channels, prod(kernel)])])
    per_offset = g.split(g.op("Transpose", [flat], perm=[3, 0, 2, 1]), [1] * prod(kernel), 0)
    y = ""
    for part, seen in zip(
        reversed(per_offset), windows(g, x, kernel, (1,) * rank, dilations, out), strict=True
    ):
        term = g.op("MatMul", [part, _flat(g, seen, group, out_channels)])
        y = g.op("Add", [y, term]) if y else term
    return g.op("Reshape", [y, g.ints([0, in_channels * group, *out])])


def sum_pool(g: Graph, x: str, out: Ints, *, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints) -> str:
    """Sum over each window; padded cells add nothing."""
    if g.native_conv and all(d == 1 for d in dilations):
        # AveragePool with uneven pads has had defects: pad explicitly then.
        rank = len(kernel)
        if pads[:rank] != pads[rank:] or any(p >= k for p, k in zip(pads[:rank], kernel, strict=True)):
            x, pads = pad(g, x, pads), (0,) * len(pads)
        mean = g.op(
            "AveragePool",
            [x],
            kernel_shape=list(kernel),
            strides=list(strides),
            pads=list(pads),
            count_include_pad=1,
        )
        return g.op("Mul", [mean, g.scalar(prod(kernel))])
    y = None
    for seen in windows(g, pad(g, x, pads), kernel, strides, dilations, out):
        y = seen if y is None else g.op("Add", [y, seen])
    return y if y is not None else x


def adjoint_sum_pool(
    g: Graph,
    c: str,
    channels: int,
    spatial: Ints,
    out: Ints,
    *,
    kernel: Ints,
    strides: Ints,
    dilations: Ints,
    pads: Ints,
) -> str:
    """The adjoint of `sum_pool`: every window's cotangent to each of its cells. `spatial` is the cotangent's
    shape."""
    ones = g.constant(np.ones((channels, 1, *kernel), g.dtype))
    return transposed_convolution(
        g,
        c,
        ones,
        (channels, 1, *kernel),
        spatial,
        out,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=channels,
    )


def attained(g: Graph, x: str, output: str) -> str:
    """1 where x equals the maximum `output`, else 0."""
    return g.op("Where", [g.compare("Equal", [x, output]), g.scalar(1.0), g.scalar(0.0)])


def routed_max_pool(
    g: Graph, c: str, x: str, output: str, channels: int, spatial: Ints, out: Ints,
    *, kernel: Ints, strides: Ints, dilations: Ints, pads: Ints,
) -> str:  # fmt: skip
    """The cotangent of x of a max-pool with values `output`: every window's c, in equal shares, to the cells
    that attain it.

    The cells of a window become channels; a transposed convolution with kernels that are 1 at one offset puts
    the shares back.
    """
    size = prod(kernel)
    padded = pad(g, x, pads, value=float(np.finfo(g.dtype).min))
    hits = [attained(g, cell, output) for cell in windows(g, padded, kernel, strides, dilations, out)]
    share = g.op("Div", [c, g.op("Sum", hits)])
    parts = [g.op("Unsqueeze", [g.op("Mul", [hit, share]), g.ints([2])]) for hit in hits]
    share = g.op("Reshape", [g.op("Concat", parts, axis=2), g.ints([0, channels * size, *out])])
    place = np.tile(np.eye(size, dtype=g.dtype), (channels, 1)).reshape(channels * size, 1, *kernel)
    return transposed_convolution(
        g,
        share,
        g.constant(place),
        place.shape,
        out,
        spatial,
        strides=strides,
        dilations=dilations,
        pads=pads,
        group=channels,
    )
