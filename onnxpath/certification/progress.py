"""A journal of what is finished, so that an interrupted run is continued: JSON Lines, one line per finished input.

The first line says what the lines belong to: both files, the boxes, and the settings. A journal of anything else is refused. Lines
are appended with one write per chunk and synced; a last line that was cut off by a crash is left out.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpath.domain import Region
from onnxpath.errors import UsageError
from onnxpath.matching import Pairing
from onnxpath.results import InputCertificate

SCHEMA = "onnxpath.certify.journal/1"


def fingerprint(pairing: Pairing, region: Region, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal belongs to."""
    digest = hashlib.sha256()
    for side in (region.low, region.high, region.centers or {}):
        for name in sorted(side):
            digest.update(f"{name} {side[name].shape}".encode())
            digest.update(np.ascontiguousarray(side[name]).tobytes())
    return {"a": pairing.a.sha256, "b": pairing.b.sha256, "boxes": digest.hexdigest(), "outputs": list(pairing.a.output_names), **settings}


class Journal:
    """The journal in one file."""

    def __init__(self, path: str, key: Mapping[str, Any]):
        self._path, self._key = path, json.loads(json.dumps(key))
        self._end = 0

    def read(self, size: int) -> dict[int, InputCertificate]:
        """What is finished, by index; starts the journal where there is none. Raises UsageError for the journal of another run."""
        try:
            with open(self._path, "rb") as stream:
                text = stream.read()
        except FileNotFoundError:
            text = b""
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror or error}") from error
        whole = text[: text.rfind(b"\n") + 1]
        self._end = len(whole)
        lines = whole.splitlines()
        if not lines:
            self._end = 0
            self._write(json.dumps({"schema": SCHEMA, "key": self._key}) + "\n")
            return {}
        try:
            head = json.loads(lines[0])
            if head.get("schema") != SCHEMA:
                raise ValueError("it is none")
            own = head["key"]
            items = [json.loads(line) for line in lines[1:]]
            found = [InputCertificate.from_dict(item["certificate"], _arrays(item.get("point"))) for item in items]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self._path}: not a journal of certify ({' '.join(str(error).split())}); remove it to start again"
            ) from error
        if own != self._key:
            changed = ", ".join(sorted(name for name in {*own, *self._key} if own.get(name) != self._key.get(name)))
            raise UsageError(f"{self._path}: belongs to another run (different: {changed}); remove it, or name another file")
        return {item.index: item for item in found if 0 <= item.index < size}

    def append(self, items: Sequence[InputCertificate]) -> None:
        """Add finished inputs; they are on the disk when this returns."""
        rows = []
        for item in items:
            row: dict[str, Any] = {"certificate": item.to_dict()}
            if item.point is not None:
                row["point"] = {
                    name: {"dtype": str(array.dtype), "shape": list(array.shape), "values": [float(v) for v in array.reshape(-1)]}
                    for name, array in item.point.items()
                }
            rows.append(json.dumps(row, allow_nan=False) + "\n")
        if rows:
            self._write("".join(rows))

    def _write(self, text: str) -> None:
        try:
            with open(self._path, "r+b" if os.path.exists(self._path) else "w+b") as stream:
                stream.seek(self._end)
                stream.truncate()
                stream.write(text.encode())
                stream.flush()
                os.fsync(stream.fileno())
                self._end = stream.tell()
        except OSError as error:
            raise UsageError(f"cannot write {self._path}: {error.strerror or error}") from error


def _arrays(point: Mapping[str, Any] | None) -> dict[str, np.ndarray] | None:
    if point is None:
        return None
    return {name: np.array(part["values"], part["dtype"]).reshape(part["shape"]) for name, part in point.items()}
