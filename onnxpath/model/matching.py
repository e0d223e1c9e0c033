"""Matching two networks by canonical structure.

Every tensor gets a key: a hash of its node's operator, attributes, shapes and the keys of its inputs (as a
multiset where the operator is commutative). Equal output keys mean equal structure; the nodes are then paired
from the outputs backwards, names deciding only between branches that are otherwise the same. The first
tensor, in topological order, whose key the other network lacks is the first place where the two differ.
"""

import hashlib
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from onnxpath.errors import MismatchError
from onnxpath.model.mismatch import describe, first_difference, plain
from onnxpath.model.network import Network, Node, Parameter
from onnxpath.model.paths import require_paths
from onnxpath.ops import OPERATORS
from onnxpath.rewrites import clamps, splitting
from onnxpath.rewrites import quantizers as quantized

Parameters = tuple[Parameter | None, Parameter | None]


@dataclass(frozen=True, eq=False)
class Pairing:
    """Network `a` and, for every node of it with parameters (by output), the parameters of its counterpart in
    `b`."""

    a: Network
    b: Network
    twin: dict[str, Parameters]

    def inputs(self) -> list[tuple[str, str]]:
        """The inputs of a, and the file's names of their counterparts in b."""
        return [
            (name, self.b.inputs[k])
            for name, k in zip(
                self.a.inputs, _order(self.a.inputs, self.b.inputs, "input", self.a, self.b), strict=True
            )
        ]

    def output_names(self) -> list[tuple[str, str]]:
        """The files' names of the outputs of a and of their counterparts in b, in the order of
        `a.outputs`."""
        names_a, names_b = self.a.output_names, self.b.output_names
        return [
            (name, names_b[k])
            for name, k in zip(names_a, _order(names_a, names_b, "output", self.a, self.b), strict=True)
        ]


def _signature(network: Network, node: Node) -> str:
    attributes = sorted((key, plain(value)) for key, value in node.attributes.items())
    own = node.weight is not None and not OPERATORS[node.op].broadcasts
    weight = node.coefficients.shape if own else None
    return repr((node.op, attributes, weight, network.shapes[node.output]))


def _keys(network: Network, inputs: tuple[str, ...]) -> dict[str, bytes]:
    keys = {
        name: hashlib.sha256(repr((k, network.shapes[name])).encode()).digest()
        for k, name in enumerate(inputs)
    }
    for node in network.nodes:
        parts = [keys[name] for name in node.inputs]
        if OPERATORS[node.op].merges:
            parts.sort()
        keys[node.output] = hashlib.sha256(_signature(network, node).encode() + b"".join(parts)).digest()
    return keys


def _order(
    names_a: tuple[str, ...], names_b: tuple[str, ...], kind: str, a: Network, b: Network
) -> list[int]:
    """For each name of a, the index of its counterpart in b: by name where the names agree, else by
    position."""
    if len(names_a) != len(names_b):
        raise MismatchError(
            f"{a.path} has {len(names_a)} {kind}(s) ({', '.join(names_a)}), {b.path} has"
            f" {len(names_b)} ({', '.join(names_b)})"
            + ("; choose some with --output-name" if kind == "output" else "")
        )
    if set(names_a) == set(names_b) and len(set(names_a)) == len(names_a):
        return [names_b.index(name) for name in names_a]
    return list(range(len(names_a)))


def _unmatched(
    a: Network, b: Network, keys_a: dict[str, bytes], keys_b: dict[str, bytes]
) -> tuple[Node | None, Node | None]:
    """The first node of either network that the other one lacks."""
    known_a, known_b = set(keys_a.values()), set(keys_b.values())
    return (
        next((node for node in a.nodes if keys_a[node.output] not in known_b), None),
        next((node for node in b.nodes if keys_b[node.output] not in known_a), None),
    )


def match(a: Network, b: Network, quantizers: bool = False) -> Pairing:
    """Pair the nodes of two networks. Raises MismatchError naming the first difference on both sides.

    quantizers: quantizers of activations are set aside, and become nodes of `Pairing.a` that hold what either
    network does there (`onnxpath.rewrites.quantizers`); otherwise UnsupportedError names the first of them.
    """
    if not (quantized.quantizes(a) or quantized.quantizes(b)):
        return _match(a, b)[0]
    if not quantizers:
        for network in (a, b):
            require_paths(network)
    (own, other), (pairing, partner) = _match_stripped(a, b)
    network = pairing.a
    theirs: dict[quantized.Edge, tuple[Node, ...]] = {}
    for node in network.nodes:
        left = list(enumerate(other.network.producer[partner[node.output]].inputs))
        for k, name in enumerate(node.inputs):
            place = next(item for item in left if item[1] == partner[name])
            left.remove(place)
            theirs[node.output, k] = other.edges.get((partner[node.output], place[0]), ())
    for k, place in enumerate(_order(a.output_names, b.output_names, "output", a, b)):
        theirs["", k] = other.edges.get(("", place), ())
    return Pairing(quantized.with_quantizers(network, own.edges, theirs), b, pairing.twin)


def unquantized(a: Network, b: Network) -> tuple[Network, Network]:
    """Both networks without their quantizers, with notes that say so, ready to be matched. Raises
    MismatchError where they do not."""
    if not (quantized.quantizes(a) or quantized.quantizes(b)):
        return a, b
    sides, _ = _match_stripped(a, b)
    first, second = (
        replace(side.network, notes=quantized.plain(own).notes)
        for side, own in zip(sides, (a, b), strict=True)
    )
    return first, second


def _match_stripped(
    a: Network, b: Network
) -> tuple[tuple[quantized.Stripped, quantized.Stripped], tuple[Pairing, dict[str, str]]]:
    """The networks without quantizers, matched. Clamps that quantizers absorb are left out or put back as the
    other network has them, and sums behind a quantizer are taken apart from the product before it."""
    sides, first = [a, b], None
    for _ in range(2 * (len(a.nodes) + len(b.nodes)) + 1):
        stripped = quantized.strip(sides[0]), quantized.strip(sides[1])
        plain = stripped[0].network, stripped[1].network
        try:
            return stripped, _match(*plain)
        except MismatchError as error:
            first = first or error
        if [plain[0].shapes[x] for x in plain[0].inputs] != [plain[1].shapes[x] for x in plain[1].inputs]:
            raise first
        keys = tuple(_keys(network, network.inputs) for network in plain)
        differ = _unmatched(*plain, *keys)
        for at in (1, 0):
            twin = differ[1 - at]
            wanted = None if twin is None else keys[1 - at][twin.inputs[0]]
            changed = clamps.adapted(sides[at], differ[at], twin, keys[at], wanted) or splitting.with_sum(
                sides[at], twin, keys[at], wanted
            )
            if changed is not None:
                sides[at] = changed
                break
        else:
            if any(_normalizes_behind(side) for side in sides):
                raise MismatchError(
                    f"{first}; a BatchNormalization behind a quantizer is a node of its own: compare with"
                    " --keep-batchnorm, or quantize what onnxruntime's quant_pre_process makes of the float"
                    " file"
                )
            raise first
    raise first or AssertionError


def _normalizes_behind(network: Network) -> bool:
    """Whether a scale and bias per channel follow a quantizer of a convolution."""

    def normalizes(node: Node) -> bool:
        if not OPERATORS[node.op].diagonal or node.weight is None or node.bias is None:
            return False
        quantizer = network.producer.get(node.inputs[0])
        if quantizer is None or OPERATORS[quantizer.op].kind != "quantizer":
            return False
        layer = network.producer.get(quantizer.inputs[0])
        return layer is not None and OPERATORS[layer.op].layer in ("dense", "convolution")

    return any(normalizes(node) for node in network.nodes)


def _match(a: Network, b: Network) -> tuple[Pairing, dict[str, str]]:
    """The pairing of two networks without quantizers, and the tensor of b that corresponds to every tensor of
    a."""
    order = _order(a.inputs, b.inputs, "input", a, b)
    inputs_b = tuple(b.inputs[k] for k in order)
    for name_a, name_b in zip(a.inputs, inputs_b, strict=True):
        if a.shapes[name_a] != b.shapes[name_b]:
            raise MismatchError(
                f"input '{name_a}' of {a.path} has shape {list(a.shapes[name_a])}, its counterpart '{name_b}'"
                f" of {b.path} has {list(b.shapes[name_b])}; give equal shapes with --shape"
            )
    keys_a, keys_b = _keys(a, a.inputs), _keys(b, inputs_b)
    outputs_b = [b.outputs[k] for k in _order(a.output_names, b.output_names, "output", a, b)]
    if any(keys_a[x] != keys_b[y] for x, y in zip(a.outputs, outputs_b, strict=True)):
        raise MismatchError(
            first_difference(a, keys_a, b, keys_b, _unmatched(a, b, keys_a, keys_b), outputs_b)
        )
    partner = dict(zip(a.inputs, inputs_b, strict=True))
    owner = {y: x for x, y in partner.items()}
    waiting = list(zip(a.outputs, outputs_b, strict=True))
    while waiting:
        x, y = waiting.pop()
        if x in partner or y in owner:
            if partner.get(x) != y:
                node = a.producer.get(x)
                raise MismatchError(
                    f"the networks share computations differently: {a.path} node"
                    f" {describe(a, node) if node else x} corresponds to more than one node of {b.path}, or"
                    " one to several"
                )
            continue
        partner[x], owner[y] = y, x
        waiting += _operands(a, b, a.producer[x], b.producer[y], keys_a, keys_b)
    return _pairing(a, b, partner), partner


def _name(network: Network, tensor: str) -> str:
    """The file's name of the node that makes a tensor."""
    return network.producer[tensor].name if tensor in network.producer else tensor


def _operands(a: Network, b: Network, x: Node, y: Node, keys_a: dict, keys_b: dict) -> list[tuple[str, str]]:
    """Pairs of operands with equal keys; equal branches by name, then by position."""
    if not OPERATORS[x.op].merges:
        return list(zip(x.inputs, y.inputs, strict=True))
    left, waiting, pairs = list(y.inputs), [], []
    for operand in x.inputs:  # namesakes first
        own = _name(a, operand)
        found = next(
            (name for name in left if keys_b[name] == keys_a[operand] and _name(b, name) == own), None
        )
        if found is None:
            waiting.append(operand)
        else:
            left.remove(found)
            pairs.append((operand, found))
    for operand in waiting:
        found = next(name for name in left if keys_b[name] == keys_a[operand])
        left.remove(found)
        pairs.append((operand, found))
    return pairs


def _common(p: Parameter | None, q: Parameter | None) -> Parameters:
    """Two parameters of one shape, spread where they were stored in different but equivalent shapes."""
    if p is None or q is None or p.shape == q.shape:
        return p, q
    rank = max(len(p.shape), len(q.shape))
    full = np.broadcast_shapes(p.shape, q.shape)

    def spread(parameter: Parameter) -> Parameter:
        scale = parameter.scale
        if scale is not None:
            scale = scale.reshape((1,) * (rank - scale.ndim) + scale.shape)
        return replace(parameter, base=np.broadcast_to(parameter.base, full), scale=scale)

    return spread(p), spread(q)


def _present(p: Parameter | None, q: Parameter | None, missing: float) -> Parameter | None:
    """p; where it is missing and q varies over space the numbers that it stands for, so that a pass over the
    first network sees that cells differ."""
    if p is not None or q is None or prod(q.shape[2:]) == 1:
        return p
    return Parameter("", np.broadcast_to(np.float32(missing), q.shape), fixed=True)


def _pairing(a: Network, b: Network, partner: dict[str, str]) -> Pairing:
    twin: dict[str, Parameters] = {}
    nodes = []
    for node in a.nodes:
        if OPERATORS[node.op].kind == "weighted" or node.weight is not None:
            other = b.producer[partner[node.output]]
            weight, weight_b = _common(node.weight, other.weight)
            bias, bias_b = _common(node.bias, other.bias)
            if OPERATORS[node.op].diagonal:
                weight, bias = _present(weight, weight_b, 1.0), _present(bias, bias_b, 0.0)
            twin[node.output] = weight_b, bias_b
            if weight is not node.weight or bias is not node.bias:
                node = replace(node, weight=weight, bias=bias)
        nodes.append(node)
    return Pairing(replace(a, nodes=tuple(nodes)), b, twin)
