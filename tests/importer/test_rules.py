"""Every lowering rule against ONNX Runtime: one node, random inputs, and the canonical network's value must
be the same."""

import numpy as np
import pytest
from importer.one_node import agree, build, case, const, floats, ints, statistics

from onnxpath.importer import load
from tests.reference import evaluate, outputs, path_norm

CONV = [
    case("Conv", [(1, 3, 8), const(4, 3, 3), const(4)], pads=[1, 2], strides=[2], dilations=[2]),
    case("Conv", [(1, 4, 7, 9), const(6, 2, 3, 2), const(6)], group=2, pads=[0, 1, 2, 1], strides=[3, 2]),
    case("Conv", [(2, 4, 7, 9), const(4, 1, 3, 3)], group=4, kernel_shape=[3, 3], dilations=[2, 1]),
    case("Conv", [(1, 2, 5, 6, 4), const(3, 2, 2, 3, 1), const(3)], pads=[1, 1, 0, 0, 1, 0],
    strides=[2, 1, 3]),
    case("Conv", [(1, 2, 7, 7), const(3, 2, 2, 2)], strides=[4, 4], pads=[0, 0, 1, 1]),
    *(
        case("Conv", [(1, 2, h, w), const(3, 2, k, 2)], opset=11, auto_pad=mode, strides=[s, 1])
        for mode in ("VALID", "SAME_UPPER", "SAME_LOWER", "NOTSET") for h, w, k,
        s in ((7, 8, 3, 2), (8, 5, 2, 3), (6, 5, 1, 2),
        (6, 6, 4, 1))
    ),
    case("Conv", [(1, 2, 6, 5), const(3, 2, 1, 1)], auto_pad="SAME_UPPER", strides=[3, 3]),
    case("ConvTranspose", [(1, 3, 5), const(3, 2, 3), const(2)], strides=[2], pads=[1, 0],
    output_padding=[1]),
    case("ConvTranspose", [(1, 4, 4, 5), const(4, 3, 3, 2), const(6)], group=2, strides=[2, 3],
    dilations=[2, 1], pads=[1, 0, 2, 1]),
    case("ConvTranspose", [(2, 2, 3, 4, 2), const(2, 2, 2, 2, 3)], strides=[2, 1, 2],
    output_padding=[1, 0, 1]),
    *(
        case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 3, 2)], opset=11, auto_pad=mode, strides=[2, 3])
        for mode in ("VALID", "SAME_UPPER", "SAME_LOWER")
    ),
    *(
        case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 4, 4), const(3)], auto_pad=mode, strides=[2, 2],
        output_shape=[7, 11])
        for mode in ("NOTSET", "SAME_UPPER", "SAME_LOWER")
    ),
    case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 3, 3)], strides=[2, 2], output_shape=[8, 10],
    output_padding=[1, 1]),
]  # fmt: skip

MATMUL = [
    *(
        case("Gemm", [(2, 3) if not ta else (3, 2), const(3, 4) if not tb else const(4, 3), c], transA=ta,
        transB=tb, alpha=0.5,
            beta=-2.0)
        for ta in (0, 1) for tb in (0, 1) for c in (const(4), const(1, 4), const(2, 1), const(2, 4), const(),
        const(1, 1))
    ),
    case("Gemm", [(1, 3), const(3, 4)], opset=11),
    case("Gemm", [(1, 3), const(5, 3), const(5)], opset=7, transB=1),
    case("Gemm", [(1, 3), const(3, 4), (1, 4)], alpha=3.0, beta=0.5),
    case("Gemm", [(2, 3), const(3, 4), (4,)]),
    case("Gemm", [const(2, 3), (3, 4), const(4)], alpha=2.0),
    case("Gemm", [const(3, 2), (4, 3), const(2, 1)], transA=1, transB=1),
    *(case("MatMul", [x, const(*w)]) for x, w in (
        ((2, 3), (3, 4)), ((1, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((1, 2, 5, 3), (2, 3, 4)),
        ((5, 3), (2, 3, 4)), ((2, 3),
        (1, 3, 4)),
        ((2, 3), (3,)), ((1, 5, 3), (3,)), ((3,), (3, 4)), ((3,), (3,)), ((3,), (2, 3, 4)),
        ((2, 1, 5, 3), (4, 3, 2)), ((2, 5, 3),
        (1, 1, 3, 4)),
    )),
    *(case("MatMul", [const(*w), x]) for w, x in (
        ((4, 3), (3, 2)), ((4, 3), (1, 3, 5)), ((2, 4, 3), (1, 2, 3, 5)), ((3,), (3, 2)), ((4, 3), (3,)),
        ((3,), (1, 2, 3, 5)), ((3,),
        (3,)),
        ((2, 4, 3), (3, 5)), ((2, 4, 3), (3,)),
    )),
]  # fmt: skip

ARITHMETIC = [
    *(case(op, operands) for op in ("Add", "Sub", "Mul", "Div") for operands in (
        [(1, 3, 4), const(4)], [(1, 3, 4), const(3, 1)], [(1, 3, 4), const()], [(1, 3, 1), const(2, 1, 4)],
        [(3,), const(2, 1)],
        [(1, 3, 4), const(1, 1, 1, 4)],
    )),
    *(case(op, operands) for op in ("Add", "Sub", "Mul") for operands in (
        [const(4), (1, 3, 4)], [const(2, 3, 1), (1, 4)], [const(), (2, 3)],
    )),
    *(case(op, operands) for op in ("Add", "Sub") for operands in (
        [(1, 3, 4), (1, 3, 4)], [(1, 3, 4), (4,)], [(1, 3, 1), (1, 1, 4)], [(3, 1), (2, 1, 4)],
    )),
    *(case(op, operands) for op in ("Sum", "Mean") for operands in (
        [(1, 3)], [(1, 3), (1, 3), (1, 3)], [(1, 3), const(2, 3), (1, 1)],
        [const(3), (1, 3), const(1, 3), (2, 1)], [const(2, 1),
        (1, 3), const(2, 3)],
    )),
    case("Add", [(1, 3), "x0"]), case("Sub", [(1, 3), "x0"]),
    case("Neg", [(2, 3)]), case("Pow", [(2, 3), floats(1)]), case("Add", [(1, 2), const(2)], opset=7),
]  # fmt: skip

ACTIVATION = [
    case("Relu", [(2, 3)]), case("Identity", [(2, 3)]), case("Dropout", [(2, 3)], opset=10, ratio=0.3),
    case("Dropout", [(2, 3), np.float32(0.5)]),
    case("Dropout", [(2, 3), np.float32(0.5), np.array(False)], results=2, used=(0,)),
    case("Dropout", [(2, 3)], opset=7, results=2, used=(0,)),
    case("Clip", [(2, 3), np.float32(0)]), case("Clip", [(2, 3), np.float32(0), np.float32(3.4028235e38)]),
    case("Clip", [(2, 3)]),
    case("Clip", [(2, 3)], opset=7, min=0.0),
    case("Clip", [(2, 3)], opset=10, min=0.0, max=3.4028234663852886e38),
    case("LeakyRelu", [(2, 3)], alpha=0.0), case("PRelu", [(1, 3, 4), np.zeros((3, 1), np.float32)]),
    case("PRelu", [(1, 3, 4), np.ones((3, 1), np.float32)]), case("ThresholdedRelu", [(2, 3)], alpha=0.0),
    case("Max", [(2, 3), np.float32(0)]), case("Max", [np.zeros((2, 1), np.float32), (1, 3)]),
    case("Max", [(2, 3), (1, 3), (2, 1)]),
    case("Max", [(2, 3), "x0"]), case("Max", [(2, 3)]), case("Max", [(2, 3), floats(0, 0, 0), (3,)]),
    case("Cast", [(2, 3)], to=1), case("CastLike", [(2, 3), const(1)], opset=15),
]  # fmt: skip


NORMALIZATION = [
    case("BatchNormalization", [shape, *statistics(shape[1])], opset=opset, epsilon=1e-3)
    for shape in ((2, 3), (1, 3, 5), (1, 3, 5, 4), (1, 3, 2, 2, 2)) for opset in (7, 9, 14, 15)
]  # fmt: skip

POOL = [
    *(
        case(op, [shape], kernel_shape=k, strides=s, pads=p, ceil_mode=ceil, opset=opset)
        for op in ("MaxPool", "AveragePool") for opset in (10, 11, 19) for ceil in (0, 1)
        for shape, k, s, p in (
            ((1, 2, 7), [3], [2], [1, 0]), ((1, 2, 8), [2], [3], [1, 1]), ((1, 2, 5), [3], [3], [0, 2]),
            ((1, 2, 7, 8), [3, 2], [2, 3], [1, 0, 2, 1]), ((2, 1, 6, 6), [3, 3], [2, 2], [0, 0, 0, 0]),
            ((1, 1, 6, 6), [3, 3], [2, 2], [1, 1, 1, 1]),
            ((1, 2, 4, 5, 6), [2, 3, 2], [2, 2, 3], [1, 0, 1, 0, 2, 1]),
            ((1, 1, 4, 4), [1, 1], [1, 1], [0, 0, 0, 0]),
            ((1, 1, 4, 4), [1, 2], [3, 2], [0, 0, 0, 1]),
        )
    ),
    *(
        case("AveragePool", [shape], kernel_shape=k, strides=s, pads=p, count_include_pad=1, opset=opset,
        **ceil)
        for opset in (7, 10, 11, 19) for ceil in (({}, {"ceil_mode": 1}) if opset > 7 else ({},))
        for shape, k, s, p in (
            ((1, 2, 7), [3], [2], [1, 0]), ((1, 2, 8), [2], [3], [1, 1]),
            ((1, 1, 7, 8), [3, 2], [2, 3], [1, 0, 2, 1]),
            ((1, 1, 6, 6), [3, 3], [2, 2], [1, 1, 1, 1]), ((1, 1, 6, 6), [3, 3], [2, 2], [0, 0, 0, 0]),
            ((1, 2, 4, 5, 6), [2, 3, 2], [2, 2, 3], [1, 0, 1, 0, 2, 1]),
        )
    ),
    *(
        case("MaxPool", [(1, 2, 9, 8)], kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1], pads=p,
        ceil_mode=ceil, opset=12)
        for p in ([0, 0, 0, 0], [1, 1, 2, 0]) for ceil in (0, 1)
    ),
    *(
        case("AveragePool", [(1, 2, 9, 8)], kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1], pads=p,
        ceil_mode=ceil, opset=19,
            count_include_pad=c)
        for p in ([0, 0, 0, 0], [1, 1, 2, 0]) for ceil in (0, 1) for c in (0, 1)
    ),
    *(
        case(op, [(1, 2, h, 5)], kernel_shape=[k, 2], strides=[s, 1], auto_pad=mode, opset=10, **more)
        for op, more in (("MaxPool", {}), ("AveragePool", {}), ("AveragePool", {"count_include_pad": 1}))
        for mode in ("VALID", "SAME_UPPER", "SAME_LOWER") for h, k, s in ((7, 3, 2), (8, 2, 3), (6, 4, 1))
    ),
    case("MaxPool", [(1, 2, 4, 4)], kernel_shape=[2, 2], opset=8, results=2, used=(0,)),
    case("MaxPool", [(1, 2, 5, 5)], kernel_shape=[2, 2], opset=8, storage_order=1),
    *(case(op, [shape]) for op in ("GlobalMaxPool", "GlobalAveragePool") for shape in ((1, 2, 5),
    (2, 3, 4, 5), (1, 2, 2, 3, 4))),
]  # fmt: skip

REDUCE = [
    *(
        case(op, [(1, 3, 4, 5)], axes=list(axes), keepdims=keep, opset=11)
        for op in ("ReduceMax", "ReduceMean", "ReduceSum") for axes in ((2, 3), (-1,), (1,), (-1, -2),
        (0, 3)) for keep in (0, 1)
    ),
    *(case(op, [(1, 3, 4), ints(-1)], keepdims=keep, opset=18) for op in ("ReduceMax", "ReduceMean",
    "ReduceSum") for keep in (0, 1)),
    case("ReduceSum", [(2, 3), np.zeros(0, np.int64)], noop_with_empty_axes=1),
    case("ReduceSum", [(2, 3)], noop_with_empty_axes=1),
    case("ReduceSum", [(2, 3)]), case("ReduceMean", [(2, 3)], keepdims=0),
    case("ReduceMax", [(2, 3)], keepdims=0, opset=20),
]  # fmt: skip

MOVEMENT = [
    *(case("Concat", operands, axis=axis) for axis in (1, -1) for operands in (
        [(1, 3, 4), (1, 3, 4)], [(1, 3, 4), const(1, 3, 4), (1, 3, 4)],
        [const(1, 3, 4), (1, 3, 4), const(1, 3, 4), const(1, 3, 4)],
        [(1, 3, 4), np.zeros((1, 3, 4), np.float32)], [(1, 3, 4)],
    )),
    case("Concat", [(1, 3), (1, 2), const(1, 4)], axis=1), case("Concat", [(1, 3), "x0"], axis=0),
    case("Split", [(1, 6, 2)], opset=11, axis=1, results=3),
    case("Split", [(1, 6, 2)], opset=11, axis=-2, split=[1, 3, 2], results=3),
    case("Split", [(1, 6, 2), ints(4, 2)], axis=1, results=2), case("Split", [(4, 2)], results=2),
    case("Split", [(1, 7)], opset=18, axis=1, num_outputs=3, results=3),
    case("Slice", [(1, 5, 6)], opset=9, starts=[1, -3], ends=[2**31 - 1, -1], axes=[1, 2]),
    case("Slice", [(4, 5)], opset=9, starts=[0, 1], ends=[9, 3]),
    *(case("Slice", [(1, 5, 6), ints(s), ints(e), ints(a), ints(st)]) for s, e, a, st in (
        (1, 4, 1, 2), (-1, -99, 2, -1), (4, 0, 1, -2), (0, 2**63 - 1, 2, 3), (-99, 99, -1, 1), (2, 1, 1, -1),
        (-1, -(2**63), 1, -1),
    )),
    case("Slice", [(3, 5), ints(1), ints(3)]),
    case("Slice", [(3, 5), ints(2, -1), ints(0, 0), None, ints(-1, -2)]),
    *(case("Gather", [(1, 4, 5), i], axis=a) for a in (1, -1) for i in (
        np.array(2), np.array(-1), ints(0, 2), ints(3, 1, 1), ints(-1, 0), np.array([[0, 1], [3, 2]]),
        ints(1, 2, 3), np.array([[1]],
            np.int32), ints(2, 2),
    )),
    *(case("Tile", [(1, 2, 3), ints(*r)]) for r in ((1, 2, 3), (2, 1, 1), (1, 1, 1), (3, 2, 2))),
    *(case("Expand", [(1, 3, 1), ints(*s)]) for s in ((1, 3, 4), (2, 1, 1, 1), (3, 1), (1,), (2, 1, 3, 5))),
    *(case("Reshape", [(1, 4, 6), ints(*s)], opset=o) for s in ((0, -1), (1, 2, 2, 6), (-1,), (0, 0, 2, 3),
    (1, 24)) for o in (6, 13)),
    case("Reshape", [(1, 4, 6), ints(1, 24)], opset=14, allowzero=1),
    *(case("Flatten", [(1, 2, 3, 4)], axis=a) for a in (0, 1, 2, 4, -1, -3)),
    case("Flatten", [(1, 2, 3)], opset=9),
    case("Squeeze", [(1, 1, 3, 1)]), case("Squeeze", [(1, 1, 3, 1)], opset=11, axes=[1, -1]),
    case("Squeeze", [(1, 1, 3, 1), ints(3)]),
    case("Unsqueeze", [(1, 3)], opset=11, axes=[0, 3]), case("Unsqueeze", [(1, 3), ints(-1, 1)]),
    case("Unsqueeze", [(2, 3), ints(-1, -2)]),
    case("Transpose", [(1, 2, 3, 4)], perm=[0, 2, 3, 1]), case("Transpose", [(1, 2, 3)]),
    case("Transpose", [(1, 2, 3)], perm=[0, 1, 2]),
    case("DepthToSpace", [(1, 8, 2, 3)], blocksize=2),
    case("DepthToSpace", [(1, 8, 2, 3)], blocksize=2, mode="CRD"),
    case("DepthToSpace", [(2, 9, 2, 1)], blocksize=3, mode="DCR"),
    case("SpaceToDepth", [(1, 2, 4, 6)], blocksize=2),
    case("CenterCropPad", [(1, 7, 6), ints(4, 5)], opset=18, axes=[1, -1]),
]  # fmt: skip

PAD = [
    *(
        case("Pad", [(1, 2, 4, 5)], opset=o, mode=mode, pads=[0, 0, *p[:2], 0, 0, *p[2:]])
        for o in (7, 10) for mode in ("constant", "reflect", "edge") for p in ((1, 2, 3, 0), (0, 0, 0, 0),
        (3, 1, 1, 4))
    ),
    case("Pad", [(1, 2, 4, 5)], opset=10, pads=[0, 1, 1, 2, 0, 0, 1, 0], value=1.5),
    case("Pad", [(1, 3), ints(1, 2, 0, 1), np.float32(-2)]), case("Pad", [(1, 3), ints(0, 2, 0, 1)]),
    case("Pad", [(1, 3), ints(0, 0, 0, 0), np.float32(2)]),
    case("Pad", [(1, 2, 4, 5), ints(0, 0, -1, 2, 0, 0, 1, -2), np.float32(0.5)]),
    case("Pad", [(1, 2, 4, 5), ints(0, 0, -1, -2, 0, 0, -1, 0)]),
    *(case("Pad", [(1, 2, 6, 5), ints(0, 0, -1, 2, 0, 0, 1, 0)], mode=mode) for mode in ("edge", "reflect")),
    case("Pad", [(1, 2, 4, 5), ints(1, 2, 0, 1), None, ints(3, -2)], opset=18),
    case("Pad", [(1, 2, 4, 5), ints(1, 2), None, ints(-1)], opset=18, mode="edge"),
    case("Pad", [(1, 2, 4, 5), ints(1, 2, 3, 1), None, ints(3, -2)], opset=19, mode="wrap"),
    case("Pad", [(1, 2, 4), ints(0, 0, 3, 0, 0, 3)], mode="reflect"),
]  # fmt: skip

COORDINATES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
RESIZE = [
    *(case("Upsample", [(1, 2, 3, 4)], opset=7, mode=mode, scales=[1.0, 1.0, *s]) for mode in ("nearest",
    "linear")
        for s in ((2.0, 2.0), (3.0, 1.0), (1.5, 2.7))),
    *(case("Upsample", [(1, 2, 3, 4), floats(1, 1, *s)], opset=9, mode=mode) for mode in ("nearest",
    "linear") for s in ((2, 2), (1, 3))),
    *(case("Resize", [(1, 2, 3, 4), floats(1, 1, *s)], opset=10, mode=mode) for mode in ("nearest",
    "linear") for s in ((2, 2),
    (0.7, 1.6))),
    *(
        case("Resize", [(1, 2, 5, 4), floats(), floats(1, 1, *s)], opset=o, mode="nearest",
        coordinate_transformation_mode=c,
            nearest_mode=n)
        for o in (11, 13, 18) for c in (*COORDINATES, "tf_half_pixel_for_nn")
            for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for s in ((2, 2), (0.6, 1.3), (0.2, 3)) if not (c == "tf_half_pixel_for_nn" and o > 11)
    ),
    *(
        case("Resize", [(1, 2, 5, 4), floats(), floats(1, 1, *s)], opset=o, mode="linear",
        coordinate_transformation_mode=c)
        for o in (11, 13, 18) for c in COORDINATES for s in ((2, 2), (0.6, 1.3), (0.2, 3), (1, 2))
    ),
    *(
        case("Resize", [(1, 2, 5, 4), None, None, ints(1, 2, *s)], opset=19, mode=mode,
        coordinate_transformation_mode=c)
        for mode in ("nearest", "linear") for c in (*COORDINATES, "half_pixel_symmetric") for s in ((7, 3),
        (10, 8), (1, 1), (5, 9),
        # refused: test_runtime.py
        (3, 4)) if (mode, c) != ("nearest", "half_pixel_symmetric") or s not in ((7, 3), (5, 9))
    ),
    *(
        case("Resize", [(1, 2, 5, 4), None, None, ints(9, 3)], opset=18, mode=mode, axes=[2, 3],
        keep_aspect_ratio_policy=p)
        for mode in ("nearest", "linear") for p in ("stretch", "not_larger", "not_smaller")
    ),
    case("Resize", [(1, 2, 5), None, floats(1, 1, 2)], mode="linear"),
    case("Resize", [(5, 4), None, floats(2, 1.5)], mode="linear"),
    case("Resize", [(1, 2, 3, 4, 5), None, floats(1, 1, 2, 1.5, 0.6)], mode="linear"),
    case("Resize", [(1, 2, 3, 4, 5), None, floats(1, 1, 2, 1.5, 0.6)]),
    case("Resize", [(1, 2, 3, 4), None, floats(1.6, 2)], opset=18, axes=[3, 2], mode="nearest"),
    case("Resize", [(1, 2, 3, 4), None, floats(1, 1, 2, 2)], opset=18, mode="linear", antialias=1),
]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "kwargs"),
    CONV + MATMUL + ARITHMETIC + ACTIVATION + NORMALIZATION + POOL + REDUCE + MOVEMENT + PAD + RESIZE,
)
def test_agrees_with_onnx_runtime(args: tuple, kwargs: dict) -> None:
    agree(build(*args, **kwargs))


def test_opset_6_aligns_the_second_operand() -> None:
    """`broadcast` and `axis`: ONNX Runtime does not run this opset, so numpy is the reference."""
    second = const(3, 4)
    network = load(build("Add", [(1, 3, 4, 5), second], opset=6, broadcast=1, axis=1))
    x = const(1, 3, 4, 5)
    np.testing.assert_allclose(
        outputs(network, evaluate(network, {"x0": x}))[0], x + second[:, :, None], rtol=1e-6
    )
    network = load(build("Mul", [(1, 3, 4), const(3)], opset=6, broadcast=1, axis=1))
    assert network.nodes[0].weight.shape == (1, 3, 1)


def test_batch_normalization_per_feature() -> None:
    values = statistics(3, 4)
    network = load(build("BatchNormalization", [(1, 3, 4), *values], opset=7, spatial=0))
    x = const(1, 3, 4)
    gamma, beta, mean, variance = (v.astype(np.float64) for v in values)
    expected = gamma * (x - mean) / np.sqrt(variance + np.float32(1e-5)) + beta
    np.testing.assert_allclose(outputs(network, evaluate(network, {"x0": x}))[0], expected, rtol=1e-6)


def test_batch_normalization_names_its_sources() -> None:
    network = load(build("BatchNormalization", [(1, 3, 4), *statistics(3)]), keep_batchnorm=True)
    (node,) = network.nodes
    assert node.weight.sources == ("c1", "c4") and node.bias.sources == ("c2", "c3", "c1", "c4")
    assert not node.weight.fixed and node.weight.shape == (1, 3, 1)


def test_transposed_weight_is_a_view() -> None:
    network = load(build("Gemm", [(1, 3), const(5, 3)], transB=1))
    assert network.nodes[0].weight.base.base is not None and network.nodes[0].weight.base.flags.f_contiguous


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]), {"auto_pad": "SAME_UPPER"}),
         (("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]), {"pads": [1, 1, 1, 1]})),
        ((("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]),
        {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
         (("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]),
         {"pads": [1, 1, 0, 0], "strides": [2, 2]})),
        ((("MaxPool", [(1, 1, 5, 5)]), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
         (("MaxPool", [(1, 1, 5, 5)]),
         {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"})),
        ((("Slice", [(1, 5), ints(1), ints(4), ints(1)]), {}),
        (("Gather", [(1, 5), ints(1, 2, 3)]), {"axis": 1})),
    ],
)  # fmt: skip
def test_two_spellings_are_one(first: tuple, second: tuple) -> None:
    one, two = (load(build(*args, **kwargs)) for args, kwargs in (first, second))
    assert [(n.op, dict(n.attributes)) for n in one.nodes] == [(n.op, dict(n.attributes)) for n in two.nodes]


def test_average_is_a_sum_and_a_fixed_factor() -> None:
    network = load(build("AveragePool", [(1, 2, 4, 4)], kernel_shape=[2, 2], strides=[2, 2]))
    pool, factor = network.nodes
    assert (
        (pool.op, factor.op) == ("SumPool", "Scale")
        and factor.weight.fixed
        and factor.weight.shape == (1, 1, 1, 1)
    )
    assert (
        path_norm(network, 1) == 2 * 4
        and path_norm(network, 0) == 2 * 16
        and path_norm(network, 2) == np.sqrt(2 * 4 * 4 / 16)
    )
    assert not network.parameters()
