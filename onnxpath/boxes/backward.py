"""Linear bounds of differences and values, walked from a tensor back to the inputs (docs/certify.md, section
4).

For rows of coefficients (λ, γ) at a tensor, an upper bound over every box of

    λ · (h_B - h_A) + γ · h_A

is carried backwards as λ · d + γ · h_A + constant at earlier tensors, the signs of all coefficients kept:

    linear      d = W_B d' + ΔW h' + Δb, h_A = W_A h' + b_A:    λ' = W_Bᵀ λ, γ' = W_Aᵀ γ + ΔWᵀ λ, constant +
                                                                λ·Δb + γ·b_A
    activation  d_out <= c_up d + k_up h + g_up, >= likewise:   λ' = c_up λ⁺ + c_low λ⁻, γ' gains k_up λ⁺ +
                                                                k_low λ⁻, constant + g_up·λ⁺ + g_low·λ⁻
                h_A' <= e_up h_A + f_up, >= likewise:           γ' = e_up γ⁺ + e_low γ⁻, constant + f_up·γ⁺ +
                                                                f_low·γ⁻

(relaxation.py, difference_lines.py). At the inputs d = 0, and the box gives Σ max(γ low, γ high). Where every
activation is stable this is the exact linear difference, with all cancellation between and inside layers. A
network paired with itself has no d, and rows of γ only.

Rounding: let the computed λ' differ from the true one by e, |e| <= ε |W_B|ᵀ|λ|. Then |e · d'| <= ε |λ| ·
(|W_B| |d'|): one inner product of |λ| with a tensor that the interval pass has (`slack d`) bounds what a
layer's rounding can hide. Sums run in float64.
"""

from collections.abc import Mapping

import numpy as np

from onnxpath.boxes.interval import outward
from onnxpath.boxes.relaxation import nonlinear
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.errors import MissingFactError
from onnxpath.evaluate.forward import open_session
from onnxpath.evaluate.weights import DELTA, A, B, Binder, Coefficients, differing, roundings, slack, tiny
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS

_DOUBLE = 11  # TensorProto.DOUBLE


class Backward:
    """The pass from one tensor, ready to run for any boxes, coefficients and lines."""

    def __init__(
        self,
        network: Network,
        coefficients: Mapping[str, Coefficients],
        start: str,
        device: Device,
        coupled: bool = False,
    ):
        """network: batched and without maxima, with the coefficients that `pairs` gives. coupled: lines of
        differences have terms of h_A."""
        self._network, self._dtype = network, device.dtype
        self._g = g = GraphBuilder(device.dtype, device.native_conv)
        self._pairs, self._binder, self._coupled = coefficients, Binder(g), coupled
        self._differs = differing(network, self._pairs)
        self.lines: list[str] = []  # outputs of the nodes whose lines are needed
        self.sizes: dict[
            tuple[str, str], float
        ] = {}  # arrays of the interval pass that are needed, with their factors
        self.lost: list[tuple[str, float]] = []  # tensors with what underflow loses there, for cells up to 1
        self._fed: set[str] = set()
        self._constant: list[str] = []
        shape = ("rows", *network.shapes[start][1:])
        self.differs = start in self._differs
        waiting: dict[str, dict[str, list[str]]] = {start: {"γ": [g.input("seed a", shape)]}}
        if self.differs:
            waiting[start]["λ"] = [g.input("seed d", shape)]
        for node in reversed(network.nodes):
            if node.output in waiting:
                self._through(node, self._total(node.output, waiting.pop(node.output)), waiting)
        self._ends = {}
        for name in network.inputs:
            if name in waiting:
                parts = waiting.pop(name)
                self._ends[name] = g.output(self._total(name, {"γ": parts["γ"]})["γ"])
        self._sum = (
            g.output(self._constant[0] if len(self._constant) == 1 else g.wide("Sum", self._constant))
            if self._constant
            else None
        )
        self._session = open_session(g, device)

    def _fed_input(self, label: str, tensor: str) -> str:
        """An input [n, ...], one entry per box, with an axis for the rows of the box."""
        if label not in self._fed:
            self._fed.add(label)
            self._g.input(label, ("n", *self._network.shapes[tensor][1:]))
        return label

    def _per_box(self, x: str, tensor: str, label: str, op: str = "Mul") -> str:
        """x [rows, ...] times the array of its box."""
        g, shape = self._g, self._network.shapes[tensor]
        array = self._fed_input(label, tensor)
        wide = g.op("Reshape", [x, g.shape_like(array, [-1, *shape[1:]])])
        made = g.op(op, [wide, g.op("Unsqueeze", [array, g.ints([1])])])
        return g.op("Reshape", [made, g.ints([-1, *shape[1:]])])

    def _keep(self, product: str, rank: int) -> None:
        """Add the sum of a product [rows, ...] to the constant, in float64."""
        g = self._g
        self._constant.append(
            g.wide("ReduceSum", [g.wide("Cast", [product], to=_DOUBLE), g.ints(range(1, rank))], keepdims=0)
        )

    def _charge(self, coefficient: str, tensor: str, kind: str, factor: float) -> None:
        """|coefficient| times a tensor of the interval pass: what rounding can hide."""
        key = (kind, tensor)
        self.sizes[key] = max(factor, self.sizes.get(key, 0.0))
        label = f"{kind} {tensor}"
        self._keep(
            self._per_box(self._g.op("Abs", [coefficient]), tensor, label), len(self._network.shapes[tensor])
        )

    def _total(self, tensor: str, parts: dict[str, list[str]]) -> dict[str, str]:
        """The sum of what the readers of a tensor hand back."""
        made = {}
        for key, found in parts.items():
            if len(found) == 1:
                made[key] = found[0]
                continue
            made[key] = self._g.op("Sum", found)
            unit = float(np.finfo(self._dtype).eps) * len(found)
            for part in found:
                self._charge(part, tensor, "size a" if key == "γ" else "size d", unit)
        return made

    def _through(self, node: Node, given: dict[str, str], waiting: dict[str, dict[str, list[str]]]) -> None:
        def hand(name: str, key: str, coefficient: str) -> None:
            waiting.setdefault(name, {}).setdefault(key, []).append(coefficient)

        site = Site.of(self._network, node)
        if nonlinear(node):
            for key, coefficient in self._bent(node, given).items():
                hand(node.inputs[0], key, coefficient)
        elif node.output in self._pairs:
            for key, coefficient in self._linear(site, given).items():
                hand(node.inputs[0], key, coefficient)
        elif OPERATORS[node.op].kind not in ("movement", "sum"):
            raise MissingFactError(node.op, "lines above and below it")
        else:
            adjoint = OPERATORS[node.op].adjoints["input"]
            for key, coefficient in given.items():
                if roundings(site):
                    self._charge(
                        coefficient,
                        node.output,
                        "slack a" if key == "γ" else "slack d",
                        slack(site, self._dtype),
                    )
                    self.lost.append((node.output, tiny(site, None, self._dtype)))
                for index, name in enumerate(node.inputs):
                    if key == "γ" or name in self._differs:
                        hand(name, key, adjoint(self._g, site, coefficient, index, None))

    def _linear(self, site: Site, given: dict[str, str]) -> dict[str, str]:
        g, node, c = self._g, site.node, self._pairs[site.node.output]
        operator, rank = OPERATORS[node.op], len(site.output_shape)
        adjoint, factor = operator.adjoints["input"], slack(site, self._dtype)
        self.lost.append((node.output, tiny(site, c, self._dtype)))

        def back(coefficient: str, key: str) -> str:
            return adjoint(g, site, coefficient, 0, self._binder.weight(c, key))

        def offset(coefficient: str, key: str) -> None:
            bias = self._binder.bias(c, key)
            if bias is not None:
                if operator.channel_bias:
                    bias = g.op("Reshape", [bias, g.ints([1, -1] + [1] * (rank - 2))])
                self._keep(g.op("Mul", [coefficient, bias]), rank)

        made = {}
        gamma = given["γ"]
        self._charge(gamma, node.output, "slack a", factor)
        offset(gamma, A)
        made["γ"] = back(gamma, A)
        if "λ" in given:
            difference = given["λ"]
            self._charge(difference, node.output, "slack d", factor)
            offset(difference, DELTA)
            if node.inputs[0] in self._differs:
                made["λ"] = back(difference, B)
            if c.weights[DELTA] is not None:
                made["γ"] = g.op("Add", [made["γ"], back(difference, DELTA)])
        return made

    def _bent(self, node: Node, given: dict[str, str]) -> dict[str, str]:
        g, tensor = self._g, node.inputs[0]
        rank, zero = len(self._network.shapes[tensor]), g.scalar(0.0)
        self.lines.append(node.output)
        made: dict[str, list[str]] = {"γ": []}
        for key, coefficient in given.items():
            sides = (g.op("Max", [coefficient, zero]), "up"), (g.op("Min", [coefficient, zero]), "low")

            def weighted(name: str, sides=sides) -> list[str]:
                return [self._per_box(side, tensor, f"{name}_{end} {node.output}") for side, end in sides]

            self._keep(g.op("Add", weighted("f" if key == "γ" else "g")), rank)
            if key == "γ" or tensor in self._differs:
                made.setdefault(key, []).extend(weighted("e" if key == "γ" else "c"))
            if key == "λ" and self._coupled and node.op != "Quantizer":
                made["γ"] += weighted("k")
        return {key: g.op("Add" if len(parts) == 2 else "Sum", parts) for key, parts in made.items()}

    def run(
        self, seeds: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray],
        sizes: Mapping[tuple[str, str], np.ndarray],
        low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray], largest: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Upper bounds [n, k] of λ · (h_B - h_A) + γ · h_A, +inf where they cannot be had.

        seeds: "a" (γ) and "d" (λ), [n, k, ...]; feeds: the lines' arrays [n, ...] as "<name> <node output>";
        sizes: those of the interval pass that `self.sizes` names; low, high: float64 [n, ...] by input;
        largest [n]: of the moduli of all tensors.
        """
        n, k = next(iter(seeds.values())).shape[:2]
        dtype = self._dtype
        given = {
            f"seed {name}": np.ascontiguousarray(array, dtype).reshape(n * k, *array.shape[2:])
            for name, array in seeds.items()
            if name == "a" or self.differs
        }
        given |= {label: array for label, array in feeds.items() if label in self._fed}
        for (kind, tensor), factor in self.sizes.items():
            given[f"{kind} {tensor}"] = outward(
                sizes[kind, tensor].astype(np.float64) * (factor * (1 + 1e-6)), dtype, np.inf
            )
        found = self._session.run(given)
        total = np.zeros((n, k))
        with np.errstate(all="ignore"):
            if self._sum is not None:
                # every term was rounded up by more than this sum in float64 can lose
                total = total + found[self._sum].reshape(n, k)
            for name, label in self._ends.items():
                gamma = found[label].astype(np.float64).reshape(n, k, -1)
                bottom, top = (side[name].reshape(n, 1, -1) for side in (low, high))
                total = total + np.maximum(gamma * bottom, gamma * top).sum(axis=2)
                size = (np.abs(gamma) * np.maximum(np.abs(bottom), np.abs(top))).sum(axis=2)
                total = total + size * (2.0**-52 * (gamma.shape[2] + 8))
            total = total + np.abs(total) * 2.0**-45
            lost = sum(loss * self._network.size_of(tensor) for tensor, loss in self.lost)
            total = total + lost * (1 + largest[:, None])
        return np.where(np.isfinite(total), total, np.inf)
