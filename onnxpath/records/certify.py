"""The record of `onnxpath.certify`, document `onnxpath.certify/1`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change as InterfaceChange
from onnxpath.records.base import Tool, finite, number
from onnxpath.records.bound import BoundSide
from onnxpath.records.files import FilesSeen

VERDICTS = ("agree", "disagree", "undecided")


@dataclass(frozen=True)
class Change:
    """The certified and found largest change of y_i - y_j over a box: i the class A predicts for the given
    input, j another."""

    against: int
    certified: float
    found: float | None

    def to_dict(self) -> dict[str, Any]:
        return {"class": self.against, "certified": finite(self.certified), "found": self.found}


@dataclass(frozen=True)
class InputCertificate:
    """What holds on the box around one given input.

    verdict: "agree" (both networks predict `predicted` on the whole box, proved), "disagree" (an input of the
    box where they differ was found and checked on both files) or "undecided"; None without classes. outputs:
    certified bounds on |f_A - f_B|, by output, flattened row-major; found: the largest differences found,
    likewise. changes: of differences of scores. margin_a,
    margin_b: certified lower bounds of min_j (y_i - y_j) over the box. effort: the last stage that was used.
        finished: False where
    the time ran out first. point: for "disagree" the input, by name.
    """

    index: int
    verdict: str | None
    predicted: int | None
    outputs: Mapping[str, tuple[float, ...]]
    found: Mapping[str, tuple[float, ...]]
    changes: tuple[Change, ...] = ()
    margin_a: float | None = None
    margin_b: float | None = None
    effort: int = 0
    finished: bool = True
    classes: tuple[int, int] | None = None
    point: Mapping[str, Any] | None = None
    files: FilesSeen | None = None

    @property
    def certified(self) -> float:
        """The largest certified bound over all outputs."""
        return max((max(values) for values in self.outputs.values() if values), default=float("inf"))

    @property
    def largest_found(self) -> float | None:
        return max((max(values) for values in self.found.values() if values), default=None)

    @property
    def ratio(self) -> float | None:
        """certified / found; None where nothing was found or nothing is certified."""
        found = self.largest_found
        return self.certified / found if found and self.certified < float("inf") else None

    def to_dict(self) -> dict[str, Any]:
        found = self.largest_found
        certified = None if self.certified == float("inf") else number(Scaled(self.certified))
        document: dict[str, Any] = {
            "index": self.index, "verdict": self.verdict, "class": self.predicted, "certified": certified,
            "found": None if found is None else number(Scaled(found)), "ratio": self.ratio,
            "outputs": [
                {"name": name, "certified": [finite(v) for v in values],
                "found": [float(v) for v in self.found.get(name, ())]}
                for name, values in self.outputs.items()
            ],
            "changes": [change.to_dict() for change in self.changes],
            "margin_a": None if self.margin_a is None else finite(self.margin_a),
            "margin_b": None if self.margin_b is None else finite(self.margin_b),
            "effort": self.effort, "finished": self.finished,
        }  # fmt: skip
        if self.classes is not None:
            document["classes"] = {"a": self.classes[0], "b": self.classes[1]}
        document["files"] = None if self.files is None else self.files.to_dict()
        return document

    @classmethod
    def from_dict(
        cls, document: Mapping[str, Any], point: Mapping[str, Any] | None = None
    ) -> "InputCertificate":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        infinite = float("inf")

        def wide(value: float | None) -> float:
            return infinite if value is None else float(value)

        outputs = {part["name"]: tuple(wide(v) for v in part["certified"]) for part in document["outputs"]}
        found = {part["name"]: tuple(float(v) for v in part["found"]) for part in document["outputs"]}
        changes = tuple(
            Change(int(c["class"]), wide(c["certified"]), c["found"]) for c in document["changes"]
        )
        classes = document.get("classes")
        return cls(
            int(document["index"]), document["verdict"], document["class"], outputs, found, changes,
            document["margin_a"],
            document["margin_b"], int(document["effort"]), bool(document["finished"]),
            None if classes is None else (int(classes["a"]), int(classes["b"])), point,
            None if document["files"] is None else FilesSeen.from_dict(document["files"]),
        )  # fmt: skip


@dataclass(frozen=True)
class Certificates:
    """Result of `onnxpath.certify`: one certificate per given input.

    shares: of all given inputs. effort: the largest stage that was allowed. extensions: names of the nodes
    whose activation is outside the paper's model. interface: what a program sees change.
    """

    a: BoundSide
    b: BoundSide
    domain: dict[str, Any]
    effort: int
    inputs: tuple[InputCertificate, ...]
    tool: Tool
    extensions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    interface: tuple[InterfaceChange, ...] = ()

    @property
    def files(self) -> FilesSeen | None:
        """What was seen of both files in all boxes, positions being those of the boxes; None where they were
        not run."""
        return FilesSeen.merged({item.index: item.files for item in self.inputs if item.files is not None})

    def count(self, verdict: str) -> int:
        return sum(item.verdict == verdict for item in self.inputs)

    def share(self, verdict: str) -> float:
        return self.count(verdict) / len(self.inputs)

    @property
    def classified(self) -> bool:
        """Whether there are classes to agree on."""
        return all(item.verdict is not None for item in self.inputs)

    @property
    def unfinished(self) -> int:
        return sum(not item.finished for item in self.inputs)

    def ratios(self) -> list[float]:
        """certified / found of every input that has it, in increasing order."""
        return sorted(item.ratio for item in self.inputs if item.ratio is not None)

    @property
    def median_ratio(self) -> float | None:
        found = self.ratios()
        return None if not found else (found[len(found) // 2] + found[(len(found) - 1) // 2]) / 2

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.certify/1` document."""
        total: dict[str, Any] = {
            "inputs": len(self.inputs),
            "unfinished": self.unfinished,
            "median_ratio": self.median_ratio,
        }
        if self.classified:
            total |= {
                verdict: {"count": self.count(verdict), "share": self.share(verdict)} for verdict in VERDICTS
            }
        return {
            "schema": "onnxpath.certify/1",
            "tool": self.tool.to_dict(),
            "a": self.a.to_dict(),
            "b": self.b.to_dict(),
            "domain": self.domain,
            "effort": self.effort,
            "total": total,
            "inputs": [item.to_dict() for item in self.inputs],
            "extensions": list(self.extensions),
            "files": None if (files := self.files) is None else files.to_dict(),
            "interface": [change.to_dict() for change in self.interface],
            "notes": list(self.notes),
        }
