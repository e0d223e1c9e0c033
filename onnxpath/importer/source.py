"""What a network is read from: a file, or a `Network`, which stands for itself."""

import os

import onnx

from onnxpath.model.network import Network

File = str | os.PathLike | bytes | onnx.ModelProto
Source = File | Network
