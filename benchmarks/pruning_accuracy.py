"""Accuracy after pruning without fine-tuning, before and after random rescalings of the neurons (paper, Table
2 and Appendix D).

    python benchmarks/pruning_accuracy.py [--model models/digits_resnet.onnx] [--rescalings N]

Prints docs/pruning.md: test accuracy of the network in models/ pruned by magnitude per layer (MP) and over
all layers, by path cost per layer (Φ-LP) and over all layers (Φ-GP), at every level; for the network as it
was trained, and for N randomly rescaled copies of it (λ in {1, 128, 4096} for every channel that can be
rescaled), which compute the same function. Only ONNX Runtime and NumPy are needed.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import onnxpath

MODELS = Path(__file__).resolve().parents[1] / "models"
LEVELS = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
METHODS = {
    "MP": ("magnitude", "layer"),
    "MP, all layers": ("magnitude", "global"),
    "Φ-LP": ("path", "layer"),
    "Φ-GP": ("path", "global"),
}


def accuracy(path: Path | str, x: np.ndarray, y: np.ndarray) -> float:
    """The share of images that a file classifies as they are labelled."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: x})
    return float((scores.argmax(1) == y).mean())


def zeros(path: Path | str) -> list[np.ndarray]:
    return [parameter.base == 0 for parameter in onnxpath.load(path).parameters().values()]


def row(
    source: Path, folder: Path, method: str, x: np.ndarray, y: np.ndarray
) -> tuple[list[float], list[list[np.ndarray]]]:
    """Accuracy at every level, and which weights are zero."""
    criterion, scope = METHODS[method]
    out = folder / "pruned.onnx"
    found, masks = [], []
    for level in LEVELS:
        onnxpath.prune(source, out, sparsity=level, criterion=criterion, scope=scope, provider="cpu")
        found.append(accuracy(out, x, y))
        masks.append(zeros(out))
    return found, masks


def equal(a: list[list[np.ndarray]], b: list[list[np.ndarray]]) -> bool:
    return all(
        np.array_equal(p, q)
        for left, right in zip(a, b, strict=True)
        for p, q in zip(left, right, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=MODELS / "digits_resnet.onnx")
    parser.add_argument("--rescalings", type=int, default=5)
    chosen = parser.parse_args()
    with np.load(MODELS / "digits_test.npz") as data:
        x, y = data["x"], data["y"]
    table = [
        "| | " + " | ".join(f"{100 * level:g} %" for level in LEVELS) + " |",
        "|---|" + "---:|" * len(LEVELS),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = {method: row(chosen.model, folder, method, x, y) for method in METHODS}
        rescaled: dict[str, list[list[float]]] = {method: [] for method in METHODS}
        same = dict.fromkeys(METHODS, True)
        for seed in range(chosen.rescalings):
            other = folder / "rescaled.onnx"
            onnxpath.rescale(chosen.model, other, mode="random", seed=seed, force=True)
            if accuracy(other, x, y) != accuracy(chosen.model, x, y):
                raise SystemExit("a rescaled copy computes something else")
            for method in METHODS:
                found, masks = row(other, folder, method, x, y)
                rescaled[method].append(found)
                same[method] = same[method] and equal(masks, plain[method][1])
    for method in METHODS:
        table.append(f"| {method} | " + " | ".join(f"{100 * value:.1f}" for value in plain[method][0]) + " |")
    for method in METHODS:
        columns = np.array(rescaled[method])
        cells = [
            f"{100 * c.mean():.1f}" + (f" ({100 * c.min():.1f} to {100 * c.max():.1f})" if np.ptp(c) else "")
            for c in columns.T
        ]
        table.append(f"| {method}, rescaled | " + " | ".join(cells) + " |")
    unchanged = " and ".join(method for method in METHODS if same[method])
    changed = " and ".join(method for method in METHODS if not same[method])
    print(f"""# Pruning by path cost and by magnitude

Test accuracy in percent of `{chosen.model.name}` ({100 * accuracy(chosen.model, x, y):.1f} % before
pruning, {len(y)} images) without fine-tuning, by the share of weights set to zero. MP removes the smallest
magnitudes of every layer or of all layers together, Φ-LP the smallest path costs of every layer, Φ-GP the
smallest path costs of all layers together. "Rescaled": mean (and range) over {chosen.rescalings} copies of
the network whose channels were multiplied by factors drawn from {{1, 128, 4096}} and divided by them again
in the next layer, which changes neither what the network computes nor its path costs.

""" + "\n".join(table) + f"""

The pruned weights of all {chosen.rescalings} rescaled copies are exactly those of the network itself for
{unchanged or "no method"}; they differ for {changed or "no method"}. Magnitudes are a good criterion as
long as training, with its weight decay, has left the neurons evenly scaled; they depend on that scale, and
path costs do not.

Written by `python benchmarks/pruning_accuracy.py > docs/pruning.md`.""")  # fmt: skip


if __name__ == "__main__":
    main()
