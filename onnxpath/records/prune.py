"""The records of `onnxpath.prune`, document `onnxpath.prune/1`, and the certificate that is written into the
new file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool, finite, number
from onnxpath.records.metric import Interval


@dataclass(frozen=True)
class PrunedLayer:
    """One pruned tensor of the file. zeros: how many of its entries are 0 now; removed: how many of them were
    not before, and Σ of their Φ-costs. exact: these costs are no mere upper bounds."""

    name: str
    tensor: str
    parameters: int
    zeros: int
    removed: int
    cost: Scaled
    exact: bool

    @property
    def sparsity(self) -> float:
        return self.zeros / self.parameters

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name, "tensor": self.tensor, "parameters": self.parameters, "zeros": self.zeros,
            "sparsity": self.sparsity,
            "removed": self.removed, "removed_cost": number(self.cost), "exact": self.exact,
        }  # fmt: skip


@dataclass(frozen=True)
class DomainBound:
    """Certified bounds on |R_θ(x)_v - R_pruned(x)_v| over a domain: the largest over the output neurons v,
    and their sum."""

    domain: dict[str, Any]
    largest: Scaled
    total: Scaled

    def to_dict(self) -> dict[str, Any]:
        return {"domain": self.domain, "largest": number(self.largest), "sum": number(self.total)}


@dataclass(frozen=True)
class Certificate:
    """What pruning cost, certified (paper, Inequalities (9) and (10)).

    removed_cost: Σ of the Φ-costs of what was removed, at the time it was (`relative_error` of it).
        path_metric: ‖Φ(θ) - Φ(pruned)‖₁,
    which never exceeds it. bound: Σ_v |R_θ(x)_v - R_pruned(x)_v| for all ‖x‖_∞ <= 1. domain: the sharp bound
    over a domain. inputs, outputs: what v ranges over, with shapes; outputs of the file that are not named
    may change in any way. left_off: nodes at the end of the file, a Softmax say, that are not part of the
    network: R is what they read.
    """

    sha256: str
    criterion: str
    scope: str
    pattern: str
    sparsity: float | None
    iterations: int
    seed: int | None
    layers: tuple[PrunedLayer, ...]
    removed_cost: Scaled
    relative_error: float
    path_norm: Scaled
    pruned_path_norm: Scaled
    path_metric: Interval
    relative: float
    bound: Scaled
    tool: Tool
    domain: DomainBound | None = None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    left_off: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    @property
    def zeros(self) -> int:
        return sum(layer.zeros for layer in self.layers)

    @property
    def achieved(self) -> float:
        return self.zeros / self.parameters

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.certificate/1` document. It names no path, so that it depends on the file and the
        options alone."""
        document: dict[str, Any] = {
            "schema": "onnxpath.certificate/1",
            "tool": self.tool.to_dict(),
            "source": {"sha256": self.sha256},
            "inputs": [{"name": name, "shape": list(shape)} for name, shape in self.inputs.items()],
            "outputs": [{"name": name, "shape": list(shape)} for name, shape in self.outputs.items()],
            "left_off": list(self.left_off),
            "criterion": self.criterion,
            "scope": self.scope,
            "pattern": self.pattern,
            "sparsity": self.sparsity,
            "iterations": self.iterations,
            "seed": self.seed,
            "parameters": self.parameters,
            "zeros": self.zeros,
            "achieved_sparsity": self.achieved,
            "removed_cost": {**number(self.removed_cost), "relative_error": finite(self.relative_error)},
            "path_norm": number(self.path_norm),
            "pruned_path_norm": number(self.pruned_path_norm),
            "path_metric": self.path_metric.to_dict(),
            "relative": self.relative,
            "bound": {"input_bound": 1.0, **number(self.bound)},
        }
        if self.domain is not None:
            document["domain_bound"] = self.domain.to_dict()
        document["layers"] = [layer.to_dict() for layer in self.layers]
        return document


@dataclass(frozen=True)
class PrunedFile:
    """One pruned network: its certificate, and the file that holds it (None when none was written)."""

    certificate: Certificate
    path: str | None = None
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"path": self.path, "sha256": self.sha256, "certificate": self.certificate.to_dict()}


@dataclass(frozen=True)
class Overlap:
    """What the pruned sets of magnitudes (MP, per layer), Φ-costs per layer (Φ-LP) and Φ-costs overall (Φ-GP)
    share at one sparsity, as |A ∩ B| / max(|A|, |B|): before and after a random rescaling of neurons, and of
    each criterion's own set before and after. None and {} where nothing can be rescaled."""

    sparsity: float
    global_magnitude: float
    layer_magnitude: float
    rescaled_global_magnitude: float | None
    rescaled_layer_magnitude: float | None
    kept: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        keys = {"MP": "magnitude", "Φ-LP": "path_layer", "Φ-GP": "path_global"}
        return {
            "sparsity": self.sparsity,
            "magnitude_and_path_global": self.global_magnitude,
            "magnitude_and_path_layer": self.layer_magnitude,
            "rescaled": None if not self.kept else {
                "magnitude_and_path_global": self.rescaled_global_magnitude,
                "magnitude_and_path_layer": self.rescaled_layer_magnitude,
                "kept": {keys[name]: share for name, share in self.kept.items()},
            },
        }  # fmt: skip


@dataclass(frozen=True)
class Pruned:
    """Result of `onnxpath.prune`: one file per sparsity; the `onnxpath.costs/1` document and the comparison
    of criteria where they were asked for."""

    path: str
    sha256: str
    path_norm: Scaled
    files: tuple[PrunedFile, ...]
    tool: Tool
    notes: tuple[str, ...] = ()
    costs: dict[str, Any] | None = None
    compared: tuple[Overlap, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The `onnxpath.prune/1` document."""
        document: dict[str, Any] = {
            "schema": "onnxpath.prune/1",
            "tool": self.tool.to_dict(),
            "model": {"path": self.path, "sha256": self.sha256, "path_norm": number(self.path_norm)},
            "files": [file.to_dict() for file in self.files],
        }
        if self.costs is not None:
            document["costs"] = self.costs
        if self.compared:
            document["compare"] = [overlap.to_dict() for overlap in self.compared]
        document["notes"] = list(self.notes)
        return document
