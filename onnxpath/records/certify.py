"""The record of `onnxpath.certify`, document `onnxpath.certify/1`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.model.interface import Change as InterfaceChange
from onnxpath.records.base import Tool
from onnxpath.records.bound import BoundSide
from onnxpath.records.document import Record
from onnxpath.records.files import FilesSeen

VERDICTS = ("agree", "disagree", "undecided")


@dataclass(frozen=True)
class Change(Record):
    """The certified and found largest change of y_i - y_j over a box: i the class A predicts for the given
    input, j another."""

    LAYOUT = """
    class=against  j, another class than i, the predicted one
    certified  the largest change of y_i − y_j over the box
    found
    """

    against: int
    certified: float
    found: float | None


@dataclass(frozen=True)
class OutputCertificate(Record):
    """Of one output, for every neuron, flattened row-major: the certified bound of the difference, and the
    largest one found."""

    name: str
    certified: tuple[float, ...]
    found: tuple[float, ...]


@dataclass(frozen=True)
class Classes(Record):
    """What both files predict for an input where they differ."""

    a: int
    b: int


@dataclass(frozen=True)
class InputCertificate(Record):
    """What holds on the box around one given input.

    verdict: "agree" (both networks predict `predicted` on the whole box, proved), "disagree" (an input of the
    box where they differ was found and checked on both files) or "undecided"; None without classes. outputs:
    certified bounds on |f_A - f_B|, by output, flattened row-major; found: the largest differences found,
    likewise. changes: of differences of scores. margin_a,
    margin_b: certified lower bounds of min_j (y_i - y_j) over the box. effort: the last stage that was used.
        finished: False where
    the time ran out first. point: for "disagree" the input, by name.
    """

    LAYOUT = """
    index  position among the given inputs
    verdict  `agree`: both networks predict that class on the whole box, proved, and neither file
        contradicts it anywhere it was run; `disagree`: an input of the box was found where both files,
        run in ONNX Runtime, give different classes (`classes`); `undecided`; null without class scores
    class=predicted  the class that A predicts there; null without class scores
    certified=certified_largest  largest difference of any output over the box: certified bound
    found=found_largest  the largest one found
    ratio  certified / found
    outputs=by_output
    changes  of differences of scores
    margin_a  certified lower bound of A's smallest y_i − y_j over the box
    margin_b  B's
    effort  the last stage used
    finished  false where the time ran out first
    classes=classes_found?  where both files were found to differ
    files  both files at the given input and at every point that was tried in the box
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
    def certified_largest(self) -> Scaled | None:
        return Scaled(self.certified) if self.certified < float("inf") else None

    @property
    def found_largest(self) -> Scaled | None:
        return None if (found := self.largest_found) is None else Scaled(found)

    @property
    def by_output(self) -> tuple[OutputCertificate, ...]:
        return tuple(
            OutputCertificate(name, values, self.found.get(name, ())) for name, values in self.outputs.items()
        )

    @property
    def classes_found(self) -> Classes | None:
        return None if self.classes is None else Classes(*self.classes)

    @property
    def largest_found(self) -> float | None:
        return max((max(values) for values in self.found.values() if values), default=None)

    @property
    def ratio(self) -> float | None:
        """certified / found; None where nothing was found or nothing is certified."""
        found = self.largest_found
        return self.certified / found if found and self.certified < float("inf") else None

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
class Certificates(Record):
    """Result of `onnxpath.certify`: one certificate per given input.

    shares: of all given inputs. effort: the largest stage that was allowed. extensions: names of the nodes
    whose activation is outside the paper's model. interface: what a program sees change.
    """

    SCHEMA = "onnxpath.certify/1"
    LAYOUT = """
    tool
    a  the network A
    b  the network B
    domain  `epsilon`, `low`, `high` as given
    effort  the largest stage that was allowed, 0 to 3
    total  `inputs`, `unfinished` (the time limit), `median_ratio` of certified / found; with class scores
        `agree`, `disagree`, `undecided`: `{count, share}`
    inputs
    extensions  nodes with an activation beyond the paper's model
    files  of all boxes
    interface
    notes
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

    @property
    def total(self) -> dict[str, Any]:
        """Counts over all inputs; of verdicts where there are classes."""
        found = {"inputs": len(self.inputs), "unfinished": self.unfinished, "median_ratio": self.median_ratio}
        if not self.classified:
            return found
        counts = {verdict: self.count(verdict) for verdict in VERDICTS}
        return found | {k: {"count": n, "share": n / len(self.inputs)} for k, n in counts.items()}
