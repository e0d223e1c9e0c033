"""A gate: one pair of networks and the budgets it has to keep, made from what a user wrote.

Where a value is written, on the command line or in a configuration file, it has the same name and the same
meaning:

    max-relative, max-metric, max-path-norm-increase, max-bound, max-flip-rate,
    min-agree                                     limits (budgets.py)
    radius | low, high | inputs | inputs, epsilon [, low, high]  the domain of max-bound (domain.py)
    inputs, epsilon [, low, high]                 the boxes of min-agree
    inputs                                        the samples of max-flip-rate and max-difference
    allow-interface-change, allow-unfaithful      what of the files may differ (observing.py)
    file-provider, file-option                    how the files are run (files/runtime.py)
    norm, confidence                              of max-bound, of max-flip-rate
    baseline, tolerance                           see baseline.py

`inputs` beside `radius`, or beside `low` and `high` without `epsilon`, belongs to max-flip-rate alone. A gate
that cannot fail is refused, and so is a setting that no budget uses.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from onnxpath.analyses.check.budgets import QUANTITIES, limit, ratio
from onnxpath.errors import UsageError
from onnxpath.files import npz as arrays
from onnxpath.files.runtime import DEFAULT, Runtime
from onnxpath.importer.source import Source
from onnxpath.model.domain import Domain
from onnxpath.model.interface import KINDS
from onnxpath.model.network import Shape

NORMS = ("1", "2", "inf")
LIMITS = tuple(quantity.budget for quantity in QUANTITIES.values())
# How much a value may exceed its baseline by default: what another processor's order of summation may change.
TOLERANCE = 1e-3
CONFIDENCE = 0.99


@dataclass(frozen=True, eq=False)
class Gate:
    """One pair of networks and its budgets.

    limits: by quantity. domain: of "bound" and "agree". inputs: samples for "flip-rate". conditions: what the
    measured values depend on besides the networks, for a baseline. options: how the models are read
    (`onnxpath.importer.load`). baseline: a file, or
    None. runtime: how the files are run. allow_interface: kinds of changes of the interface that do not fail.
    allow_unfaithful: nor does a file that computes something else than its network. Raises UsageError for a
    gate that cannot fail, or that holds something no budget uses.
    """

    name: str
    a: Source
    b: Source
    limits: Mapping[str, float]
    domain: Domain | None = None
    inputs: Any = None
    norm: str = "inf"
    confidence: float = CONFIDENCE
    baseline: str | None = None
    tolerance: float = TOLERANCE
    options: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    runtime: Runtime = DEFAULT
    allow_interface: frozenset[str] = frozenset()
    allow_unfaithful: bool = False

    def __post_init__(self) -> None:
        if not self.limits and self.baseline is None:
            raise UsageError(
                f"no budget, so this check could not fail; set one of {', '.join(LIMITS)}, or a baseline"
            )
        if self.norm not in NORMS:
            raise UsageError(f"norm must be one of {', '.join(NORMS)}, not {self.norm!r}")
        if not 0 < self.confidence < 1:
            raise UsageError(f"confidence must lie between 0 and 1, not {self.confidence}")
        if not 0 <= self.tolerance < float("inf"):
            raise UsageError(f"tolerance must be >= 0, not {self.tolerance}")
        if self.domain is None and "bound" in self.limits:
            raise UsageError(
                "max-bound needs a domain: radius, low and high, or inputs (with or without epsilon)"
            )
        if self.inputs is None and "flip-rate" in self.limits:
            raise UsageError("max-flip-rate needs inputs, samples of the distribution it is about")
        if self.inputs is None and "difference" in self.limits:
            raise UsageError("max-difference needs inputs to run the files on")
        unknown = sorted(self.allow_interface - set(KINDS))
        if unknown:
            raise UsageError(f"allow-interface-change must be one of {', '.join(KINDS)}, not {unknown[0]!r}")
        if "agree" in self.limits and (
            self.domain is None or self.domain.inputs is None or self.domain.epsilon is None
        ):
            raise UsageError("min-agree needs inputs and epsilon: it is about boxes around given inputs")
        if self.domain is not None and not {"bound", "agree"} & set(self.quantities):
            raise UsageError("a domain is given, but no max-bound or min-agree that would use it")
        if (
            self.inputs is not None
            and not {"flip-rate", "difference"} & set(self.quantities)
            and (self.domain is None or self.domain.inputs is None)
        ):
            raise UsageError(
                "inputs are given, but no budget that would use them (max-bound, max-difference,"
                " max-flip-rate or min-agree)"
            )

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is measured: everything with a limit; with a baseline also "relative", and "bound" where there
        is a domain."""
        wanted = set(self.limits)
        if self.baseline is not None:
            wanted |= {"relative"} | ({"bound"} if self.domain is not None else set())
        return tuple(name for name in QUANTITIES if name in wanted)


# -- from what a user wrote
# ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Files:
    """Arrays read from files, each once; paths are relative to `folder`."""

    folder: str = ""
    read: dict[str, Any] = field(default_factory=dict)

    def path(self, written: str) -> str:
        return os.path.normpath(os.path.join(self.folder, written)) if self.folder else written

    def arrays(self, written: str) -> Any:
        path = self.path(written)
        if path not in self.read:
            self.read[path] = arrays.read(path)
        return self.read[path]

    def digest(self, written: str) -> str:
        with open(self.path(written), "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def _amount(value: float | str | list[float], files: Files) -> Any:
    """A limit of a domain: a number, a list of one per channel, or a file of arrays."""
    if isinstance(value, str):
        parts = value.split(",")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            return files.arrays(value)
        return numbers[0] if len(numbers) == 1 else numbers
    return value


def _text(value: str, key: str) -> str:
    if not value:
        raise UsageError(f"{key} must be text that is not empty, not {value!r}")
    return value


def _shapes(value: "Mapping[str, str | Sequence[int]]") -> dict[str, Shape]:
    found = {}
    for name, written in value.items():
        sizes = written.lower().split("x") if isinstance(written, str) else written
        try:
            found[name] = tuple(int(size) for size in sizes)
        except ValueError:
            found[name] = ()
        if not found[name] or min(found[name]) < 1:
            raise UsageError(
                f"the shape of input '{name}' must be such as \"1x3x224x224\" or [1, 3, 224, 224], not"
                f" {written!r}"
            )
    return found


def _names(value: str | list[str], key: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not all(names):
        raise UsageError(f"{key} must be a name or a list of names, not {value!r}")
    return tuple(names)


DOMAIN = ("radius", "low", "high", "inputs", "epsilon")
# Every setting of a gate, as it is written.
SETTINGS = (
    *LIMITS, *DOMAIN, "norm", "confidence", "baseline", "tolerance", "shape", "output-name", "keep-batchnorm",
    "allow-interface-change",
    "allow-unfaithful", "file-provider", "file-option",
)  # fmt: skip


def domain(found: Mapping[str, Any], alone: bool = True) -> Domain | None:
    """The domain that radius, low, high, inputs and epsilon name; `alone`: whether inputs without any of the
    others are one.

    None where there is nothing that would make one. Raises UsageError where they contradict each other.
    """
    low, high, radius, epsilon, inputs = (
        found.get(key) for key in ("low", "high", "radius", "epsilon", "inputs")
    )
    if radius is not None:
        other = [key for key in ("low", "high", "epsilon") if found.get(key) is not None]
        if other:
            raise UsageError(f"radius and {other[0]} name two different domains; give one of them")
        return Domain.radius(radius)
    if epsilon is not None:
        if inputs is None:
            raise UsageError("epsilon is the size of a box around every input, but there are no inputs")
        return Domain.around(inputs, epsilon, low, high)
    if low is not None or high is not None:
        if low is None or high is None:
            raise UsageError(
                f"a box needs both low and high, but there is no {'low' if low is None else 'high'}"
            )
        return Domain.box(low, high)
    return Domain.samples(inputs) if inputs is not None and alone else None


def gate(name: str, a: str, b: str, settings: Mapping[str, Any], files: Files) -> Gate:
    """The gate that settings (names of `SETTINGS`, in the spelling of the command line) describe; raises
    UsageError."""
    try:
        limits = {key: limit(q, settings[q.budget]) for key, q in QUANTITIES.items() if q.budget in settings}
        found = {key: _amount(settings[key], files) for key in DOMAIN if key in settings and key != "inputs"}
        if "inputs" in settings:
            found["inputs"] = files.arrays(_text(settings["inputs"], "inputs"))
        baseline = files.path(_text(settings["baseline"], "baseline")) if "baseline" in settings else None
        region = domain(found, "bound" in limits or baseline is not None)
        bounded = region is not None and ("bound" in limits or baseline is not None)
        for key, budget in (
            ("norm", bounded),
            ("confidence", "flip-rate" in limits),
            ("tolerance", baseline is not None),
        ):
            if key in settings and not budget:
                raise UsageError(f"{key} is given, but nothing that uses it")
        digests = {
            key: files.digest(settings[key]) for key in DOMAIN if key in settings and _is_file(settings[key])
        }
        norm, confidence = (
            str(settings.get("norm", "inf")),
            ratio(settings.get("confidence", CONFIDENCE), "confidence"),
        )
        return Gate(
            name, a, b, limits, region, found.get("inputs"), norm, confidence, baseline,
            ratio(settings.get("tolerance", TOLERANCE), "tolerance"),
            {
                "shapes": _shapes(settings.get("shape", {})),
                "output_names": _names(settings.get("output-name", []), "output-name"),
                "keep_batchnorm": settings.get("keep-batchnorm", False),
            },
            {
                "domain": None if region is None else dict(region.describe),
                "norm": norm if bounded else None,
                "confidence": confidence if "flip-rate" in limits else None,
                "files": digests,
            },
            Runtime.parse(
                _text(settings.get("file-provider", "cpu"), "file-provider"),
                _names(settings.get("file-option", []), "file-option")
            ),
            frozenset(_names(settings.get("allow-interface-change", []), "allow-interface-change")),
            settings.get("allow-unfaithful", False),
        )  # fmt: skip
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None


def _is_file(value: object) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return not [float(part) for part in value.split(",")]
    except ValueError:
        return True
