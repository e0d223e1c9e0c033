"""Is what was found with canonical networks true of the files? A point is run on both files as they are, in plain ONNX Runtime."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxpath.engine.norms import norms
from onnxpath.errors import ProviderError
from onnxpath.matching import Pairing


@dataclass(frozen=True, eq=False)
class Verified:
    """The norm of the difference of two files' own outputs at one point; None, and the reason, where they do not run."""

    value: float | None
    reason: str = ""


def verify(pairing: Pairing, point: Mapping[str, np.ndarray], files: tuple[Any, Any], norm: str = "inf") -> Verified:
    """Run a point (as `Found.point`: [1, ...] by input of network a) on both original files, in plain ONNX Runtime.

    files: where the networks of the pair came from: paths, bytes or onnx.ModelProto. The files' outputs before what the importer
    left off (a final Softmax) are compared, in the files' own precision.
    """
    from onnxpath.engine.original import run_original

    sides = []
    for side, (network, source) in enumerate(zip((pairing.a, pairing.b), files, strict=True)):
        inputs = {names[side]: point[names[0]] for names in pairing.inputs()}
        try:
            sides.append(run_original(source, inputs, [names[side] for names in pairing.output_names()], network.tails))
        except ProviderError as error:
            return Verified(None, str(error))
    a, b = (np.concatenate([np.asarray(y, np.float64).reshape(1, -1) for y in ys], axis=1) for ys in sides)
    value = float(norms(a - b, norm)[0]) if a.shape == b.shape else -np.inf
    return Verified(value) if np.isfinite(value) else Verified(None, "the files' outputs are not finite, or differ in shape")
