"""What onnxruntime.quantization makes of the networks of the literature: matched with the float twin, and no
input violates the bound."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from examples import cases
from quantized_files import calibrated
from torch import nn

import onnxpath
from onnxpath.model.domain import Domain

logging.getLogger().setLevel(logging.ERROR)
RNG = np.random.default_rng(21)


def layer(i: int, o: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(o)
    )


class Basic(nn.Module):
    """A block of ResNet-18."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = layer(i, o, 3, stride), layer(o, o)
        self.shortcut = nn.Identity() if i == o and stride == 1 else layer(i, o, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def resnet18(width: int = 4) -> nn.Module:
    blocks = [
        Basic(width << max(0, k - 1) if not j else width << k, width << k, 2 if k and not j else 1)
        for k in range(4)
        for j in range(2)
    ]
    stem = [layer(3, width, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, 10))


class Inverted(nn.Module):
    """An inverted residual block of MobileNet-V2."""

    def __init__(self, i: int, o: int, stride: int, activation: type[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            layer(i, 3 * i, 1),
            activation(),
            layer(3 * i, 3 * i, 3, stride, 3 * i),
            activation(),
            layer(3 * i, o, 1),
        )
        self.residual = stride == 1 and i == o

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x) if self.residual else self.inner(x)


def mobilenet(activation: type[nn.Module]) -> nn.Module:
    blocks = [Inverted(4, 4, 1, activation), Inverted(4, 6, 2, activation), Inverted(6, 6, 1, activation)]
    head = [
        layer(6, 12, 1),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(12, 5),
    ]
    return nn.Sequential(layer(3, 4, 3, 2), activation(), *blocks, *head)


def double(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(layer(i, o), nn.ReLU(), layer(o, o), nn.ReLU())


class Unet(nn.Module):
    """Two levels, with a transposed convolution or an interpolation on the way up."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.first, self.second, self.inner = double(3, 4), double(4, 8), double(8, 12)
        transposed = up == "transposed"
        self.up = [nn.ConvTranspose2d(12, 8, 2, 2), nn.ConvTranspose2d(8, 4, 2, 2)] if transposed else [
            nn.Sequential(nn.Upsample(scale_factor=2, mode=up), nn.Conv2d(i, o, 1)) for i,
            o in ((12, 8), (8, 4))
        ]  # fmt: skip
        self.ups = nn.ModuleList(self.up)
        self.third, self.fourth, self.end = double(16, 8), double(8, 4), nn.Conv2d(4, 2, 1)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.first(x)
        b = self.second(self.pool(a))
        b = self.third(torch.cat([b, self.up[0](self.inner(self.pool(b)))], 1))
        return self.end(self.fourth(torch.cat([a, self.up[1](b)], 1)))


NETWORKS = {
    "resnet18": (resnet18, 32), "mobilenet": (lambda: mobilenet(nn.ReLU), 16),
    "mobilenet with ReLU6": (lambda: mobilenet(nn.ReLU6), 16),
    "unet": (lambda: Unet("transposed"), 12), "unet with nearest neighbours": (lambda: Unet("nearest"), 12),
    "unet with bilinear": (lambda: Unet("bilinear"), 12),
}  # fmt: skip


@pytest.fixture(scope="module")
def exported() -> dict[str, onnx.ModelProto]:
    """The networks with random weights and statistics, as files."""
    found = {}
    for name, (build, size) in NETWORKS.items():
        torch.manual_seed(7)
        net = build()
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                for part, low, high in (
                    (module.weight, 0.6, 1.3),
                    (module.running_var, 0.05, 0.3),
                    (module.bias, -0.3, 0.3),
                ):
                    nn.init.uniform_(part, low, high)
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                net.eval(), (torch.zeros(1, 3, size, size),), file, dynamo=False, opset_version=17
            )
        found[name] = onnx.load_from_string(file.getvalue())
    return found


def run(file: str, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate(
        [session.run(None, {name: x[k : k + 1]})[0].reshape(1, -1) for k in range(len(x))]
    ).astype(np.float64)


def files(source: onnx.ModelProto, x: np.ndarray, folder: Path, how: str) -> tuple[str, str]:
    """The float file and the quantized one."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = folder / "source.onnx"
    onnx.save(source, path)
    # weights of 7 bits: no processor's kernels saturate, and what ONNX Runtime computes is what the file
    # means
    options = {
        "QDQ": {"AddQDQPairToWeight": True}, "QDQ per tensor": {"channel": False, "WeightSymmetric": False},
        "QDQ uint16": {"wide": True},
        "QDQ int8 symmetric": {"signed": True, "ActivationSymmetric": True},
        "QDQ pairs of their own": {"DedicatedQDQPair": True},
        "QOperator per tensor": {"operator": True, "channel": False},
        "QOperator int8": {"operator": True, "signed": True},
    }  # fmt: skip
    (folder / "out").mkdir()
    if how in options:
        return str(path), calibrated(source, x, folder / "out", reduce=True, **options[how])
    kind = (
        QuantType.QUInt8 if "uint8" in how else QuantType.QInt8
    )  # ConvInteger is for weights without a sign
    quantize_dynamic(path, folder / "out" / "dynamic.onnx", weight_type=kind, reduce_range="reduced" in how)
    return str(path), str(folder / "out" / "dynamic.onnx")


CASES = [
    ("resnet18", "QDQ"), ("resnet18", "QOperator per tensor"), ("mobilenet", "dynamic uint8 reduced"),
    ("mobilenet with ReLU6", "QDQ uint16"),
    ("mobilenet with ReLU6", "QOperator int8"), ("unet", "QDQ per tensor"), ("unet", "dynamic uint8"),
    ("unet with nearest neighbours", "QDQ pairs of their own"), ("unet with bilinear", "QDQ int8 symmetric"),
]  # fmt: skip


# every way of quantizing in every run, and every network
KEPT = [
    ("resnet18", "QOperator per tensor"), ("mobilenet", "dynamic uint8 reduced"),
    ("mobilenet with ReLU6", "QDQ uint16"), ("unet", "QDQ per tensor"),
    ("unet with nearest neighbours", "QDQ pairs of their own"), ("unet with bilinear", "QDQ int8 symmetric"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "how"), cases(CASES, lambda *case: case in KEPT))
def test_no_input_violates_the_bound_of_a_quantized_network(
    name: str, how: str, exported: dict, tmp_path: Path
) -> None:
    source = exported[name]
    shape = [d.dim_value for d in source.graph.input[0].type.tensor_type.shape.dim]
    inside = RNG.random((3, *shape[1:])).astype(np.float32)
    float_file, file = files(source, inside, tmp_path, how)
    noise = (RNG.random((3, *shape[1:])) * 1.6 - 0.3).astype(np.float32)  # beyond what was calibrated
    points = np.concatenate([inside, noise])
    difference = np.abs(run(float_file, points) - run(file, points))
    assert difference.max() > 0
    each = onnxpath.bound(float_file, file, Domain.samples(points), search=0)
    assert [item.certified.value >= difference[item.index].max() for item in each.inputs] == [True] * len(
        points
    )
    assert (difference.max(0) <= np.concatenate([output.bounds for output in each.outputs])).all()
    assert each.largest.files == pytest.approx(difference.max(), rel=1e-3)
    # adversarial search over everything between
    found = onnxpath.bound(float_file, file, Domain.box(-0.3, 1.3), search=2)
    assert 0 < found.largest.found <= found.largest.certified.value
    assert found.largest.files is not None and found.largest.files <= found.largest.certified.value
    assert (difference.max(0) <= np.concatenate([output.bounds for output in found.outputs])).all()
