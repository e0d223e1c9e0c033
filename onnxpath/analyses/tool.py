"""Versions and settings that a result was computed with."""

from importlib.metadata import PackageNotFoundError, version

from onnxpath.engine.session import CUDA, Device
from onnxpath.records import Tool


def _version(*names: str) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


def describe(device: Device) -> Tool:
    """The tool record of a result computed on `device`."""
    provider = (
        "cuda" if device.resolve() == CUDA else "cpu"
    )  # every session of the device ran there, or failed
    versions = _version("onnxpath"), _version("onnx"), _version("onnxruntime-gpu", "onnxruntime")
    return Tool(*versions, provider, device.precision, device.products)
