"""What `quantize` is asked for, and what it starts from: the network, equalized if that is asked for, and the
points that errors are found on."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from onnxpath.analyses import rescale as rescaling
from onnxpath.analyses.quantize.grids import levels
from onnxpath.analyses.quantize.settings import Budget, Settings
from onnxpath.engine.session import Device
from onnxpath.errors import UnsupportedError
from onnxpath.importer import load
from onnxpath.importer.source import File
from onnxpath.model.domain import Domain, samples
from onnxpath.model.network import Network
from onnxpath.records import Points

Arrays = Mapping[str, np.ndarray] | np.ndarray
# Random points are at most this many, and fewer where a network is large.
_POINTS = 16
_ELEMENTS = 1 << 21


@dataclass(frozen=True, eq=False)
class Work:
    """What to do besides, or instead of, writing a file.

    calibration: inputs for static quantization. inputs: where errors are found; those of the calibration, or
        random points, without. domain: of
    bounds. loading: options of `onnxpath.load` that the network was read with.
    """

    sweep: bool = False
    blame: bool = False
    budget: Budget | None = None
    equalize: bool = False
    calibration: Arrays | None = None
    inputs: Arrays | None = None
    domain: Domain | None = None
    report: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)

    @property
    def analysis(self) -> bool:
        return self.sweep or self.blame


@dataclass(frozen=True, eq=False)
class Base:
    """What is quantized: a file and the network in it. given: the network as it was given, which `equalized`
    has rescaled. samples: points by the network's inputs."""

    source: File
    network: Network
    given: Network
    equalized: bool
    points: Points
    samples: Mapping[str, np.ndarray]


def points(network: Network, work: Work, seed: int) -> tuple[Points, dict[str, np.ndarray]]:
    """The inputs that errors are found on: those given, or random points of the domain ([-1, 1] without
    one)."""
    given = work.inputs if work.inputs is not None else work.calibration
    if given is not None:
        arrays = samples(network, given)
        return Points(len(next(iter(arrays.values()))), "given", 0.0), arrays
    region = None if work.domain is None else work.domain.resolve(network)
    rng, arrays = np.random.default_rng(seed), {}
    count = max(1, min(_POINTS, _ELEMENTS // max(int(np.prod(shape)) for shape in network.shapes.values())))
    for name in network.inputs:
        shape = (count, *network.shapes[name][1:]) if network.batched else network.shapes[name]
        low, high = (np.broadcast_to(-1.0, shape), np.broadcast_to(1.0, shape)) if region is None else (
            np.broadcast_to(side[name][:1] if network.batched else side[name], shape) for side in (region.low,
            region.high)
        )  # fmt: skip
        arrays[name] = rng.uniform(low, high).clip(low, high)
    return Points(len(next(iter(arrays.values()))), "random", 0.0), arrays


def equalized(
    source: File,
    network: Network,
    work: Work,
    settings: Settings,
    device: Device,
    folder: str,
    found: tuple[Points, Mapping[str, np.ndarray]],
) -> tuple[Base, list[str]]:
    """The base, rescaled by powers of two into a file in `folder` where that is asked for and changes no
    product along a path; notes."""
    plain = Base(source, network, network, False, *found)
    if not work.equalize:
        return plain, []
    path = os.path.join(folder, "equalized.onnx")
    try:
        scale = rescaling.Settings(
            "equalize", powers_of_two=True,
            levels=levels(settings.bits[0]), by_channel=settings.granularity == "channel",
        )  # fmt: skip
        record = rescaling.rescale(source, path, scale, device, shapes=work.loading.get("shapes"))
    except UnsupportedError as error:
        return plain, [f"not equalized: {str(error).partition(': ')[2]}"]
    if record.path_metric.upper.mantissa:
        return plain, [
            "not equalized: the file's numbers cannot be multiplied by these powers of two without rounding"
        ]
    return Base(path, replace(load(path, **work.loading), path=network.path), network, True, *found), []


def radius(work: Work, network: Network) -> dict[str, np.ndarray] | None:
    """max |x_i| over the domain, for bounds by path-metric; one number per channel where it does not vary
    over space."""
    if work.domain is None:
        return None
    region = work.domain.resolve(network)
    found = (
        {name: array.max(axis=0, keepdims=True) for name, array in region.radius().items()}
        if network.batched
        else region.radius()
    )
    if region.uniform:
        found = {
            name: array[(slice(None), slice(None), *(slice(0, 1),) * (array.ndim - 2))]
            for name, array in found.items()
        }
    return found
