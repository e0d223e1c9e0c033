"""Every lowering rule against ONNX Runtime: one node, random inputs, and the canonical network's value must be the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer import load
from onnxpath.network import Network
from tests.reference import evaluate, outputs, path_norm

RNG = np.random.default_rng(0)


def const(*shape: int) -> np.ndarray:
    """A constant operand of random values."""
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def build(
    op_type: str, operands: list, opset: int = 13, results: int = 1, used: tuple[int, ...] | None = None, **attributes: object
) -> onnx.ModelProto:  # fmt: skip
    """A model of one node: tuples are shapes of activations, arrays are initializers, None is an absent input."""
    names, inputs, initializers = [], [], []
    for k, value in enumerate(operands):
        if value is None:
            names.append("")
        elif isinstance(value, tuple):
            names.append(f"x{k}")
            inputs.append(helper.make_tensor_value_info(f"x{k}", TensorProto.FLOAT, value))
        elif isinstance(value, str):
            names.append(value)
        else:
            names.append(f"c{k}")
            initializers.append(numpy_helper.from_array(np.asarray(value), f"c{k}"))
    node = helper.make_node(op_type, names, [f"y{k}" for k in range(results)], name="node", **attributes)
    seen = range(results) if used is None else used
    results_info = [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, None) for k in seen]
    graph = helper.make_graph([node], "g", inputs, results_info, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def agree(model: onnx.ModelProto) -> Network:
    network = load(model)
    inputs = {i.name: const(*(d.dim_value for d in i.type.tensor_type.shape.dim)) for i in model.graph.input}
    found = outputs(network, evaluate(network, {name: inputs[name] for name in network.inputs}))
    expected = run(model, inputs)
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
    assert np.isfinite(path_norm(network))
    return network


def case(*args: object, **kwargs: object) -> object:
    """A parameter whose id tells what it is."""
    shown = [str(list(a.shape)) if isinstance(a, np.ndarray) else str(a) for a in args[1]]
    extra = [f"{k}={v}" for k, v in kwargs.items()]
    return pytest.param(args, kwargs, id=" ".join([str(args[0]), *shown, *extra])[:150])


CONV = [
    case("Conv", [(1, 3, 8), const(4, 3, 3), const(4)], pads=[1, 2], strides=[2], dilations=[2]),
    case("Conv", [(1, 4, 7, 9), const(6, 2, 3, 2), const(6)], group=2, pads=[0, 1, 2, 1], strides=[3, 2]),
    case("Conv", [(2, 4, 7, 9), const(4, 1, 3, 3)], group=4, kernel_shape=[3, 3], dilations=[2, 1]),
    case("Conv", [(1, 2, 5, 6, 4), const(3, 2, 2, 3, 1), const(3)], pads=[1, 1, 0, 0, 1, 0], strides=[2, 1, 3]),
    case("Conv", [(1, 2, 7, 7), const(3, 2, 2, 2)], strides=[4, 4], pads=[0, 0, 1, 1]),
    *(
        case("Conv", [(1, 2, h, w), const(3, 2, k, 2)], opset=11, auto_pad=mode, strides=[s, 1])
        for mode in ("VALID", "SAME_UPPER", "SAME_LOWER", "NOTSET") for h, w, k, s in ((7, 8, 3, 2), (8, 5, 2, 3), (6, 5, 1, 2),
        (6, 6, 4, 1))
    ),
    case("Conv", [(1, 2, 6, 5), const(3, 2, 1, 1)], auto_pad="SAME_UPPER", strides=[3, 3]),
    case("ConvTranspose", [(1, 3, 5), const(3, 2, 3), const(2)], strides=[2], pads=[1, 0], output_padding=[1]),
    case("ConvTranspose", [(1, 4, 4, 5), const(4, 3, 3, 2), const(6)], group=2, strides=[2, 3], dilations=[2, 1], pads=[1, 0, 2, 1]),
    case("ConvTranspose", [(2, 2, 3, 4, 2), const(2, 2, 2, 2, 3)], strides=[2, 1, 2], output_padding=[1, 0, 1]),
    *(
        case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 3, 2)], opset=11, auto_pad=mode, strides=[2, 3])
        for mode in ("VALID", "SAME_UPPER", "SAME_LOWER")
    ),
    *(
        case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 4, 4), const(3)], auto_pad=mode, strides=[2, 2], output_shape=[7, 11])
        for mode in ("NOTSET", "SAME_UPPER", "SAME_LOWER")
    ),
    case("ConvTranspose", [(1, 2, 4, 5), const(2, 3, 3, 3)], strides=[2, 2], output_shape=[8, 10], output_padding=[1, 1]),
]  # fmt: skip

MATMUL = [
    *(
        case("Gemm", [(2, 3) if not ta else (3, 2), const(3, 4) if not tb else const(4, 3), c], transA=ta, transB=tb, alpha=0.5,
            beta=-2.0)
        for ta in (0, 1) for tb in (0, 1) for c in (const(4), const(1, 4), const(2, 1), const(2, 4), const(), const(1, 1))
    ),
    case("Gemm", [(1, 3), const(3, 4)], opset=11),
    case("Gemm", [(1, 3), const(5, 3), const(5)], opset=7, transB=1),
    case("Gemm", [(1, 3), const(3, 4), (1, 4)], alpha=3.0, beta=0.5),
    case("Gemm", [(2, 3), const(3, 4), (4,)]),
    case("Gemm", [const(2, 3), (3, 4), const(4)], alpha=2.0),
    case("Gemm", [const(3, 2), (4, 3), const(2, 1)], transA=1, transB=1),
    *(case("MatMul", [x, const(*w)]) for x, w in (
        ((2, 3), (3, 4)), ((1, 5, 3), (3, 4)), ((2, 5, 3), (2, 3, 4)), ((1, 2, 5, 3), (2, 3, 4)), ((5, 3), (2, 3, 4)), ((2, 3),
        (1, 3, 4)),
        ((2, 3), (3,)), ((1, 5, 3), (3,)), ((3,), (3, 4)), ((3,), (3,)), ((3,), (2, 3, 4)), ((2, 1, 5, 3), (4, 3, 2)), ((2, 5, 3),
        (1, 1, 3, 4)),
    )),
    *(case("MatMul", [const(*w), x]) for w, x in (
        ((4, 3), (3, 2)), ((4, 3), (1, 3, 5)), ((2, 4, 3), (1, 2, 3, 5)), ((3,), (3, 2)), ((4, 3), (3,)), ((3,), (1, 2, 3, 5)), ((3,),
        (3,)),
        ((2, 4, 3), (3, 5)), ((2, 4, 3), (3,)),
    )),
]  # fmt: skip

ARITHMETIC = [
    *(case(op, operands) for op in ("Add", "Sub", "Mul", "Div") for operands in (
        [(1, 3, 4), const(4)], [(1, 3, 4), const(3, 1)], [(1, 3, 4), const()], [(1, 3, 1), const(2, 1, 4)], [(3,), const(2, 1)],
        [(1, 3, 4), const(1, 1, 1, 4)],
    )),
    *(case(op, operands) for op in ("Add", "Sub", "Mul") for operands in (
        [const(4), (1, 3, 4)], [const(2, 3, 1), (1, 4)], [const(), (2, 3)],
    )),
    *(case(op, operands) for op in ("Add", "Sub") for operands in (
        [(1, 3, 4), (1, 3, 4)], [(1, 3, 4), (4,)], [(1, 3, 1), (1, 1, 4)], [(3, 1), (2, 1, 4)],
    )),
    *(case(op, operands) for op in ("Sum", "Mean") for operands in (
        [(1, 3)], [(1, 3), (1, 3), (1, 3)], [(1, 3), const(2, 3), (1, 1)], [const(3), (1, 3), const(1, 3), (2, 1)], [const(2, 1),
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
    case("Clip", [(2, 3), np.float32(0)]), case("Clip", [(2, 3), np.float32(0), np.float32(3.4028235e38)]), case("Clip", [(2, 3)]),
    case("Clip", [(2, 3)], opset=7, min=0.0), case("Clip", [(2, 3)], opset=10, min=0.0, max=3.4028234663852886e38),
    case("LeakyRelu", [(2, 3)], alpha=0.0), case("PRelu", [(1, 3, 4), np.zeros((3, 1), np.float32)]),
    case("PRelu", [(1, 3, 4), np.ones((3, 1), np.float32)]), case("ThresholdedRelu", [(2, 3)], alpha=0.0),
    case("Max", [(2, 3), np.float32(0)]), case("Max", [np.zeros((2, 1), np.float32), (1, 3)]), case("Max", [(2, 3), (1, 3), (2, 1)]),
    case("Max", [(2, 3), "x0"]), case("Max", [(2, 3)]), case("Max", [(2, 3), floats(0, 0, 0), (3,)]),
    case("Cast", [(2, 3)], to=1), case("CastLike", [(2, 3), const(1)], opset=15),
]  # fmt: skip


def statistics(*shape: int) -> list[np.ndarray]:
    return [const(*shape), const(*shape), const(*shape), np.abs(const(*shape))]


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
            ((1, 2, 4, 5, 6), [2, 3, 2], [2, 2, 3], [1, 0, 1, 0, 2, 1]), ((1, 1, 4, 4), [1, 1], [1, 1], [0, 0, 0, 0]),
            ((1, 1, 4, 4), [1, 2], [3, 2], [0, 0, 0, 1]),
        )
    ),
    *(
        case("AveragePool", [shape], kernel_shape=k, strides=s, pads=p, count_include_pad=1, opset=opset, **ceil)
        for opset in (7, 10, 11, 19) for ceil in (({}, {"ceil_mode": 1}) if opset > 7 else ({},))
        for shape, k, s, p in (
            ((1, 2, 7), [3], [2], [1, 0]), ((1, 2, 8), [2], [3], [1, 1]), ((1, 1, 7, 8), [3, 2], [2, 3], [1, 0, 2, 1]),
            ((1, 1, 6, 6), [3, 3], [2, 2], [1, 1, 1, 1]), ((1, 1, 6, 6), [3, 3], [2, 2], [0, 0, 0, 0]),
            ((1, 2, 4, 5, 6), [2, 3, 2], [2, 2, 3], [1, 0, 1, 0, 2, 1]),
        )
    ),
    *(
        case("MaxPool", [(1, 2, 9, 8)], kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1], pads=p, ceil_mode=ceil, opset=12)
        for p in ([0, 0, 0, 0], [1, 1, 2, 0]) for ceil in (0, 1)
    ),
    *(
        case("AveragePool", [(1, 2, 9, 8)], kernel_shape=[3, 2], dilations=[2, 3], strides=[2, 1], pads=p, ceil_mode=ceil, opset=19,
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
    *(case(op, [shape]) for op in ("GlobalMaxPool", "GlobalAveragePool") for shape in ((1, 2, 5), (2, 3, 4, 5), (1, 2, 2, 3, 4))),
]  # fmt: skip

REDUCE = [
    *(
        case(op, [(1, 3, 4, 5)], axes=list(axes), keepdims=keep, opset=11)
        for op in ("ReduceMax", "ReduceMean", "ReduceSum") for axes in ((2, 3), (-1,), (1,), (-1, -2), (0, 3)) for keep in (0, 1)
    ),
    *(case(op, [(1, 3, 4), ints(-1)], keepdims=keep, opset=18) for op in ("ReduceMax", "ReduceMean", "ReduceSum") for keep in (0, 1)),
    case("ReduceSum", [(2, 3), np.zeros(0, np.int64)], noop_with_empty_axes=1), case("ReduceSum", [(2, 3)], noop_with_empty_axes=1),
    case("ReduceSum", [(2, 3)]), case("ReduceMean", [(2, 3)], keepdims=0), case("ReduceMax", [(2, 3)], keepdims=0, opset=20),
]  # fmt: skip

MOVEMENT = [
    *(case("Concat", operands, axis=axis) for axis in (1, -1) for operands in (
        [(1, 3, 4), (1, 3, 4)], [(1, 3, 4), const(1, 3, 4), (1, 3, 4)], [const(1, 3, 4), (1, 3, 4), const(1, 3, 4), const(1, 3, 4)],
        [(1, 3, 4), np.zeros((1, 3, 4), np.float32)], [(1, 3, 4)],
    )),
    case("Concat", [(1, 3), (1, 2), const(1, 4)], axis=1), case("Concat", [(1, 3), "x0"], axis=0),
    case("Split", [(1, 6, 2)], opset=11, axis=1, results=3), case("Split", [(1, 6, 2)], opset=11, axis=-2, split=[1, 3, 2], results=3),
    case("Split", [(1, 6, 2), ints(4, 2)], axis=1, results=2), case("Split", [(4, 2)], results=2),
    case("Split", [(1, 7)], opset=18, axis=1, num_outputs=3, results=3),
    case("Slice", [(1, 5, 6)], opset=9, starts=[1, -3], ends=[2**31 - 1, -1], axes=[1, 2]),
    case("Slice", [(4, 5)], opset=9, starts=[0, 1], ends=[9, 3]),
    *(case("Slice", [(1, 5, 6), ints(s), ints(e), ints(a), ints(st)]) for s, e, a, st in (
        (1, 4, 1, 2), (-1, -99, 2, -1), (4, 0, 1, -2), (0, 2**63 - 1, 2, 3), (-99, 99, -1, 1), (2, 1, 1, -1), (-1, -(2**63), 1, -1),
    )),
    case("Slice", [(3, 5), ints(1), ints(3)]), case("Slice", [(3, 5), ints(2, -1), ints(0, 0), None, ints(-1, -2)]),
    *(case("Gather", [(1, 4, 5), i], axis=a) for a in (1, -1) for i in (
        np.array(2), np.array(-1), ints(0, 2), ints(3, 1, 1), ints(-1, 0), np.array([[0, 1], [3, 2]]), ints(1, 2, 3), np.array([[1]],
            np.int32), ints(2, 2),
    )),
    *(case("Tile", [(1, 2, 3), ints(*r)]) for r in ((1, 2, 3), (2, 1, 1), (1, 1, 1), (3, 2, 2))),
    *(case("Expand", [(1, 3, 1), ints(*s)]) for s in ((1, 3, 4), (2, 1, 1, 1), (3, 1), (1,), (2, 1, 3, 5))),
    *(case("Reshape", [(1, 4, 6), ints(*s)], opset=o) for s in ((0, -1), (1, 2, 2, 6), (-1,), (0, 0, 2, 3), (1, 24)) for o in (6, 13)),
    case("Reshape", [(1, 4, 6), ints(1, 24)], opset=14, allowzero=1),
    *(case("Flatten", [(1, 2, 3, 4)], axis=a) for a in (0, 1, 2, 4, -1, -3)), case("Flatten", [(1, 2, 3)], opset=9),
    case("Squeeze", [(1, 1, 3, 1)]), case("Squeeze", [(1, 1, 3, 1)], opset=11, axes=[1, -1]), case("Squeeze", [(1, 1, 3, 1), ints(3)]),
    case("Unsqueeze", [(1, 3)], opset=11, axes=[0, 3]), case("Unsqueeze", [(1, 3), ints(-1, 1)]),
    case("Unsqueeze", [(2, 3), ints(-1, -2)]),
    case("Transpose", [(1, 2, 3, 4)], perm=[0, 2, 3, 1]), case("Transpose", [(1, 2, 3)]), case("Transpose", [(1, 2, 3)], perm=[0, 1, 2]),
    case("DepthToSpace", [(1, 8, 2, 3)], blocksize=2), case("DepthToSpace", [(1, 8, 2, 3)], blocksize=2, mode="CRD"),
    case("DepthToSpace", [(2, 9, 2, 1)], blocksize=3, mode="DCR"), case("SpaceToDepth", [(1, 2, 4, 6)], blocksize=2),
    case("CenterCropPad", [(1, 7, 6), ints(4, 5)], opset=18, axes=[1, -1]),
]  # fmt: skip

PAD = [
    *(
        case("Pad", [(1, 2, 4, 5)], opset=o, mode=mode, pads=[0, 0, *p[:2], 0, 0, *p[2:]])
        for o in (7, 10) for mode in ("constant", "reflect", "edge") for p in ((1, 2, 3, 0), (0, 0, 0, 0), (3, 1, 1, 4))
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
    *(case("Upsample", [(1, 2, 3, 4)], opset=7, mode=mode, scales=[1.0, 1.0, *s]) for mode in ("nearest", "linear")
        for s in ((2.0, 2.0), (3.0, 1.0), (1.5, 2.7))),
    *(case("Upsample", [(1, 2, 3, 4), floats(1, 1, *s)], opset=9, mode=mode) for mode in ("nearest", "linear") for s in ((2, 2), (1, 3))),
    *(case("Resize", [(1, 2, 3, 4), floats(1, 1, *s)], opset=10, mode=mode) for mode in ("nearest", "linear") for s in ((2, 2),
    (0.7, 1.6))),
    *(
        case("Resize", [(1, 2, 5, 4), floats(), floats(1, 1, *s)], opset=o, mode="nearest", coordinate_transformation_mode=c,
            nearest_mode=n)
        for o in (11, 13, 18) for c in (*COORDINATES, "tf_half_pixel_for_nn")
            for n in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for s in ((2, 2), (0.6, 1.3), (0.2, 3)) if not (c == "tf_half_pixel_for_nn" and o > 11)
    ),
    *(
        case("Resize", [(1, 2, 5, 4), floats(), floats(1, 1, *s)], opset=o, mode="linear", coordinate_transformation_mode=c)
        for o in (11, 13, 18) for c in COORDINATES for s in ((2, 2), (0.6, 1.3), (0.2, 3), (1, 2))
    ),
    *(
        case("Resize", [(1, 2, 5, 4), None, None, ints(1, 2, *s)], opset=19, mode=mode, coordinate_transformation_mode=c)
        for mode in ("nearest", "linear") for c in (*COORDINATES, "half_pixel_symmetric") for s in ((7, 3), (10, 8), (1, 1), (5, 9),
        (3, 4))
    ),
    *(
        case("Resize", [(1, 2, 5, 4), None, None, ints(9, 3)], opset=18, mode=mode, axes=[2, 3], keep_aspect_ratio_policy=p)
        for mode in ("nearest", "linear") for p in ("stretch", "not_larger", "not_smaller")
    ),
    case("Resize", [(1, 2, 5), None, floats(1, 1, 2)], mode="linear"), case("Resize", [(5, 4), None, floats(2, 1.5)], mode="linear"),
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
    np.testing.assert_allclose(outputs(network, evaluate(network, {"x0": x}))[0], x + second[:, :, None], rtol=1e-6)
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
        ((("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
         (("Conv", [(1, 1, 6, 6), np.ones((1, 1, 3, 3), np.float32)]), {"pads": [1, 1, 0, 0], "strides": [2, 2]})),
        ((("MaxPool", [(1, 1, 5, 5)]), {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
         (("MaxPool", [(1, 1, 5, 5)]), {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"})),
        ((("Slice", [(1, 5), ints(1), ints(4), ints(1)]), {}), (("Gather", [(1, 5), ints(1, 2, 3)]), {"axis": 1})),
    ],
)  # fmt: skip
def test_two_spellings_are_one(first: tuple, second: tuple) -> None:
    one, two = (load(build(*args, **kwargs)) for args, kwargs in (first, second))
    assert [(n.op, dict(n.attributes)) for n in one.nodes] == [(n.op, dict(n.attributes)) for n in two.nodes]


def test_average_is_a_sum_and_a_fixed_factor() -> None:
    network = load(build("AveragePool", [(1, 2, 4, 4)], kernel_shape=[2, 2], strides=[2, 2]))
    pool, factor = network.nodes
    assert (pool.op, factor.op) == ("SumPool", "Scale") and factor.weight.fixed and factor.weight.shape == (1, 1, 1, 1)
    assert path_norm(network, 1) == 2 * 4 and path_norm(network, 0) == 2 * 16 and path_norm(network, 2) == np.sqrt(2 * 4 * 4 / 16)
    assert not network.parameters()


REFUSED = [
    case("Conv", [(1, 2, 5), (3, 2, 3)]), case("Conv", [(1, 2, 5), const(3, 2, 3), (3,)]), case("Conv", [const(1, 2, 5), (3, 2, 3)]),
    case("Conv", [(1, 2, 3, 3, 3, 3), const(1, 2, 1, 1, 1, 1)]), case("Gemm", [(1, 3), (3, 4)]), case("MatMul", [(1, 3), (3, 4)]),
    case("Mul", [(1, 3), (1, 3)]), case("Mul", [(1, 3), "x0"]), case("Div", [(1, 3), (1, 3)]), case("Div", [const(3), (1, 3)]),
    case("Pow", [(1, 3), floats(2)]),
    case("Clip", [(1, 3), np.float32(0), np.float32(6)]), case("Clip", [(1, 3), np.float32(-1)]),
    case("Clip", [(1, 3)], opset=6, min=0.0, max=6.0),
    case("Clip", [(1, 3), None, np.float32(3)]), case("LeakyRelu", [(1, 3)]), case("PRelu", [(1, 3), const(3)]),
    case("ThresholdedRelu", [(1, 3)]),
    case("Max", [(1, 3), np.float32(1)]), case("Dropout", [(1, 3), np.float32(0.5), np.array(True)]),
    case("CastLike", [(1, 3), ints(1)], opset=15),
    case("BatchNormalization", [(1, 3, 4), *statistics(3)], opset=14, training_mode=1, results=3, used=(0,)),
    case("BatchNormalization", [(1, 3, 4), (3,), const(3), const(3), const(3)]),
    case("Pad", [(1, 3), ints(0, 1, 0, 1), np.float32(-np.inf)]), case("Pad", [(1, 3), ints(0, 1, 0, 1), np.float32(-3.4028235e38)]),
    case("Resize", [(1, 1, 4, 4), None, floats(1, 1, 2, 2)], mode="cubic"), case("CenterCropPad", [(1, 3), ints(1, 5)], opset=18),
    case("Resize", [(1, 1, 4, 4), floats(0, 0, 0, 0, 1, 1, 1, 1), floats(1, 1, 2, 2)],
        coordinate_transformation_mode="tf_crop_and_resize"),
    case("Resize", [(1, 1, 4, 4), None, floats(1, 1, 0.5, 0.5)], mode="linear", antialias=1, opset=18),
    case("Resize", [(1, 1, 4, 4), None, None, ints(9, 3)], opset=18, axes=[2, -1], keep_aspect_ratio_policy="not_larger"),
    case("LRN", [(1, 3, 4, 4)], size=3), case("InstanceNormalization", [(1, 3, 4), const(3), const(3)]), case("Tanh", [(1, 3)]),
    case("Elu", [(1, 3)]),
    case("Sqrt", [(1, 3)]), case("Abs", [(1, 3)]), case("Min", [(1, 3), (1, 3)]), case("LpPool", [(1, 3, 4)], kernel_shape=[2]),
    case("ReduceL2", [(1, 3)]),
    case("Gelu", [(1, 3)], opset=20), case("HardSwish", [(1, 3)], opset=14), case("LayerNormalization", [(1, 3), const(3)], opset=17),
    case("Einsum", [(1, 3), const(3, 2)], equation="ij,jk->ik"), case("LSTM", [(3, 1, 2), const(1, 8, 2), const(1, 8, 2)], hidden_size=2),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs"), REFUSED)
def test_refused_by_name(args: tuple, kwargs: dict) -> None:
    with pytest.raises(UnsupportedError, match=args[0]) as caught:
        load(build(*args, **kwargs))
    assert "'node'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("operands", [["x0", "y1"], ["y0", "y1"]])
@pytest.mark.parametrize(("op_type", "opset", "attributes"), [("Dropout", 10, {}), ("MaxPool", 10, {"kernel_shape": [1], "strides": [1]})])
def test_second_outputs_are_refused_when_read(op_type: str, opset: int, attributes: dict, operands: list[str]) -> None:
    model = build(op_type, [(1, 2, 3)], opset=opset, results=2, used=(0,), **attributes)
    model.graph.node.append(helper.make_node("Cast", ["y1"], ["m"], to=1))
    model.graph.node.append(helper.make_node("Add", [operands[0], "m"], ["z"]))
    model.graph.output[0].name = "z"
    with pytest.raises(UnsupportedError, match=op_type):
        load(model)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT8E4M3FN])
def test_casts_that_round_are_refused(to: int) -> None:
    model = build("Cast", [(1, 3)], to=to, opset=19)
    model.graph.node.append(helper.make_node("Cast", ["y0"], ["z"], to=TensorProto.FLOAT))
    model.graph.node.append(helper.make_node("Relu", ["z"], ["r"]))
    model.graph.output[0].name = "r"
    with pytest.raises(UnsupportedError, match="Cast"):
        load(model)


def test_an_embedding_is_refused() -> None:
    model = build("Gather", [const(4, 3), (1, 2)])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(UnsupportedError, match="Gather|x1"):
        load(model)


INVALID = [
    case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[0]), case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[-1]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], group=0),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[1]), case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[-1, 0]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], dilations=[4]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], kernel_shape=[2]), case("Conv", [(1, 3, 5), const(3, 2, 3)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3), const(2)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], group=2), case("Conv", [(1, 2, 5), const(3, 2, 3, 1)]), case("Conv", [(1, 2), const(3, 2)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], auto_pad="SAME"), case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[2**40, 2**40]),
    case("ConvTranspose", [(1, 2, 5), const(3, 2, 3)]), case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], pads=[9, 9]),
    case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], output_shape=[1, 2]),
    case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], strides=[0]),
    case("MatMul", [(1, 3), const(4, 2)]), case("MatMul", [(1, 3), const()]), case("MatMul", [(2, 1, 3), const(3, 3, 2)]),
    case("Gemm", [(1, 3, 4), const(3, 4)]),
    case("Gemm", [(1, 3), const(3, 4), const(3)]), case("Gemm", [(1, 3), const(4, 3)]), case("Add", [(1, 3), const(4)]),
    case("Add", [(1, 3)]),
    case("Div", [(1, 3), floats(1, 0, 2)]), case("Add", [(1, 3), const(4)], opset=6, broadcast=1, axis=7),
    case("Clip", [(1, 3), floats(0, 1)]), case("PRelu", [(), floats(0, 0)]), case("Gemm", [(1, 3), const(3, 4), const(1, 1, 4)]),
    case("AveragePool", [(1, 2, 4)], kernel_shape=[2**31], auto_pad="SAME_UPPER"),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[2**31]),
    case("BatchNormalization", [(1, 3, 4), const(3), const(3), const(3), floats(-1, 1, 1)]),
    case("BatchNormalization", [(1, 3, 4), *statistics(2)]), case("MaxPool", [(1, 2, 4)], kernel_shape=[0]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[2, 2]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[7]), case("MaxPool", [(1, 2, 4)], kernel_shape=[2], pads=[3, 3]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[2**40], pads=[2**40, 0]),
    case("AveragePool", [(1, 2, 4)], kernel_shape=[2], strides=[0]), case("AveragePool", [(1, 2, 4)]),
    case("GlobalAveragePool", [(1, 2)]),
    case("ReduceSum", [(1, 2, 4), ints(5)]), case("ReduceMean", [(1, 2)], axes=[1, 1], opset=11), case("ReduceSum", [(1, 2), floats(1)]),
    case("Concat", [(1, 3), (2, 3)], axis=1), case("Concat", [(1, 3), (1, 3)], axis=5),
    case("Split", [(1, 5), ints(2, 2)], axis=1, results=2),
    case("Split", [(1, 5)], axis=3, results=1), case("Split", [(1, 5), ints(6, -1)], axis=1, results=2),
    case("Slice", [(1, 5), ints(1), ints(3), ints(1), ints(0)]),
    case("Slice", [(1, 5), ints(3), ints(1), ints(1)]), case("Slice", [(1, 5), ints(1), ints(2, 3), ints(1)]),
    case("Slice", [(1, 5), ints(1), ints(3), ints(9)]),
    case("Slice", [(1, 5)], opset=9, starts=[0, 0, 0], ends=[1, 1, 1]), case("Gather", [(1, 5), ints(5)], axis=1),
    case("Gather", [(1, 5), ints(-6)], axis=1),
    case("Gather", [(1, 5), ints(0)], axis=2), case("Reshape", [(1, 6), ints(4, 2)]), case("Reshape", [(1, 6), ints(-1, -1)]),
    case("Reshape", [(1, 6), ints(-1, 4)]),
    case("Reshape", [(1, 6), ints(1, 6, 0)]), case("Reshape", [(1, 6), ints(-2, 3)]), case("Flatten", [(1, 6)], axis=3),
    case("Squeeze", [(1, 6), ints(1)]),
    case("Unsqueeze", [(1, 6), ints(0, 0)]), case("Unsqueeze", [(1, 6), ints(9)]), case("Transpose", [(1, 6)], perm=[0, 0]),
    case("Transpose", [(1, 6)], perm=[0, 2]),
    case("Transpose", [(1, 6)], perm=[0]), case("DepthToSpace", [(1, 3, 2, 2)], blocksize=2),
    case("DepthToSpace", [(1, 4, 2, 2)], blocksize=0),
    case("SpaceToDepth", [(1, 3, 3, 2)], blocksize=2), case("SpaceToDepth", [(1, 3, 3)], blocksize=1),
    case("Tile", [(1, 3), ints(0, 1)]), case("Tile", [(1, 3), ints(1)]),
    case("Tile", [(1, 3), ints(1, 2**50)]), case("Expand", [(1, 3), ints(2)]), case("Expand", [(1, 3), ints(2**60, 3)]),
    case("Expand", [(1, 3), ints(-1, 3)]),
    case("Pad", [(1, 3), ints(0, 1)]), case("Pad", [(1, 3), ints(0, -2, 0, -1)]),
    case("Pad", [(1, 3), ints(0, 3, 0, 3)], mode="reflect"), case("Pad", [(1, 3)], opset=10, pads=[1]),
    case("Pad", [(1, 3), ints(0, 1, 0, 2**50)], mode="edge"), case("Pad", [(1, 3), ints(0, 1, 0, 1)], mode="other"),
    case("Upsample", [(1, 1, 2, 2), floats(1, 1, -2, 2)], opset=9), case("Upsample", [(1, 1, 2, 2), floats(1, 1, 2)], opset=9),
    case("Upsample", [(1, 1, 2, 2)], opset=7),
    case("Resize", [(1, 1, 2, 2)]), case("Resize", [(1, 1, 2, 2), None, floats(1, 1, 0.1, 2)]),
    case("Resize", [(1, 1, 2, 2), None, floats(1, 1, np.inf, 2)]),
    case("Resize", [(1, 1, 2, 2), None, None, ints(1, 1, 0, 2)]), case("Resize", [(1, 1, 2, 2), None, None, ints(1, 1, 2**40, 2)]),
    case("Resize", [(1, 1, 2, 2), None, floats(1, 1, 2, 2)], nearest_mode="odd"),
    case("Resize", [(1, 1, 2, 2), None, floats(2)], axes=[7], opset=18),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs"), INVALID)
def test_malformed_files_are_errors_that_name_the_node(args: tuple, kwargs: dict) -> None:
    with pytest.raises(ModelError, match=args[0]) as caught:
        load(build(*args, **kwargs))
    assert "\n" not in str(caught.value) and "cannot be interpreted" not in str(caught.value)
