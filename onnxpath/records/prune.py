"""The records of `onnxpath.prune`, document `onnxpath.prune/1`, and the certificate that is written into the
new file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool
from onnxpath.records.document import Record
from onnxpath.records.inspection import Tensor
from onnxpath.records.metric import Interval


@dataclass(frozen=True)
class PrunedLayer(Record):
    """One pruned tensor of the file. zeros: how many of its entries are 0 now; removed: how many of them were
    not before, and Σ of their Φ-costs. exact: these costs are no mere upper bounds."""

    LAYOUT = """
    name
    tensor  the file's name
    parameters
    zeros  entries that are 0 now
    sparsity
    removed  zeros that were none before
    removed_cost=cost  Σ of their Φ-costs
    exact  these costs are no mere upper bounds
    """

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


@dataclass(frozen=True)
class DomainBound(Record):
    """Certified bounds on |R_θ(x)_v - R_pruned(x)_v| over a domain: the largest over the output neurons v,
    and their sum."""

    LAYOUT = """
    domain
    largest  of the difference of an output neuron
    sum=total  over the output neurons
    """

    domain: dict[str, Any]
    largest: Scaled
    total: Scaled


@dataclass(frozen=True)
class Certificate(Record):
    """What pruning cost, certified (paper, Inequalities (9) and (10)).

    removed_cost: Σ of the Φ-costs of what was removed, at the time it was (`relative_error` of it).
        path_metric: ‖Φ(θ) - Φ(pruned)‖₁,
    which never exceeds it. bound: Σ_v |R_θ(x)_v - R_pruned(x)_v| for all ‖x‖_∞ <= 1. domain: the sharp bound
    over a domain. inputs, outputs: what v ranges over, with shapes; outputs of the file that are not named
    may change in any way. left_off: nodes at the end of the file, a Softmax say, that are not part of the
    network: R is what they read.
    """

    SCHEMA = "onnxpath.certificate/1"
    LAYOUT = """
    tool
    source{sha256}  digest of the file that was pruned
    inputs=read  what the network reads, in the shapes that were assumed
    outputs=covered  the outputs that the certificate is about; other outputs of the file may change in
        any way
    left_off  nodes at the end of the file (Softmax, Identity, …) that are no part of the network: its
        outputs are what they read
    criterion  `path`, `magnitude` or `random`
    scope  `global`, `layer`, or `pattern` for N:M
    pattern  `unstructured`, `N:M` or `channels` (then `zeros` and `removed` count the weights that left
        the file)
    sparsity  as requested, of the channels for `channels`; null for N:M
    iterations  steps
    seed  of random choices
    parameters  of the tensors that may be pruned
    zeros
    achieved_sparsity=achieved
    removed_cost{*removed_cost relative_error}  Σ of the Φ-costs of what was removed, and its certified
        error (docs/theory.md, section 7)
    path_norm  ‖Φ‖₁ before
    pruned_path_norm  and after
    path_metric  of the pair: always exact, never above `removed_cost`
    relative  path-metric / path-norm
    bound{input_bound *bound}  certified bound of Σ_v |R(x)_v − R_pruned(x)_v| for ‖x‖_∞ ≤ 1
    domain_bound=domain?  certified bounds over the domain, where one was given
    layers
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

    @property
    def input_bound(self) -> float:
        """B of `bound`."""
        return 1.0

    @property
    def read(self) -> tuple[Tensor, ...]:
        return tuple(Tensor(name, shape) for name, shape in self.inputs.items())

    @property
    def covered(self) -> tuple[Tensor, ...]:
        return tuple(Tensor(name, shape) for name, shape in self.outputs.items())


@dataclass(frozen=True)
class PrunedFile(Record):
    """One pruned network: its certificate, and the file that holds it (None when none was written)."""

    LAYOUT = """
    path  the file written; null without `-o`
    sha256  its digest
    certificate
    """

    certificate: Certificate
    path: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Overlap(Record):
    """What the pruned sets of magnitudes (MP, per layer), Φ-costs per layer (Φ-LP) and Φ-costs overall (Φ-GP)
    share at one sparsity, as |A ∩ B| / max(|A|, |B|): before and after a random rescaling of neurons, and of
    each criterion's own set before and after. None and {} where nothing can be rescaled."""

    LAYOUT = """
    sparsity  0.1, 0.2, 0.4, 0.6, 0.8
    magnitude_and_path_global=global_magnitude  what the sets of magnitudes (per layer) and of path costs
        (overall) have in common: size of the intersection over the larger size
    magnitude_and_path_layer=layer_magnitude  the same with path costs per layer
    rescaled  the same after a random rescaling (`--seed`), and `kept`: what each set has in common with
        itself before it; null where no channel can be rescaled
    """

    sparsity: float
    global_magnitude: float
    layer_magnitude: float
    rescaled_global_magnitude: float | None
    rescaled_layer_magnitude: float | None
    kept: dict[str, float]

    @property
    def rescaled(self) -> dict[str, Any] | None:
        keys = {"MP": "magnitude", "Φ-LP": "path_layer", "Φ-GP": "path_global"}
        return None if not self.kept else {
            "magnitude_and_path_global": self.rescaled_global_magnitude,
            "magnitude_and_path_layer": self.rescaled_layer_magnitude,
            "kept": {keys[name]: share for name, share in self.kept.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Pruned(Record):
    """Result of `onnxpath.prune`: one file per sparsity; the `onnxpath.costs/1` document and the comparison
    of criteria where they were asked for."""

    SCHEMA = "onnxpath.prune/1"
    LAYOUT = """
    tool
    model{path sha256 path_norm}  the network that was pruned
    files  one per sparsity in the order given; empty when none was asked for
    costs?  with `--costs`
    compare=compared?  with `--compare`
    notes  what was not pruned and why, upper bounds, what the importer did
    """

    path: str
    sha256: str
    path_norm: Scaled
    files: tuple[PrunedFile, ...]
    tool: Tool
    notes: tuple[str, ...] = ()
    costs: dict[str, Any] | None = None
    compared: tuple[Overlap, ...] = ()
