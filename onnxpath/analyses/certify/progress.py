"""A journal of what is finished, so that an interrupted run is continued: JSON Lines.

    {"schema": ..., "key": ...}                        what the lines belong to
    {"certificate": ..., "point": ..., "check": c}     a finished input, one line each, and after those of
                                                       every chunk
    {"done": n, "kept": ..., "check": c}               that n lines come before it, and what the run has to
                                                       remember of them

The key says everything that the certificates depend on: both files with their external data, how they were
read, the boxes, the settings, the version. A run of the same call on files that have changed since puts a
header of its own behind what is there, and uses nothing of it; any other run is refused. Of every line c is
the sha256 of its header, its number, and the line. What a kill can leave is a beginning of what was written:
the lines after the last "done", or a header without an end. That is done again. Any other line that is not as
it was written is refused.
"""

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxpath.errors import UsageError
from onnxpath.files.overwriting import JOURNAL_MARK
from onnxpath.model.domain import Region
from onnxpath.model.matching import Pairing
from onnxpath.model.network import Network
from onnxpath.records import InputCertificate
from onnxpath.records.certify import VERDICTS

SCHEMA = "onnxpath.certify.journal/2"
# Keys that tell which files were read: the journal of a pair that was changed goes on with a header of its
#     own.
_FILES = {"a", "b"}


def _structure(network: Network) -> str:
    """How a file was read: shapes given by hand, BatchNormalization kept, outputs chosen."""
    digest = hashlib.sha256()
    for node in network.nodes:
        digest.update(
            f"{node.op} {node.inputs} {node.output} {network.shapes[node.output]} "
            f"{sorted(node.attributes)}\n".encode()
        )
    digest.update(f"{[(name, network.shapes[name]) for name in network.inputs]} {network.outputs}".encode())
    return digest.hexdigest()


def fingerprint(pairing: Pairing, region: Region, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a journal belongs to."""
    digest = hashlib.sha256()
    for side in (region.low, region.high, region.centers or {}):
        for name in sorted(side):
            digest.update(f"{name} {side[name].shape}".encode())
            digest.update(np.ascontiguousarray(side[name]).tobytes())
    files = {}
    for name, network in (("a", pairing.a), ("b", pairing.b)):
        files |= {name: network.content or network.sha256, f"{name} as it is read": _structure(network)}
    return {**files, "boxes": digest.hexdigest(), "outputs": list(pairing.a.output_names), **settings}


class Journal:
    """The journal in one file. force: start it anew where the file is no journal of this run."""

    def __init__(self, path: str, key: Mapping[str, Any], force: bool = False):
        self._path, self._key, self._force = path, json.loads(json.dumps(key)), force
        self._header = json.dumps({"schema": SCHEMA, "key": self._key}) + "\n"
        self._end = self._lines = 0

    def read(self, size: int) -> tuple[dict[int, InputCertificate], dict[str, Any]]:
        """What is finished, by index, and what the run had to remember; starts the journal where there is
        none. Raises UsageError for the journal of another run, for a damaged one, and for a file that is
        none."""
        try:
            with open(self._path, "rb") as stream:
                text = stream.read()
        except FileNotFoundError:
            text = b""
        except OSError as error:
            raise UsageError(f"cannot read {self._path}: {error.strerror or error}") from error
        try:
            if text and not self._header.encode().startswith(text):
                return self._parsed(text, size)
        except UsageError:
            if not self._force:
                raise
        self._end = self._lines = 0
        self._write(self._header)
        return {}, {}

    def _parsed(self, text: bytes, size: int) -> tuple[dict[int, InputCertificate], dict[str, Any]]:
        if not text.startswith(JOURNAL_MARK):
            raise UsageError(
                f"{self._path}: exists and is not a journal of certify; name another file, or --force to"
                " replace it"
            )
        lines = text.split(b"\n")[:-1]  # the last one has no end, or nothing in it
        found: dict[int, InputCertificate] = {}
        kept: dict[str, Any] = {}
        chunk: dict[int, InputCertificate] = {}
        own, header, number, at = False, "", 0, 0
        for place, line in enumerate(lines, start=1):
            at += len(line) + 1
            try:
                row = _strict(line)
                if not number and not header and "schema" not in row:
                    raise ValueError("it is no header")
                if "schema" in row:
                    own, header, number = self._is_own(row), line.decode() + "\n", 0
                    if chunk:
                        raise ValueError("lines before it are missing")
                    self._end, self._lines = at, 0
                    continue
                number += 1
                if row.pop("check") != _checksum(header, number, row):
                    raise ValueError("it was changed after it was written")
                if "done" in row:
                    if row["done"] != len(chunk):
                        raise ValueError("lines before it are missing")
                    if own:
                        found, kept = found | chunk, row["kept"]
                    chunk = {}
                    self._end, self._lines = at, number
                    continue
                item = _certificate(row, size)
                if item.index in chunk or (own and item.index in found):
                    raise ValueError("it is there twice")
                chunk[item.index] = item
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                why = " ".join(str(error).split()) or type(error).__name__
                raise UsageError(
                    f"{self._path}: line {place} of this journal is damaged or foreign ({why}); remove the"
                    " file to start again"
                ) from error
        if not own:
            self._write(self._header)
            self._lines = 0
        return found, kept

    def _is_own(self, head: Mapping[str, Any]) -> bool:
        """Whether what follows a header is of this run; False for the same run of other files, UsageError for
        anything else."""
        if head["schema"] != SCHEMA:
            raise UsageError(
                f"{self._path}: a journal of another version ({str(head['schema'])[:60]}); remove it, or name"
                " another file"
            )
        own = head["key"]
        if not isinstance(own, dict):
            raise ValueError("its key is not an object")
        changed = {name for name in {*own, *self._key} if own.get(name) != self._key.get(name)}
        if changed - _FILES:
            what = ", ".join(sorted(changed))
            raise UsageError(
                f"{self._path}: belongs to another run (different: {what}); remove it, or name another file"
            )
        return not changed

    def append(self, items: Sequence[InputCertificate], kept: Mapping[str, Any]) -> None:
        """Add a chunk of finished inputs; they are on the disk when this returns."""
        rows: list[dict[str, Any]] = []
        for item in items:
            row: dict[str, Any] = {"certificate": item.to_dict()}
            if item.point is not None:
                row["point"] = {
                    name: {
                        "dtype": str(array.dtype),
                        "shape": list(array.shape),
                        "values": [float(v) for v in array.reshape(-1)],
                    }
                    for name, array in item.point.items()
                }
            rows.append(row)
        if not rows:
            return
        rows.append({"done": len(rows), "kept": json.loads(json.dumps(kept))})
        lines = []
        for row in rows:
            self._lines += 1
            lines.append(
                json.dumps({**row, "check": _checksum(self._header, self._lines, row)}, allow_nan=False)
                + "\n"
            )
        self._write("".join(lines))

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


def _checksum(header: str, number: int, row: Mapping[str, Any]) -> str:
    return hashlib.sha256(f"{header}{number} {json.dumps(row, sort_keys=True)}".encode()).hexdigest()[:32]


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no number")


def _strict(line: bytes) -> dict[str, Any]:
    row = json.loads(line, parse_constant=_refused)
    if not isinstance(row, dict):
        raise ValueError("not an object")
    return row


def _certificate(row: Mapping[str, Any], size: int) -> InputCertificate:
    """A finished input, every number of which is one. ValueError, KeyError or TypeError otherwise."""
    document = row["certificate"]
    for number in (document["index"], document["effort"]):
        if isinstance(number, bool) or not isinstance(number, int):
            raise ValueError("a whole number is expected")
    item = InputCertificate.from_dict(document, _arrays(row.get("point")))
    if (
        not 0 <= item.index < size
        or document["finished"] is not True
        or item.verdict not in (None, *VERDICTS)
    ):
        raise ValueError("it is of another kind")
    bounds = [v for values in (*item.outputs.values(), *item.found.values()) for v in values]
    bounds += [v for change in item.changes for v in (change.certified, change.found or 0.0)]
    if any(not v >= 0 for v in bounds) or any(
        isinstance(m, float) and math.isnan(m) for m in (item.margin_a, item.margin_b)
    ):
        raise ValueError("a number in it is none")
    return item


def _arrays(point: Mapping[str, Any] | None) -> dict[str, np.ndarray] | None:
    if point is None:
        return None
    found = {
        name: np.array(part["values"], part["dtype"]).reshape(part["shape"]) for name, part in point.items()
    }
    if not all(np.isfinite(array).all() for array in found.values()):
        raise ValueError("a number in it is none")
    return found
