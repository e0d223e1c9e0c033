"""ResNet-18, ResNet-50 and VGG-16 in plain torch, with deterministic random weights, and their absolute
networks.

Definitions and layer order are the usual ones (He et al. 2016, with the stride in the 3x3 convolution of a
bottleneck; Simonyan & Zisserman 2015, configuration D). Weights are He-normal, biases N(0, 0.05);
BatchNormalization has gamma and variance uniform in [0.5, 1.5], beta and mean N(0, 0.1), so that its folding
changes every layer. "tiny" is for tests.

The absolute network of a model computes F_|θ| in PyTorch: BatchNormalization folded, weights replaced by |w|,
max-pooling by the sum over its window, ReLU dropped. On the all-ones input its outputs sum up to the l1
path-norm.
"""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = shortcut(channels, planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU()
        self.downsample = shortcut(channels, 4 * planes, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        return self.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def shortcut(channels: int, out: int, stride: int) -> nn.Module:
    """The branch beside a block: the identity, or a 1x1 convolution where the shape changes."""
    if stride == 1 and channels == out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class ResNet(nn.Module):
    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, ...],
        width: int = 64,
        classes: int = 1000,
    ):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels, stages = width, []
        for stage, count in enumerate(blocks):
            for k in range(count):
                stages.append(block(channels, width << stage, 2 if stage > 0 and k == 0 else 1))
                channels = (width << stage) * block.expansion
        self.stages = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(self.flatten(self.avgpool(self.stages(x))))


def vgg16() -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for stage in ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)):
        for width in stage:
            layers += [nn.Conv2d(channels, width, 3, 1, 1), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    layers += [nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(512 * 49, 4096), nn.ReLU(), nn.Dropout()]
    layers += [nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers)


BUILDERS: dict[str, Callable[[], nn.Module]] = {
    "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2)),
    "resnet50": lambda: ResNet(Bottleneck, (3, 4, 6, 3)),
    "vgg16": vgg16,
    "tiny": lambda: ResNet(Bottleneck, (1, 1), width=4, classes=5),
}


def input_shape(name: str) -> tuple[int, int, int, int]:
    return (1, 3, 32, 32) if name == "tiny" else (1, 3, 224, 224)


def build(name: str) -> nn.Module:
    """A model in evaluation mode; the same weights in every run."""
    random = torch.Generator().manual_seed(sorted(BUILDERS).index(name))
    with torch.device("meta"):
        model = BUILDERS[name]()
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight.normal_(0.0, (2.0 / module.weight[0].numel()) ** 0.5, generator=random)
                if module.bias is not None:
                    module.bias.normal_(0.0, 0.05, generator=random)
            elif isinstance(module, nn.BatchNorm2d):
                module.num_batches_tracked.zero_()
                for part in (module.weight, module.running_var):
                    part.uniform_(0.5, 1.5, generator=random)
                for part in (module.bias, module.running_mean):
                    part.normal_(0.0, 0.1, generator=random)
    return model


class SumPool(nn.Module):
    """The sum over every window; padding adds nothing."""

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        self.kernel, self.stride, self.padding = pool.kernel_size, pool.stride, pool.padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x, self.kernel, self.stride, self.padding, divisor_override=1)


def absolute(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The absolute network of a model in evaluation mode."""
    return _absolute(deepcopy(model)).to(dtype)


def _absolute(module: nn.Module) -> nn.Module:
    previous: tuple[str, nn.Module] | None = None
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            folded = fuse_conv_bn_eval(previous[1], child)
            setattr(module, previous[0], _positive(folded))
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.MaxPool2d):
            setattr(module, name, SumPool(child))
        elif isinstance(child, (nn.ReLU, nn.Dropout)):
            setattr(module, name, nn.Identity())
        elif isinstance(child, nn.Linear):
            _positive(child)
        elif not isinstance(child, nn.Conv2d):
            _absolute(child)
        previous = (name, child) if isinstance(child, nn.Conv2d) else None
    for child in module.children():
        if isinstance(child, nn.Conv2d):
            _positive(child)
    return module


def _positive(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    return module
