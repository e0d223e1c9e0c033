"""Sliding windows: the geometry that convolution and pooling share.

Along one axis of length n with pads b and e, kernel k, dilation d and stride s, window number o covers the
cells o s + d j - b for j < k, and there are

    floor((n + b + e - d (k - 1) - 1) / s) + 1         windows (ceil instead of floor with ceil_mode, and then
                                                       a window that would start in the end padding is
                                                       dropped).

`auto_pad` SAME chooses b + e for ceil(n / s) windows, the odd cell at the end (SAME_UPPER) or at the begin
(SAME_LOWER). End padding is then rewritten as what the last window needs: the floor formula holds, and
spellings that differ in unused padding agree.

ONNX Runtime pads pools otherwise than ONNX defines where auto_pad SAME meets dilations, or windows that leave
out cells at the end: its padding forgets the dilation, and is negative there. Such nodes are refused.
"""

from dataclasses import dataclass

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.rules.operands import LARGEST_CONSTANT, integers, sized, text
from onnxpath.model.network import Shape

AUTO_PADS = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Windows:
    """All lists have one entry per spatial axis; `declared_end` is the end padding of the file, `end` the one
    in use."""

    sizes: Shape
    kernel: Shape
    strides: Shape
    dilations: Shape
    begin: Shape
    declared_end: Shape
    out: Shape

    @property
    def end(self) -> Shape:
        columns = zip(
            self.sizes, self.kernel, self.strides, self.dilations, self.begin, self.out, strict=True
        )
        return tuple(max(0, (o - 1) * s + d * (k - 1) + 1 - n - b) for n, k, s, d, b, o in columns)

    @property
    def pads(self) -> Shape:
        return self.begin + self.end

    def cells(self, axis: int, padded: bool) -> np.ndarray:
        """How many cells each window along an axis covers: of the input, or of the input and its declared
        padding."""
        n, b = self.sizes[axis], self.begin[axis]
        low, high = (0, b + n + self.declared_end[axis]) if padded else (b, b + n)
        d = self.dilations[axis]
        starts = np.arange(self.out[axis], dtype=np.int64) * self.strides[axis]
        first = np.maximum(0, -((starts - low) // d))
        last = np.minimum(self.kernel[axis] - 1, (high - 1 - starts) // d)
        return np.maximum(0, last - first + 1)


def spatial_rank(context: Context, node: FileNode, shape: Shape) -> int:
    rank = len(shape) - 2
    if rank < 1:
        context.invalid(
            node,
            f"its input has shape {list(shape)}, expected a batch, a channel and at least one spatial axis",
        )
    if rank > 3:
        context.refuse(node, f"{rank} spatial axes, at most 3 are supported")
    return rank


def _refuse_same(context: Context, node: FileNode, n: int, k: int, s: int, d: int) -> None:
    """Refuse a pool along an axis that ONNX Runtime pads otherwise."""
    advice = "write its pads out (auto_pad NOTSET)"
    if d > 1 and k > 1:
        context.refuse(
            node,
            f"ONNX Runtime pads auto_pad SAME with dilations (here {d}) otherwise than ONNX defines;"
            f" {advice}",
        )
    if (-(-n // s) - 1) * s + k < n:
        why = (
            f"auto_pad SAME of a kernel of {k} with strides of {s} on {n} cells needs negative pads in ONNX"
            " Runtime"
        )
        context.refuse(node, f"{why}, which does not run it or moves its windows; {advice}")


def windows(
    context: Context, node: FileNode, sizes: Shape, kernel: Shape, ceil: bool = False, pool: bool = False
) -> Windows:
    """Read strides, dilations, pads and auto_pad."""
    rank = len(sizes)
    if len(kernel) != rank or any(k < 1 for k in kernel):
        context.invalid(node, f"kernel {list(kernel)}, expected {rank} positive lengths")
    strides = integers(context, node, "strides", rank, 1, low=1)
    dilations = integers(context, node, "dilations", rank, 1, low=1)
    auto_pad = text(context, node, "auto_pad", "NOTSET", AUTO_PADS)
    pads = integers(context, node, "pads", 2 * rank, 0, low=0) if auto_pad == "NOTSET" else (0,) * (2 * rank)
    begin, end, out = list(pads[:rank]), list(pads[rank:]), []
    for i, (n, k, s, d) in enumerate(zip(sizes, kernel, strides, dilations, strict=True)):
        reach = d * (k - 1) + 1
        if auto_pad.startswith("SAME"):
            if pool:
                _refuse_same(context, node, n, k, s, d)
            total = max(0, (-(-n // s) - 1) * s + reach - n)
            small, large = total // 2, total - total // 2
            begin[i], end[i] = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        if max(n + begin[i] + end[i], s) > LARGEST_CONSTANT:
            found = f"a padded axis of {n + begin[i] + end[i]} cells and a stride of {s}"
            context.invalid(node, f"it has {found}, at most {LARGEST_CONSTANT} can be handled")
        free = n + begin[i] + end[i] - reach
        if free < 0:
            context.invalid(
                node,
                f"its window spans {reach} cells of an axis that has {n + begin[i] + end[i]} with padding",
            )
        count = (-(-free // s) if ceil else free // s) + 1
        if ceil and (count - 1) * s >= n + begin[i]:
            count -= 1
        out.append(count)
    return Windows(sizes, kernel, strides, dilations, tuple(begin), tuple(end), sized(context, node, out))
