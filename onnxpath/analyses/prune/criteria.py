"""How to prune: criterion, scope and pattern; what they rank coordinates by, and what they choose."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np

from onnxpath.analyses.prune.prunable import Target
from onnxpath.analyses.prune.selection import n_of_m, smallest, target
from onnxpath.errors import UsageError
from onnxpath.model.network import Network

CRITERIA = ("path", "magnitude", "random")
SCOPES = ("global", "layer")
_PATTERN = re.compile(r"([0-9]{1,6}):([0-9]{1,6})")


@dataclass(frozen=True)
class Settings:
    """How to prune. pattern: "unstructured", "N:M" (N of every M consecutive input channels are kept), or
    "channels", which are removed from the file.

    Raises UsageError for values that mean nothing.
    """

    criterion: str = "path"
    scope: str = "global"
    pattern: str = "unstructured"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    biases: bool = False
    iterations: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, allowed in (("criterion", self.criterion, CRITERIA), ("scope", self.scope, SCOPES)):
            if value not in allowed:
                raise UsageError(f"{what} '{value}' is not one of {', '.join(allowed)}")
        if self.iterations < 1:
            raise UsageError(f"the number of iterations must be at least 1, not {self.iterations}")
        if self.seed < 0:
            raise UsageError(f"the seed must be at least 0, not {self.seed}")
        if self.groups is not None:
            if self.biases:
                raise UsageError(
                    f"the pattern {self.pattern} is one of input channels: biases cannot be pruned with it"
                )
            if self.iterations > 1:
                raise UsageError(f"the pattern {self.pattern} fixes the sparsity: it is reached in one step")
        if self.channels and (self.include or self.exclude or self.biases or self.iterations > 1):
            raise UsageError(
                "channels are removed with all their weights, from all layers, in one step: leave out what"
                " selects among them"
            )

    @property
    def channels(self) -> bool:
        """Whole channels go."""
        return self.pattern == "channels"

    @property
    def groups(self) -> tuple[int, int] | None:
        """(N, M) of the pattern N:M."""
        if self.pattern in ("unstructured", "channels"):
            return None
        found = _PATTERN.fullmatch(self.pattern)
        keep, of = (int(n) for n in found.groups()) if found else (0, 0)
        if not 0 < keep < of:
            raise UsageError(
                f"pattern '{self.pattern}' is not unstructured, channels, or N:M with 0 < N < M, such as 2:4"
            )
        return keep, of


def check_sparsity(sparsity: float | None, settings: Settings) -> None:
    """Raises UsageError for a sparsity outside [0, 1), a missing one, or one that a pattern fixes."""
    if settings.groups is not None:
        if sparsity is not None:
            raise UsageError(f"the pattern {settings.pattern} fixes the sparsity; leave --sparsity out")
    elif sparsity is None:
        raise UsageError("how much is to be pruned? give --sparsity S with 0 <= S < 1, or a --pattern N:M")
    elif not (isfinite(sparsity) and 0 <= sparsity < 1):
        raise UsageError(f"the sparsity must be at least 0 and below 1, not {sparsity:g}")


def fitting(network: Network, found: list[Target], settings: Settings) -> tuple[list[Target], list[str]]:
    """The targets that the pattern fits, and a note on those it does not. UsageError when it fits none."""
    if settings.groups is None:
        return found, []
    of = settings.groups[1]
    fit = [item for item in found if item.axis is not None and item.row % of == 0]
    if not fit:
        raise UsageError(
            f"{network.path}: the pattern {settings.pattern} fits no layer: no number of input channels is a"
            f" multiple of {of}"
        )
    rest = [item.layer for item in found if item not in fit]
    names = ", ".join(f"'{name}'" for name in rest[:5]) + (
        f" and {len(rest) - 5} more" if len(rest) > 5 else ""
    )
    return fit, [f"not pruned, their input channels are no multiple of {of}: {names}"] if rest else []


def scores(values: Sequence[np.ndarray], costs: Sequence[np.ndarray], settings: Settings) -> list[np.ndarray]:
    """What the criterion ranks the coordinates by, target by target; one dtype, 0 where the value is 0."""
    if settings.criterion == "path":
        kind = np.result_type(*(cost.dtype for cost in costs))
        return [cost.astype(kind, copy=False) for cost in costs]
    if settings.criterion == "magnitude":
        kind = np.result_type(*(value.dtype for value in values))
        return [np.abs(value.astype(kind, copy=False)) for value in values]
    made = []
    for k, value in enumerate(values):
        drawn = np.random.default_rng([settings.seed, k]).random(value.shape, np.float32)
        made.append(np.where(value == 0, np.float32(0), drawn))
    return made


def masks(
    found: Sequence[Target],
    values: Sequence[np.ndarray],
    ranked: Sequence[np.ndarray],
    settings: Settings,
    sparsity: float | None,
) -> list[np.ndarray]:
    """What becomes 0 (what already is 0 included), target by target."""
    if settings.groups is not None:
        return [
            n_of_m(score, value, item.axis or 0, *settings.groups)
            for item, value, score in zip(found, values, ranked, strict=True)
        ]
    assert sparsity is not None
    if settings.scope == "global":
        return smallest(ranked, values, target(sum(item.size for item in found), sparsity))
    return [
        smallest([score], [value], target(value.size, sparsity))[0]
        for score, value in zip(ranked, values, strict=True)
    ]
