"""One segment of a walk backwards as a graph (docs/certify.md, section 4).

    linear      d = W_B d' + ΔW h' + Δb, h_A = W_A h' + b_A:    λ' = W_Bᵀ λ, γ' = W_Aᵀ γ + ΔWᵀ λ, constant +
                                                                λ·Δb + γ·b_A
    activation  d_out <= c_up d + k_up h + g_up, >= likewise:   λ' = c_up λ⁺ + c_low λ⁻, γ' gains k_up λ⁺ +
                                                                k_low λ⁻, constant + g_up·λ⁺ + g_low·λ⁻
                h_A' <= e_up h_A + f_up, >= likewise:           γ' = e_up γ⁺ + e_low γ⁻, constant + f_up·γ⁺ +
                                                                f_low·γ⁻

(relaxation.py, difference_lines.py). Rounding: let the computed λ' differ from the true one by e,
|e| <= ε |W_B|ᵀ|λ|. Then |e · d'| <= ε |λ| · (|W_B| |d'|): one inner product of |λ| with a tensor that the
interval pass has (`slack d`) bounds what a layer's rounding can hide. Sums run in float64.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from onnxpath.boxes.segments import Segment
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.session import Device
from onnxpath.evaluate.forward import open_session
from onnxpath.evaluate.weights import Coefficients, roundings, slack
from onnxpath.model.network import Network, Node, Site
from onnxpath.ops import OPERATORS, nonlinear

_DOUBLE = 11  # TensorProto.DOUBLE
Key = Literal["γ", "λ"]
_NETWORK = {"γ": "a", "λ": "d"}  # in the names of the interval pass' arrays
Parts = dict[Key, list[str]]


class Steps:
    """A segment's graph in a session, for any parameters. Tensors are numbered as in the segment.

    parameters: (input, number of the node's output, "weight" or "bias", role); lines: (input, name, number of
    the node's output); sizes: input and factor by (kind, tensor), arrays of the interval pass; ends: (tensor,
    key, output), coefficients at the borders before; constant: its output [rows], float64.
    """

    def __init__(
        self, network: Network, segment: Segment, pairs: Mapping[str, Coefficients], differs: set[str],
        roles: Mapping[str, str], parts: Mapping[Key, int], coupled: bool, device: Device,
    ):  # fmt: skip
        """roles: which coefficients the rows meet: "own" is that of γ. parts: how many coefficients of each
        key are added up at the root. coupled: lines of differences have terms of h_A."""
        self._network, self._numbers, self._pairs, self._differs = network, segment.numbers, pairs, differs
        self._roles, self._coupled, self._dtype = roles, coupled, device.dtype
        self._g = g = GraphBuilder(device.dtype, device.native_conv)
        self.parameters: dict[tuple[str, int, str, str], None] = {}
        self.lines: dict[tuple[str, str, int], None] = {}
        self.sizes: dict[tuple[str, int], tuple[str, float]] = {}
        self.ends: list[tuple[int, Key, str]] = []
        self._inputs: set[str] = set()
        self._terms: list[str] = []
        shape = ("rows", *network.shapes[segment.root][1:])
        given: Parts = {key: [self._input(f"{key} {j}", shape) for j in range(n)] for key, n in parts.items()}
        waiting: dict[str, Parts] = {segment.root: given}
        for node in segment.nodes:
            if node.output in waiting:
                self._through(node, self._total(node.output, waiting.pop(node.output)), waiting)
        for tensor, found in waiting.items():
            for key, ends in found.items():
                self.ends.extend((self._numbers[tensor], key, g.output(end)) for end in ends)
        self.constant = None
        if self._terms:
            self.constant = g.output(self._terms[0] if len(self._terms) == 1 else g.wide("Sum", self._terms))
        self.session = open_session(g, device)

    def _input(self, label: str, shape: tuple) -> str:
        if label not in self._inputs:
            self._inputs.add(label)
            self._g.input(label, shape)
        return label

    def _parameter(self, node: Node, kind: str, role: str) -> str | None:
        c = self._pairs[node.output]
        array = (c.weights if kind == "weight" else c.biases)[self._roles[role]]
        if array is None:
            return None
        number = self._numbers[node.output]
        label = self._input(f"{kind} {role} {number}", array.shape)
        self.parameters[label, number, kind, role] = None
        return label

    def _per_box(self, x: str, tensor: str, label: str) -> str:
        """x [rows, ...] times the array [n, ...] of its box."""
        g, shape = self._g, self._network.shapes[tensor]
        array = self._input(label, ("n", *shape[1:]))
        wide = g.op("Reshape", [x, g.shape_like(array, [-1, *shape[1:]])])
        product = g.op("Mul", [wide, g.op("Unsqueeze", [array, g.ints([1])])])
        return g.op("Reshape", [product, g.ints([-1, *shape[1:]])])

    def _keep(self, product: str, rank: int) -> None:
        """Add the sum of a product [rows, ...] to the constant, in float64."""
        g = self._g
        wide = g.wide("Cast", [product], to=_DOUBLE)
        self._terms.append(g.wide("ReduceSum", [wide, g.ints(range(1, rank))], keepdims=0))

    def _charge(self, coefficient: str, tensor: str, kind: str, factor: float) -> None:
        """|coefficient| times a tensor of the interval pass: what rounding can hide."""
        number = self._numbers[tensor]
        label, before = self.sizes.get((kind, number), (f"{kind} {number}", 0.0))
        self.sizes[kind, number] = label, max(factor, before)
        product = self._per_box(self._g.op("Abs", [coefficient]), tensor, label)
        self._keep(product, len(self._network.shapes[tensor]))

    def _total(self, tensor: str, parts: Parts) -> dict[Key, str]:
        """The sum of what the readers of a tensor hand back."""
        sums = {}
        for key, found in parts.items():
            sums[key] = found[0] if len(found) == 1 else self._g.op("Sum", found)
            unit = float(np.finfo(self._dtype).eps) * len(found)
            for part in found if len(found) > 1 else ():
                self._charge(part, tensor, f"size {_NETWORK[key]}", unit)
        return sums

    def _through(self, node: Node, given: dict[Key, str], waiting: dict[str, Parts]) -> None:
        site = Site.of(self._network, node)
        if nonlinear(node) or node.output in self._pairs:
            handed = (
                self._nonlinear(node, given) if nonlinear(node) else self._weighted(site, given)
            ).items()
            for key, coefficient in handed:
                waiting.setdefault(node.inputs[0], {}).setdefault(key, []).append(coefficient)
            return
        adjoint = OPERATORS[node.op].adjoints["input"]
        for key, coefficient in given.items():
            if roundings(site):
                factor = slack(site, self._dtype)
                self._charge(coefficient, node.output, f"slack {_NETWORK[key]}", factor)
            for index, name in enumerate(node.inputs):
                if key == "γ" or name in self._differs:
                    back = adjoint(self._g, site, coefficient, index, None)
                    waiting.setdefault(name, {}).setdefault(key, []).append(back)

    def _weighted(self, site: Site, given: dict[Key, str]) -> dict[Key, str]:
        g, node, rank = self._g, site.node, len(site.output_shape)
        operator, factor = OPERATORS[node.op], slack(site, self._dtype)

        def back(coefficient: str, role: str) -> str:
            return operator.adjoints["input"](g, site, coefficient, 0, self._parameter(node, "weight", role))

        handed: dict[Key, str] = {}
        for key, coefficient in given.items():
            self._charge(coefficient, node.output, f"slack {_NETWORK[key]}", factor)
            bias = self._parameter(node, "bias", "own" if key == "γ" else "delta")
            if bias is not None:
                if operator.channel_bias:
                    bias = g.op("Reshape", [bias, g.ints([1, -1] + [1] * (rank - 2))])
                self._keep(g.op("Mul", [coefficient, bias]), rank)
        if "γ" in given:
            handed["γ"] = back(given["γ"], "own")
        if "λ" in given:
            if node.inputs[0] in self._differs:
                handed["λ"] = back(given["λ"], "b")
            if self._pairs[node.output].weights[self._roles["delta"]] is not None:
                moved = back(given["λ"], "delta")
                handed["γ"] = g.op("Add", [handed["γ"], moved]) if "γ" in handed else moved
        return handed

    def _nonlinear(self, node: Node, given: dict[Key, str]) -> dict[Key, str]:
        g, tensor, number = self._g, node.inputs[0], self._numbers[node.output]
        rank, zero = len(self._network.shapes[tensor]), g.scalar(0.0)
        handed: Parts = {}
        for key, coefficient in given.items():
            sides = (g.op("Max", [coefficient, zero]), "up"), (g.op("Min", [coefficient, zero]), "low")

            def weighted(name: str, sides=sides) -> list[str]:
                products = []
                for side, end in sides:
                    label = f"{name}_{end} {number}"
                    self.lines[label, f"{name}_{end}", number] = None
                    products.append(self._per_box(side, tensor, label))
                return products

            self._keep(g.op("Add", weighted("f" if key == "γ" else "g")), rank)
            if key == "γ" or tensor in self._differs:
                handed.setdefault(key, []).extend(weighted("e" if key == "γ" else "c"))
            if key == "λ" and self._coupled and OPERATORS[node.op].kind != "quantizer":
                handed.setdefault("γ", []).extend(weighted("k"))
        return {key: g.op("Add" if len(parts) == 2 else "Sum", parts) for key, parts in handed.items()}
