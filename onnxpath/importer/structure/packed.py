"""Weights packed into blocks of few bits: com.microsoft MatMulNBits.

    y = x Wᵀ + bias,        W[n, k] = (B[n, k] - z[n, k // block]) · s[n, k // block],        n < N, k < K,

B has `bits` bits a number (2, 4 or 8), the first in the low bits of a byte, and is stored as bytes [N, ceil(K
/ block), block · bits / 8]; what lies beyond K is padding. z is packed likewise, row by row (each row in
whole bytes), or given as floats; 2^(bits - 1) by default. W is a float32 number: the difference and the
product are rounded once each, as in ONNX Runtime.

The node becomes `DEQUANTIZE`, which is evaluated at import, and a MatMul. accuracy_level 4 is refused: ONNX
Runtime then rounds x to 8 bits, block by block.
"""

import numpy as np

from onnxpath.importer.lower.context import Context, FileNode
from onnxpath.importer.lower.rules.operands import integer
from onnxpath.importer.structure.rewriting import Writer

DEQUANTIZE = "MatMulNBitsWeight"
"""The weights of a MatMulNBits, [K, N]: an operator of this package, never of a file."""
_SIZES = ("K", "N", "bits", "block_size")
_INT8 = 4


def rewrite(w: Writer) -> bool:
    """False where the node stays: it has an order of its columns (g_idx), or rounds its input."""
    if w.input(4) or w.integer("accuracy_level") >= _INT8 or w.integer("bits", 4) not in (2, 4, 8):
        return False
    sizes = {name: w.integer(name, 4 if name == "bits" else 0) for name in _SIZES}
    weight = w.emit(DEQUANTIZE, [w.input(1), w.input(2), w.input(3)], w.name("weight"), w.node.name, **sizes)
    bias = w.input(5)
    y = w.emit("MatMul", [w.input(0), weight], w.name("product") if bias else w.node.output[0], w.node.name)
    if bias:
        w.emit("Add", [y, bias], w.node.output[0], "")
    return True


def _numbers(packed: np.ndarray, bits: int) -> np.ndarray:
    """Bytes [..., m] -> numbers [..., m · 8 / bits], the low bits first."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return ((packed[..., None] >> shifts) & np.uint8((1 << bits) - 1)).reshape(*packed.shape[:-1], -1)


def evaluate(context: Context, node: FileNode, values: list[np.ndarray]) -> np.ndarray:
    """W transposed, [K, N] float32."""
    columns, rows, bits, block = (integer(context, node, key, 0, low=1) for key in _SIZES)
    if block < 16 or block & (block - 1):
        context.invalid(node, f"its block_size is {block}; a power of 2 from 16 is expected")
    blocks, packed, scale = -(-columns // block), values[0], values[1]
    expected = (rows, blocks, block * bits // 8)
    if packed.dtype != np.uint8 or packed.size != np.prod(expected):
        context.invalid(
            node,
            f"its weights '{node.inputs[0]}' hold {packed.dtype.name} {list(packed.shape)}, expected uint8"
            f" {list(expected)}",
        )
    if scale.dtype.kind != "f" or scale.size != rows * blocks:
        context.invalid(
            node,
            f"its scales '{node.inputs[1]}' hold {scale.dtype.name} {list(scale.shape)}, expected"
            f" {[rows, blocks]} floats",
        )
    if not np.isfinite(scale).all():
        context.invalid(node, f"its scales '{node.inputs[1]}' hold NaN or infinite numbers")
    numbers = _numbers(packed.reshape(expected), bits).astype(np.float32)
    zero = np.float32(1 << (bits - 1))
    if len(values) > 2:
        zero = _zero_points(context, node, values[2], rows, blocks, bits)[..., None]
    weight = (numbers - zero) * scale.astype(np.float32).reshape(rows, blocks, 1)
    return np.ascontiguousarray(weight.reshape(rows, -1)[:, :columns].T)


def _zero_points(
    context: Context, node: FileNode, stored: np.ndarray, rows: int, blocks: int, bits: int
) -> np.ndarray:
    if stored.dtype.kind == "f":
        if stored.size != rows * blocks or not np.isfinite(stored).all():
            context.invalid(
                node,
                f"its zero points '{node.inputs[2]}' have shape {list(stored.shape)}, expected"
                f" {[rows, blocks]} finite floats",
            )
        return stored.astype(np.float32).reshape(rows, blocks)
    width = -(-blocks * bits // 8)
    if stored.dtype != np.uint8 or stored.size != rows * width:
        kind = f"{stored.dtype.name} {list(stored.shape)}"
        context.invalid(
            node, f"its zero points '{node.inputs[2]}' hold {kind}, expected uint8 {[rows, width]} or floats"
        )
    return _numbers(stored.reshape(rows, width), bits)[:, :blocks].astype(np.float32)
