"""ONNX file -> `Network`: reading, constant folding, lowering to the canonical operators, simplification."""

from collections.abc import Mapping, Sequence

from onnxpath.importer.driver import load_network
from onnxpath.importer.source import File
from onnxpath.model.network import Network, Shape

__all__ = ["load"]


def load(
    source: File,
    *,
    shapes: Mapping[str, Shape] | None = None,
    output_names: Sequence[str] = (),
    keep_batchnorm: bool = False,
    paired: bool = False,
    extended: bool = False,
    quantizers: bool = False,
) -> Network:
    """Read a network.

    source: a path, the bytes of a file, or an onnx.ModelProto.
    shapes: shapes of inputs whose dimensions are symbolic, batch axis included (a symbolic batch is 1 by
        default).
    output_names: the outputs to keep, in this order; all of them by default. Only what they need is read.
    keep_batchnorm: keep BatchNormalization as a scale of its own instead of folding it into the operator
        before it.
    paired: names in `shapes` and `output_names` that the file lacks belong to the other file of a pair: they
        are ignored, and the caller checks them against `Network.declared`.
    extended: admit activations outside the paper's model that have a Lipschitz constant, and quantizers;
        `model.paths.extensions` names them.
    quantizers: admit quantizers of activations alone.

    Raises ModelError when the file is broken, UnsupportedError when it holds something outside the supported
    networks, UsageError when `shapes` or `output_names` do not fit it.
    """
    return load_network(
        source, shapes=shapes or {}, output_names=tuple(output_names), keep_batchnorm=keep_batchnorm,
        paired=paired, extended=extended,
        quantizers=quantizers or extended,
    )  # fmt: skip
