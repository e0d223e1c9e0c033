"""Φ-costs: what removing one weight, one bias or one neuron costs in ‖Φ‖₁ (paper, Section 4; docs/theory.md,
section 7).

    Φ-Cost(i) = ‖Φ(θ) - Φ(θ - θ_i e_i)‖₁ = Σ of |Φ_p(θ)| over the paths p through coordinate i

For a coordinate that no path meets twice this is |θ_i| ∂‖Φ‖₁/∂|θ_i|, so that one forward and one adjoint pass
give all of them. For the others the derivative counts a path as often as it meets the coordinate: an upper
bound.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from onnxpath.analyses import tool
from onnxpath.analyses.metric.metric import apart
from onnxpath.engine.plan import Reading
from onnxpath.engine.scaled import Scaled
from onnxpath.engine.session import Device
from onnxpath.errors import UsageError
from onnxpath.lanes import costs
from onnxpath.model.network import Network, Parameter
from onnxpath.records import LayerCost, ParameterCost, PathCosts
from onnxpath.rewrites.collapse import collapse
from onnxpath.rewrites.condense import condense

Cotangent = Mapping[str, np.ndarray] | np.ndarray | None


def cotangents(network: Network, given: Cotangent) -> dict[str, np.ndarray]:
    """Non-negative weights of the output neurons, by tensor: ones where none are given, one number per
    channel (axis 1), or whatever broadcasts to an output; a mapping by the file's names of the outputs leaves
    out the others.

    Raises UsageError for weights that are negative, not finite, all zero or of a shape that does not fit.
    """
    if given is None:
        return {name: np.ones(()) for name in network.outputs}
    labels = dict(zip(network.output_names, network.outputs, strict=True))
    if not isinstance(given, Mapping):
        if len(labels) > 1:
            raise UsageError(
                f"{network.path} has {len(labels)} outputs ({', '.join(labels)}); choose one with"
                " --output-name"
            )
        given = {network.output_names[0]: np.asarray(given)}
    found = {}
    for label, weights in given.items():
        if label not in labels:
            raise UsageError(f"{network.path} has no output '{label}'; it has {', '.join(labels)}")
        shape, array = network.shapes[labels[label]], np.asarray(weights, np.float64)
        if array.ndim == 1 and len(shape) > 2 and array.size == shape[1]:
            array = array.reshape(1, -1, *(1,) * (len(shape) - 2))
        if not np.isfinite(array).all() or (array < 0).any():
            raise UsageError("weights of outputs must be finite numbers >= 0")
        try:
            fits = np.broadcast_shapes(array.shape, shape) == tuple(shape)
        except ValueError:
            fits = False
        if not fits:
            raise UsageError(
                f"output '{label}' of {network.path} has shape {list(shape)}; {list(array.shape)} weights do"
                " not fit it"
            )
        found[labels[label]] = array
    if not any(array.any() for array in found.values()):
        raise UsageError("all weights of the outputs are 0: every cost would be 0")
    return {name: array for name, array in found.items() if array.any()}


def source(parameter: Parameter) -> str:
    """The tensor of the file that a parameter is."""
    return parameter.sources[0] if parameter.sources else parameter.name


def uses(network: Network) -> dict[str, list[tuple[str, str]]]:
    """Where every learned tensor is used: (output of the node, "weight" or "bias")."""
    found: dict[str, list[tuple[str, str]]] = {}
    for node in network.nodes:
        for kind in ("weight", "bias"):
            parameter = getattr(node, kind)
            if parameter is not None and not parameter.fixed:
                found.setdefault(source(parameter), []).append((node.output, kind))
    return found


def _evaluate(
    network: Network,
    device: Device,
    ends: Mapping[str, np.ndarray],
    radius: Mapping[str, np.ndarray] | None = None,
) -> tuple[list[costs.Found], int, dict[str, Reading], Device]:
    """The pass, on the condensed network (the collapsed one where `radius` does not vary over space, else as
    it is), in float64 where float32 does not hold it, and the device that it took."""
    if radius is None:
        small = condense(network)
    else:
        small = network if any(prod(array.shape[2:]) > 1 for array in radius.values()) else collapse(network)
        radius = {name: np.broadcast_to(array, small.shapes[name]) for name, array in radius.items()}
    renamed = dict(zip(network.outputs, small.outputs, strict=True))
    given = {renamed[name]: array for name, array in ends.items()}
    with np.errstate(over="ignore", invalid="ignore"):
        for used in dict.fromkeys((device, device.double)):
            found = costs.evaluate(small, used, given, radius)
            if _finite(found[0]):
                return *found, used
    raise UsageError(
        f"{network.path}: its channels differ by more than float64 holds; its costs cannot be computed"
    )


def _finite(found: list[costs.Found]) -> bool:
    """Whether every cost is a number: sums of non-negative terms are finite only if all of them are."""
    arrays = [
        array for item in found for array in (item.weight, item.bias, item.neurons) if array is not None
    ]
    return all(np.isfinite(array.sum(dtype=np.float64)) for array in arrays)


@dataclass(frozen=True, eq=False)
class Measured:
    """What the pass gives: mantissas of the costs by (output of the node, "weight" or "bias"), one exponent
    for all of them; layers; the path-norm; the certified relative error; the device that it really took."""

    costs: dict[tuple[str, str], np.ndarray]
    exponent: int
    layers: tuple[LayerCost, ...]
    norm: Scaled
    error: float
    device: Device


def measure(
    network: Network,
    device: Device,
    cotangent: Cotangent = None,
    radius: Mapping[str, np.ndarray] | None = None,
) -> Measured:
    """The cost pass, use by use: `path_costs` adds up the uses of one tensor.

    radius: non-negative numbers by input, broadcastable to its shape; a path from an input then counts by its
        entry (docs/theory.md, section 2).
    """
    found, exponent, ends, used = _evaluate(network, device, cotangents(network, cotangent), radius)
    norm = Scaled(0.0)
    for reading in ends.values():
        norm = norm + reading.total()
    made: dict[tuple[str, str], np.ndarray] = {}
    layers = []
    for item in found:
        for kind in ("weight", "bias"):
            if getattr(item, kind) is not None:
                made[item.node.output, kind] = getattr(item, kind)
        if item.weight is not None or item.bias is not None:
            layers.append(
                LayerCost(item.node.name, item.neurons, Scaled(float(item.neurons.sum()), exponent))
            )
    return Measured(
        made, exponent, tuple(layers), norm, max((item.error for item in found), default=0.0), used
    )


def path_costs(network: Network, device: Device | None = None, cotangent: Cotangent = None) -> PathCosts:
    """Φ-costs of every learned weight and bias, every output channel of every layer, and every layer.

    cotangent: weights κ_v >= 0 of the output neurons (see `cotangents`); the costs are then those of Σ_v κ_v
        ‖Φ^{→v}‖₁.
    """
    return summarised(network, measure(network, device or Device(), cotangent))


def summarised(network: Network, found: Measured) -> PathCosts:
    """The record of a measurement."""
    parameters, notes = _parameters(network, found.costs)
    return PathCosts(
        network.path, network.sha256, found.norm, found.exponent, parameters, found.layers, found.error,
        tool.describe(found.device),
        (*network.notes, *notes),
    )  # fmt: skip


def exact(network: Network, places: Sequence[tuple[str, str]]) -> bool:
    """Whether no path meets two of the nodes that use a tensor: then its costs are exact, otherwise upper
    bounds."""
    return len(places) < 2 or apart(network, {output for output, _ in places})


def _same(a: Parameter, b: Parameter) -> bool:
    """Whether two parameters are the same view of one tensor."""
    x, y = a.base, b.base
    return x.shape == y.shape and x.strides == y.strides and x.ctypes.data == y.ctypes.data


def _parameters(
    network: Network, made: Mapping[tuple[str, str], np.ndarray]
) -> tuple[tuple[ParameterCost, ...], list[str]]:
    """The costs by tensor of the file; uses of one tensor in the same view are added up."""
    parameters, notes = [], []
    for name, places in uses(network).items():
        places = [place for place in places if place in made]
        sure = exact(network, places)
        if not sure:
            notes.append(f"'{name}' is used {len(places)} times on one path: its costs are upper bounds")
        while places:
            first, *rest = places
            parameter = getattr(network.producer[first[0]], first[1])
            same = [
                place for place in rest if _same(parameter, getattr(network.producer[place[0]], place[1]))
            ]
            mantissa = made[first] if not same else made[first] + sum(made[place] for place in same)
            layer = network.producer[first[0]].name
            parameters.append(ParameterCost(name, layer, first[1], sure, mantissa, first[0]))
            places = [place for place in rest if place not in same]
    return tuple(parameters), notes
