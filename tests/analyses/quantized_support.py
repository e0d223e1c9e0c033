"""Networks to quantize, bounds of quantized files held against what they mean, and random networks with
quantizers."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from definition import meant
from hypothesis import strategies as st
from oracle.sketch import Sketch
from torch import nn

import onnxpath
from onnxpath.model.domain import Domain
from onnxpath.model.network import Network
from onnxpath.ops.quantizer import Channels, Dynamic, Quantization
from onnxpath.records import Bound

logging.getLogger().setLevel(logging.ERROR)
MODELS = Path(__file__).resolve().parents[2] / "models"
RNG = np.random.default_rng(11)


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        self.up, self.end = nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Conv2d(8, 2, 3, padding=1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.down(x))
        return self.end(torch.cat([first, torch.relu(self.up(torch.relu(self.inner(self.pool(first)))))], 1))


class Mobile(nn.Module):
    """Inverted residual blocks: depthwise convolutions, ReLU6, linear bottlenecks."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU6) -> None:
        super().__init__()

        def layer(i: int, o: int, k: int, groups: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(i, o, k, padding=k // 2, groups=groups), nn.BatchNorm2d(o)]

        self.stem = nn.Sequential(*layer(1, 4, 3), activation())
        self.block = nn.Sequential(
            *layer(4, 8, 1), activation(), *layer(8, 8, 3, 8), activation(), *layer(8, 4, 1)
        )
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.block(x)
        return self.head(x.mean((2, 3)))


def export(net: nn.Module, x: torch.Tensor) -> onnx.ModelProto:
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, 0, 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO()
        torch.onnx.export(net.eval(), (x,), file, dynamo=False, opset_version=17)
    return onnx.load_from_string(file.getvalue())


def shape_of(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim)


def samples(model: onnx.ModelProto, count: int) -> np.ndarray:
    """Inputs of the digits' kind: between 0 and 1, many of them 0."""
    shape = (count, *shape_of(model)[1:])
    return (np.maximum(RNG.random(shape) * 1.6 - 0.6, 0)).astype(np.float32)


def run(source: object, x: np.ndarray) -> np.ndarray:
    """The file as ONNX Runtime computes it: fused integer kernels for quantized ones, which saturate on some
    processors."""
    session = onnxruntime.InferenceSession(
        source if isinstance(source, str) else source.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[k : k + 1]})[0].reshape(1, -1) for k in range(len(x))])


def check(source: onnx.ModelProto, file: str, x: np.ndarray) -> tuple[Bound, np.ndarray]:
    """The bound holds for every neuron and what the file means, for the points of `x` as given inputs and as
    members of the box around them all."""
    difference = np.abs(meant(source, x) - meant(file, x))
    one = onnxpath.bound(source, file, Domain.samples(x), search=None)
    wide = onnxpath.bound(source, file, Domain.box(float(x.min()), float(x.max())), search=1)
    for found in (one, wide):
        limits = np.concatenate([np.asarray(output.bounds) for output in found.outputs])
        assert (difference.max(0) <= limits).all()
    assert wide.largest.found is not None and wide.largest.found <= wide.largest.certified.value
    assert [item.certified.value >= difference[item.index].max() for item in one.inputs] == [True] * len(x)
    return one, difference


GRIDS = st.one_of(st.none(), st.just(Dynamic()), st.builds(
    lambda step, zero, bits: Quantization(float(np.float32(step)), min(zero, 2**bits - 1), 0, 2**bits - 1),
    st.floats(0.01, 1), st.integers(0, 255), st.integers(2, 8),
), st.integers(0, 20))  # fmt: skip
"""A grid; a number stands for random ones, one per channel."""


def per_channel(seed: int, shape: tuple[int, ...]) -> Channels:
    rng = np.random.default_rng(seed)
    grids = [
        Quantization(float(np.float32(rng.uniform(0.01, 0.5))), int(rng.integers(0, 16)), 0, 15)
        for _ in range(shape[1])
    ]
    return Channels(tuple(grids), len(shape))


def build(grids: list[Quantization | Dynamic | int | None], seed: int, spread: float) -> Network:
    """Two convolutions with a shortcut, a pool and a matrix, quantized here and there; weights near those of
    one random network."""
    base, rng = np.random.default_rng(5), np.random.default_rng(seed)
    take = iter(grids)

    def near(*shape: int) -> np.ndarray:
        return (base.standard_normal(shape) * 0.5 + spread * rng.standard_normal(shape)).astype(np.float32)

    s = Sketch(x=(1, 2, 4, 4))

    def q(x: str) -> str:
        grid = next(take)
        grid = per_channel(grid, s.shapes[x]) if isinstance(grid, int) else grid
        return x if grid is None else s.node("Quantizer", [x], s.shapes[x], quantizer=grid)

    x = q("x")
    first = q(s.relu(s.conv(x, near(2, 2, 3, 3), near(2), pads=(1, 1, 1, 1))))
    second = q(s.conv(first, near(2, 2, 3, 3), near(2), pads=(1, 1, 1, 1)))
    total = q(s.relu(s.add(first, second)))
    flat = q(s.reshape(s.max_pool(total, (2, 2), strides=(2, 2)), 1, 8))
    return s.network(q(s.matmul(flat, near(8, 3), near(3))))
