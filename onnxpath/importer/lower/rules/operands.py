"""Reading a node of the file: its attributes and operands, each checked before a rule computes with it.

A file may hold anything: an attribute of the wrong type or length, a missing operand, an axis out of range.
Every reader here returns a plain value of the promised form or ends the import with a message that names the
node.
"""

from collections.abc import Iterable
from math import prod

import numpy as np

from onnxpath.importer.lower.context import Constant, Context, FileNode
from onnxpath.model.network import Shape

LARGEST = 2**40  # elements of one tensor; beyond it a size is a mistake in the file
LARGEST_CONSTANT = 2**28  # elements of a coefficient or an index list that a rule builds itself


def is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def integer(
    context: Context,
    node: FileNode,
    key: str,
    default: int | None,
    low: int | None = None,
    high: int | None = None,
) -> int:
    value = node.attribute(key, default)
    if not is_integer(value):
        context.invalid(node, f"attribute {key} should be an integer, found {value!r}")
    if (low is not None and value < low) or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"between {low} and {high}"
        context.invalid(node, f"attribute {key} is {value}, expected {wanted}")
    return int(value)


def integers(
    context: Context, node: FileNode, key: str, count: int | None = None, default: int | None = None,
    low: int | None = None
) -> tuple[int, ...]:  # fmt: skip
    """A list attribute; `default` repeated `count` times when it is absent."""
    value = node.attribute(key)
    if value is None and default is not None and count is not None:
        return (default,) * count
    if not isinstance(value, list | tuple | np.ndarray) or not all(is_integer(v) for v in value):
        context.invalid(node, f"attribute {key} should be a list of integers, found {value!r}")
    if count is not None and len(value) != count:
        context.invalid(node, f"attribute {key} has {len(value)} entries, expected {count}")
    if low is not None and any(v < low for v in value):
        context.invalid(
            node, f"attribute {key} is {[int(v) for v in value]}, expected entries of at least {low}"
        )
    return tuple(int(v) for v in value)


def number(context: Context, node: FileNode, key: str, default: float) -> float:
    value = node.attribute(key, default)
    if not isinstance(value, int | float | np.number) or not np.isfinite(value):
        context.invalid(node, f"attribute {key} should be a finite number, found {value!r}")
    return float(value)


def text(context: Context, node: FileNode, key: str, default: str, allowed: Iterable[str]) -> str:
    value = node.attribute(key, default)
    value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if value not in tuple(allowed):
        context.invalid(node, f"attribute {key} is {value!r}, expected one of {', '.join(allowed)}")
    return value


def axis(context: Context, node: FileNode, value: int, rank: int) -> int:
    """An axis counted from the front."""
    if not -rank <= value < rank:
        context.invalid(node, f"axis {value} is out of range for a tensor of rank {rank}")
    return value % rank


def axes(context: Context, node: FileNode, values: Iterable[int], rank: int) -> tuple[int, ...]:
    """Distinct axes counted from the front, in the order given."""
    found = tuple(axis(context, node, value, rank) for value in values)
    if len(set(found)) != len(found):
        context.invalid(node, f"axes {list(found)} name an axis twice")
    return found


def operand(context: Context, node: FileNode, index: int) -> str:
    """The name of an input that must be there."""
    name = node.input(index)
    if not name:
        context.invalid(node, f"input {index} is missing")
    return name


def activation(context: Context, node: FileNode, index: int = 0) -> tuple[str, Shape]:
    """An input that depends on the network's input: its canonical tensor and its shape."""
    name = operand(context, node, index)
    if context.constant(name) is not None:
        context.refuse(
            node, f"its operand '{name}' is constant while another operand depends on the network's input"
        )
    return context.tensor(name), context.shape(name)


def constant(context: Context, node: FileNode, index: int, what: str) -> Constant | None:
    """A constant input, None when it is absent; `what` it is, for the refusal of one that is not constant."""
    name = node.input(index)
    if not name:
        return None
    found = context.constant(name)
    if found is None:
        context.refuse(node, f"{what} '{name}' depends on the network's input, only a constant is supported")
    return found


def constant_integers(context: Context, node: FileNode, index: int, what: str) -> tuple[int, ...] | None:
    found = constant(context, node, index, what)
    if found is None:
        return None
    if found.array.dtype.kind not in "iu" or found.array.ndim > 1:
        spelled = f"{found.array.dtype} of shape {list(found.array.shape)}"
        context.invalid(node, f"{what} '{node.input(index)}' should be a list of integers, found {spelled}")
    return tuple(int(v) for v in found.array.reshape(-1))


def listed(context: Context, node: FileNode, key: str, index: int) -> tuple[int, ...] | None:
    """A list that older opsets hold as attribute `key` and newer ones as input number `index`; None when
    absent."""
    if node.attribute(key) is not None:
        return integers(context, node, key)
    return constant_integers(context, node, index, key)


def result(context: Context, node: FileNode, tensor: str) -> None:
    """Bind the node's first output; the others are not available."""
    context.bind(node.outputs[0], tensor)


def sized(context: Context, node: FileNode, shape: Iterable[int], limit: int = LARGEST) -> Shape:
    """The shape, once it is known to be a size that a tensor can have."""
    shape = tuple(int(n) for n in shape)
    if any(n < 1 for n in shape):
        context.invalid(node, f"its output would have the empty shape {list(shape)}")
    if prod(shape) > limit:
        context.invalid(
            node,
            f"its output would have shape {list(shape)}, more elements than the {limit} that can be handled",
        )
    return shape
