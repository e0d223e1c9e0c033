"""Networks of the literature, written by hand."""

import numpy as np

from onnxpath.model.network import Network
from oracle.sketch import Sketch


def resnet18(width: int = 2, size: int = 32, classes: int = 10) -> Network:
    """ResNet-18 with few channels: 7x7 stem, 3x3 max-pool, four stages of two basic blocks, global average,
    linear."""
    s = Sketch(x=(1, 3, size, size))

    def conv(x: str, out: int, kernel: int, stride: int) -> str:
        n, pad = s.shapes[x][1], kernel // 2
        return s.conv(
            x,
            np.full((out, n, kernel, kernel), 0.1, np.float32),
            np.zeros(out, np.float32),
            strides=(stride,) * 2,
            pads=(pad,) * 4,
        )

    x = s.max_pool(s.relu(conv("x", width, 7, 2)), (3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    for stage in range(4):
        for block in range(2):
            out, stride = width * 2**stage, 2 if stage and not block else 1
            y = conv(s.relu(conv(x, out, 3, stride)), out, 3, 1)
            shortcut = x if s.shapes[x][1] == out else conv(x, out, 1, stride)
            x = s.relu(s.add(y, shortcut))
    area = int(np.prod(s.shapes[x][2:]))
    x = s.scale(s.reduce("ReduceSum", x, (2, 3)), np.full((1, 1, 1, 1), 1 / area, np.float32), fixed=True)
    return s.network(
        s.matmul(s.flatten(x), np.ones((8 * width, classes), np.float32), np.zeros(classes, np.float32))
    )
