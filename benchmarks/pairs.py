"""Certified bound, largest difference found, and their ratio for pairs of files: the table of docs/bounds.md.

    python benchmarks/pairs.py [--real FOLDER] [--search N]

The pairs of models/, and those of other people's files where the folder is given. Numbers are bounds, not
times: they depend on the files alone.
"""

import argparse
from pathlib import Path

import measure
import numpy as np

import onnxpath
from onnxpath import Domain
from onnxpath.cli.output import number, percent
from onnxpath.engine.scaled import Scaled

MODELS = Path(__file__).resolve().parents[1] / "models"
OWN = [
    ("digits_resnet", "digits_resnet_bn", "other encoding"),
    ("digits_resnet", "digits_resnet_pruned40", "40 % pruned"),
    ("digits_resnet", "digits_resnet_finetuned", "2 epochs later"),
    ("digits_mlp", "digits_mlp_int8grid", "int8 weights"),
    ("digits_maxpool_cnn", "digits_maxpool_cnn_int8grid", "int8 weights"),
]
REAL = [
    ("cifar_deep_kw", "cifar_deep_kw_simp", "other encoding", (0, 1)),
    ("slim320_bn", "slim320_folded", "other encoding", (-1, 1)),
    ("cora_mnist_point", "cora_mnist_trades", "two trainings", (0, 1)),
]
HEADER = (
    "pair",
    "domain",
    "at most",
    "found",
    "ratio",
    "Theorem 3.1",
    "relative metric",
    "what gave the bound",
)


def row(a: Path, b: Path, what: str, domain: Domain, label: str, search: int) -> list[str]:
    """One line of the table; Theorem 3.1 bounds the sum over all outputs, the other columns the largest
    one."""
    found, metric = onnxpath.bound(a, b, domain, search=search), onnxpath.path_metric(a, b)
    largest = found.largest
    assert largest.found is not None and Scaled(largest.found) <= largest.certified
    ratio = "-" if largest.ratio is None else number(Scaled(largest.ratio), 2)
    cells = [
        number(largest.certified, 3, "up"),
        number(Scaled(largest.found), 3),
        ratio,
        number(metric.bound, 3, "up"),
    ]
    return [f"{a.stem} / {b.stem} ({what})", label, *cells, percent(metric.relative), found.method]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="folder of other people's files")
    parser.add_argument("--search", type=int, default=50)
    chosen = parser.parse_args()
    images = np.load(MODELS / "digits_test.npz")["x"][:100]
    rows = []
    for a, b, what in OWN:
        files = MODELS / f"{a}.onnx", MODELS / f"{b}.onnx"
        for label, domain in (("[0, 1]", Domain.box(0, 1)), ("100 images", Domain.samples(images))):
            rows.append(row(*files, what, domain, label, chosen.search))
            measure.say(" | ".join(rows[-1]))
    for a, b, what, (low, high) in REAL if chosen.real else ():
        files = chosen.real / f"{a}.onnx", chosen.real / f"{b}.onnx"
        rows.append(row(*files, what, Domain.box(low, high), f"[{low}, {high}]", chosen.search))
        measure.say(" | ".join(rows[-1]))
    print(measure.table(HEADER, rows))


if __name__ == "__main__":
    main()
