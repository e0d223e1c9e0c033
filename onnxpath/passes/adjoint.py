"""The adjoint pass: cotangents of every lane of a traced pass, by the operators' adjoints in reverse order.

The traced pass is linear, y = A x + (terms that do not depend on x); the adjoint of the *scaled* graph is taken, so that
⟨cotangent, tensor⟩ needs no exponents and the weights bound for the forward pass are used again.
"""

from collections.abc import Collection, Mapping

from onnxpath.ops import OPERATORS
from onnxpath.passes.lanes import Step
from onnxpath.passes.tracer import Tracer


def _backward(tracer: Tracer, step: Step, index: int, cotangent: str) -> str:
    g = tracer.graph
    if step.factor is not None:
        return g.op("Mul", [cotangent, step.factor])
    if step.site is None:
        return cotangent
    extra = {"transposed": True} if step.transposed else {}
    return OPERATORS[step.site.node.op].adjoints["input"](g, step.site, cotangent, index, step.weight, **extra)


def adjoint(tracer: Tracer, seeds: Mapping[str, str], stop: Collection[str] = ()) -> dict[str, str]:
    """Cotangent of every tensor that the seeded tensors depend on, `stop` included but nothing before it.

    seeds: tensor -> cotangent (names in the tracer's graph).
    """
    waiting: dict[str, list[str]] = {tensor: [cotangent] for tensor, cotangent in seeds.items()}
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
        for index, name in enumerate(step.inputs):
            waiting.setdefault(name, []).append(_backward(tracer, step, index, cotangent))
    for tensor in list(waiting):
        settle(tensor)
    return done
