"""Reading the two models of a pair."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from onnxpath.errors import UsageError
from onnxpath.importer import load
from onnxpath.importer.source import Source
from onnxpath.model.network import Network, Shape


def load_pair(
    a: Source, b: Source, *, shapes: Mapping[str, Shape] | None = None, output_names: Sequence[str] = (),
    keep_batchnorm: bool = False, **more: Any,
) -> tuple[Network, Network]:  # fmt: skip
    """Read two models side by side; a `Network` is kept as it is. `more` goes to `onnxpath.importer.load`.

    Every name in `shapes` and `output_names` must be one of at least one of them: UsageError otherwise.
    """
    if a == "" or b == "":
        raise UsageError("the name of a model is empty")
    shapes = shapes or {}
    options = {
        "shapes": shapes,
        "output_names": tuple(output_names),
        "keep_batchnorm": keep_batchnorm,
        "paired": True,
        **more,
    }
    with ThreadPoolExecutor(2) as readers:  # reading releases the interpreter's lock
        first, second = readers.map(
            lambda source: source if isinstance(source, Network) else load(source, **options), (a, b)
        )
    for name in (*shapes, *output_names):
        if not any(name in network.declared for network in (first, second)):
            known = "; ".join(
                f"{network.path} declares {', '.join(sorted(network.declared))}"
                for network in (first, second)
            )
            raise UsageError(f"neither model has an input or output '{name}': {known}")
    return first, second
