"""Rebuild every model of this directory: `python models/build.py [DIRECTORY]` (torch 2.13, scikit-learn,
onnxruntime).

Without an argument the files here are replaced and the table of README.md is rewritten from what was
measured. With a directory, models and data go there and the table is printed: compare them with the ones
here.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import architectures
import dataset
import numpy as np
import onnx
import onnxruntime
import torch
import training
import twins

HERE = Path(__file__).resolve().parent
BEGIN, END = "<!-- table: written by build.py -->\n", "<!-- end of table -->\n"


@dataclass(frozen=True, eq=False)
class Entry:
    """One file to write, and what README.md says of it."""

    file: str
    architecture: str
    how: str
    proto: onnx.ModelProto


def entries(digits: dataset.Digits) -> list[Entry]:
    """Train the three networks and derive their twins, in the order of the table."""
    x, y = digits.train_x, digits.train_y

    resnet = training.build(architectures.resnet, seed=1)
    training.fit(resnet, x, y, epochs=20, rate=3e-3, seed=1)
    dense = training.to_onnx(resnet)
    unfolded = training.to_onnx(resnet, keep_normalization=True)
    training.fit(resnet, x, y, epochs=2, rate=5e-4, seed=2)
    finetuned = training.to_onnx(resnet)

    mlp = training.build(architectures.mlp, seed=3)
    training.fit(mlp, x, y, epochs=40, rate=5e-3, seed=3)
    flat = training.to_onnx(mlp)

    cnn = training.build(architectures.maxpool_cnn, seed=4)
    training.fit(cnn, x, y, epochs=20, rate=3e-3, seed=4)
    pooled = training.to_onnx(cnn)

    residual = "residual CNN: 8 Conv, 3 Add, 3x3 MaxPool, GlobalAveragePool, Gemm"
    return [
        Entry(
            "digits_resnet.onnx",
            residual,
            "trained 20 epochs, BatchNormalization folded by the exporter",
            dense,
        ),
        Entry(
            "digits_resnet_bn.onnx",
            residual + ", 8 BatchNormalization",
            "the same weights, nothing folded",
            unfolded,
        ),
        Entry(
            "digits_resnet_pruned40.onnx",
            residual,
            "digits_resnet with the 40 % smallest weights set to zero, the rest bit-identical",
            twins.pruned(dense, 0.4),
        ),
        Entry(
            "digits_resnet_finetuned.onnx",
            residual,
            "digits_resnet trained 2 more epochs, then folded",
            finetuned,
        ),
        Entry("digits_mlp.onnx", "MLP 64-32-32-10: Flatten, 3 Gemm", "trained 40 epochs", flat),
        Entry(
            "digits_mlp_int8grid.onnx",
            "MLP 64-32-32-10: Flatten, 3 Gemm",
            "digits_mlp, weights rounded to an int8 grid per tensor, kept as float32",
            twins.on_grid(flat, twins.per_tensor),
        ),
        Entry("digits_maxpool_cnn.onnx", "CNN: 3 Conv, two 2x2 MaxPool, Gemm", "trained 20 epochs", pooled),
        Entry(
            "digits_maxpool_cnn_int8grid.onnx",
            "CNN: 3 Conv, two 2x2 MaxPool, Gemm",
            "digits_maxpool_cnn, weights rounded to an int8 grid per output channel, kept as float32",
            twins.on_grid(pooled, twins.per_channel),
        ),
    ]


def correct(model: bytes, x: np.ndarray, y: np.ndarray) -> int:
    """How many of the images x the ONNX file classifies as y."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"x": x})
    return int(np.sum(np.argmax(logits, axis=1) == y))


def main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild the digits models.")
    parser.add_argument(
        "directory", nargs="?", type=Path, default=HERE, help="where to write (default: beside this script)"
    )
    target = parser.parse_args().directory
    target.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    digits = dataset.load()
    np.savez_compressed(target / "digits_test.npz", x=digits.test_x, y=digits.test_y)
    rows = ["| file | architecture | test accuracy | bytes | how built |", "|---|---|---|---|---|"]
    for entry in entries(digits):
        data = entry.proto.SerializeToString(deterministic=True)
        (target / entry.file).write_bytes(data)
        hits, total = correct(data, digits.test_x, digits.test_y), len(digits.test_y)
        accuracy = f"{hits}/{total} ({100 * hits / total:.1f} %)"
        rows.append(f"| {entry.file} | {entry.architecture} | {accuracy} | {len(data):,} | {entry.how} |")
    table = "\n".join(rows) + "\n"
    print(table, end="")
    if target.resolve() == HERE:
        readme = HERE / "README.md"
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        readme.write_text(before + BEGIN + table + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
