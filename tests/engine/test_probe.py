"""The probe of a device: what the certificates assume passes, and every arithmetic that is narrower does
not."""

import numpy as np
import pytest

from onnxpath.engine import probe
from onnxpath.engine.certificate import gamma
from tests.engine.simulated import kept, narrowed, plainly

NEEDED, CONVOLUTIONS = probe.needed(), probe.convolutions()


def test_the_cpu_passes():
    assert probe.failing(NEEDED, plainly) == [] and probe.failing(CONVOLUTIONS, plainly) == []


def test_every_operand_is_rounded_down_by_more_than_any_certificate_allows():
    """The claim of the module: 2**-13 of each at least, in 10 bits, to nearest or cut."""
    x = probe.operand(np.random.default_rng(5), 10000)
    for up in (True, False):
        assert ((x - kept(x, 10, up)) / x >= 2.0**-13).all()
    assert gamma(1 << 11, probe.F) < 2.0**-12


@pytest.mark.parametrize(("bits", "up"), [(10, True), (10, False), (7, True), (7, False)])
def test_narrow_operands_fail(bits, up):
    """TF32, half precision, bfloat16."""
    assert {"MatMul", "Gemm"} <= set(probe.failing(NEEDED, narrowed(bits, up)))
    assert probe.failing(CONVOLUTIONS, narrowed(bits, up)) == ["Conv", "ConvTranspose"]


def altered(op: str, change):
    """The CPU, but for the results of one operator."""

    def run(cases):
        def device(model, feeds):
            found = plainly(model, feeds)
            for n, case in enumerate(cases):
                if case.op == op:
                    found[str(n)] = change(case, found[str(n)])
            return found

        return probe.failing(cases, device)

    return run


@pytest.mark.parametrize(
    ("op", "change"),
    [
        (
            "MatMul",
            lambda case, y: np.clip(y, 0, 65504).astype(np.float16).astype(np.float32),
        ),  # an accumulator in half precision
        ("MatMul", lambda case, y: np.nextafter(y, np.float32(0)) * np.float32(1 - 2.0**-14)),
        ("Gemm", lambda case, y: y * 0),
        (
            "ReduceSum",
            lambda case, y: y.astype(np.float32).astype(y.dtype) if y.dtype == np.float64 else y,
        ),  # float64 sums in float32
        ("Sum", lambda case, y: y.astype(np.float32)),
        ("MaxPool", lambda case, y: np.maximum(y, 0)),  # padding that counts as zero
        ("Div", lambda case, y: np.nextafter(y, np.float32(2))),  # a quotient that is not rounded correctly
        ("Sqrt", lambda case, y: np.nextafter(y, np.float32(2))),
        ("Exp", lambda case, y: y * np.float32(1 + 2.0**-16)),  # fast mathematics
        ("Conv", lambda case, y: y.T),
        ("ConvTranspose", lambda case, y: y * np.float32(np.nan)),
    ],
)
def test_wrong_results_fail(op, change):
    assert altered(op, change)(NEEDED) == [op]


def winograd(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """F(2x2, 3x3) in float32, as fast convolutions compute it."""
    b = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]], np.float32)
    g = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float32)
    a = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float32)
    tiles = np.lib.stride_tricks.sliding_window_view(x, (4, 4), axis=(2, 3))[:, :, ::2, ::2]
    data = np.einsum("ab,nipqbc,dc->nipqad", b, tiles, b).astype(np.float32)
    kernel = np.einsum("ab,oibc,dc->oiad", g, w, g).astype(np.float32)
    product = np.einsum("nipqad,oiad->nopqad", data, kernel).astype(np.float32)
    out = np.einsum("ab,nopqbc,dc->nopqad", a, product, a).astype(np.float32)
    n, o, p, q = out.shape[:4]
    return out.transpose(0, 1, 2, 4, 3, 5).reshape(n, o, 2 * p, 2 * q)


def test_fast_convolutions_are_told_and_do_no_harm():
    """Winograd's sums are good enough to run, and no IEEE sums of non-negative products."""
    exact = probe.convolutions()[0]
    assert exact.holds(
        plainly(probe.model([exact]), {"0.0": exact.operands[0], "0.1": exact.operands[1]})["0"]
    )
    assert altered("Conv", lambda case, y: winograd(*case.operands))(CONVOLUTIONS) == ["Conv"]
    assert altered("Conv", lambda case, y: winograd(*case.operands))(NEEDED) == []
    rng = np.random.default_rng(2)
    x, w = probe.operand(rng, 1, 16, 18, 18), probe.operand(rng, 16, 16, 3, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=(2, 3))
    even = probe.Case("Conv", (x, w), np.einsum("nipqkl,oikl->nopq", windows, w.astype(np.float64)), 144)
    assert even.holds(winograd(x, w))  # numbers of one size hide it
