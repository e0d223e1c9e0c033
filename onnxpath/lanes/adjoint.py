"""The adjoint pass: cotangents of every lane of a traced pass, by the operators' adjoints in reverse order.

The traced pass is linear, y = A x + (terms that do not depend on x), once every minimum and maximum in it is
replaced by the operands that attain it (equal shares where several do). The adjoint of the *scaled* graph is
taken, so that ⟨cotangent, tensor⟩ needs no exponents and the weights bound for the forward pass are used
again.
"""

from collections.abc import Collection, Hashable, Mapping
from typing import TypeVar

import numpy as np

from onnxpath.lanes.lanes import Lane, Step
from onnxpath.lanes.tracer import Tracer
from onnxpath.ops import OPERATORS

Key = TypeVar("Key", bound=Hashable)


def _backward(tracer: Tracer, step: Step, cotangent: str) -> list[str]:
    """The cotangent of every input of a step."""
    g, many = tracer.graph, range(len(step.inputs))
    if step.factor is not None:
        return [g.op("Mul", [cotangent, step.factor])]
    if step.site is None:
        return _selected(tracer, step, cotangent) if step.selects else [cotangent for _ in many]
    adjoints = OPERATORS[step.site.node.op].adjoints
    if step.selects:
        return [
            adjoints["routed"](g, step.site, cotangent, index, list(step.inputs), step.output)
            for index in many
        ]
    extra = {"transposed": True} if step.transposed else {}
    weight = g.bind(step.weight) if isinstance(step.weight, np.ndarray) else step.weight
    if step.modulus:
        assert weight is not None
        weight = g.op("Abs", [weight])
    return [adjoints["input"](g, step.site, cotangent, index, weight, **extra) for index in many]


def _selected(tracer: Tracer, step: Step, cotangent: str) -> list[str]:
    g = tracer.graph
    attained = [
        g.op("Where", [g.compare("Equal", [x, step.output]), g.scalar(1.0), g.scalar(0.0)])
        for x in step.inputs
    ]
    share = g.op("Div", [cotangent, g.op("Sum", attained)])
    return [g.op("Mul", [share, part]) for part in attained]


def seeds(tracer: Tracer, ends: Mapping[str, Lane]) -> tuple[dict[str, str], int]:
    """Cotangents of Σ of all cells of these lanes (by tensor of the network), and the exponent that products
    with them have.

    Cells of one channel share an exponent; the cotangent of 2**E is 2**(E - top).
    """
    top = max(int(lane.exponent.max()) for lane in ends.values())
    found: dict[str, str] = {}
    for name, lane in ends.items():
        weights = np.exp2(np.maximum(lane.exponent - top, -1000.0))
        full = np.broadcast_to(weights, tracer.network.shapes[name]).astype(tracer.device.dtype)
        seed = tracer.graph.constant(np.ascontiguousarray(full))
        found[lane.tensor] = (
            tracer.graph.op("Add", [found[lane.tensor], seed]) if lane.tensor in found else seed
        )
    return found, top


def products(
    tracer: Tracer, ends: Mapping[str, Lane], lanes: Mapping[Key, Lane]
) -> dict[Key, tuple[str, int]]:
    """⟨lane, adjoint⟩ of Σ of the cells of `ends`, for every lane: a scalar tensor, and the exponent of its
    value.

    Nothing before these lanes is followed: where they are all that enters the pass, the products add up to Σ.
    """
    if not ends or not lanes:
        return {}
    start, top = seeds(tracer, ends)
    cotangents = adjoint(tracer, start, {lane.tensor for lane in lanes.values()})
    found = {}
    for key, lane in lanes.items():
        if lane.tensor in cotangents:
            product = tracer.graph.op("Mul", [lane.tensor, cotangents[lane.tensor]])
            found[key] = tracer.graph.op("ReduceSum", [product], keepdims=0), top
    return found


def adjoint(tracer: Tracer, start: Mapping[str, str], stop: Collection[str] = ()) -> dict[str, str]:
    """Cotangent of every tensor that the first ones depend on, `stop` included but nothing before it.

    start: tensor -> cotangent (names in the tracer's graph).
    """
    waiting: dict[str, list[str]] = {tensor: [cotangent] for tensor, cotangent in start.items()}
    done: dict[str, str] = {}

    def settle(tensor: str) -> str:
        if tensor not in done:
            parts = waiting.pop(tensor)
            done[tensor] = parts[0] if len(parts) == 1 else tracer.graph.op("Sum", parts)
        return done[tensor]

    for step in reversed(list(tracer.tape)):
        if step.output not in waiting:
            continue
        cotangent = settle(step.output)
        if step.output in stop:
            continue
        for name, part in zip(step.inputs, _backward(tracer, step, cotangent), strict=True):
            waiting.setdefault(name, []).append(part)
    for tensor in list(waiting):
        settle(tensor)
    return done
