"""The extension activations in float64 PyTorch, written down apart from the package: the oracle's functions
and slopes by autograd."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Clip": lambda x, low, high: torch.clamp(x, low, high),
    "Abs": torch.abs,
    "Softshrink": lambda x, threshold: F.softshrink(x, threshold),
    "HardSwish": lambda x, alpha, beta: x * torch.clamp(alpha * x + beta, 0, 1),
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Softsign": F.softsign,
    "Softplus": lambda x, threshold: torch.where(x > threshold, x, torch.logaddexp(x, torch.zeros_like(x))),
    "Elu": lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0))),
    "Celu": lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(torch.clamp(x, max=0) / alpha)),
    "Sin": torch.sin,
    "Cos": torch.cos,
    "Atan": torch.atan,
    "Erf": torch.erf,
    "Gelu": lambda x, scale: x * torch.special.ndtr(scale * x),
    "GeluTanh": lambda x, scale, cubic: (
        0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (scale * x + cubic * (scale * x) ** 3)))
    ),
    "Silu": lambda x, scale: x * torch.sigmoid(scale * x),
    "Mish": F.mish,
}

SAMPLES: dict[str, list[tuple[float, ...]]] = {
    "Clip": [
        (0.0, 6.0),
        (-1.0, 1.0),
        (-math.inf, 2.0),
        (-0.5, math.inf),
        (1.0, 3.0),
        (-3.0, -1.0),
        (2.0, 2.0),
    ],
    "Softshrink": [(0.5,), (0.0,)],
    "HardSwish": [(1 / 6, 0.5), (0.2, 0.5), (1.0, 0.0), (0.5, 2.0), (0.3, 1.5)],
    "Softplus": [(math.inf,), (20.0,), (3.0,)],
    "Elu": [(1.0,), (0.3,), (1.6732632,), (0.0,), (-0.5,), (4.0,)],
    "Celu": [(1.0,), (0.3,), (5.0,)],
    "Gelu": [(1.0,), (0.99988,), (2.5,)],
    "GeluTanh": [(1.0, 0.044715), (0.99995, 0.0447), (1.0, 0.04475), (3.0, 0.044715)],
    "Silu": [(1.0,), (1.702,), (0.25,)],
}


def samples(name: str) -> list[tuple[float, ...]]:
    """Parameters to test a function with."""
    return SAMPLES.get(name, [()])
