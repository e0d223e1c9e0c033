"""Random models of one node: operators whose geometry runtimes, onnx's shape inference and the specification
may understand differently."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx

from tests.importer.one_node import build

Rng = np.random.Generator
Made = tuple[str, list, int, dict]


def _some(rng: Rng, chance: float) -> bool:
    return bool(rng.random() < chance)


def _pick(rng: Rng, *choices: object) -> object:
    return choices[int(rng.integers(len(choices)))]


def _numbers(rng: Rng, count: int, low: int, high: int) -> list[int]:
    return [int(n) for n in rng.integers(low, high + 1, count)]


def _ints(values: object) -> np.ndarray:
    return np.array(values, np.int64)


def _array(rng: Rng, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def _image(rng: Rng, channels: int = 2, low: int = 1, high: int = 9) -> tuple[int, ...]:
    return (1, channels, *_numbers(rng, int(_pick(rng, 1, 2, 2, 3)), low, high))


def _padding(rng: Rng, rank: int, kernel: list[int]) -> dict:
    """Explicit pads, automatic ones, or both left out."""
    kind = _pick(rng, "none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
    if kind == "none":
        return {}
    if kind == "pads" or kind == "NOTSET":
        pads = [int(rng.integers(0, k)) for k in (kernel * 2)[: 2 * rank]]
        return {"pads": pads} | ({"auto_pad": "NOTSET"} if kind == "NOTSET" else {})
    return {"auto_pad": kind}


def pool(rng: Rng) -> Made:
    op = str(_pick(rng, "MaxPool", "MaxPool", "AveragePool", "AveragePool", "LpPool"))
    shape = _image(rng)
    rank = len(shape) - 2
    kernel = _numbers(rng, rank, 1, 4)
    opset = int(
        _pick(
            rng,
            *{"MaxPool": (7, 8, 10, 11, 12, 22), "AveragePool": (7, 10, 11, 19, 22), "LpPool": (11, 18, 22)}[
                op
            ],
        )
    )  # type: ignore[misc]
    attributes: dict = {"kernel_shape": kernel, **_padding(rng, rank, kernel)}
    if _some(rng, 0.7):
        attributes["strides"] = _numbers(rng, rank, 1, 3)
    if opset >= {"MaxPool": 10, "AveragePool": 19, "LpPool": 18}[op] and _some(rng, 0.5):
        attributes["dilations"] = _numbers(rng, rank, 1, 3)
    if opset >= {"MaxPool": 10, "AveragePool": 10, "LpPool": 18}[op] and _some(rng, 0.5):
        attributes["ceil_mode"] = int(rng.integers(0, 2))
    if op == "AveragePool" and _some(rng, 0.5):
        attributes["count_include_pad"] = int(rng.integers(0, 2))
    if op == "MaxPool" and opset >= 8 and _some(rng, 0.2):
        attributes["storage_order"] = int(rng.integers(0, 2))
    if op == "LpPool":
        attributes["p"] = int(_pick(rng, 1, 1, 2))
    return op, [shape], opset, attributes


def convolution(rng: Rng) -> Made:
    group = int(_pick(rng, 1, 1, 2))
    shape = _image(rng, 2 * group)
    rank = len(shape) - 2
    kernel = _numbers(rng, rank, 1, 4)
    attributes: dict = {"group": group, **_padding(rng, rank, kernel)}
    for key in ("strides", "dilations"):
        if _some(rng, 0.6):
            attributes[key] = _numbers(rng, rank, 1, 3)
    if _some(rng, 0.3):
        attributes["kernel_shape"] = kernel
    return (
        "Conv",
        [shape, _array(rng, 2 * group, 2, *kernel), _array(rng, 2 * group)][: int(_pick(rng, 2, 3))],
        int(_pick(rng, 7, 11, 22)),
        attributes,
    )


def transposed(rng: Rng) -> Made:
    group = int(_pick(rng, 1, 1, 2))
    shape = _image(rng, 2 * group, high=5)
    rank = len(shape) - 2
    kernel = _numbers(rng, rank, 1, 4)
    attributes: dict = {"group": group, **_padding(rng, rank, kernel)}
    strides = _numbers(rng, rank, 1, 3)
    if _some(rng, 0.7):
        attributes["strides"] = strides
    else:
        strides = [1] * rank
    if _some(rng, 0.4):
        attributes["dilations"] = _numbers(rng, rank, 1, 3)
    if _some(rng, 0.4):
        attributes["output_padding"] = [int(rng.integers(0, max(s, 1))) for s in strides]
    if _some(rng, 0.3):
        attributes["output_shape"] = [
            max(1, n * s + int(rng.integers(-1, 2))) for n, s in zip(shape[2:], strides, strict=True)
        ]
    return (
        "ConvTranspose",
        [shape, _array(rng, 2 * group, 2, *kernel), _array(rng, 2 * group)][: int(_pick(rng, 2, 3))],
        int(_pick(rng, 7, 11, 22)),
        attributes,
    )


_MODES = (
    "half_pixel",
    "pytorch_half_pixel",
    "asymmetric",
    "align_corners",
    "tf_half_pixel_for_nn",
    "half_pixel_symmetric",
    "tf_crop_and_resize",
)


def resize(rng: Rng) -> Made:
    opset = int(_pick(rng, 10, 11, 13, 18, 19))
    shape = (1, int(rng.integers(1, 3)), *_numbers(rng, int(_pick(rng, 1, 2, 2, 3)), 1, 7))
    mode = str(_pick(rng, "nearest", "nearest", "linear"))
    attributes: dict = {"mode": mode}
    along = list(range(len(shape)))
    spatial = along[2:]
    if opset >= 11:
        coordinate = str(_pick(rng, *_MODES[: len(_MODES) if opset >= 19 or _some(rng, 0.5) else 5]))
        if coordinate != "half_pixel" or _some(rng, 0.5):
            attributes["coordinate_transformation_mode"] = coordinate
        if mode == "nearest" and _some(rng, 0.7):
            attributes["nearest_mode"] = str(
                _pick(rng, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
            )
        if _some(rng, 0.2):
            attributes["exclude_outside"] = int(rng.integers(0, 2))
    if opset >= 18:
        if _some(rng, 0.4):
            along = spatial if _some(rng, 0.7) else [k - len(shape) for k in spatial]
            attributes["axes"] = along
        if _some(rng, 0.2):
            attributes["antialias"] = int(mode == "linear")

    def factor(k: int) -> float:
        if k % len(shape) < 2 and _some(rng, 0.95):
            return 1.0
        return float(
            np.float32(
                _pick(
                    rng,
                    1.0,
                    2.0,
                    0.5,
                    3.0,
                    1 / 3,
                    1.5,
                    0.6,
                    2.7,
                    1.1,
                    1.3,
                    0.9,
                    1.01,
                    0.99,
                    float(rng.uniform(0.3, 3.2)),
                )
            )
        )

    roi = None if opset < 11 else (np.zeros(0, np.float32) if _some(rng, 0.5) else None)
    if attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        roi = (
            np.array([0.0] * len(along) + [1.0] * len(along), np.float32)
            if _some(rng, 0.7)
            else np.tile([0.2, 0.9], (len(along), 1)).T.reshape(-1).astype(np.float32)
        )
    if opset == 10:
        return "Resize", [shape, np.array([factor(k) for k in along], np.float32)], opset, attributes
    if _some(rng, 0.5):
        return "Resize", [shape, roi, np.array([factor(k) for k in along], np.float32)], opset, attributes
    sizes = _ints([shape[k] if factor(k) == 1.0 else max(1, int(shape[k] * factor(k))) for k in along])
    if opset >= 18 and _some(rng, 0.4):
        attributes["keep_aspect_ratio_policy"] = str(_pick(rng, "stretch", "not_larger", "not_smaller"))
    return "Resize", [shape, roi, np.zeros(0, np.float32) if opset < 13 else None, sizes], opset, attributes


def upsample(rng: Rng) -> Made:
    shape = (1, 2, *_numbers(rng, 2, 1, 5))
    scales = [1.0, 1.0, *(float(np.float32(_pick(rng, 1.0, 2.0, 1.5, 3.0, 1.1, 1.2))) for _ in range(2))]
    mode = str(_pick(rng, "nearest", "linear"))
    if _some(rng, 0.5):
        return "Upsample", [shape], 7, {"mode": mode, "scales": scales}
    return "Upsample", [shape, np.array(scales, np.float32)], 9, {"mode": mode}


def pad(rng: Rng) -> Made:
    shape = tuple(_numbers(rng, int(rng.integers(2, 5)), 1, 5))
    opset = int(_pick(rng, 7, 11, 13, 18, 19, 21))
    modes = ["constant", "reflect", "edge", *(["wrap"] if opset >= 19 else [])]
    mode = str(_pick(rng, *modes))
    along = list(range(len(shape)))
    if opset >= 18 and _some(rng, 0.4):
        along = sorted(rng.choice(len(shape), int(rng.integers(1, len(shape) + 1)), replace=False).tolist())
        along = [k - len(shape) for k in along] if _some(rng, 0.5) else along
        rng.shuffle(along)
    pads = [int(_pick(rng, 0, 0, 1, 2, -1)) if k % len(shape) else 0 for k in along * 2]
    if opset < 11:
        return (
            "Pad",
            [shape],
            opset,
            {"mode": mode, "pads": pads} | ({"value": 1.5} if mode == "constant" and _some(rng, 0.5) else {}),
        )
    value = np.array(1.5, np.float32) if mode == "constant" and _some(rng, 0.5) else None
    operands = [
        shape,
        _ints(pads),
        value,
        _ints(along) if len(along) < len(shape) or opset >= 18 and _some(rng, 0.2) else None,
    ]
    if opset < 18:
        operands = operands[:3]
    while operands[-1] is None:
        operands.pop()
    return "Pad", operands, opset, {"mode": mode} if mode != "constant" or _some(rng, 0.5) else {}


def cut(rng: Rng) -> Made:
    shape = tuple(_numbers(rng, int(rng.integers(1, 5)), 1, 6))
    count = int(rng.integers(1, len(shape) + 1))
    along = rng.choice(len(shape), count, replace=False)
    axes = [int(k) - (len(shape) if _some(rng, 0.4) else 0) for k in along]
    starts = [int(_pick(rng, 0, 0, *range(-8, 9))) for _ in range(count)]
    ends = [int(_pick(rng, *range(-8, 9), *[2**31 - 1, 2**63 - 1] * 6, -(2**63))) for _ in range(count)]
    if _some(rng, 0.2):
        ends = [e if abs(e) < 100 else 100 for e in ends]
        return "Slice", [shape], 7, {"axes": axes, "starts": starts, "ends": ends}
    steps = [int(_pick(rng, 1, 1, 2, 3, -1, -2)) for _ in range(count)]
    operands = [shape, _ints(starts), _ints(ends), _ints(axes), _ints(steps)][: int(_pick(rng, 5, 5, 4))]
    return "Slice", operands, int(_pick(rng, 10, 13)), {}


def rearranged(rng: Rng) -> Made:
    op = str(
        _pick(
            rng, "DepthToSpace", "SpaceToDepth", "Flatten", "Transpose", "Tile", "Gather", "Expand", "Split"
        )
    )
    if op == "DepthToSpace":
        opset = int(_pick(rng, 7, 11, 13))
        return (
            op,
            [(1, 8, *_numbers(rng, 2, 1, 3))],
            opset,
            {"blocksize": 2}
            | ({"mode": str(_pick(rng, "DCR", "CRD"))} if opset >= 11 and _some(rng, 0.7) else {}),
        )
    if op == "SpaceToDepth":
        return op, [(1, 2, *(2 * n for n in _numbers(rng, 2, 1, 3)))], 13, {"blocksize": 2}
    shape = tuple(_numbers(rng, int(rng.integers(2, 5)), 1, 4))
    if op == "Flatten":
        return (
            op,
            [shape],
            13,
            {"axis": int(rng.integers(-len(shape), len(shape) + 1))} if _some(rng, 0.8) else {},
        )
    if op == "Transpose":
        return op, [shape], 13, {"perm": rng.permutation(len(shape)).tolist()} if _some(rng, 0.7) else {}
    if op == "Tile":
        return op, [shape, _ints(_numbers(rng, len(shape), 1, 3))], 13, {}
    if op == "Gather":
        axis = int(rng.integers(-len(shape), len(shape)))
        indices = rng.integers(-shape[axis], shape[axis], tuple(_numbers(rng, int(rng.integers(0, 3)), 1, 3)))
        return op, [shape, _ints(indices)], 13, {"axis": axis}
    if op == "Expand":
        wide = [int(_pick(rng, 1, 1, n, n)) if n > 1 else int(_pick(rng, 1, 2, 3)) for n in shape]
        return op, [shape, _ints([*([2] if _some(rng, 0.3) else []), *wide])], 13, {}
    axis = int(rng.integers(-len(shape), len(shape)))
    return op, [shape], 18, {"axis": axis, "num_outputs": 1}


def reduced(rng: Rng) -> Made:
    op = str(_pick(rng, "ReduceMean", "ReduceSum", "ReduceMax"))
    shape = tuple(_numbers(rng, int(rng.integers(2, 5)), 1, 4))
    axes = [
        int(k) - (len(shape) if _some(rng, 0.3) else 0)
        for k in rng.choice(len(shape), int(rng.integers(1, len(shape) + 1)), replace=False)
    ]
    opset = int(_pick(rng, 11, 13, 18, 20))
    keep = {"keepdims": int(rng.integers(0, 2))} if _some(rng, 0.7) else {}
    as_input = opset >= 18 or (op == "ReduceSum" and opset >= 13)
    if not as_input:
        return op, [shape], opset, keep | ({"axes": axes} if _some(rng, 0.8) else {})
    noop = {"noop_with_empty_axes": int(rng.integers(0, 2))} if _some(rng, 0.4) else {}
    operands = [shape, _ints(axes)] if _some(rng, 0.7) else [shape, _ints([])] if _some(rng, 0.5) else [shape]
    return op, operands, opset, keep | noop


def product(rng: Rng) -> Made:
    if _some(rng, 0.5):
        m, k, n = _numbers(rng, 3, 1, 4)
        left, right = int(rng.integers(0, 2)), int(rng.integers(0, 2))
        a, b = ((k, m) if left else (m, k)), ((n, k) if right else (k, n))
        c = _pick(rng, None, (n,), (1, n), (m, 1), (m, n), (1,), ())
        attributes = {"transA": left, "transB": right}
        if _some(rng, 0.5):
            attributes |= {"alpha": 0.5, "beta": float(_pick(rng, 0.0, 2.0))}
        first = _some(rng, 0.7)
        return (
            "Gemm",
            [
                *([a, _array(rng, *b)] if first else [_array(rng, *a), b]),
                *([] if c is None else [_array(rng, *c)]),
            ],
            int(_pick(rng, 11, 13)),
            attributes,
        )
    k = int(rng.integers(1, 4))
    shape = (*_numbers(rng, int(rng.integers(0, 3)), 1, 3), k)
    other = (
        (k,)
        if _some(rng, 0.2)
        else (*_numbers(rng, int(rng.integers(0, 2)), 1, 1), k, int(rng.integers(1, 4)))
    )
    return "MatMul", [shape, _array(rng, *other)], 13, {}


FAMILIES: dict[str, Callable[[Rng], Made]] = {
    "pool": pool, "convolution": convolution, "transposed": transposed, "resize": resize,
    "upsample": upsample, "pad": pad, "cut": cut,
    "rearranged": rearranged, "reduced": reduced, "product": product,
}  # fmt: skip


def models(family: str, seed: int, count: int) -> Iterator[tuple[Made, onnx.ModelProto]]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        made = FAMILIES[family](rng)
        op, operands, opset, attributes = made
        yield made, build(op, operands, opset, **attributes)
