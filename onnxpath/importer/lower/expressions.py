"""Small expressions of the file as polynomials in one tensor x and one gate t: what a gated activation looks
like, however it is spelled.

    0.5 * x * (1 + Erf(x / √2)),   x * (Erf(x * 0.7071) + 1) / 2, ... are all x/2 + x t/2, t = Erf(0.7071 x)

Sums, differences, products, quotients by numbers and whole powers are multiplied out, so that the order of
factors and operands does not matter. An expression that holds anything else has no polynomial. Everything
here is exact but for float64 rounding of the numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import numpy as np

from onnxpath.importer.decode.tensors import FLOATS
from onnxpath.importer.lower.context import Context, FileNode

Polynomial = dict[tuple[int, int], float]
"""{(power of x, power of t): coefficient}, without zeros."""

ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg", "Pow", "Sum", "Identity", "Cast")
_DEPTH, _WIDTH, _DEGREE = 12, 48, 4


@dataclass(frozen=True)
class Gate:
    """t = kind(argument). A Clip gate is Clip(low, high) of gain · argument + offset."""

    kind: str
    tensor: str
    argument: str
    low: float = -inf
    high: float = inf
    gain: float = 1.0
    offset: float = 0.0


def scalar(context: Context, name: str) -> float | None:
    """A constant of one finite element."""
    constant = context.constant(name) if name else None
    if constant is None or constant.array.size != 1 or not np.isfinite(constant.array).all():
        return None
    return float(constant.array.reshape(-1)[0])


def _copies(node: FileNode) -> bool:
    return node.op_type == "Identity" or (node.op_type == "Cast" and node.attribute("to") in FLOATS)


def origin(context: Context, name: str) -> str:
    """The tensor before copies (Identity, Cast between float types)."""
    while (node := context.producers.get(name)) is not None and _copies(node):
        name = node.inputs[0]
    return name


def _limits(context: Context, node: FileNode) -> tuple[str, float, float] | None:
    """(argument, low, high) of a node that clips to numbers."""
    if node.op_type == "Relu":
        return node.inputs[0], 0.0, inf
    if node.op_type == "Clip":
        low, high = -inf, inf
        for k, key in enumerate(("min", "max"), start=1):
            value = node.attribute(key)
            if value is None and node.input(k):
                value = scalar(context, node.input(k))
                if value is None:
                    return None
            low, high = (
                value if k == 1 and value is not None else low,
                value if k == 2 and value is not None else high,
            )
        return node.inputs[0], float(low), float(high)
    if node.op_type in ("Min", "Max") and len(node.inputs) == 2:
        for moving, fixed in (node.inputs, node.inputs[::-1]):
            value = scalar(context, fixed)
            if value is not None and context.constant(moving) is None:
                return (moving, value, inf) if node.op_type == "Max" else (moving, -inf, value)
    return None


def _clipping(context: Context, name: str) -> Gate | None:
    """A chain of Clip, Relu, Min and Max with numbers, or a HardSigmoid, as one clipping."""
    low, high, argument = -inf, inf, origin(context, name)
    first = True
    while (node := context.producers.get(argument)) is not None:
        found = _limits(context, node)
        if found is None:
            break
        argument, inner_low, inner_high = origin(context, found[0]), found[1], found[2]
        low, high = (min(max(v, low), high) for v in (min(inner_low, inner_high), inner_high))
        first = False
    if first and node is not None and node.op_type == "HardSigmoid":
        alpha, beta = (node.attribute(key, default) for key, default in (("alpha", 0.2), ("beta", 0.5)))
        return Gate("Clip", name, node.inputs[0], 0.0, 1.0, float(alpha), float(beta))
    return None if first else Gate("Clip", name, argument, low, high)


def gate(context: Context, name: str) -> Gate | None:
    """The gate that computes a tensor, if one does."""
    node = context.producers.get(name)
    if node is None or context.constant(name) is not None:
        return None
    if node.op_type in ("Erf", "Tanh", "Sigmoid", "Exp", "Abs", "Softplus"):
        return Gate(node.op_type, name, node.inputs[0])
    return _clipping(context, name)


def walk(context: Context, name: str) -> Iterator[str]:
    """The activations that an arithmetic expression is made of, breadth first, itself included."""
    seen, level = {name}, [name]
    for _ in range(_DEPTH):
        after = []
        for tensor in level:
            yield tensor
            node = context.producers.get(tensor)
            if node is None or node.op_type not in ARITHMETIC:
                continue
            for operand in node.inputs:
                if (
                    operand
                    and operand not in seen
                    and context.constant(operand) is None
                    and len(seen) < _WIDTH
                ):
                    seen.add(operand)
                    after.append(operand)
        level = after


def _plus(a: Polynomial, b: Polynomial, sign: float = 1.0) -> Polynomial:
    total = {key: a.get(key, 0.0) + sign * b.get(key, 0.0) for key in {*a, *b}}
    return {key: value for key, value in total.items() if value != 0}


def _times(a: Polynomial, b: Polynomial) -> Polynomial | None:
    total: Polynomial = {}
    for (i, j), c in a.items():
        for (k, m), d in b.items():
            total[i + k, j + m] = total.get((i + k, j + m), 0.0) + c * d
    return total if all(sum(key) <= _DEGREE for key in total) else None


class Expansion:
    """Polynomials of tensors in x and t; each tensor is expanded once."""

    def __init__(self, context: Context, x: str, t: str = ""):
        self.context = context
        self.known: dict[str, Polynomial | None] = {x: {(1, 0): 1.0}}
        if t:
            self.known[t] = {(0, 1): 1.0}

    def of(self, name: str, depth: int = _DEPTH) -> Polynomial | None:
        """The polynomial of a tensor, or None."""
        if name not in self.known:
            value = scalar(self.context, name)
            if value is not None:
                self.known[name] = {(0, 0): value} if value else {}
            else:
                node = self.context.producers.get(name)
                usable = (
                    node is not None
                    and depth > 0
                    and node.op_type in ARITHMETIC
                    and self.context.constant(name) is None
                )
                self.known[name] = self._node(node, depth - 1) if usable and node is not None else None
        return self.known[name]

    def _node(self, node: FileNode, depth: int) -> Polynomial | None:
        if node.op_type == "Cast" and not _copies(node):
            return None
        parts = [self.of(name, depth) for name in node.inputs if name]
        if not parts or any(part is None for part in parts):
            return None
        first, *rest = [part for part in parts if part is not None]
        if node.op_type in ("Identity", "Cast"):
            return first
        if node.op_type == "Neg":
            return _plus({}, first, -1.0)
        if node.op_type == "Mul":
            return _times(first, rest[0])
        if node.op_type == "Div":
            return (
                {key: value / rest[0][0, 0] for key, value in first.items()}
                if set(rest[0]) == {(0, 0)}
                else None
            )
        if node.op_type == "Pow":
            return self._power(first, rest[0])
        for part in rest:
            first = _plus(first, part, -1.0 if node.op_type == "Sub" else 1.0)
        return first

    @staticmethod
    def _power(base: Polynomial, exponent: Polynomial) -> Polynomial | None:
        power = exponent.get((0, 0), 0.0)
        if set(exponent) != {(0, 0)} or power not in (1, 2, 3, 4):
            return None
        total: Polynomial | None = {(0, 0): 1.0}
        for _ in range(int(power)):
            total = None if total is None else _times(total, base)
        return total
