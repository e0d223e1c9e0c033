"""Are the kernels of a device those that the certificates assume?

A rounding certificate (certificate.py) asks for IEEE products and sums: a sum of K non-negative products is
off by at most γ_K of itself. What devices do instead shows on operands that are made for it:

    TF32, half precision    the last 13 bits of every operand are between a quarter and half a unit of a
                            10-bit mantissa, so that each rounding to it goes down, by 2**-13 of the operand
                            at least: K products lose 2**-12 of their sum, whatever K
    narrow accumulators     sums that differ by 2**40 in size
    fast convolutions       Winograd and Fourier transforms subtract products that are in no sum of a window:
                            where single cells of the image and of the kernel are 2**20 times the others,
                            windows in which they do not meet are off by about 2**-5

Matrix products, sums, maxima, divisions and roots must be exact to that; functions to half of what the passes
allow them; convolutions need only run (the passes spell them as matrix products where they are not on the
CPU: cuDNN chooses another algorithm for every shape, so that no probe speaks for the next one), and whether
they would have passed is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from onnxpath.engine.certificate import gamma
from onnxpath.engine.primitives import PRIMITIVES

F = np.float32
Arrays = Mapping[str, np.ndarray]
Check = Callable[[np.ndarray, np.ndarray], bool]
# Half of what boxes/interval_nonlinear.py allows a function in float32, relative to |f| + |x| + 1.
_FUNCTION = 2.0**-19


@dataclass(frozen=True, eq=False)
class Case:
    """A node, its operands (float32 unless it says otherwise), and its value in float64; terms: of one of its
    sums."""

    op: str
    operands: tuple[np.ndarray, ...]
    expected: np.ndarray
    terms: int = 0
    attributes: Mapping[str, Any] | None = None
    check: Check | None = None

    def holds(self, found: np.ndarray) -> bool:
        """Whether what a device found is what is expected."""
        if found.shape != self.expected.shape or not np.isfinite(found).all():
            return False
        if self.check is not None:
            return self.check(found.astype(np.float64), self.expected)
        bound = gamma(self.terms + 1, np.dtype(F)) if self.terms else 0.0
        return bool((np.abs(found.astype(np.float64) - self.expected) <= bound * self.expected).all())


def operand(rng: "np.random.Generator", *shape: int) -> np.ndarray:
    """Numbers in [1, 2) that a mantissa of 10 bits rounds down, by a quarter to a half of its unit."""
    high, low = rng.integers(0, 1 << 10, shape), rng.integers(1 << 11, 1 << 12, shape)
    return (1 + (high * (1 << 13) + low) * 2.0**-23).astype(F)


def spiked(rng: "np.random.Generator", *shape: int) -> np.ndarray:
    """Images of such numbers, of which every eighth cell of every eighth row is 2**20 times as large."""
    found = operand(rng, *shape)
    found[..., 3::8, 3::8] *= F(2.0**20)
    return found


def _correctly_rounded(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool((found == expected.astype(F)).all())


def _runs(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool((np.abs(found - expected) <= 2.0**-6 * np.abs(expected).max()).all())


def _matrices(rng: "np.random.Generator") -> list[Case]:
    """Products of every form that the passes emit: of matrices, of batches, with one operand for a whole
    batch, and Gemm. Columns of the right operand have sizes from 2**-20 to 2**20."""
    found = []
    for left, right in (
        ((64, 192), (192, 256)),
        ((1, 384), (384, 64)),
        ((6, 32, 64), (6, 64, 40)),
        ((32, 64), (5, 64, 128)),
        ((4, 8, 96), (96, 72)),
    ):
        a, b = operand(rng, *left), operand(rng, *right) * np.exp2(np.arange(right[-1]) % 41 - 20).astype(F)
        found.append(Case("MatMul", (a, b), a.astype(np.float64) @ b.astype(np.float64), left[-1]))
    a, b, c = operand(rng, 48, 160), operand(rng, 128, 160), operand(rng, 128)
    expected = a.astype(np.float64) @ b.T.astype(np.float64) + c
    return [*found, Case("Gemm", (a, b, c), expected, 161, {"transB": 1})]


def _double(found: np.ndarray, expected: np.ndarray) -> bool:
    return bool((np.abs(found - expected) <= 2.0**-39 * np.abs(expected)).all())


def _others(rng: "np.random.Generator") -> list[Case]:
    """Sums in both precisions (the passes add up some of their results in float64), maxima, correctly rounded
    operations, functions."""
    x, y = operand(rng, 3, 5000), operand(rng, 3, 5000)
    wide, narrow = x.astype(np.float64), y.astype(np.float64)
    axes, flat, window = (
        np.array([1], np.int64),
        {"keepdims": 0},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    )
    image = spiked(rng, 2, 3, 16, 16) - F(
        2.0**19
    )  # negative but for the spikes: padding with zeros would win
    at = np.linspace(-6, 6, 4001).astype(F)
    found = [
        Case("ReduceSum", (x, axes), wide.sum(axis=1), 5000, flat),
        Case("ReduceSum", (wide / 3, axes), (wide / 3).sum(axis=1), 0, flat, _double),
        Case("Sum", (wide / 3, narrow / 5, wide), wide / 3 + narrow / 5 + wide, 0, None, _double),
        Case("MaxPool", (image,), _largest(image), 0, window, _correctly_rounded),
    ]
    for op, expected in (
        ("Add", wide + narrow),
        ("Sub", wide - narrow),
        ("Mul", wide * narrow),
        ("Div", wide / narrow),
    ):
        found.append(Case(op, (x, y), expected, check=_correctly_rounded))
    found.append(Case("Sqrt", (x,), np.sqrt(wide), check=_correctly_rounded))
    for op, primitive in PRIMITIVES.items():
        given = np.abs(at) + F(0.5) if primitive.positive else at
        exact = primitive.value(given.astype(np.float64))
        close = _FUNCTION * (np.abs(exact) + np.abs(given) + 1)
        found.append(
            Case(op, (given,), exact, check=lambda f, e, close=close: bool((np.abs(f - e) <= close).all()))
        )
    return found


def _largest(image: np.ndarray) -> np.ndarray:
    """Maxima of 3x3 windows in steps of two, with one cell of padding."""
    padded = np.pad(image.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))[:, :, ::2, ::2].max(
        axis=(4, 5)
    )[:, :, :8, :8]


def _convolutions(rng: "np.random.Generator", check: Check | None) -> list[Case]:
    """3x3 kernels in steps of one, where fast algorithms apply, on the borders' inside; and the transposed
    convolution."""
    x, w = spiked(rng, 1, 16, 18, 18), operand(rng, 16, 16, 3, 3)
    w[..., 0, 0] *= F(2.0**20)
    wide, kernel = x.astype(np.float64), w.astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), axis=(2, 3))
    forward = np.einsum("nipqkl,oikl->nopq", windows, kernel)
    padded = np.pad(wide, ((0, 0), (0, 0), (2, 2), (2, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    backward = np.einsum("nopqkl,oikl->nipq", windows, kernel[:, :, ::-1, ::-1])
    return [
        Case("Conv", (x, w), forward, 144, check=check),
        Case("ConvTranspose", (x, w), backward, 144, check=check),
    ]


def model(cases: list[Case]) -> bytes:
    """The cases' nodes in one graph: operand k of case n is `n.k`, its value `n`."""
    kinds = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
    inputs, outputs, nodes = [], [], []
    for n, case in enumerate(cases):
        names = [f"{n}.{k}" for k in range(len(case.operands))]
        inputs += [
            helper.make_tensor_value_info(name, kinds[a.dtype.name], a.shape)
            for name, a in zip(names, case.operands, strict=True)
        ]
        outputs.append(
            helper.make_tensor_value_info(str(n), kinds[case.operands[0].dtype.name], case.expected.shape)
        )
        nodes.append(helper.make_node(case.op, names, [str(n)], **(case.attributes or {})))
    graph = helper.make_graph(nodes, "probe", inputs, outputs)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
    ).SerializeToString()


def failing(cases: list[Case], run: Callable[[bytes, Arrays], Mapping[str, np.ndarray]]) -> list[str]:
    """The operators of the cases that do not hold when `run` evaluates a model on inputs by name; each
    once."""
    feeds = {f"{n}.{k}": array for n, case in enumerate(cases) for k, array in enumerate(case.operands)}
    found = run(model(cases), feeds)
    return list(
        dict.fromkeys(case.op for n, case in enumerate(cases) if not case.holds(np.asarray(found[str(n)])))
    )


def needed() -> list[Case]:
    """What a device must do to be used."""
    rng = np.random.default_rng(0)
    return [*_matrices(rng), *_others(rng), *_convolutions(rng, _runs)]


def convolutions() -> list[Case]:
    """Convolutions whose sums are IEEE on the shapes of the probe; no use of them follows."""
    return _convolutions(np.random.default_rng(1), None)
