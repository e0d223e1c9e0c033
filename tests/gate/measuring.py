"""What is true of a pair of files, by running both: how their outputs differ, how often their classes do, and
their interfaces.

Both run in ONNX Runtime with its default options, on uniform inputs in [-1, 1]. Whoever replaces A by B feeds
by name, and by position where the names are others; outputs are compared by position.

Which budgets does a measured difference break? With d = max |f_A - f_B| over the inputs, a certified bound of
them is >= d, and so is one over [-1, 1]; the path-metric is >= ‖f_A(x) - f_B(x)‖₁ for |x| <= 1 (paper,
Theorem 3.1); an upper limit of a share is >= the share that was counted. So 0.9 of each is broken. A
difference of 0 beside another interface breaks none: then the budgets are wide, and whoever keeps them must
fail because of the interface.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto

from gate.editing import Files

COUNT = 96
COUNTED = 48
GIVEN = 16
"""How many inputs: in all, for shares of classes, and for bounds at given inputs."""
NOISE = 1e-3
"""Differences below this share of the spread of A's outputs do not make a file wrong: kernels may round."""

onnxruntime.set_default_logger_severity(4)


@dataclass(frozen=True)
class Truth:
    """largest, summed: of |f_A - f_B| over all entries, as a maximum and as a sum, on all inputs; `given` of
    the first GIVEN. spread: the deviation of A's outputs. flips: share of the first COUNTED whose classes
    differ, None where there are none. interface: what differs of it. runs: B runs, with finite outputs."""

    largest: float
    summed: float
    given: float
    spread: float
    flips: float | None
    interface: tuple[str, ...]
    runs: bool

    @property
    def wrong(self) -> bool:
        return bool(self.interface) or not self.runs or self.given > NOISE * self.spread


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def seeded(running: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """COUNT inputs [n, ...] by name."""
    rng = np.random.default_rng(0)
    return {
        item.name: (
            rng.uniform(-1, 1, (COUNT, *(n if isinstance(n, int) else 1 for n in item.shape[1:]))).astype(
                np.float32
            )
        )
        for item in running.get_inputs()
    }


TYPES = {
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
}


def _outputs(running: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray]) -> list[np.ndarray] | None:
    """The outputs [n, ...] on inputs of another file; None where they cannot be fed, or the file fails on
    them."""
    arrays = list(inputs.values())
    found = [[] for _ in running.get_outputs()]
    try:
        for k in range(COUNT):
            feed = {}
            for place, item in enumerate(running.get_inputs()):
                array = inputs[item.name] if item.name in inputs else arrays[min(place, len(arrays) - 1)]
                shape = [n if isinstance(n, int) else 1 for n in item.shape]
                feed[item.name] = array[k].astype(TYPES.get(item.type, np.float32)).reshape(shape)
            for entry, array in zip(found, running.run(None, feed), strict=True):
                entry.append(array)
    except Exception:  # noqa: BLE001 - any error says that B does not take what A takes
        return None
    return [np.stack(entry) for entry in found]


def interface(a: onnxruntime.InferenceSession, b: onnxruntime.InferenceSession) -> tuple[str, ...]:
    """Which of number, order or names, types and shapes of inputs and outputs differ; sizes without a number
    are one."""
    found = []
    for what, ours, theirs in (
        ("inputs", a.get_inputs(), b.get_inputs()),
        ("outputs", a.get_outputs(), b.get_outputs()),
    ):
        for title, facts in (
            ("names", lambda item: item.name),
            ("types", lambda item: item.type),
            ("shapes", _shape),
        ):
            if list(map(facts, ours)) != list(map(facts, theirs)):
                found.append(f"{title} of {what}")
    return tuple(found)


def _shape(item: onnxruntime.NodeArg) -> list[int]:
    return [n if isinstance(n, int) else 1 for n in item.shape]


def measure(a: Path, b: Path) -> tuple[Truth, dict[str, np.ndarray]] | None:
    """The truth of a pair and A's inputs; None where B is no file that loads."""
    ours = session(a)
    inputs = seeded(ours)
    try:
        theirs = session(b)
    except Exception:  # noqa: BLE001 - whatever it is, nobody would have shipped the file
        return None
    first, second = _outputs(ours, inputs), _outputs(theirs, inputs)
    assert first is not None
    spread = max(float(array.std(axis=0).max()) for array in first)
    changed = interface(ours, theirs)
    if second is None:
        return (
            (
                Truth(np.inf, np.inf, np.inf, spread, None, changed or ("outputs on these inputs",), False),
                inputs,
            )
            if changed
            else None
        )
    compared = [
        (x.astype(np.float64), y.astype(np.float64))
        for x, y in zip(first, second, strict=False)
        if x.shape == y.shape
    ]
    if not all(np.isfinite(y).all() for _, y in compared):
        return Truth(np.inf, np.inf, np.inf, spread, None, changed, False), inputs
    differences = [np.abs(x - y).reshape(COUNT, -1) for x, y in compared]
    joined = np.concatenate(differences, axis=1) if differences else np.zeros((COUNT, 1))
    flips = None
    if len(compared) == len(first) == 1 and first[0].ndim == 3:
        flips = float((first[0].argmax(-1) != second[0].argmax(-1))[:COUNTED].mean())
    return (
        Truth(joined.max(), joined.sum(1).max(), joined[:GIVEN].max(), spread, flips, changed, True),
        inputs,
    )


def write(model: ModelProto, files: Files, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"
