"""Figures that others published for ResNet-18 on ImageNet, to stand beside those of a run.

PAPER: Tables 1 and 2 of the paper; its accuracies of Φ-pruning are given for networks with and without
    rescaling.
RELEASE: the results that come with the code of the authors (agonon/pathnorm-pytorch, repro/icml25, one seed).
Its path-magnitude ranks the costs of all convolutions and of the linear layer together: this is Φ-GP. So does
its magnitude: this is not MP of the paper, which ranks within every layer, but "MP, all layers". CURVES: its
test accuracies at 40 %, by epoch.
"""

from dataclasses import dataclass

LEVELS = (0.1, 0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Published:
    """A row in percent: of what, by whom, for the dense network (None where not given), and by level."""

    method: str
    rescaled: bool
    source: str
    dense: float | None
    values: tuple[float, ...]


OVERLAPS = {"Φ-GP": (70, 74, 76, 80, 86), "Φ-LP": (87, 82, 90, 94, 96)}

ACCURACIES = (
    Published("MP", False, "paper", 67.7, (69.0, 69.0, 68.8, 68.2, 66.5)),
    Published("MP", True, "paper", 67.7, (68.8, 68.7, 63.1, 57.5, 15.8)),
    Published("MP, all layers", False, "release", 68.7, (69.1, 69.4, 69.2, 68.6, 67.3)),
    Published("MP, all layers", True, "release", 68.7, (68.8, 68.2, 62.4, 59.1, 0.1)),
    Published("Φ-LP", False, "paper", 67.7, (68.8, 68.9, 68.7, 68.1, 66.1)),
    Published("Φ-LP", True, "paper", 67.7, (68.8, 68.9, 68.7, 68.1, 66.1)),
    Published("Φ-GP", False, "paper", 67.7, (68.6, 68.8, 68.6, 67.9, 66.0)),
    Published("Φ-GP", True, "paper", 67.7, (68.6, 68.8, 68.6, 67.9, 66.0)),
    Published("Φ-GP", False, "release", 68.7, (68.7, 68.7, 68.9, 68.4, 64.9)),
)

EPOCHS = (6, 10, 20, 30, 31, 40, 50, 60, 61, 70, 80, 90)
CURVES = {
    ("MP, all layers", False): (37.6, 52.2, 57.3, 57.1, 66.4, 67.4, 67.4, 67.1, 68.8, 69.1, 69.1, 69.2),
    ("MP, all layers", True): (30.2, 41.2, 45.4, 48.7, 58.7, 60.2, 59.9, 59.7, 62.1, 62.4, 62.5, 62.6),
    ("Φ-GP", False): (37.8, 51.1, 53.9, 56.0, 65.8, 67.0, 67.1, 66.8, 68.4, 68.7, 68.8, 69.0),
    ("Φ-GP", True): (37.2, 50.0, 55.0, 57.1, 65.6, 66.8, 67.1, 66.8, 68.5, 68.7, 68.8, 69.0),
}
