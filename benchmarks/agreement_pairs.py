"""The pairs of benchmarks/agreement.py: files, twins made of them, and inputs.

Twins of a file W: "pruned" is what `onnxpath prune --sparsity 0.4` writes; "int8" has every weight of Conv,
Gemm and MatMul on a symmetric 8-bit grid of its output channel, w' = s clip(round(w / s), -127, 127), s =
max|w| / 127, kept as float32 (models/twins.py).

Inputs: the digits of models/digits_test.npz, as they are for the networks of models/; for networks trained on
MNIST, enlarged to 20 x 20 pixels by linear interpolation and framed with 4 pixels of background, as MNIST's
digits are (transposed for those that read columns first); 5 x 5 for the one that reads 25 pixels. Networks
that read photographs get squares of scikit-learn's two photographs; those whose data is not public get
uniform noise, in [0, 1] or, where an int8 file saturates there, in [0, 0.1], what it was calibrated for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import onnxpath

MODELS = Path(__file__).resolve().parents[1] / "models"
SPARSITY = 0.4
LEVELS = 127


@dataclass(frozen=True)
class Source:
    """Two files, or one and the kinds of its twins. data: see `inputs`. count: boxes per epsilon; compared:
    of them bounded both ways. efforts: of that comparison; the last one is what certificates are asked for.
    search: steps. skip: why nothing is run.
    """

    a: str
    b: str
    data: str
    count: int
    compared: int
    efforts: tuple[int, ...] = (1, 2)
    epsilons: tuple[float, ...] = (0.001, 0.003, 0.01, 0.03, 0.1)
    search: int = 10
    skip: str | None = None

    @property
    def name(self) -> str:
        return f"{self.a} / {self.b}"


TWINS = ("pruned", "int8")
DEEP = (0.0001, 0.0003, 0.001, 0.003, 0.01)
ALIKE = (
    "all weights of a layer are equal (a structure, not a trained network): every 8-bit grid holds them, and"
    " no weight is smallest"
)
OWN = [
    Source("digits_mlp", "digits_mlp_int8grid", "digits 8x8", 100, 50),
    Source("digits_maxpool_cnn", "digits_maxpool_cnn_int8grid", "digits 8x8", 20, 10),
    *(
        Source("digits_resnet", f"digits_resnet_{kind}", "digits 8x8", 2, 1, epsilons=DEEP)
        for kind in ("bn", "pruned40", "finetuned")
    ),
]
REAL = [
    Source("factorio_mlp_fp32", "factorio_mlp_dynquant", "digits 5x5", 100, 50),
    *(Source("factorio_mlp_fp32", kind, "digits 5x5", 100, 50) for kind in TWINS),
    Source("cora_mnist_point", "cora_mnist_trades", "digits 28x28, transposed", 10, 3, epsilons=DEEP),
    *(Source("mnist_cntk", kind, "digits 28x28", 4, 1, epsilons=DEEP) for kind in TWINS),
    *(Source("convnet_avgpool", kind, "digits 28x28", 30, 10) for kind in TWINS),
    Source("ece_cnn_fp32", "ece_cnn_int8_qdq", "dark noise", 2, 1, (1,), search=5),
    *(Source("ece_cnn_fp32", kind, "dark noise", 2, 1, (1,), search=5) for kind in TWINS),
    Source("cifar_deep_kw", "cifar_deep_kw_simp", "photographs", 10, 4),
    *(Source("cifar_deep_kw", kind, "photographs", 10, 4) for kind in TWINS),
    *(Source("resnet20_cifar_bn", kind, "photographs", 1, 1, (1,), DEEP[:3], 5) for kind in TWINS),
    Source(
        "resnet56_c100_simdoc_p50",
        "pruned",
        "photographs",
        1,
        1,
        skip="half of its weights are 0 already: 40 % pruning changes none",
    ),
    Source("resnet56_c100_simdoc_p50", "int8", "photographs", 1, 1, (1,), DEEP[:1], 5),
    *(Source("light_resnet50", kind, "noise", 1, 1, skip=ALIKE) for kind in TWINS),
]
OTHERS = ("collins_rul_w20", "drones_ac4_double", "slim320_bn", "unet_small_sedgen")


def files(source: Source, real: Path | None, folder: Path) -> tuple[Path, Path]:
    """The two files, the twin written into `folder` where it is to be made."""
    home = MODELS if (MODELS / f"{source.a}.onnx").exists() or real is None else real
    a = home / f"{source.a}.onnx"
    if source.b not in TWINS:
        return a, home / f"{source.b}.onnx"
    twin = folder / f"{source.a}_{source.b}.onnx"
    if not twin.exists():
        if source.b == "pruned":
            onnxpath.prune(a, twin, sparsity=SPARSITY, threads=1)
        else:
            onnx.save(on_grid(onnx.load(a)), twin)
    return a, twin


def rounded(weight: np.ndarray, axis: int) -> np.ndarray:
    """`weight` on the symmetric 8-bit grid of every output channel, which `axis` counts."""
    largest = np.abs(weight).max(
        axis=tuple(k for k in range(weight.ndim) if k != axis % weight.ndim), keepdims=True
    )
    step = (np.where(largest > 0, largest, 1) / LEVELS).astype(weight.dtype)
    return np.clip(np.rint(weight / step), -LEVELS, LEVELS).astype(weight.dtype) * step


def on_grid(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with the weights of all linear layers rounded; a stored weight may pass a Reshape that keeps its
    last axis."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    stored = {tensor.name: tensor for tensor in twin.graph.initializer}
    reshaped = {node.output[0]: node.input[0] for node in twin.graph.node if node.op_type == "Reshape"}
    found = 0
    for node in twin.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        tensor = stored.get(reshaped.get(node.input[1], node.input[1]))
        if tensor is None:
            continue
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else -1
        tensor.CopyFrom(numpy_helper.from_array(rounded(numpy_helper.to_array(tensor), axis), tensor.name))
        found += 1
    if not found:
        raise ValueError("no weights to round: the file stores none for a Conv, Gemm or MatMul")
    return twin


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Square images [n, c, m, m] at another size, by linear interpolation between the centres of pixels."""
    old = images.shape[-1]
    place = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    first = np.minimum(place.astype(int), old - 2)
    weights = np.zeros((size, old))
    weights[np.arange(size), first] = 1 - (place - first)
    weights[np.arange(size), first + 1] += place - first
    return np.einsum("ij,ncjk,lk->ncil", weights, images, weights)


def photographs(count: int, size: int) -> np.ndarray:
    """Squares of 4 size pixels from scikit-learn's photographs, averaged to [count, 3, size, size] in [0,
    1]."""
    from sklearn.datasets import load_sample_images

    pictures, rng, made = load_sample_images().images, np.random.default_rng(0), []
    for k in range(count):
        picture = pictures[k % len(pictures)] / 255.0
        row, column = (int(rng.integers(0, side - 4 * size)) for side in picture.shape[:2])
        square = picture[row : row + 4 * size, column : column + 4 * size]
        made.append(square.reshape(size, 4, size, 4, 3).mean(axis=(1, 3)).transpose(2, 0, 1))
    return np.stack(made)


def inputs(source: Source, shape: tuple[int, ...]) -> np.ndarray:
    """The first `count` inputs, float32 [n, ...] in [0, 1], for a network that reads [1, *shape[1:]]."""
    kind, count = source.data, source.count
    if kind.startswith("digits"):
        images = np.load(MODELS / "digits_test.npz")["x"][:count].astype(np.float64)
        if "28x28" in kind:
            images = np.pad(resized(images, 20), ((0, 0), (0, 0), (4, 4), (4, 4)))
        elif "5x5" in kind:
            images = resized(images, 5)
        if "transposed" in kind:
            images = images.swapaxes(2, 3)
    elif kind == "photographs":
        images = photographs(count, shape[-1])
    else:
        images = np.random.default_rng(0).uniform(
            0, 0.1 if kind.startswith("dark") else 1, (count, *shape[1:])
        )
    return np.clip(images, 0, 1).reshape(count, *shape[1:]).astype(np.float32)


def sources(real: Path | None) -> Iterator[Source]:
    """All pairs whose files are there."""
    yield from OWN
    if real is not None:
        yield from REAL
        for name in OTHERS:
            yield Source(name, name, "noise", 1, 1)
