"""Small networks that are made wrong or re-encoded: each holds the operators, attributes and tails that some
kind changes.

Their inputs lie in [-1, 1]. Whatever changes the size of a feature map in `residual` and `unet` leaves a file
that runs.
"""

from collections.abc import Callable

import numpy as np
import onnx

from gate.drafting import Draft

MAKERS: dict[str, Callable[[], onnx.ModelProto]] = {}


def _network(make: Callable[[], onnx.ModelProto]) -> Callable[[], onnx.ModelProto]:
    MAKERS[make.__name__] = make
    return make


def network(name: str) -> onnx.ModelProto:
    return MAKERS[name]()


@_network
def mlp() -> onnx.ModelProto:
    """Gemm both ways round and MatMul with Add; square matrices; a symbolic batch."""
    d = Draft(1)
    h = d.relu(d.gemm("x", 6, 8))
    h = d.relu(d.gemm(h, 8, 8))
    h = d.relu(d.gemm(h, 8, 8, transposed=False))
    return d.model({"x": ["batch", 6]}, [d.linear(h, 8, 4, "y")])


@_network
def maxpool_cnn() -> onnx.ModelProto:
    """Max-pool, average pool with padding, Flatten."""
    d = Draft(2)
    h = d.relu(d.conv("image", (4, 3, 3, 3), pads=[1, 1, 1, 1]))
    h = d.node("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    h = d.relu(d.conv(h, (6, 4, 3, 3), pads=[1, 1, 1, 1]))
    h = d.node("AveragePool", h, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], count_include_pad=0)
    return d.model({"image": [1, 3, 8, 8]}, [d.gemm(d.node("Flatten", h, axis=1), 96, 5, "logits")])


@_network
def residual() -> onnx.ModelProto:
    """BatchNormalization, a residual sum, dilation, stride, a max-pool with ceil_mode, a global pool: any
    size goes through."""
    d = Draft(3)
    first = d.relu(d.norm(d.conv("image", (4, 3, 3, 3), False, pads=[1, 1, 1, 1]), 4))
    h = d.relu(d.norm(d.conv(first, (4, 4, 3, 3), False, pads=[1, 1, 1, 1]), 4))
    h = d.norm(d.conv(h, (4, 4, 3, 3), False, pads=[2, 2, 2, 2], dilations=[2, 2]), 4)
    h = d.relu(d.node("Add", [h, first]))
    h = d.node("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    h = d.relu(d.conv(h, (6, 4, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1]))
    return d.model(
        {"image": [1, 3, 9, 9]}, [d.gemm(d.node("Flatten", d.node("GlobalAveragePool", h)), 6, 5, "logits")]
    )


@_network
def classifier() -> onnx.ModelProto:
    """A normalizer in front, a Softmax behind, a symbolic batch."""
    d = Draft(4)
    h = d.node("Sub", ["image", d.constant("mean", np.array([0.2, -0.1, 0.4]).reshape(1, 3, 1, 1))])
    h = d.node("Div", [h, d.constant("std", np.array([0.5, 0.8, 0.3]).reshape(1, 3, 1, 1))])
    h = d.relu(d.conv(h, (6, 3, 3, 3)))
    h = d.node("MaxPool", d.relu(d.conv(h, (6, 6, 1, 1))), kernel_shape=[2, 2], strides=[1, 1])
    h = d.node("ReduceMean", h, axes=[2, 3], keepdims=0)
    return d.model(
        {"image": ["batch", 3, 6, 6]}, [d.node("Softmax", d.gemm(h, 6, 4, gain=4.0), "probabilities", axis=1)]
    )


@_network
def two_outputs() -> onnx.ModelProto:
    """Two heads of equal shapes, the halves of one Gemm, one with a Sigmoid."""
    d = Draft(5)
    h = d.relu(d.gemm("x", 6, 10))
    h = d.gemm(h, 10, 8)
    d.node("Split", h, ["boxes", "raw"], axis=1)
    return d.model({"x": [1, 6]}, [d.node("Sigmoid", "raw", "scores"), "boxes"])


@_network
def unet() -> onnx.ModelProto:
    """Down and up again: Resize, both kinds, Concat with what was skipped, auto_pad; an image comes out."""
    d = Draft(6)
    skipped = d.relu(d.conv("image", (3, 2, 3, 3), pads=[1, 1, 1, 1]))
    h = d.node("MaxPool", skipped, kernel_shape=[2, 2], strides=[2, 2])
    h = d.relu(d.conv(h, (4, 3, 3, 3), pads=[1, 1, 1, 1]))
    scales = d.constant("twice", [1, 1, 2, 2])
    h = d.node(
        "Resize",
        [h, "", scales],
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    h = d.relu(d.conv(d.node("Concat", [h, skipped], axis=1), (3, 7, 2, 2), auto_pad="SAME_UPPER"))
    scales = d.constant("half_more", [1, 1, 1.5, 1.5])
    h = d.node("Resize", [h, "", scales], mode="linear", coordinate_transformation_mode="half_pixel")
    return d.model({"image": [1, 2, 8, 8]}, [d.conv(h, (2, 3, 1, 1), output="map")])


@_network
def segmenter() -> onnx.ModelProto:
    """ConvTranspose, DepthToSpace, and a Softmax over the channels of a map."""
    d = Draft(7)
    h = d.relu(d.conv("image", (4, 2, 3, 3), pads=[1, 1, 1, 1]))
    h = d.relu(
        d.conv(h, (4, 4, 3, 3), op="ConvTranspose", strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1])
    )
    h = d.node("DepthToSpace", d.conv(h, (12, 4, 1, 1)), blocksize=2, mode="DCR")
    return d.model({"image": [1, 2, 3, 3]}, [d.node("Softmax", h, "classes", axis=1)])


@_network
def mobile() -> onnx.ModelProto:
    """Grouped and depthwise convolutions, Clip, LeakyRelu, PRelu, HardSigmoid, Pad; a Sigmoid behind."""
    d = Draft(8)
    h = d.node("Pad", ["image", d.constant("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64)], mode="constant")
    h = d.conv(h, (4, 4, 3, 3), strides=[2, 2])
    h = d.node("Clip", [h, d.constant("zero", 0.0), d.constant("most", 0.8)])
    h = d.node("LeakyRelu", d.norm(d.conv(h, (4, 1, 3, 3), False, pads=[1, 1, 1, 1], group=4), 4), alpha=0.1)
    h = d.node(
        "PRelu",
        [d.conv(h, (6, 2, 1, 1), group=2), d.constant("slopes", np.linspace(0.1, 0.6, 6).reshape(6, 1, 1))],
    )
    h = d.node("Flatten", d.node("GlobalAveragePool", h))
    h = d.node("HardSigmoid", d.gemm(h, 6, 6, gain=4.0), alpha=0.1, beta=0.4)
    return d.model({"image": [1, 4, 8, 8]}, [d.node("Sigmoid", d.gemm(h, 6, 3, gain=3.0), "scores")])


@_network
def two_inputs() -> onnx.ModelProto:
    """Inputs of equal shapes, a difference, Concat, Gather, Slice and Reshape; any axis goes through."""
    d = Draft(9)
    left, right = d.linear("left", 3, 3), d.linear("right", 3, 3)
    rows = d.node("Gather", [right, d.constant("rows", [2, 0, 1], np.int64)], axis=1)
    h = d.node("Concat", [d.relu(d.node("Sub", [left, right])), rows, "right"], axis=1)
    h = d.relu(d.gemm(d.node("Reshape", [h, d.constant("flat", [1, 27], np.int64)]), 27, 6))
    bounds = [
        d.constant(name, [value], np.int64) for name, value in (("starts", 1), ("ends", 6), ("axes", 1))
    ]
    return d.model(
        {"left": [1, 3, 3], "right": [1, 3, 3]}, [d.gemm(d.node("Slice", [h, *bounds]), 5, 4, "y")]
    )


@_network
def sequence() -> onnx.ModelProto:
    """MatMul and Add of rank 3, Transpose, a maximum over steps."""
    d = Draft(10)
    h = d.relu(d.linear("steps", 5, 5))
    h = d.node("Transpose", h, perm=[0, 2, 1])
    h = d.relu(d.linear(h, 5, 5))
    h = d.node("ReduceMax", h, axes=[1], keepdims=0)
    return d.model({"steps": [1, 5, 5]}, [d.gemm(h, 5, 4, "y")])


@_network
def static_qdq() -> onnx.ModelProto:
    """Static quantization in the QDQ format: per-channel and per-tensor weights, unsigned and signed
    activations."""
    d = Draft(11)
    h = d.quantized("image", 2 / 255, 128)
    h = d.node("Conv", [h, *d.integers((4, 4, 3, 3), 2 / 255, 0)], pads=[1, 1, 1, 1])
    h = d.quantized(d.relu(h), 0.02, 0)
    h = d.quantized(d.node("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2]), 0.02, 0)
    h = d.node("Conv", [h, *d.integers((4, 4, 3, 3), 0.02)])
    h = d.quantized(d.node("Flatten", h), 0.025, 3, np.int8)
    return d.model(
        {"image": [1, 4, 6, 6]}, [d.node("Gemm", [h, *d.integers((4, 4), 0.025, 0)], "logits", transB=1)]
    )
