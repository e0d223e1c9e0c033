"""Samples through a file, one by one: what a file is fed for sample k, and which part of its outputs belongs
to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from onnxpath.files.session import FileSession

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Sample:
    """One sample: its position, the declared outputs, and what the file makes of the outputs of its network
    (None: not known)."""

    index: int
    outputs: Arrays
    inner: Mapping[str, np.ndarray | None] = field(default_factory=dict)


def batched(samples: Arrays) -> int:
    """How many samples there are; one where a file has no inputs."""
    return len(next(iter(samples.values()))) if samples else 1


def rows(
    session: FileSession,
    samples: Arrays,
    whole: bool,
    outputs: Sequence[str] | None = None,
    stacked: bool = False,
) -> Iterator[Sample]:
    """The outputs for every sample [n, ...] by input; `whole`: the arrays are one sample, without an axis for
    it; `stacked`: every [k] is all that an input takes, its own leading axis included. A file of a fixed
    batch gets that many, the last one repeated; its outputs are cut along their first axis where that is the
    batch, and belong to the first sample of the batch where not.

    Raises ModelError where ONNX Runtime does not run the file on them.
    """
    ports = {port.name: port for port in session.inputs}
    fed = {name: session.feed(ports[name], array) for name, array in samples.items() if name in ports}
    if whole:
        yield Sample(0, session.run({**session.rest(list(fed), 1), **fed}, outputs))
        return
    if stacked:
        rest = session.rest(list(fed), 1)
        for k in range(batched(samples)):
            yield Sample(
                k,
                session.run({**rest, **{name: np.asarray(array[k]) for name, array in fed.items()}}, outputs),
            )
        return
    size, n = session.batch(list(fed)) or 1, batched(samples)
    rest = session.rest(list(fed), size)
    for start in range(0, n, size):
        index = np.minimum(np.arange(start, start + size), n - 1)
        found = session.run({**rest, **{name: array[index] for name, array in fed.items()}}, outputs)
        if size == 1:
            yield Sample(start, found)
            continue
        apart = all(array.ndim and len(array) == size for array in found.values())
        for k in range(start, min(start + size, n)):
            if apart or k == start:
                yield Sample(
                    k,
                    (
                        {name: array[k - start : k - start + 1] for name, array in found.items()}
                        if apart
                        else found
                    ),
                )
