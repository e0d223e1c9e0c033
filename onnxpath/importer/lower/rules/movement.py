"""Reshape, Flatten, Squeeze, Unsqueeze, Transpose, DepthToSpace and SpaceToDepth: the same cells in another
arrangement."""

from math import prod

from onnxpath.importer.lower.context import Context, FileNode, lowers
from onnxpath.importer.lower.rules.operands import (
    activation,
    axes,
    integer,
    integers,
    listed,
    operand,
    result,
    sized,
    text,
)
from onnxpath.importer.lower.rules.shaping import reshape, transpose
from onnxpath.model.network import Shape


def _target(context: Context, node: FileNode, shape: Shape) -> Shape:
    """The shape a Reshape asks for: 0 copies (unless allowzero), -1 is what remains."""
    wanted = context.constant(node.input(1)) if node.input(1) else None
    if wanted is None and node.attribute("shape") is None:
        known = node.output_shapes[0] if node.output_shapes else None
        if known is None or any(n is None for n in known):
            context.refuse(node, f"its shape '{node.input(1)}' depends on the network's input")
        return tuple(known)
    entries = listed(context, node, "shape", 1)
    assert entries is not None
    allow_zero = bool(integer(context, node, "allowzero", 0))
    found = []
    for k, n in enumerate(entries):
        if n == 0 and not allow_zero:
            if k >= len(shape):
                context.invalid(
                    node,
                    f"entry {k} of its shape {list(entries)} copies an axis that the input"
                    f" {list(shape)} lacks",
                )
            n = shape[k]
        if n < -1:
            context.invalid(node, f"its shape {list(entries)} holds {n}")
        found.append(n)
    if found.count(-1) > 1:
        context.invalid(node, f"its shape {list(entries)} holds -1 twice")
    if -1 in found:
        rest = prod(n for n in found if n != -1)
        if rest == 0 or prod(shape) % rest:
            context.invalid(
                node, f"cannot reshape {list(shape)} into {list(entries)}: the numbers of elements differ"
            )
        found[found.index(-1)] = prod(shape) // rest
    return tuple(found)


@lowers("Reshape")
def change_shape(context: Context, node: FileNode) -> None:
    if node.attribute("shape") is None:
        operand(context, node, 1)
    x, shape = activation(context, node)
    result(context, node, reshape(context, node, x, _target(context, node, shape)))


@lowers("Flatten")
def flatten(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    cut = integer(context, node, "axis", 1, -len(shape), len(shape))
    cut = cut + len(shape) if cut < 0 else cut
    result(context, node, reshape(context, node, x, (prod(shape[:cut]), prod(shape[cut:]))))


@lowers("Squeeze")
def squeeze(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    named = listed(context, node, "axes", 1)
    along = axes(
        context, node, [k for k, n in enumerate(shape) if n == 1] if named is None else named, len(shape)
    )
    if any(shape[k] != 1 for k in along):
        context.invalid(
            node, f"it drops axes {list(along)} of shape {list(shape)}, which are not all of length 1"
        )
    result(context, node, reshape(context, node, x, tuple(n for k, n in enumerate(shape) if k not in along)))


@lowers("Unsqueeze")
def unsqueeze(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    named = listed(context, node, "axes", 1)
    if named is None:
        context.invalid(node, "it has no axes")
    rank = len(shape) + len(named)
    added = axes(context, node, named, rank)
    rest = iter(shape)
    result(
        context, node, reshape(context, node, x, tuple(1 if k in added else next(rest) for k in range(rank)))
    )


@lowers("Transpose")
def permute(context: Context, node: FileNode) -> None:
    x, shape = activation(context, node)
    perm = (
        tuple(range(len(shape)))[::-1] if node.attribute("perm") is None else integers(context, node, "perm")
    )
    if sorted(perm) != list(range(len(shape))):
        context.invalid(node, f"perm {list(perm)} is no permutation of the {len(shape)} axes of its input")
    result(context, node, transpose(context, node, x, perm))


def _blocks(context: Context, node: FileNode) -> tuple[str, Shape, int]:
    x, shape = activation(context, node)
    if len(shape) != 4:
        context.invalid(node, f"its input has shape {list(shape)}, expected batch, channel, height and width")
    return x, shape, integer(context, node, "blocksize", None, low=1)


@lowers("DepthToSpace")
def depth_to_space(context: Context, node: FileNode) -> None:
    """Channels become blocks of b x b cells; DCR takes the block from the outer channel axis, CRD from the
    inner ones."""
    x, (n, c, h, w), b = _blocks(context, node)
    mode = text(context, node, "mode", "DCR", ("DCR", "CRD"))
    if c % (b * b):
        context.invalid(node, f"{c} channels do not divide into blocks of {b} x {b}")
    out = sized(context, node, (n, c // (b * b), h * b, w * b))
    split, perm = (
        ((n, b, b, out[1], h, w), (0, 3, 4, 1, 5, 2))
        if mode == "DCR"
        else ((n, out[1], b, b, h, w), (0, 1, 4, 2, 5, 3))
    )
    y = transpose(context, node, reshape(context, node, x, split), perm)
    result(context, node, reshape(context, node, y, out))


@lowers("SpaceToDepth")
def space_to_depth(context: Context, node: FileNode) -> None:
    x, (n, c, h, w), b = _blocks(context, node)
    if h % b or w % b:
        context.invalid(node, f"{h} x {w} cells do not divide into blocks of {b} x {b}")
    y = reshape(context, node, x, (n, c, h // b, b, w // b, b))
    y = transpose(context, node, y, (0, 3, 5, 1, 2, 4))
    result(context, node, reshape(context, node, y, (n, c * b * b, h // b, w // b)))
