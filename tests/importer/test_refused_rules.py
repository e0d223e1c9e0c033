"""What the lowering rules refuse, by name: uses of operators outside the supported networks, and malformed
files."""

import numpy as np
import pytest
from importer.one_node import build, case, const, floats, ints, statistics
from onnx import TensorProto, helper

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer import load

REFUSED = [
    case("Conv", [(1, 2, 5), (3, 2, 3)]), case("Conv", [(1, 2, 5), const(3, 2, 3), (3,)]),
    case("Conv", [const(1, 2, 5), (3, 2, 3)]),
    case("Conv", [(1, 2, 3, 3, 3, 3), const(1, 2, 1, 1, 1, 1)]), case("Gemm", [(1, 3), (3, 4)]),
    case("MatMul", [(1, 3), (3, 4)]),
    case("Mul", [(1, 3), (1, 3)]), case("Mul", [(1, 3), "x0"]), case("Div", [(1, 3), (1, 3)]),
    case("Div", [const(3), (1, 3)]),
    case("Pow", [(1, 3), floats(2)]),
    case("Clip", [(1, 3), np.float32(0), np.float32(6)]), case("Clip", [(1, 3), np.float32(-1)]),
    case("Clip", [(1, 3)], opset=6, min=0.0, max=6.0),
    case("Clip", [(1, 3), None, np.float32(3)]), case("LeakyRelu", [(1, 3)]),
    case("PRelu", [(1, 3), const(3)]),
    case("ThresholdedRelu", [(1, 3)]),
    case("Max", [(1, 3), np.float32(1)]), case("Dropout", [(1, 3), np.float32(0.5), np.array(True)]),
    case("CastLike", [(1, 3), ints(1)], opset=15),
    case("BatchNormalization", [(1, 3, 4), *statistics(3)], opset=14, training_mode=1, results=3, used=(0,)),
    case("BatchNormalization", [(1, 3, 4), (3,), const(3), const(3), const(3)]),
    case("Pad", [(1, 3), ints(0, 1, 0, 1), np.float32(-np.inf)]),
    case("Pad", [(1, 3), ints(0, 1, 0, 1), np.float32(-3.4028235e38)]),
    case("Resize", [(1, 1, 4, 4), None, floats(1, 1, 2, 2)], mode="cubic"),
    case("CenterCropPad", [(1, 3), ints(1, 5)], opset=18),
    case("Resize", [(1, 1, 4, 4), floats(0, 0, 0, 0, 1, 1, 1, 1), floats(1, 1, 2, 2)],
        coordinate_transformation_mode="tf_crop_and_resize"),
    case("Resize", [(1, 1, 4, 4), None, floats(1, 1, 0.5, 0.5)], mode="linear", antialias=1, opset=18),
    case("Resize", [(1, 1, 4, 4), None, None, ints(9, 3)], opset=18, axes=[2, -1],
    keep_aspect_ratio_policy="not_larger"),
    case("LRN", [(1, 3, 4, 4)], size=3), case("InstanceNormalization", [(1, 3, 4), const(3), const(3)]),
    case("Tanh", [(1, 3)]),
    case("Elu", [(1, 3)]),
    case("Sqrt", [(1, 3)]), case("Abs", [(1, 3)]), case("Min", [(1, 3), (1, 3)]),
    case("LpPool", [(1, 3, 4)], kernel_shape=[2]),
    case("ReduceL2", [(1, 3)]),
    case("Gelu", [(1, 3)], opset=20), case("HardSwish", [(1, 3)], opset=14),
    case("LayerNormalization", [(1, 3), const(3)], opset=17),
    case("Einsum", [(1, 3), const(3, 2)], equation="ij,jk->ik"),
    case("LSTM", [(3, 1, 2), const(1, 8, 2), const(1, 8, 2)], hidden_size=2),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs"), REFUSED)
def test_refused_by_name(args: tuple, kwargs: dict) -> None:
    with pytest.raises(UnsupportedError, match=args[0]) as caught:
        load(build(*args, **kwargs))
    assert "'node'" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("operands", [["x0", "y1"], ["y0", "y1"]])
@pytest.mark.parametrize(
    ("op_type", "opset", "attributes"),
    [("Dropout", 10, {}), ("MaxPool", 10, {"kernel_shape": [1], "strides": [1]})],
)
def test_second_outputs_are_refused_when_read(
    op_type: str, opset: int, attributes: dict, operands: list[str]
) -> None:
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
    case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[0]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[-1]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], group=0),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[1]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[-1, 0]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], dilations=[4]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], kernel_shape=[2]), case("Conv", [(1, 3, 5), const(3, 2, 3)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3), const(2)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], group=2), case("Conv", [(1, 2, 5), const(3, 2, 3, 1)]),
    case("Conv", [(1, 2), const(3, 2)]),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], auto_pad="SAME"),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], pads=[2**40, 2**40]),
    case("ConvTranspose", [(1, 2, 5), const(3, 2, 3)]),
    case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], pads=[9, 9]),
    case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], output_shape=[1, 2]),
    case("ConvTranspose", [(1, 2, 5), const(2, 2, 3)], strides=[0]),
    case("MatMul", [(1, 3), const(4, 2)]), case("MatMul", [(1, 3), const()]),
    case("MatMul", [(2, 1, 3), const(3, 3, 2)]),
    case("Gemm", [(1, 3, 4), const(3, 4)]),
    case("Gemm", [(1, 3), const(3, 4), const(3)]), case("Gemm", [(1, 3), const(4, 3)]),
    case("Add", [(1, 3), const(4)]),
    case("Add", [(1, 3)]),
    case("Div", [(1, 3), floats(1, 0, 2)]), case("Add", [(1, 3), const(4)], opset=6, broadcast=1, axis=7),
    case("Clip", [(1, 3), floats(0, 1)]), case("PRelu", [(), floats(0, 0)]),
    case("Gemm", [(1, 3), const(3, 4), const(1, 1, 4)]),
    case("AveragePool", [(1, 2, 4)], kernel_shape=[2**31], auto_pad="SAME_UPPER"),
    case("Conv", [(1, 2, 5), const(3, 2, 3)], strides=[2**31]),
    case("BatchNormalization", [(1, 3, 4), const(3), const(3), const(3), floats(-1, 1, 1)]),
    case("BatchNormalization", [(1, 3, 4), *statistics(2)]), case("MaxPool", [(1, 2, 4)], kernel_shape=[0]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[2, 2]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[7]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[2], pads=[3, 3]),
    case("MaxPool", [(1, 2, 4)], kernel_shape=[2**40], pads=[2**40, 0]),
    case("AveragePool", [(1, 2, 4)], kernel_shape=[2], strides=[0]), case("AveragePool", [(1, 2, 4)]),
    case("GlobalAveragePool", [(1, 2)]),
    case("ReduceSum", [(1, 2, 4), ints(5)]), case("ReduceMean", [(1, 2)], axes=[1, 1], opset=11),
    case("ReduceSum", [(1, 2), floats(1)]),
    case("Concat", [(1, 3), (2, 3)], axis=1), case("Concat", [(1, 3), (1, 3)], axis=5),
    case("Split", [(1, 5), ints(2, 2)], axis=1, results=2),
    case("Split", [(1, 5)], axis=3, results=1), case("Split", [(1, 5), ints(6, -1)], axis=1, results=2),
    case("Slice", [(1, 5), ints(1), ints(3), ints(1), ints(0)]),
    case("Slice", [(1, 5), ints(3), ints(1), ints(1)]), case("Slice", [(1, 5), ints(1), ints(2, 3), ints(1)]),
    case("Slice", [(1, 5), ints(1), ints(3), ints(9)]),
    case("Slice", [(1, 5)], opset=9, starts=[0, 0, 0], ends=[1, 1, 1]),
    case("Gather", [(1, 5), ints(5)], axis=1),
    case("Gather", [(1, 5), ints(-6)], axis=1),
    case("Gather", [(1, 5), ints(0)], axis=2), case("Reshape", [(1, 6), ints(4, 2)]),
    case("Reshape", [(1, 6), ints(-1, -1)]),
    case("Reshape", [(1, 6), ints(-1, 4)]),
    case("Reshape", [(1, 6), ints(1, 6, 0)]), case("Reshape", [(1, 6), ints(-2, 3)]),
    case("Flatten", [(1, 6)], axis=3),
    case("Squeeze", [(1, 6), ints(1)]),
    case("Unsqueeze", [(1, 6), ints(0, 0)]), case("Unsqueeze", [(1, 6), ints(9)]),
    case("Transpose", [(1, 6)], perm=[0, 0]),
    case("Transpose", [(1, 6)], perm=[0, 2]),
    case("Transpose", [(1, 6)], perm=[0]), case("DepthToSpace", [(1, 3, 2, 2)], blocksize=2),
    case("DepthToSpace", [(1, 4, 2, 2)], blocksize=0),
    case("SpaceToDepth", [(1, 3, 3, 2)], blocksize=2), case("SpaceToDepth", [(1, 3, 3)], blocksize=1),
    case("Tile", [(1, 3), ints(0, 1)]), case("Tile", [(1, 3), ints(1)]),
    case("Tile", [(1, 3), ints(1, 2**50)]), case("Expand", [(1, 3), ints(2)]),
    case("Expand", [(1, 3), ints(2**60, 3)]),
    case("Expand", [(1, 3), ints(-1, 3)]),
    case("Pad", [(1, 3), ints(0, 1)]), case("Pad", [(1, 3), ints(0, -2, 0, -1)]),
    case("Pad", [(1, 3), ints(0, 3, 0, 3)], mode="reflect"), case("Pad", [(1, 3)], opset=10, pads=[1]),
    case("Pad", [(1, 3), ints(0, 1, 0, 2**50)], mode="edge"),
    case("Pad", [(1, 3), ints(0, 1, 0, 1)], mode="other"),
    case("Upsample", [(1, 1, 2, 2), floats(1, 1, -2, 2)], opset=9),
    case("Upsample", [(1, 1, 2, 2), floats(1, 1, 2)], opset=9),
    case("Upsample", [(1, 1, 2, 2)], opset=7),
    case("Resize", [(1, 1, 2, 2)]), case("Resize", [(1, 1, 2, 2), None, floats(1, 1, 0.1, 2)]),
    case("Resize", [(1, 1, 2, 2), None, floats(1, 1, np.inf, 2)]),
    case("Resize", [(1, 1, 2, 2), None, None, ints(1, 1, 0, 2)]),
    case("Resize", [(1, 1, 2, 2), None, None, ints(1, 1, 2**40, 2)]),
    case("Resize", [(1, 1, 2, 2), None, floats(1, 1, 2, 2)], nearest_mode="odd"),
    case("Resize", [(1, 1, 2, 2), None, floats(2)], axes=[7], opset=18),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kwargs"), INVALID)
def test_malformed_files_are_errors_that_name_the_node(args: tuple, kwargs: dict) -> None:
    with pytest.raises(ModelError, match=args[0]) as caught:
        load(build(*args, **kwargs))
    assert "\n" not in str(caught.value) and "cannot be interpreted" not in str(caught.value)
