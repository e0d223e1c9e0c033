"""The record of `onnxpath.generalization`, document `onnxpath.generalization/1`."""

from dataclasses import dataclass
from math import log

from onnxpath.engine.scaled import Scaled
from onnxpath.records.base import Tool
from onnxpath.records.document import Record


@dataclass(frozen=True)
class Gap(Record):
    """A bound on the expected gap: constant · L max(B, 1) r / √n. samples_needed: the n at which it falls to
    the target."""

    LAYOUT = """
    name
    source
    constant
    r
    gap=value  `constant` · L max(B, 1) `r` / √n, rounded up
    samples_needed  the n at which it falls to the target
    """

    name: str
    source: str
    constant: float
    r: Scaled
    value: Scaled
    samples_needed: Scaled


@dataclass(frozen=True)
class Rate(Record):
    """A row of the paper's Table 3, up to a universal constant and the loss: None, with the reason, where it
    does not apply."""

    LAYOUT = """
    source  a row of Table 3, up to universal constants and the loss
    rate
    value  null where the row does not apply
    reason  why it does not
    """

    source: str
    rate: str
    value: Scaled | None
    reason: str | None


@dataclass(frozen=True)
class Covering(Record):
    """The covering-number bound of Theorem H.1 at radius t = relative · r: ln and log10 of the number of
    balls, in one orthant."""

    LAYOUT = """
    relative
    radius  `relative` · r
    ln  of the covering number of Φ in one orthant
    log10  likewise
    """

    relative: float
    radius: Scaled
    ln: float

    @property
    def log10(self) -> float:
        return self.ln / log(10.0)


@dataclass(frozen=True)
class Architecture(Record):
    """Numbers of an architecture.

    parameters: #params, learned numbers, shared ones once. hidden, output: dimension of what a cover has to
        cover, hidden and
    output rows apart: parameters once for every node that uses them, and one number per channel for every
    branch that enters a sum, or meets a bias, without weights of its own. levels: the largest number of
    hidden rows on a path. irregular: nodes where neurons of one channel have different numbers of
    antecedents. biased: whether some bias is not 0. layered: fully connected layers only.
    """

    LAYOUT = """
    depth  D
    kernel  K
    pools  P
    parameters  #params
    covered  N (docs/generalization.md, section 4)
    d_in=inputs
    d_out=outputs
    biases=biased
    layered
    irregular_nodes  nodes with zero padding
    """

    depth: int
    kernel: int
    pools: int
    parameters: int
    inputs: int
    outputs: int
    hidden: int
    output: int
    levels: int
    irregular: tuple[str, ...]
    biased: bool
    layered: bool

    @property
    def covered(self) -> int:
        return self.hidden + self.output

    @property
    def irregular_nodes(self) -> int:
        return len(self.irregular)


@dataclass(frozen=True)
class Generalization(Record):
    """Result of `onnxpath.generalization`.

    norm: ‖Φ‖₁, rounded up; whole: the norm of whole kernels, r of Theorem 5.1. lipschitz: L; loss: where it
        comes from.
    """

    SCHEMA = "onnxpath.generalization/1"
    LAYOUT = """
    tool
    model{path sha256}  the file and its digest
    samples  n
    input_bound  B
    loss{name=loss lipschitz}  L and where it comes from
    target  the gap that `samples_needed` is for
    architecture
    path_norm=norm  ‖Φ‖₁, rounded up
    whole_kernel_norm=whole  the norm of whole kernels, rounded up
    gaps  bounds of the expected gap
    rates  rows of Table 3
    covering
    notes  that the bounds are vacuous, and what padding changes
    """

    path: str
    sha256: str
    samples: int
    input_bound: float
    loss: str
    lipschitz: float
    target: float
    architecture: Architecture
    norm: Scaled
    whole: Scaled
    gaps: tuple[Gap, ...]
    rates: tuple[Rate, ...]
    covering: tuple[Covering, ...]
    tool: Tool
    notes: tuple[str, ...] = ()
