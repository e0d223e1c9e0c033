"""The networks that are pruned, their export, and the random rescaling of Appendix D.

For a pair conv1, bn1, conv2 of a residual block and λ_c uniform in {1, 128, 4096} for every channel c in
between: row c of conv1, the running mean and the bias of bn1 are multiplied by λ_c, column c of conv2 is
divided by it. These are powers of two: the function stays what it is, bit by bit (as long as nothing over- or
underflows).
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks import architectures
from benchmarks.paper.configuration import FACTORS, Settings
from models import training

BLOCKS = {"small": (1, 1, 1), "resnet18": (2, 2, 2, 2)}
_LARGE = 64  # images of at least this size keep the 7x7 convolution of the stem


def build(settings: Settings, channels: int, classes: int, seed: int) -> nn.Module:
    """A new network; `seed` decides every weight and no other random number changes. Convolutions are
    He-normal (fan out)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architectures.ResNet(
            architectures.BasicBlock, BLOCKS[settings.network], settings.width, classes
        )
        kernel, padding = (7, 3) if settings.size >= _LARGE else (3, 1)
        network.conv1 = nn.Conv2d(channels, settings.width, kernel, 2, padding, bias=False)
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def prunable(network: nn.Module) -> dict[str, torch.Tensor]:
    """What is pruned: the weights of convolutions and of the linear layer, by parameter name."""
    kinds = (nn.Conv2d, nn.Linear)
    return {
        f"{name}.weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, kinds)
    }


def export(network: nn.Module, path: Path, image: tuple[int, int, int]) -> None:
    """Write the network as ONNX. BatchNormalization stays apart and initializers carry the names of
    parameters: weights in the file are the weights of the network."""
    proto = training.to_onnx(deepcopy(network).cpu(), keep_normalization=True, image=image)
    path.write_bytes(proto.SerializeToString())


@torch.no_grad()
def rescaled(network: nn.Module, seed: int) -> nn.Module:
    """A copy after the random rescaling of Appendix D."""
    copy, random = deepcopy(network), np.random.default_rng(seed)
    for block in copy.modules():
        if isinstance(block, architectures.BasicBlock):
            factor = torch.from_numpy(random.choice(FACTORS, block.conv1.out_channels).astype(np.float32)).to(
                block.conv1.weight.device
            )
            block.conv1.weight.mul_(factor[:, None, None, None])
            block.bn1.running_mean.mul_(factor)  # type: ignore[operator]
            block.bn1.bias.mul_(factor)
            block.conv2.weight.div_(factor[None, :, None, None])
    return copy
