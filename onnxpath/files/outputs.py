"""All outputs of one file on random inputs, or on samples: to hold a file that was written against the one it
was made from."""

from collections.abc import Iterator, Mapping

import numpy as np

from onnxpath.files.pair import gap
from onnxpath.files.runtime import Runtime
from onnxpath.files.session import FileSession
from onnxpath.model.interface import Port


def random_inputs(
    session: FileSession, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Standard normal inputs of the file's types; sizes that neither the file nor `shapes` tells are 1.
    Integers go beyond 0 and 1."""
    found = {}
    for port in session.inputs:
        shape = shapes.get(port.name) or tuple(n if isinstance(n, int) else 1 for n in port.shape or ())
        numbers = rng.standard_normal(shape)
        whole = not port.type.startswith(("float", "bfloat"))
        found[port.name] = session.feed(
            port,
            numbers if not whole else np.abs(np.rint(4 * numbers)) if port.type != "bool" else numbers > 0,
        )
    return found


def batches(session: FileSession, samples: Mapping[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """The samples [n, ...] by input in batches of the file's length, and types: one by one where any will do.
    A last batch that is too short repeats its last sample; inputs without samples are zeros."""
    count, length = max(len(array) for array in samples.values()), session.batch(list(samples)) or 1
    ports, rest = {port.name: port for port in session.inputs}, session.rest(list(samples), length)
    for start in range(0, count, length):
        rows = np.minimum(np.arange(start, start + length), count - 1)
        yield rest | {
            name: session.feed(ports[name], _fitting(ports[name], array[rows]))
            for name, array in samples.items()
        }


def _fitting(port: Port, array: np.ndarray) -> np.ndarray:
    """The nearest numbers that an input of whole numbers takes."""
    return array if port.type.startswith(("float", "bfloat", "string")) else np.rint(array)


def on_random_inputs(
    source: object, shapes: Mapping[str, tuple[int, ...]], samples: int, threads: int = 0
) -> list[np.ndarray]:
    """All outputs of a file on a number of random inputs, which depend on its inputs alone. Raises
    ModelError."""
    session, rng = FileSession(source, Runtime(threads=threads)), np.random.default_rng(0)
    return [
        output for _ in range(samples) for output in session.run(random_inputs(session, shapes, rng)).values()
    ]


def on_samples(source: object, samples: Mapping[str, np.ndarray], threads: int = 0) -> list[np.ndarray]:
    """All outputs of a file on samples [n, ...] by its inputs. Raises ModelError."""
    session = FileSession(source, Runtime(threads=threads))
    return [output for batch in batches(session, samples) for output in session.run(batch).values()]


def largest_difference(a: list[np.ndarray], b: list[np.ndarray]) -> tuple[float, float]:
    """The largest |difference| of two lists of outputs, and the largest |output| of `a`; infinite when one is
    not a number."""
    difference = size = 0.0
    for x, y in zip(a, b, strict=True):
        if x.dtype.kind == "f" and x.size:
            difference = max(difference, float(gap(x, y).max()))
            size = max(size, float(np.abs(np.nan_to_num(x.astype(np.float64))).max()))
    return difference, size
