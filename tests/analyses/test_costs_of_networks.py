"""Φ-costs of real architectures against float64 autograd of the same networks in PyTorch, for every single
parameter."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from scripts import script
from torch import Tensor, nn

import onnxpath
from onnxpath.analyses.prune.costs import path_costs
from onnxpath.engine.session import Device
from onnxpath.records import PathCosts

ROOT = Path(__file__).resolve().parents[2]


class UNet(nn.Module):
    """Two levels, biases everywhere, max-pooling down, transposed convolutions up, concatenated skips."""

    def __init__(self) -> None:
        super().__init__()

        def double(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1),
                nn.ReLU(),
            )

        self.down1, self.down2, self.bottom = double(2, 6), double(6, 8), double(8, 10)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.join2 = nn.ConvTranspose2d(10, 8, 2, 2), double(16, 8)
        self.up1, self.join1 = nn.ConvTranspose2d(8, 6, 3, 2, padding=1, output_padding=1), double(12, 6)
        self.end = nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.up2(self.bottom(self.pool(b)))
        d = self.up1(self.join2(torch.cat([c, b], 1)))
        return self.end(self.join1(torch.cat([d, a], 1)))


def mobile() -> nn.Sequential:
    """Depthwise and grouped convolutions, strides, dilation, an overlapping max-pool with padding, two linear
    layers."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(),
        nn.Conv2d(8, 12, 1, bias=False), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), nn.Conv2d(12, 24, 3, 1, 2, dilation=2, groups=4), nn.ReLU(),
        nn.Conv2d(24, 24, 5, 2, 2, groups=24), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(96, 20), nn.ReLU(), nn.Linear(20, 7, bias=False),
    )  # fmt: skip


def absolute(model: nn.Module) -> nn.Module:
    """The network whose value on ones is the path-norm: |θ|, no ReLU, sums for maxima, in float64."""
    model = deepcopy(model).double()
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, divisor_override=1)
                setattr(module, name, pool)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    return model


def export(model: nn.Module, path: Path, x: Tensor) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), x, path, opset_version=17, dynamo=False)
    return path


def autograd(model: nn.Module, x: Tensor) -> dict[str, np.ndarray]:
    """|θ| ∂‖Φ‖₁/∂|θ| by parameter of an absolute network."""
    model.requires_grad_()
    model(torch.ones_like(x, dtype=torch.float64)).sum().backward()
    return {name: (p * p.grad).detach().numpy() for name, p in model.named_parameters()}


def agree(result: PathCosts, expected: dict[str, np.ndarray]) -> None:
    """The costs of every parameter are those of one of PyTorch's, entry by entry to 1e-5 (matrices may be
    stored transposed)."""
    assert len(result.parameters) == len(expected)
    left = dict(expected)
    for item in result.parameters:
        cost = np.ldexp(item.mantissa.astype(np.float64), result.exponent)
        same = [
            name
            for name, value in left.items()
            if _equal(cost, value) or (cost.ndim == 2 and _equal(cost.T, value))
        ]
        assert same, f"the costs of {item.name} ({item.layer}) are those of no parameter"
        left.pop(same[0])


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("build", "shape"), [(UNet, (1, 2, 40, 24)), (mobile, (1, 3, 64, 64))])
def test_every_parameter(build: Callable[[], nn.Module], shape: tuple, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = build(), torch.zeros(shape)
    path = export(model, tmp_path / "model.onnx", x)
    result = path_costs(onnxpath.load(path), Device("cpu"))
    assert result.relative_error < 1e-3 and all(item.exact for item in result.parameters)
    agree(result, autograd(absolute(model), x))


@pytest.fixture(scope="module")
def architectures() -> ModuleType:
    return script("benchmarks/architectures.py")


def test_every_parameter_of_resnet18(architectures: ModuleType, tmp_path: Path) -> None:
    model, x = architectures.build("resnet18"), torch.zeros(1, 3, 224, 224)
    path = export(model, tmp_path / "model.onnx", x)
    result = path_costs(onnxpath.load(path), Device("cpu"))
    folded = architectures.absolute(model, torch.float64)
    adopt(folded, path)
    agree(result, autograd(folded, x))


def adopt(model: nn.Module, path: Path) -> None:
    """Give an absolute network the file's own numbers: where the exporter folded a bias, cancellation makes
    it round differently."""
    left = [
        np.abs(numpy_helper.to_array(tensor).astype(np.float64))
        for tensor in onnx.load(path).graph.initializer
    ]
    with torch.no_grad():
        for parameter in model.parameters():
            value = parameter.numpy()
            near = min(
                (k for k, v in enumerate(left) if v.shape == value.shape),
                key=lambda k: np.abs(left[k] - value).sum(),
            )
            assert np.allclose(left[near], value, rtol=1e-3, atol=1e-6)
            parameter.copy_(torch.from_numpy(left.pop(near)))
