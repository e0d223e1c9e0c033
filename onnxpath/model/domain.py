"""Domains: the sets of inputs that a bound holds for (docs/theory.md, section 4).

Every domain is a list of n boxes {x : low <= x <= high}, one batch entry each:

    Domain.radius(R)                 |x_i| <= R                     one box
    Domain.box(L, H)                 L <= x_i <= H                  one box
    Domain.samples(X)                x = X[k]                       n points
    Domain.around(X, E, L, H)        |x - X[k]|_i <= E, in [L, H]   n boxes

Limits are numbers, one number per channel (axis 1 of the input), or arrays that broadcast to an input's
shape; a mapping gives every input its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from onnxpath.errors import UsageError
from onnxpath.model.network import Network, Shape

Limit = float | Sequence[float] | np.ndarray | Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Region:
    """A domain for one network: low and high, float64 [n, ...] by input; `uniform`: neither varies over
    space.

    A sample's box holds the numbers given and their float32 roundings, what a runtime is fed (`centers`); low
    <= high everywhere and all are finite.
    """

    low: Mapping[str, np.ndarray]
    high: Mapping[str, np.ndarray]
    centers: Mapping[str, np.ndarray] | None
    uniform: bool

    @property
    def size(self) -> int:
        return len(next(iter(self.low.values())))

    def radius(self) -> dict[str, np.ndarray]:
        """max |x_i| over every box."""
        return {name: np.maximum(np.abs(low), np.abs(self.high[name])) for name, low in self.low.items()}


@dataclass(frozen=True, eq=False)
class Domain:
    """See the module. Build one with `radius`, `box`, `samples` or `around`; limits are checked against a
    network later."""

    low: Limit | None = None
    high: Limit | None = None
    inputs: Mapping[str, np.ndarray] | np.ndarray | None = None
    epsilon: Limit | None = None
    describe: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def radius(cls, r: Limit) -> "Domain":
        """|x_i| <= r."""
        negative = (
            {key: -np.asarray(value) for key, value in r.items()}
            if isinstance(r, Mapping)
            else -np.asarray(r)
        )
        if any((np.asarray(value) < 0).any() for value in (r.values() if isinstance(r, Mapping) else [r])):
            raise UsageError("a radius must be >= 0")
        return cls(negative, r, describe={"kind": "radius", "radius": _plain(r)})

    @classmethod
    def box(cls, low: Limit, high: Limit) -> "Domain":
        """low <= x_i <= high."""
        return cls(low, high, describe={"kind": "box", "low": _plain(low), "high": _plain(high)})

    @classmethod
    def samples(cls, inputs: Mapping[str, np.ndarray] | np.ndarray) -> "Domain":
        """Every given input by itself; arrays [n, ...] by input name, or one array for a network with one
        input."""
        return cls(inputs=inputs, describe={"kind": "inputs"})

    @classmethod
    def around(
        cls,
        inputs: Mapping[str, np.ndarray] | np.ndarray,
        epsilon: Limit,
        low: Limit | None = None,
        high: Limit | None = None,
    ) -> "Domain":
        """A box of half-width epsilon around every given input, cut to [low, high] where these are given."""
        described = {"kind": "boxes", "epsilon": _plain(epsilon)}
        described |= {
            key: _plain(value) for key, value in (("low", low), ("high", high)) if value is not None
        }
        return cls(low, high, inputs, epsilon, described)

    def resolve(self, network: Network) -> Region:
        """The boxes for this network's inputs; raises UsageError, naming the input, where they do not fit
        it."""
        for name in network.inputs:
            if not network.shapes[name]:
                raise UsageError(
                    f"input '{name}' of {network.path} is a single number without an axis, which no domain"
                    " covers"
                )
        if self.inputs is None:
            if self.low is None or self.high is None:
                raise UsageError("a domain needs both a low and a high limit, a radius, or inputs")
            low = {name: _limit(self.low, network, name, "low limit") for name in network.inputs}
            high = {name: _limit(self.high, network, name, "high limit") for name in network.inputs}
            _ordered(low, high)
            uniform = all(_uniform(side[name]) for side in (low, high) for name in network.inputs)
            shapes = {
                name: (1, *network.shapes[name][1:]) if network.batched else network.shapes[name]
                for name in network.inputs
            }
            least, most = (
                {name: np.array(np.broadcast_to(side[name], shapes[name])) for name in network.inputs}
                for side in (low, high)
            )
            return Region(least, most, None, uniform)
        low, high, centers = {}, {}, {}
        for name, center in samples(network, self.inputs).items():
            # the input as it was given, and as a file that reads float32 is fed it
            fed = center.astype(np.float32).astype(np.float64)
            low[name], high[name], centers[name] = np.minimum(center, fed), np.maximum(center, fed), fed
            if self.epsilon is not None:
                width = _limit(self.epsilon, network, name, "epsilon")
                if (width < 0).any():
                    raise UsageError(f"epsilon must be >= 0, but is {width.min():g} for input '{name}'")
                wide = np.broadcast_to(width > 0, center.shape)
                low[name] = np.where(wide, np.nextafter(low[name] - width, -np.inf), low[name])
                high[name] = np.where(wide, np.nextafter(high[name] + width, np.inf), high[name])
            floor = None if self.low is None else _limit(self.low, network, name, "low limit")
            ceiling = None if self.high is None else _limit(self.high, network, name, "high limit")
            for limit, side, outside in (
                (floor, "below the low", np.less),
                (ceiling, "above the high", np.greater),
            ):
                if (
                    limit is not None
                    and (
                        found := np.flatnonzero(outside(center, limit).reshape(len(center), -1).any(axis=1))
                    ).size
                ):
                    raise UsageError(
                        f"input '{name}': sample {found[0]} lies {side} limit ({found.size} of"
                        f" {len(center)} do)"
                    )
            low[name] = low[name] if floor is None else np.maximum(low[name], floor)
            high[name] = high[name] if ceiling is None else np.minimum(high[name], ceiling)
            centers[name] = np.clip(fed, low[name], high[name])
        return Region(low, high, centers, False)


def samples(network: Network, inputs: Mapping[str, np.ndarray] | np.ndarray) -> dict[str, np.ndarray]:
    """The arrays for a network's inputs, float64 [n, ...]: by name, or the only one that there is.

    Raises UsageError for a missing input, a shape that does not fit, entries that are not finite, or
    different lengths.
    """
    found: dict[str, np.ndarray] = {}
    for name in network.inputs:
        shape = network.shapes[name]
        if not shape:
            raise UsageError(
                f"input '{name}' of {network.path} is a single number without an axis, which takes no samples"
            )
        if not isinstance(inputs, Mapping):
            array = inputs if len(network.inputs) == 1 else None
        else:
            array = inputs.get(name)
            if array is None and len(inputs) == len(network.inputs) == 1:
                array = next(iter(inputs.values()))
        if array is None:
            names = ", ".join(inputs) if isinstance(inputs, Mapping) else "one array"
            raise UsageError(f"no samples for input '{name}' of {network.path} (given: {names})")
        found[name] = _checked(network, name, np.asarray(array), shape)
    lengths = {name: len(array) for name, array in found.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"the inputs have different numbers of samples: {lengths}")
    return found


def _checked(network: Network, name: str, array: np.ndarray, shape: Shape) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise UsageError(f"the samples for input '{name}' are {array.dtype}, not numbers")
    if array.shape == shape[1:] and shape[0] == 1:
        array = array[None]
    if array.shape[1:] != shape[1:] or not len(array) or (not network.batched and len(array) != shape[0]):
        length = "any number" if network.batched else shape[0]
        raise UsageError(
            f"the samples for input '{name}' of {network.path} have shape {list(array.shape)}, expected"
            f" [{length}, {', '.join(map(str, shape[1:]))}]"
        )
    array = array.astype(np.float64)
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise UsageError(f"the samples for input '{name}' hold NaN, infinite or too large numbers")
    return array


def _limit(limit: Limit, network: Network, name: str, what: str) -> np.ndarray:
    """A limit as a float64 array of the input's rank that broadcasts to its shape."""
    shape = network.shapes[name]
    if isinstance(limit, Mapping):
        if name not in limit:
            raise UsageError(f"no {what} for input '{name}' of {network.path} (given: {', '.join(limit)})")
        limit = limit[name]
    array = np.asarray(limit, np.float64)
    if not np.isfinite(array).all():
        raise UsageError(f"the {what} of input '{name}' is not finite")
    full = (1, *shape[1:])
    if array.ndim == 1 and len(shape) > 2 and array.size == shape[1]:
        return array.reshape(1, -1, *(1,) * (len(shape) - 2))
    if array.size == 1:
        return array.reshape((1,) * len(shape))
    if array.ndim <= len(shape):
        wide = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
        if all(n in (1, m) for n, m in zip(wide.shape, full, strict=True)):
            return wide
    raise UsageError(
        f"the {what} of input '{name}' has shape {list(array.shape)}; expected one number, one per channel,"
        f" or {list(shape)}"
    )


def _ordered(low: Mapping[str, np.ndarray], high: Mapping[str, np.ndarray]) -> None:
    for name in low:
        if (low[name] > high[name]).any():
            raise UsageError(f"the low limit of input '{name}' is above the high limit")


def _uniform(array: np.ndarray) -> bool:
    return prod(array.shape[2:]) == 1


def _plain(limit: Limit) -> Any:
    """A limit for a document: numbers and short lists as they are, arrays by their range."""
    if isinstance(limit, Mapping):
        return {name: _plain(value) for name, value in limit.items()}
    array = np.asarray(limit, np.float64)
    if array.size == 1:
        return float(array.reshape(-1)[0])
    return (
        [float(v) for v in array]
        if array.ndim == 1 and array.size <= 16
        else {"min": float(array.min()), "max": float(array.max())}
    )
