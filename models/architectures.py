"""The three architectures: a residual CNN with BatchNormalization, a plain max-pool CNN, and an MLP.

All take images [N, 1, 8, 8] and return logits [N, 10]. Between them they use every kind of neuron of the
path-norm model: identity (linear outputs, BatchNormalization, averages, residual sums), ReLU and max-pool. A
convolution that is followed by BatchNormalization has no bias, so that folding the normalization leaves the
path-lifting unchanged.
"""

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """y = BatchNorm(W * x): a convolution that keeps height and width, without bias, then its
    normalization."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)
        )


class Residual(nn.Module):
    """y = relu(norm(conv(relu(norm(conv(x))))) + shortcut(x)); the shortcut is 1x1 where the channel count
    changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = ConvNorm(inputs, outputs)
        self.second = ConvNorm(outputs, outputs)
        self.shortcut = nn.Identity() if inputs == outputs else ConvNorm(inputs, outputs, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


def resnet() -> nn.Sequential:
    """Stem, three residual blocks (16, 32, 32 channels), a 3x3 max-pool of stride 2 in between, global
    average, linear."""
    return nn.Sequential(
        ConvNorm(1, 16),
        nn.ReLU(),
        Residual(16, 16),
        nn.MaxPool2d(3, stride=2, padding=1),
        Residual(16, 32),
        Residual(32, 32),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def maxpool_cnn() -> nn.Sequential:
    """Three 3x3 convolutions with biases (16, 32, 32 channels), a 2x2 max-pool after each of the first two,
    linear."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 10),
    )


def mlp() -> nn.Sequential:
    """64-32-32-10 with biases and ReLU, behind a Flatten so that it reads the same images."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10)
    )
