"""What a network is read from; a `Network` stands for itself. At run time this costs no import."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    import onnx

    from onnxpath.model.network import Network

    Source = str | os.PathLike | bytes | onnx.ModelProto | Network
