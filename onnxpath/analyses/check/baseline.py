"""Baselines: the values of earlier networks, which later ones may not exceed.

A baseline file holds, for every pair of a gate, what was measured, the sha256 of A (the reference) and a
digest of everything that A is read from (external data), and the conditions of the measurement (domain, norm,
confidence, digests of the files of arrays); and the version that measured. The budget it sets for a value s
is

    s + tolerance · |s|, and s - tolerance · |s| for a share that may not fall.

It is refused, never passed over, when it is missing, when it lacks a pair or a value or holds one that is no
longer measured, when A is another file, when the conditions are others, or when another version measured. The
document is deterministic: sorted, without timestamps.
"""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite, log2
from typing import Any

from onnxpath.analyses.check.budgets import QUANTITIES, Value
from onnxpath.analyses.check.gates import Gate
from onnxpath.engine.scaled import LOG10_2, Scaled
from onnxpath.errors import UsageError
from onnxpath.files import overwriting
from onnxpath.files.writing import write_file
from onnxpath.records import number

SCHEMA = "onnxpath.baseline/1"
# No network has magnitudes beyond: exponents are int64.
_LARGEST_LOG10 = 1e15
ADVICE = "run 'onnxpath check --update-baseline' if that is intended"


def allowed(stored: Value, tolerance: float, least: bool = False) -> Value:
    """The limit that a stored value sets."""
    tolerance = -tolerance if least else tolerance
    if isinstance(stored, Scaled):
        return stored.times(1.0 + tolerance)
    return stored + tolerance * abs(stored)


@dataclass(frozen=True)
class Stored:
    """What a baseline holds for one pair."""

    sha256: str
    conditions: Mapping[str, Any]
    values: Mapping[str, Value]
    content: str = ""
    version: str = ""


def _number(value: Value) -> dict[str, float | None]:
    return (
        number(value)
        if isinstance(value, Scaled)
        else {"value": value, "log10": Scaled(value).log10 if value > 0 else None}
    )


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError
    return float(value)


def _parsed(value: Any, ratio: bool) -> Value:
    """A value as it was written; ValueError if it is none."""
    plain, log10 = value["value"], value["log10"]
    if plain is not None:
        plain = _real(plain)
        if plain < 0 and not ratio:
            raise ValueError
        return plain if ratio else Scaled(plain)
    log10 = _real(log10)
    if abs(log10) > _LARGEST_LOG10:
        raise ValueError
    # beyond float64: what log10 lost of the digits is given back
    return Scaled.power(log10 / LOG10_2).times(1 + 1e-14 * (1 + abs(log2(max(2.0, abs(log10)))) + abs(log10)))


class Baselines:
    """The baseline files of a run: path -> pair -> what is stored for it."""

    def __init__(self, files: dict[str, dict[str, Stored]]):
        self._files = files

    @classmethod
    def read(cls, gates: Iterable[Gate], update: bool, force: bool = False) -> "Baselines":
        """Read every baseline that the gates name. With `update` they are about to be written and need not
        exist; `force`: whatever is there."""
        wanted: dict[str, set[str]] = {}
        for gate in gates:
            if gate.baseline is not None:
                keys = wanted.setdefault(gate.baseline, set())
                if update:
                    overwriting.check(gate.baseline, "baseline", force)
                if _key(gate) in keys:
                    raise UsageError(
                        f"{gate.baseline} would hold two baselines of the same pair ({_key(gate)}); give each"
                        " entry its own file"
                    )
                keys.add(_key(gate))
        if update:
            if not wanted:
                raise UsageError("there is no baseline to update: no entry names one")
            return cls({path: {} for path in wanted})
        files = {path: _read(path) for path in wanted}
        for path, keys in wanted.items():
            for key in files[path]:
                if key not in keys:
                    raise UsageError(
                        f"{path} holds a baseline for {key}, which is no longer checked; {ADVICE}"
                    )
        return cls(files)

    def put(self, gate: Gate, record: Stored) -> None:
        """Keep what was measured; UsageError for a value that is unbounded, which no later one could
        exceed."""
        for name, value in record.values.items():
            if not isfinite(value.mantissa if isinstance(value, Scaled) else value):
                raise UsageError(
                    f"{gate.baseline}: the {name} of {_key(gate)} is unbounded: there is nothing to hold"
                    " later ones to"
                )
        self._files[gate.baseline or ""][_key(gate)] = record

    def values(self, gate: Gate, now: Stored) -> Mapping[str, Value]:
        """The stored values of a gate; UsageError where they were not measured as `now`."""
        path, key = gate.baseline or "", _key(gate)
        stored = self._files[path].get(key)
        if stored is None:
            raise UsageError(f"{path} holds no baseline for {key}; {ADVICE}")
        if stored.sha256 != now.sha256:
            raise UsageError(
                f"{path}: the reference of {key} was another file (sha256 {stored.sha256[:12]}, now"
                f" {now.sha256[:12]}); {ADVICE}"
            )
        if stored.version != now.version:
            raise UsageError(
                f"{path}: {key} was measured by {stored.version or 'an earlier version'}, this is"
                f" {now.version}; {ADVICE}"
            )
        if stored.content != now.content:
            raise UsageError(f"{path}: the reference of {key} had other external data beside it; {ADVICE}")
        for name, value in json.loads(json.dumps(now.conditions)).items():
            if stored.conditions.get(name) != value:
                raise UsageError(
                    f"{path}: {key} was measured under other conditions ({name}:"
                    f" {stored.conditions.get(name)}, now {value}); {ADVICE}"
                )
        for missing in (*(set(now.values) - set(stored.values)), *(set(stored.values) - set(now.values))):
            there = "holds no" if missing in now.values else "holds a"
            raise UsageError(
                f"{path} {there} value '{missing}' for {key}, which is"
                f" {'' if missing in now.values else 'not '}measured; {ADVICE}"
            )
        return stored.values

    def write(self) -> None:
        for path, pairs in self._files.items():
            entries = [
                {
                    "pair": key,
                    "a_sha256": one.sha256,
                    "a_content": one.content,
                    "tool": one.version,
                    "conditions": one.conditions,
                    "values": {n: _number(v) for n, v in one.values.items()},
                }
                for key, one in sorted(pairs.items())
            ]
            write_file(
                path,
                json.dumps({"schema": SCHEMA, "pairs": entries}, indent=2, allow_nan=False, sort_keys=True)
                + "\n",
            )


def _key(gate: Gate) -> str:
    """The pair, relative to the folder of the baseline: the same on every machine."""
    folder = os.path.dirname(os.path.abspath(gate.baseline or ""))

    def relative(path: str) -> str:
        with suppress(ValueError):  # Windows: on another drive
            path = os.path.relpath(path, folder)
        return path.replace(os.sep, "/")

    return " -> ".join(relative(str(path)) for path in (gate.a, gate.b))


def _read(path: str) -> dict[str, Stored]:
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        raise UsageError(
            f"the baseline {path} is missing; run 'onnxpath check --update-baseline' to write it"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"the baseline {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from error
    try:
        if document["schema"] != SCHEMA:
            raise ValueError
        found = {}
        for entry in document["pairs"]:
            values = {
                str(name): _parsed(value, QUANTITIES[name].ratio) for name, value in entry["values"].items()
            }
            conditions = entry["conditions"]
            texts = [
                entry["pair"],
                entry["a_sha256"],
                entry.get("a_content", entry["a_sha256"]),
                entry.get("tool", ""),
            ]
            if (
                not isinstance(conditions, dict)
                or not all(isinstance(text, str) for text in texts)
                or entry["pair"] in found
            ):
                raise ValueError
            found[entry["pair"]] = Stored(texts[1], conditions, values, *texts[2:])
        return found
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(
            f"{path} is not a baseline of this version ({SCHEMA}), or is damaged: write it with 'onnxpath"
            " check --update-baseline'"
        ) from error
