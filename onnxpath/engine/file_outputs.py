"""Running a file as it is, in plain ONNX Runtime on the CPU: what its user's program would compute."""

import os
from collections.abc import Iterator, Mapping

import numpy as np

from onnxpath.errors import ModelError

_TYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(int64)": np.int64,
    "tensor(int32)": np.int32, "tensor(int16)": np.int16, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_,
}  # fmt: skip


class Original:
    """A file in a session of ONNX Runtime. Raises ModelError when it cannot be loaded.

    source: a path, bytes, or an onnx.ModelProto.
    """

    def __init__(self, source: object, threads: int = 0):
        import onnxruntime

        onnxruntime.set_default_logger_severity(4)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        given = os.fspath(source) if isinstance(source, str | os.PathLike) else source
        if not isinstance(given, str | bytes):
            given = given.SerializeToString()  # type: ignore[attr-defined]
        self._path = given if isinstance(given, str) else "<bytes>"
        try:
            self._session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(f"{self._path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}") from error

    def random_inputs(self, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Standard normal inputs of the file's types; dimensions that `shapes` does not tell are 1."""
        found = {}
        for info in self._session.get_inputs():
            shape = shapes.get(info.name) or tuple(d if isinstance(d, int) and d > 0 else 1 for d in info.shape)
            if info.type not in _TYPES:
                raise ModelError(f"{self._path}: its input '{info.name}' is {info.type}")
            wide = 1.0 if "float" in info.type or "double" in info.type else 4.0  # integers: more than 0 and 1
            found[info.name] = (wide * rng.standard_normal(shape)).astype(_TYPES[info.type])
        return found

    def batches(self, samples: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """The samples [n, ...] by input in batches of the file's length, and types: one by one where any will do. A last batch that is
        too short repeats its last sample; inputs without samples are zeros."""
        zeros = {name: np.zeros_like(array) for name, array in self.random_inputs({}, np.random.default_rng(0)).items()}
        count = max(len(array) for array in samples.values())
        length = max((len(zeros[name]) for name in samples if zeros[name].ndim), default=1)
        for start in range(0, count, length):
            rows = np.minimum(np.arange(start, start + length), count - 1)
            yield zeros | {name: array[rows].astype(zeros[name].dtype) for name, array in samples.items()}

    def run(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Its outputs, in its order."""
        try:
            return [np.asarray(value) for value in self._session.run(None, dict(inputs))]
        except Exception as error:
            raise ModelError(f"{self._path}: ONNX Runtime cannot run it: {str(error).splitlines()[0]}") from error


def on_random_inputs(source: object, shapes: Mapping[str, tuple[int, ...]], samples: int, threads: int = 0) -> list[np.ndarray]:
    """All outputs of a file on a number of random inputs, which depend on its inputs alone. Raises ModelError."""
    session, rng = Original(source, threads), np.random.default_rng(0)
    return [output for _ in range(samples) for output in session.run(session.random_inputs(shapes, rng))]


def on_samples(source: object, samples: Mapping[str, np.ndarray], threads: int = 0) -> list[np.ndarray]:
    """All outputs of a file on samples [n, ...] by its inputs. Raises ModelError."""
    session = Original(source, threads)
    return [output for batch in session.batches(samples) for output in session.run(batch)]


def largest_difference(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """The largest |difference| of two lists of outputs, and the largest |output| of `a`; infinite when one is not a number."""
    difference = size = 0.0
    for x, y in zip(a, b, strict=True):
        if x.dtype.kind == "f" and x.size:
            x, y = x.astype(np.float64), y.astype(np.float64)
            same = x == y  # infinities of both files agree
            gap = np.abs(np.where(same, 0.0, x) - np.where(same, 0.0, y)).max()
            difference = max(difference, float(np.inf if np.isnan(gap) else gap))
            size = max(size, float(np.abs(np.nan_to_num(x)).max()))
    return difference, size
