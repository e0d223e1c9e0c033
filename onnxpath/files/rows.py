"""Samples through a file, one by one: what a file is fed for sample k, and which part of its outputs belongs to it."""

from collections.abc import Iterator, Mapping

import numpy as np

from onnxpath.files.session import FileSession

Arrays = Mapping[str, np.ndarray]


def count(samples: Arrays, whole: bool) -> int:
    """How many samples there are; `whole`: the arrays are one, without an axis for samples."""
    return 1 if whole else len(next(iter(samples.values())))


def rows(session: FileSession, samples: Arrays, whole: bool = False, outputs: list[str] | None = None) -> Iterator[tuple[int, Arrays]]:
    """(k, outputs by name) for every sample [n, ...] by input. A file of a fixed batch gets that many, the last ones repeated; its outputs
    are cut along their first axis where that is the batch, and belong to the first sample of the batch where not.

    Raises ModelError where ONNX Runtime does not run the file on them.
    """
    ports = {port.name: port for port in session.inputs}
    fed = {name: session.feed(ports[name], array) for name, array in samples.items() if name in ports}
    if whole:
        yield 0, session.run({**session.rest(list(fed), 1), **fed}, outputs)
        return
    size, n = session.batch(list(fed)) or 1, count(samples, whole)
    rest = session.rest(list(fed), size)
    for start in range(0, n, size):
        index = np.minimum(np.arange(start, start + size), n - 1)
        found = session.run({**rest, **{name: array[index] for name, array in fed.items()}}, outputs)
        if size == 1:
            yield start, found
            continue
        apart = all(array.ndim and len(array) == size for array in found.values())
        for k in range(start, min(start + size, n)):
            if apart or k == start:
                yield k, {name: array[k - start : k - start + 1] for name, array in found.items()} if apart else found
