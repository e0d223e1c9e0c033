"""Activations that exporters write as several nodes: recognised at the node that ends them, by what they
compute.

Each rule looks at the polynomial of the ending node in a tensor x and a gate t, and at the polynomial of the
gate's argument in x (expressions.py). It answers with factor · f(inner · x) for a function f of
ops/activation.py, or with the reason why it nearly was one.

    c x (1 + Erf(a x))                   2c Gelu(√2 a)              c x (1 + Tanh(a x))      2c Silu(2a)
    c x (1 + Tanh(a x + b x³))           2c GeluTanh(k, b/(a k²)), k = a / √(2/π), when the second is 0.044715
                                         to 1e-3
    c x Sigmoid(a x)                     c Silu(a)                  c x / (1 + Exp(-a x))    c Silu(a)
    c x Clip(a x + b, 0, h)              c h HardSwish(a/h, b/h)    c x Tanh(Softplus(x))    c Mish
    Log(1 + Exp(a x))                    Softplus(a x)              Log(Sigmoid(a x))        -Softplus(-a x)
    Where(a x > τ, x, Softplus(a x)/a)   Softplus(τ)(a x) / a       x / (1 + |x|)            Softsign
    1 / (1 + Exp(-a x))                  Sigmoid(a x)

These are identities for whatever numbers the file holds. A number that is an ideal one (1, 1/6, 0.044715,
...) to float32 rounding is read as that one, so that float32 and float64 spellings agree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf, sqrt

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.expressions import Expansion, Gate, Polynomial, gate, origin, scalar, walk
from onnxpath.ops.gated import CUBIC, ROOT_2_PI

IDEALS = (0.5, 1.0, 1.702, 1 / 6, CUBIC)
_FLOAT32 = 2.0**-22
_CUBIC_ERROR = 1e-3
X, T, XT, ONE = (1, 0), (0, 1), (1, 1), (0, 0)


@dataclass(frozen=True)
class Match:
    """factor · function(inner · x)."""

    x: str
    function: str
    parameters: tuple[float, ...] = ()
    factor: float = 1.0
    inner: float = 1.0


@dataclass(frozen=True)
class Miss:
    """Why something that looks like an activation is none."""

    reason: str


def ideal(value: float) -> float:
    """The ideal number that this one is, up to float32 rounding; else itself."""
    return next(
        (sign * v for v in IDEALS for sign in (1, -1) if abs(value - sign * v) <= _FLOAT32 * v), value
    )


def _alike(a: float, b: float) -> bool:
    return abs(a - b) <= _FLOAT32 * max(abs(a), abs(b))


def _half_gate(p: Polynomial) -> float | None:
    """c for c x (1 + t)."""
    return p[X] if set(p) == {X, XT} and _alike(p[X], p[XT]) else None


Found = Match | Miss | None


def _erf(x: str, g: Gate, p: Polynomial, q: Polynomial) -> Found:
    c = _half_gate(p)
    if c is None or set(q) != {X} or q[X] <= 0:
        return Miss("Erf is not used as in x (1 + Erf(x / √2)) / 2") if XT in p else None
    return Match(x, "Gelu", (ideal(q[X] * sqrt(2)),), ideal(2 * c))


def _tanh(x: str, g: Gate, p: Polynomial, q: Polynomial) -> Found:
    c = _half_gate(p)
    if c is None:
        return None
    if set(q) == {X} and q[X] > 0:
        return Match(x, "Silu", (ideal(2 * q[X]),), ideal(2 * c))
    if set(q) != {X, (3, 0)} or q[X] <= 0:
        return Miss("the argument of Tanh is not that of a GELU")
    scale = ideal(q[X] / ROOT_2_PI)
    cubic = ideal(q[3, 0] / q[X] / scale**2)
    if abs(cubic - CUBIC) > _CUBIC_ERROR * CUBIC:
        return Miss(f"the cubic coefficient in its Tanh is {cubic:.6g}, a GELU has {CUBIC} there")
    return Match(x, "GeluTanh", (scale, cubic), ideal(2 * c))


def _tanh_softplus(x: str, g: Gate, p: Polynomial, q: Polynomial) -> Found:
    if set(p) == {XT} and set(q) == {X} and _alike(q[X], 1.0):
        return Match(x, "Mish", (), ideal(p[XT]))
    return Miss("Tanh(Softplus(..)) is not used as in x Tanh(Softplus(x))")


def _sigmoid(x: str, g: Gate, p: Polynomial, q: Polynomial) -> Found:
    if set(p) != {XT} or set(q) != {X}:
        return None
    if q[X] <= 0:
        return Miss(f"the factor {q[X]:g} inside its Sigmoid is negative, which no Silu has")
    return Match(x, "Silu", (ideal(q[X]),), ideal(p[XT]))


def _clip(x: str, g: Gate, p: Polynomial, q: Polynomial) -> Found:
    if set(p) != {XT} or not set(q) <= {X, ONE} or X not in q:
        return None
    alpha, beta = (
        g.gain * q[X] / g.high,
        (g.gain * q.get(ONE, 0.0) + g.offset) / g.high if g.high > 0 else 0.0,
    )
    if g.low != 0 or not 0 < g.high < inf or alpha <= 0 or not 0 <= beta <= 2:
        return Miss("the gate is not Clip(a x + b, 0, h) with a > 0 and 0 <= b <= 2h, as a HardSwish has it")
    return Match(x, "HardSwish", (ideal(alpha), ideal(beta)), ideal(p[XT] * g.high))


Rule = Callable[[str, Gate, Polynomial, Polynomial], Found]
PRODUCTS: dict[str, Rule] = {
    "Erf": _erf,
    "Tanh": _tanh,
    "TanhSoftplus": _tanh_softplus,
    "Sigmoid": _sigmoid,
    "Clip": _clip,
}


def _gates(context: Context, name: str) -> Iterable[Gate]:
    """The gates in an expression; Tanh(Softplus(x)) first as one gate."""
    for tensor in walk(context, name):
        found = gate(context, tensor)
        if found is None:
            continue
        if found.kind == "Tanh":
            inner = origin(context, found.argument)
            node = context.producers.get(inner)
            if node is not None and node.op_type == "Softplus":
                yield Gate("TanhSoftplus", tensor, node.inputs[0])
            soft = _logarithm(context, node) if node is not None and node.op_type == "Log" else None
            if isinstance(soft, Match) and (soft.function, soft.factor, soft.inner) == ("Softplus", 1.0, 1.0):
                yield Gate("TanhSoftplus", tensor, soft.x)
        yield found


def _multiplies(context: Context, tensor: str) -> bool:
    """Whether a tensor is a product of two activations."""
    node = context.producers.get(tensor)
    return (
        node is not None
        and node.op_type == "Mul"
        and all(context.constant(name) is None for name in node.inputs)
    )


def _product(context: Context, node: FileNode) -> Found:
    """A product with a gate that ends at this node."""
    miss: Miss | None = None
    root = node.outputs[0]
    if not any(_multiplies(context, tensor) for tensor in walk(context, root)):
        return None
    for g in _gates(context, root):
        if g.kind not in PRODUCTS or g.tensor == root:
            continue
        for x in walk(context, g.argument):
            outer = Expansion(context, x, g.tensor).of(root)
            inner = Expansion(context, x).of(g.argument)
            if outer is None or inner is None:
                continue
            found = PRODUCTS[g.kind](x, g, outer, inner)
            if isinstance(found, Match):
                return found
            miss = miss or found
    return miss


def _quotient(context: Context, node: FileNode) -> Found:
    """x / (1 + |x|), x / (1 + e^(-a x)) and 1 / (1 + e^(-a x))."""
    above, below = node.inputs if node.op_type == "Div" else ("", node.inputs[0])
    for g in _gates(context, below):
        if g.kind not in ("Exp", "Abs"):
            continue
        for x in walk(context, g.argument):
            p, q = Expansion(context, x, g.tensor).of(below), Expansion(context, x).of(g.argument)
            top = Expansion(context, x).of(above) if above else {ONE: 1.0}
            if p is None or q is None or top is None or set(p) != {ONE, T} or set(q) != {X}:
                continue
            even = _alike(p[ONE], p[T])
            if g.kind == "Abs" and set(top) == {X} and even and _alike(abs(q[X]), 1.0):
                return Match(x, "Softsign", (), ideal(top[X] / p[ONE]))
            if g.kind == "Exp" and even and q[X] < 0 and set(top) == {X}:
                return Match(x, "Silu", (ideal(-q[X]),), ideal(top[X] / p[ONE]))
            if g.kind == "Exp" and even and set(top) == {ONE}:
                return Match(x, "Sigmoid", (), ideal(top[ONE] / p[ONE]), ideal(-q[X]))
    return None


def _logarithm(context: Context, node: FileNode) -> Found:
    """ln(1 + e^(a x)) and ln σ(a x)."""
    for g in _gates(context, node.inputs[0]):
        for x in walk(context, g.argument):
            p, q = Expansion(context, x, g.tensor).of(node.inputs[0]), Expansion(context, x).of(g.argument)
            if p is None or q is None or set(q) != {X}:
                continue
            if g.kind == "Exp" and set(p) == {ONE, T} and _alike(p[ONE], 1.0) and _alike(p[T], 1.0):
                return Match(x, "Softplus", (inf,), 1.0, ideal(q[X]))
            if g.kind == "Sigmoid" and set(p) == {T} and _alike(p[T], 1.0):
                return Match(x, "Softplus", (inf,), -1.0, ideal(-q[X]))
    return None


def _choice(context: Context, node: FileNode) -> Found:
    """Where(a x > τ, x, Softplus(a x) / a), as PyTorch computes Softplus."""
    test = context.producers.get(node.inputs[0])
    threshold = scalar(context, test.inputs[1]) if test is not None and test.op_type == "Greater" else None
    if test is None or threshold is None or not threshold > 0:
        return None
    for g in _gates(context, node.inputs[2]):
        if g.kind != "Softplus":
            continue
        for x in walk(context, g.argument):
            plain, gated = Expansion(context, x), Expansion(context, x, g.tensor)
            p, q, high, tested = (
                gated.of(node.inputs[2]),
                plain.of(g.argument),
                plain.of(node.inputs[1]),
                plain.of(test.inputs[0]),
            )
            if (
                None in (p, q, high, tested)
                or set(p or {}) != {T}
                or any(set(part or {}) != {X} for part in (q, high, tested))
            ):
                continue
            assert p is not None and q is not None and high is not None and tested is not None
            if _alike(high[X], 1.0) and _alike(tested[X], q[X]) and _alike(p[T] * q[X], 1.0) and q[X] > 0:
                return Match(x, "Softplus", (threshold,), ideal(1 / q[X]), ideal(q[X]))
    return None


ENDS: dict[str, Callable[[Context, FileNode], Found]] = {
    "Log": _logarithm, "Where": _choice, "Reciprocal": _quotient,
}  # fmt: skip
DEFERRED = ("Exp", "Log", "Where", "Greater", "Reciprocal")
"""Operators without a rule that may be parts of an activation: refused only where they turn out not to be."""


def recognise(context: Context, node: FileNode) -> Found:
    """The activation that ends at this node, the reason why there is none, or None where nothing looks like
    one."""
    if node.op_type in ENDS:
        return ENDS[node.op_type](context, node)
    if node.op_type == "Div" and context.constant(node.input(1)) is None:
        return _quotient(context, node)
    if node.op_type not in ("Mul", "Div"):
        return None
    found = _product(context, node)
    if any(context.constant(name) is not None for name in node.inputs) and not (
        isinstance(found, Match) and found.factor == 1
    ):
        # a product that is only multiplied by a number here: what stands before it is looked at by itself
        return None
    return found
