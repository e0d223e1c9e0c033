"""PyTorch modules with activations outside the paper's model, and what extended mode makes of them:
[(function, parameters), ...]."""

from collections.abc import Callable
from math import inf, sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Formula(nn.Module):
    """A module that is one formula."""

    def __init__(self, f: Callable[[Tensor], Tensor]):
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def _gelu_tanh(x: Tensor, cubic: float = 0.044715) -> Tensor:
    return x * 0.5 * (1 + torch.tanh(0.7978845608028654 * (x + cubic * torch.pow(x, 3))))


GELU, GELU_TANH, HARD_SWISH = ("Gelu", (1.0,)), ("GeluTanh", (1.0, 0.044715)), ("HardSwish", (1 / 6, 0.5))
SILU, MISH = ("Silu", (1.0,)), ("Mish", ())
MODULES: dict[str, tuple[Callable[[], nn.Module], list]] = {
    "LeakyReLU": (lambda: nn.LeakyReLU(0.1), ["PRelu"]),
    "PReLU": (lambda: nn.PReLU(4), ["PRelu"]),
    "ReLU6": (nn.ReLU6, [("Clip", (0.0, 6.0))]),
    "Hardtanh": (lambda: nn.Hardtanh(-2, 3), [("Clip", (-2.0, 3.0))]),
    "clamp below": (lambda: Formula(lambda x: torch.clamp(x, min=-1)), [("Clip", (-1.0, inf))]),
    "clamp above": (lambda: Formula(lambda x: torch.clamp(x, max=1)), [("Clip", (-inf, 1.0))]),
    "minimum of maximum": (
        lambda: Formula(lambda x: torch.minimum(torch.maximum(x, torch.tensor(-1.0)), torch.tensor(2.0))),
        [("Clip", (-1.0, 2.0))],
    ),
    "ReLU, then clamp": (lambda: nn.Sequential(nn.ReLU(), nn.Hardtanh(-1, 4)), [("Clip", (0.0, 4.0))]),
    "Tanh": (nn.Tanh, [("Tanh", ())]),
    "Sigmoid": (nn.Sigmoid, [("Sigmoid", ())]),
    "Hardsigmoid": (nn.Hardsigmoid, [("Clip", (0.0, 1.0))]),
    "ELU": (lambda: nn.ELU(0.5), [("Elu", (0.5,))]),
    "CELU": (lambda: nn.CELU(0.5), [("Celu", (0.5,))]),
    "SELU": (nn.SELU, ["Elu"]),
    "Softplus": (nn.Softplus, ["Softplus"]),
    "Softplus(2)": (lambda: nn.Softplus(2.0), ["Softplus"]),
    "log(1 + exp)": (lambda: Formula(lambda x: torch.log(1 + torch.exp(x))), [("Softplus", (inf,))]),
    "LogSigmoid": (nn.LogSigmoid, [("Softplus", (inf,))]),
    "Softsign": (nn.Softsign, [("Softsign", ())]),
    "Tanhshrink": (nn.Tanhshrink, [("Tanh", ())]),
    "GELU": (nn.GELU, [GELU]),
    "GELU by hand": (lambda: Formula(lambda x: 0.5 * x * (1 + torch.erf(x / sqrt(2)))), [GELU]),
    "GELU by hand, factors": (lambda: Formula(lambda x: (torch.erf(x * sqrt(0.5)) + 1) * (x / 2)), [GELU]),
    "GELU, tanh": (lambda: nn.GELU("tanh"), [GELU_TANH]),
    "GELU, tanh by hand": (lambda: Formula(_gelu_tanh), [GELU_TANH]),
    "GELU, tanh, products": (
        lambda: Formula(lambda x: 0.5 * x * (1 + torch.tanh(0.7978845608 * x * (1 + 0.044715 * x * x)))),
        [GELU_TANH],
    ),
    "quick GELU": (lambda: Formula(lambda x: x * torch.sigmoid(1.702 * x)), [("Silu", (1.702,))]),
    "Hardswish": (nn.Hardswish, [HARD_SWISH]),
    "hard swish by ReLU6": (lambda: Formula(lambda x: x * F.relu6(x + 3) / 6), [HARD_SWISH]),
    "hard swish by clamp": (lambda: Formula(lambda x: x * (torch.clamp(x + 3, 0, 6) / 6)), [HARD_SWISH]),
    "SiLU": (nn.SiLU, [SILU]),
    "SiLU by exp": (lambda: Formula(lambda x: x / (1 + torch.exp(-x))), [SILU]),
    "Mish": (nn.Mish, [MISH]),
    "Mish by log": (lambda: Formula(lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))), [MISH]),
    "abs": (lambda: Formula(torch.abs), [("Abs", ())]),
    "sin": (lambda: Formula(torch.sin), [("Sin", ())]),
    "cos": (lambda: Formula(torch.cos), [("Cos", ())]),
    "atan": (lambda: Formula(torch.atan), [("Atan", ())]),
    "erf": (lambda: Formula(torch.erf), [("Erf", ())]),
}  # fmt: skip


class Net(nn.Module):
    """A convolution, the activation, a skip connection and a linear layer: the activation is neither first
    nor last."""

    def __init__(self, activation: nn.Module):
        super().__init__()
        torch.manual_seed(3)
        self.conv, self.act, self.fc = nn.Conv2d(3, 4, 3, padding=1), activation, nn.Linear(4 * 25, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.fc(torch.flatten(y + self.act(y), 1))
