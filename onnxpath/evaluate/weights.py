"""The coefficients of a pair of weighted nodes as the signed passes use them, and how often their products
round.

For a node with weights W_A, W_B and biases b_A, b_B: the weights, their moduli, and what B adds,

    ΔW = W_B - W_A,    Δb = b_B - b_A,

in float64 from the files' numbers, then rounded to the pass' precision. A weight that is itself a product (a
folded normalization) is rounded once before the subtraction: the modulus of ΔW is enlarged by what that can
hide, 2**-51 (|W_A| + |W_B|).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from onnxpath.engine.certificate import gamma
from onnxpath.engine.graph import GraphBuilder
from onnxpath.errors import MissingFactError
from onnxpath.model.matching import Parameters
from onnxpath.model.network import Network, Node, Parameter, Site
from onnxpath.ops import OPERATORS

# Kinds of coefficients.
A, B, DELTA = "a", "b", "delta"


def _wide(parameter: Parameter | None) -> np.ndarray | None:
    return None if parameter is None else parameter.array().astype(np.float64, copy=False)


def _difference(p: np.ndarray | None, q: np.ndarray | None) -> np.ndarray | None:
    """q - p; None where they are equal."""
    if p is None or q is None:
        found = q if p is None else -p
    else:
        found = q - p
    return found if found is not None and found.any() else None


@dataclass(frozen=True, eq=False)
class Coefficients:
    """Of one node in both networks. Scale without a weight in one network only is a weight of ones there."""

    node: Node
    twin: Parameters

    @cached_property
    def weights(self) -> dict[str, np.ndarray | None]:
        p, q = _wide(self.node.weight), _wide(self.twin[0])
        if self.node.weight is self.twin[0]:
            return {A: p, B: p, DELTA: None}
        p, q = (
            np.ones_like(other) if own is None and other is not None else own
            for own, other in ((p, q), (q, p))
        )
        return {A: p, B: q, DELTA: _difference(p, q)}

    @cached_property
    def biases(self) -> dict[str, np.ndarray | None]:
        p, q = _wide(self.node.bias), _wide(self.twin[1])
        return {A: p, B: q, DELTA: None if self.node.bias is self.twin[1] else _difference(p, q)}

    @property
    def differs(self) -> bool:
        return self.weights[DELTA] is not None or self.biases[DELTA] is not None

    @property
    def distance(self) -> float:
        """|W_B - W_A| / |W_A|, Euclidean; 0 without weights."""
        a, delta = self.weights[A], self.weights[DELTA]
        if a is None or delta is None:
            return 0.0
        with np.errstate(divide="ignore", over="ignore"):
            return float(np.linalg.norm(delta) / np.linalg.norm(a))

    @cached_property
    def hidden(self) -> bool:
        """Whether some parameter is a product that float64 rounded."""
        given = (self.node.weight, self.node.bias, *self.twin)
        return any(p is not None and (p.scale is not None or p.error > 0) for p in given)

    @cached_property
    def loss(self) -> float:
        """Relative error of a difference's operands."""
        error = max(
            (p.error for p in (self.node.weight, self.node.bias, *self.twin) if p is not None), default=0.0
        )
        return 2 * error + 2.0**-51 if self.hidden else 0.0

    def modulus(
        self, array: np.ndarray | None, key: str, of: dict[str, np.ndarray | None]
    ) -> np.ndarray | None:
        """|W| or |b|; of a difference with what its operands' rounding hides."""
        if array is None or key != DELTA:
            return None if array is None else np.abs(array)
        size = np.abs(array) * (1 + 2.0**-51)
        for other in (of[A], of[B]):
            if other is not None and self.loss:
                size = size + self.loss * np.abs(other)
        return size

    @cached_property
    def largest(self) -> float:
        """The largest modulus of a weight of either network; 1 without weights."""
        found = [
            float(np.abs(w).max(initial=0.0)) for w in (self.weights[A], self.weights[B]) if w is not None
        ]
        return max(found, default=1.0)


def differing(network: Network, coefficients: Mapping[str, Coefficients]) -> set[str]:
    """The tensors on which the networks may differ."""
    found: set[str] = set()
    for node in network.nodes:
        own = coefficients.get(node.output)
        rounds = OPERATORS[node.op].kind == "quantizer" and node.attributes[
            "quantizer"
        ] != node.attributes.get("twin")
        if any(name in found for name in node.inputs) or (own is not None and own.differs) or rounds:
            found.add(node.output)
    return found


def pairs(network: Network, twin: Mapping[str, Parameters]) -> dict[str, Coefficients]:
    """The coefficients of every node with parameters."""
    return {
        node.output: Coefficients(node, twin[node.output])
        for node in network.nodes
        if OPERATORS[node.op].kind == "weighted"
        and (node.weight is not None or node.bias is not None or node.output in twin)
    }  # fmt: skip


def roundings(site: Site) -> int:
    """Products or sums that meet in an output of the node, or in an input of its adjoint; 0 where neither is
    more than a copy.

    A sum of several tensors is 0 here: passes add them one by one, and round each of these sums by itself.
    """
    operator = OPERATORS[site.node.op]
    if operator.kind == "weighted":
        return max(operator.terms(site), operator.fan_out(site)) + 1
    if operator.kind == "sum":
        # twice, as a sum may be spelled as a mean times a count
        return 0 if operator.merges else 2 * max(operator.terms(site), operator.fan_out(site)) + 2
    if operator.kind == "movement":
        copies = operator.fan_out(site)
        return copies if copies > 1 else 0
    raise MissingFactError(site.node.op, "what it rounds")


def slack(site: Site, dtype: np.dtype) -> float:
    """Relative error of everything that is computed with the node's products: γ, with room for casts, biases
    and final sums."""
    return 2 * gamma(roundings(site) + 16, dtype) + 2.0**-50 * (
        np.prod(site.output_shape[1:], dtype=np.float64) + 4096
    )


def tiny(site: Site, coefficients: Coefficients | None, dtype: np.dtype) -> float:
    """What underflow can lose of one sum of products of weights with numbers up to 1 (of larger ones: in
    proportion)."""
    smallest = 2.0 ** (-125 if dtype == np.float32 else -1021)
    return (
        smallest * (roundings(site) + 4) * 4 * (1 + (1.0 if coefficients is None else coefficients.largest))
    )


def cast(array: np.ndarray, dtype: np.dtype, up: bool) -> np.ndarray:
    """In the precision of a pass; up: a modulus, rounded up."""
    with np.errstate(over="ignore", under="ignore"):
        found = array.astype(dtype)
        if up:
            found = np.where(found < array, np.nextafter(found, dtype.type(np.inf)), found)
            # a modulus so small that its signed counterpart loses bits stands for what that may be off by
            least = dtype.type(2.0 ** (-96 if dtype == np.float32 else -960))
            found = np.where((array > 0) & (found < least), least, found)
    return np.ascontiguousarray(found, dtype)


class Binder:
    """Binds coefficients to a graph, each once."""

    def __init__(self, graph: GraphBuilder):
        self._graph, self._bound = graph, {}

    def _bind(self, key: tuple, array: np.ndarray | None, up: bool) -> str | None:
        if array is None:
            return None
        if key not in self._bound:
            self._bound[key] = self._graph.bind(cast(array, self._graph.dtype, up))
        return self._bound[key]

    def weight(self, c: Coefficients, key: str, size: bool = False) -> str | None:
        array = c.modulus(c.weights[key], key, c.weights) if size else c.weights[key]
        return self._bind((c.node.output, "weight", key, size), array, size)

    def bias(self, c: Coefficients, key: str, size: bool = False, factor: float = 1.0) -> str | None:
        array = c.modulus(c.biases[key], key, c.biases) if size else c.biases[key]
        return self._bind(
            (c.node.output, "bias", key, size, factor), None if array is None else array * factor, size
        )
