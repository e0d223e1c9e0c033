"""Files as PyTorch's two exporters write them: the network is the module, whichever exporter wrote it."""

from pathlib import Path

import numpy as np
import pytest
import reference
import torch
import torch.nn.functional as F
from torch import nn

import onnxpath


class UNet(nn.Module):
    """Skip connection, BatchNormalization, transposed convolution."""

    shape = (1, 3, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.up, self.last = (
            nn.Conv2d(8, 16, 3, 2, 1),
            nn.ConvTranspose2d(16, 8, 2, 2),
            nn.Conv2d(16, 4, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = F.relu(self.norm(self.first(x)))
        return self.last(torch.cat([self.up(F.relu(self.down(skip))), skip], 1))


class Depthwise(nn.Module):
    """Depthwise convolution, adaptive average pooling, a linear head behind Flatten and Dropout."""

    shape = (1, 3, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(),
            nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Sequence(nn.Module):
    """Linear layers on a sequence, a transpose, a one-dimensional convolution and a mean."""

    shape = (1, 7, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.conv = (
            nn.Linear(16, 32),
            nn.Linear(32, 4),
            nn.Conv1d(4, 4, 3, padding=1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.second(F.relu(self.first(x))).transpose(1, 2)).mean(-1)


class Upscaler(nn.Module):
    """Max-pooling with ceil_mode, bilinear interpolation, pixel shuffle."""

    shape = (1, 3, 14, 14)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = F.max_pool2d(F.relu(self.first(x)), 3, 2, 1, ceil_mode=True)
        return F.pixel_shuffle(
            self.second(F.interpolate(pooled, scale_factor=2, mode="bilinear", align_corners=False)), 2
        )


def build(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    module = kind()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
    return module.eval()


def export(module: nn.Module, path: Path, exporter: str) -> Path:
    example = (torch.zeros(module.shape),)
    if exporter == "torchscript":
        torch.onnx.export(module, example, path, dynamo=False, opset_version=17)
    else:
        dynamic = ({0: torch.export.Dim("batch")},) if exporter == "dynamo, dynamic batch" else None
        torch.onnx.export(module, example, path, dynamo=True, dynamic_shapes=dynamic, verbose=False)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo", "dynamo, dynamic batch"])
@pytest.mark.parametrize("kind", [UNet, Depthwise, Sequence, Upscaler])
def test_the_network_is_the_module(tmp_path: Path, kind: type[nn.Module], exporter: str) -> None:
    module = build(kind)
    network = onnxpath.load(export(module, tmp_path / "model.onnx", exporter))
    assert network.batched and network.shapes[network.inputs[0]] == kind.shape
    x = torch.randn(kind.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = module.double()(x.double()).numpy()
    (found,) = reference.outputs(
        network, reference.evaluate(network, {network.inputs[0]: x.double().numpy()})
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
    result = onnxpath.path_metric(export(build(kind), tmp_path / "other.onnx", "torchscript"), network)
    assert result.relative < 1e-6
