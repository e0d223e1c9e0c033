"""Nodes whose operands are all known are evaluated at import: weights behind a Reshape, shapes computed from
shapes.

Shape and Size of an activation are known too, since every shape is. Movements of a constant are numpy views,
and Expand and ConstantOfShape are views that repeat one cell, so that they cost no memory; everything else is
run by the reference evaluator of onnx, once its result is known to fit into the budget of the import.
Half-precision results become float32.
"""

import warnings
from math import prod
from typing import Any

import numpy as np
import onnx

from onnxpath.errors import ModelError, UnsupportedError
from onnxpath.importer.decode.memory import TooLargeError
from onnxpath.importer.decode.tensors import Tensors
from onnxpath.importer.lower.context import Constant, Context, FileNode
from onnxpath.importer.lower.rules import dequantizing
from onnxpath.importer.lower.rules.refused import reason
from onnxpath.importer.structure import packed
from onnxpath.importer.structure.inference import QUANTIZERS, Inference
from onnxpath.importer.structure.schemas import EVALUATED
from onnxpath.model.network import Shape

RANDOM = (
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)
OF_SHAPES = ("Shape", "Size")
_SOURCES = 64
# Operators whose result may be larger than their operands by any factor: shape inference has to tell how
# large.
EXPANDING = (
    "Range", "Tile", "Pad", "Resize", "Upsample", "OneHot", "EyeLike", "Expand", "ConstantOfShape",
    "CenterCropPad", "Col2Im", "MaxUnpool",
    "AffineGrid", "GridSample", "RoiAlign", "DFT", "STFT", "MelWeightMatrix", "HannWindow", "HammingWindow",
    "BlackmanWindow", "Einsum",
    "MatMul", "Gemm", "Conv", "ConvTranspose", "Concat", "Gather", "GatherND",
)  # fmt: skip
# Operators that the reference evaluator runs window by window, and how many cells it may look at.
_WINDOWS = (
    "Conv", "ConvTranspose", "ConvInteger", "QLinearConv", "DeformConv", "MaxPool", "AveragePool", "LpPool",
    "MaxRoiPool", "RoiAlign", "GridSample",
    "Resize", "Upsample", "Einsum", "LRN", "Col2Im", "MaxUnpool", "NonMaxSuppression", "TfIdfVectorizer",
    "STFT", "DFT", "LSTM", "GRU", "RNN",
)  # fmt: skip
_LOOKED_AT = 1 << 24
_SAME = {onnx.TensorProto.FLOAT: np.float32, onnx.TensorProto.DOUBLE: np.float64}


def foldable(node: FileNode, known: "set[str] | dict[str, Any]") -> bool:
    """Can the node be evaluated, given the names of known tensors? Shape and Size know the shape of any
    tensor."""
    return node.op_type in OF_SHAPES or all(name in known for name in node.inputs if name)


def _integers(constant: Constant) -> tuple[int, ...]:
    return tuple(int(v) for v in constant.array.reshape(-1))


def _shape_of(node: FileNode, shape: Shape) -> np.ndarray:
    if node.op_type == "Size":
        return np.array(int(np.prod(shape, dtype=np.int64)), np.int64)
    start, end = node.attribute("start", 0), node.attribute("end")
    return np.array(shape[slice(start, end)], np.int64)


def _literal(node: FileNode, tensors: Tensors) -> np.ndarray | None:
    """The value of a Constant node; None for a kind that has no numeric value."""
    for key, value in node.attributes.items():
        if key == "value" and isinstance(value, onnx.TensorProto):
            return tensors.read(value, node.outputs[0])
        if key in ("value_float", "value_floats"):
            return np.array(value, np.float32)
        if key in ("value_int", "value_ints"):
            return np.array(value, np.int64)
    return None


def _reshaped(array: np.ndarray, wanted: tuple[int, ...], allow_zero: bool) -> np.ndarray:
    shape = [array.shape[k] if n == 0 and not allow_zero else n for k, n in enumerate(wanted)]
    return array.reshape(shape)


def _window(node: FileNode, values: dict[str, np.ndarray]) -> int:
    """How many cells every cell of a result is made of, at most."""
    kernel = node.attribute("kernel_shape")
    if kernel is not None:
        listed = prod(int(k) for k in kernel)
        weight = next(iter([*values.values()][1:2]), None)
        return listed * (weight.shape[1] if weight is not None and weight.ndim > 1 else 1)
    return (
        max((array.size for array in values.values()), default=1)
        if node.op_type in ("Conv", "ConvTranspose", "Einsum", "DFT", "STFT")
        else 16
    )


class Folder:
    """Evaluates the constant nodes of one file."""

    def __init__(self, context: Context, inference: Inference, tensors: Tensors) -> None:
        self.context = context
        self.inference = inference
        self.tensors = tensors

    def fold(self, node: FileNode, proto: onnx.NodeProto) -> None:
        """Add the node's outputs to the constants."""

        context = self.context
        if node.op_type in RANDOM:
            context.refuse(node, reason(node.op_type, ""))
        sources = dict.fromkeys(
            s for name in node.inputs if name in context.constants for s in context.constants[name].sources
        )
        if node.op_type in ("Constant", "ConstantOfShape"):
            sources = {node.outputs[0]: None}
        kept = tuple(sources)[:_SOURCES]
        for name, array in zip(node.outputs, self._values(node, proto), strict=False):
            if name:
                array.flags.writeable = False
                context.constants[name] = Constant(array, kept or (name,))

    def _values(self, node: FileNode, proto: onnx.NodeProto) -> list[np.ndarray]:
        context = self.context
        if node.op_type in OF_SHAPES:
            return [_shape_of(node, context.shape(node.inputs[0]))]
        if node.op_type == "Constant":
            value = _literal(node, self.tensors)
            if value is None:
                context.refuse(node, "its value is neither a dense tensor nor numbers")
            stored = node.attribute("value")
            if isinstance(stored, onnx.TensorProto):
                context.kind(node.outputs[0], stored.data_type)
            return [context.stored(node.outputs[0], value)]
        own = EVALUATED.get(node.op_type)
        if own is not None or node.op_type in QUANTIZERS:
            self._dequantized(node)
        if own is not None:
            return [own(context, node, [context.constants[name].array for name in node.inputs if name])]
        if node.op_type in QUANTIZERS:
            return [
                dequantizing.evaluate(
                    context, node, [context.constants[name].array for name in node.inputs if name]
                )
            ]
        try:
            shapes = self.inference.outputs(node, proto, context.constants)
        except (UnsupportedError, TooLargeError):
            raise
        except ModelError:
            shapes = (None,) * len(node.outputs)
        fast = self._view(node, [context.constants[name] if name else None for name in node.inputs], shapes)
        return [fast] if fast is not None else self._evaluated(node, proto, shapes)

    def _view(
        self, node: FileNode, constants: list[Constant | None], shapes: tuple[Shape | None, ...]
    ) -> np.ndarray | None:
        """The result as a view of the operand; None where there is none."""
        if node.op_type == "ConstantOfShape":
            fill = node.attribute("value")
            value = np.zeros(1, np.float32) if fill is None else self.tensors.read(fill, node.outputs[0])
            shape = _integers(constants[0] or Constant(np.zeros(0, np.int64)))
            if value.size != 1:
                self.context.invalid(node, f"its value holds {value.size} numbers; one is expected")
            self.inference.afford(node, shape, 1)
            return np.broadcast_to(self.context.stored(node.outputs[0], value).reshape(()), shape)
        array = constants[0].array if constants and constants[0] is not None else None
        if array is None:
            return None
        if node.op_type == "Identity" or (
            node.op_type == "Cast" and _SAME.get(node.attribute("to")) == array.dtype
        ):
            return array.view()
        if node.op_type == "Reshape" and len(constants) > 1 and constants[1] is not None:
            self._copied(node, array)
            return _reshaped(array.view(), _integers(constants[1]), bool(node.attribute("allowzero", 0)))
        if node.op_type == "Transpose":
            return array.transpose(node.attribute("perm"))
        if (
            node.op_type in ("Squeeze", "Unsqueeze", "Flatten")
            and shapes[0] is not None
            and np.prod(shapes[0], dtype=float) == array.size
        ):
            self._copied(node, array)
            return array.view().reshape(shapes[0])
        if node.op_type == "Expand" and len(constants) > 1 and constants[1] is not None:
            shape = np.broadcast_shapes(array.shape, _integers(constants[1]))
            self.inference.afford(node, shape, 1)
            return np.broadcast_to(array, shape)
        return None

    def _evaluated(
        self, node: FileNode, proto: onnx.NodeProto, shapes: tuple[Shape | None, ...]
    ) -> list[np.ndarray]:
        from onnx.reference import ReferenceEvaluator  # noqa: PLC0415 - slow to import, and few files need it

        context = self.context
        values = {name: context.constants[name].array for name in node.inputs if name}
        given = sum(array.size for array in values.values())
        if any(shape is None for shape, name in zip(shapes, node.outputs, strict=True) if name) and (
            given > 1 << 20 or node.op_type in EXPANDING
        ):
            context.invalid(
                node, "its operands are constant, but the size of its result cannot be told in advance"
            )
        made = sum(prod(shape) for shape in shapes if shape is not None)
        if node.op_type in _WINDOWS and _window(node, values) * made + given > _LOOKED_AT:
            context.refuse(
                node,
                f"its operands are constant, and it is too much to evaluate (shape {list(shapes[0] or ())})",
            )
        # the evaluator may hold its operands and its results twice, in numbers of 8 bytes
        context.budget.check(16 * (given + made), f"{context.label(node)}: its constant result")
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            try:
                results = ReferenceEvaluator(proto, opsets={"": context.opset}).run(None, values)
            except Exception as error:
                line = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise ModelError(
                    f"{context.label(node)}: cannot be evaluated on its constant operands: {line}"
                ) from error
        found = [self._numeric(node, value) for value in results]
        context.budget.hold(
            sum(array.nbytes for array in found), f"{context.label(node)}: its constant result"
        )
        return found

    def _dequantized(self, node: FileNode) -> None:
        """Charge numbers behind a quantizer, of 4 bytes, made by way of 16."""
        given = max((self.context.constants[name].array.size for name in node.inputs if name), default=0)
        given *= 8 if node.op_type == packed.DEQUANTIZE else 1
        what = f"{self.context.label(node)}: its constant result"
        self.context.budget.check(20 * given, what)
        self.context.budget.hold(4 * given, what)

    def _copied(self, node: FileNode, array: np.ndarray) -> None:
        """Charge the copy that a view which is no longer contiguous, or repeats cells, becomes."""
        if not array.flags.c_contiguous:
            self.context.budget.hold(
                array.size * array.itemsize, f"{self.context.label(node)}: its constant result"
            )

    def _numeric(self, node: FileNode, value: object) -> np.ndarray:
        if not isinstance(value, np.ndarray | np.generic):
            self.context.refuse(node, "its constant result is not a tensor")
        array = np.asarray(value)
        if (
            array.dtype.kind in "b"
            or dequantizing.is_integer_type(array.dtype)
            or array.dtype in (np.float32, np.float64)
        ):
            return array.view()
        if array.dtype == np.float16 or array.dtype.name == "bfloat16":
            return array.astype(np.float32)
        return self.context.refuse(node, f"its constant result holds {array.dtype.name}")
