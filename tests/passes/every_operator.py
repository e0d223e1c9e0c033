"""Pairs of small networks around one node each, for the test that sends every operator through every pass.

    x_k -> Scale -> the node -> Reshape -> MatMul -> y [1, 3]

with learned weights and biases before and behind, so that what a pass makes of the node is seen from both
sides. The cases are those of tests/ops/cases.py, all of them, and those of the registry are found by
themselves: an operator without a case is a failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from math import prod

import numpy as np
from ops.cases import CASES, EXTENSIONS
from oracle import paths
from reference import evaluate

from onnxpath.model.network import Network, Node, Parameter

OUTPUTS = 3
# Of the second network's parameters: smaller ones, others of the same signs, and any.
KINDS = {"smaller": [0.0, 0.5, 0.75, 1.0], "signs": [0.6, 1.0, 1.3], "any": [-0.5, 0.0, 0.9, 1.0, 1.2]}


def surrounded(op: str, label: str) -> Network:
    """The network of a case. Numbers are about 1 everywhere; biases are of both signs, so that intervals hold
    0 and do not."""
    site, rng = CASES[op][label], np.random.default_rng(11)
    names = [f"x{k}" for k in range(len(site.input_shapes))]
    shapes, nodes = dict(zip(names, site.input_shapes, strict=True)), []

    def parameter(name: str, shape: tuple[int, ...], size: float = 1.0) -> Parameter:
        array = rng.choice([-1.0, 1.0], shape) * rng.uniform(0.5, 1.5, shape) * size
        return Parameter(name, array.astype(np.float32), None, (name,))

    def add(
        op: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
        weight=None,
        bias=None,
        **attributes: object,
    ) -> str:
        nodes.append(Node(output, op, inputs, output, attributes, weight, bias))
        shapes[output] = shape
        return output

    def flat(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (1, *shape[1:]) if site.batched else shape

    inside = [
        add(
            "Scale",
            (x,),
            f"s{k}",
            shapes[x],
            parameter(f"s{k}.weight", flat(shapes[x])),
            parameter(f"s{k}.bias", flat(shapes[x])),
        )
        for k, x in enumerate(names)
    ]
    nodes.append(replace(site.node, name=op, inputs=tuple(inside), output="node"))
    shapes["node"] = site.output_shape
    size = prod(site.output_shape)
    add("Reshape", ("node",), "flat", (1, size))
    weight = parameter("last.weight", (size, OUTPUTS), 1 / size**0.5)
    add("MatMul", ("flat",), "y", (1, OUTPUTS), weight, parameter("last.bias", (1, OUTPUTS)), side="right")
    return Network(
        f"{op}, {label}", "", tuple(names), ("y",), tuple(nodes), shapes, site.batched, output_names=("y",)
    )


def twin(network: Network, kind: str) -> Network:
    """A second network: every learned parameter times some of `KINDS`, exact in float32."""
    rng = np.random.default_rng(12)

    def other(parameter: Parameter | None) -> Parameter | None:
        if parameter is None or parameter.fixed:
            return parameter
        factors = np.float32(rng.choice(KINDS[kind], parameter.shape))
        return replace(parameter, base=(parameter.array() * factors).astype(np.float32), scale=None)

    nodes = tuple(replace(node, weight=other(node.weight), bias=other(node.bias)) for node in network.nodes)
    return replace(network, path=f"{network.path}, {kind}", nodes=nodes)


@dataclass(frozen=True, eq=False)
class Case:
    """One case with its twins."""

    op: str
    label: str
    a: Network
    twins: Mapping[str, Network]

    @property
    def model(self) -> bool:
        """Whether the node is part of the paper's model."""
        return self.op not in EXTENSIONS

    def points(
        self, low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray], count: int
    ) -> list[dict[str, np.ndarray]]:
        """Samples of a box, half of them corners; one [1, ...] each."""
        rng, found = np.random.default_rng(13), []
        for k in range(count):
            shares = {x: rng.random(low[x].shape) if k % 2 else rng.integers(0, 2, low[x].shape) for x in low}
            found.append({x: low[x] + shares[x] * (high[x] - low[x]) for x in low})
        return found


@cache
def case(op: str, label: str) -> Case:
    a = surrounded(op, label)
    return Case(op, label, a, {kind: twin(a, kind) for kind in KINDS})


def outputs(network: Network, points: list[dict[str, np.ndarray]]) -> np.ndarray:
    """[points, outputs] in float64."""
    return np.stack([evaluate(network, point)["y"].reshape(-1) for point in points])


@cache
def enumerated(op: str, label: str, kind: str) -> paths.Paths:
    """Every path of a pair."""
    found = case(op, label)
    return paths.lift(found.a, found.twins[kind])["y"]
