"""Whether passes can run on CUDA here: a driver, a device, libraries, and kernels that the certificates may
rely on."""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime

from onnxpath.engine import driver, probe
from onnxpath.engine.providers import CUDA, ran, reason, start
from onnxpath.engine.quiet import printed
from onnxpath.errors import ProviderError

# Libraries of CUDA that read them compute float32 products by other means than float32.
_EMULATION = "CUBLAS_EMULATE_SINGLE_PRECISION"


def _major() -> int:
    """The major version of CUDA that ONNX Runtime was built for; 0 where it does not tell."""
    number = str(getattr(onnxruntime, "cuda_version", "") or "").partition(".")[0]
    return int(number) if number.isdigit() else 0


def _listed() -> bool:
    """Whether ONNX Runtime itself lists a device of CUDA's."""
    devices = onnxruntime.get_ep_devices() if hasattr(onnxruntime, "get_ep_devices") else []
    return any(device.ep_name == CUDA for device in devices)


def run(model: bytes, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a model on CUDA."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = start(model, CUDA, options)
    names = [output.name for output in session.get_outputs()]
    found: Sequence[Any] = ran(session, CUDA, lambda: session.run(names, dict(feeds)))
    return dict(zip(names, found, strict=True))


def _libraries() -> list[str]:
    """Loads CUDA's libraries that came as packages; what is said of those that are missing."""
    if not hasattr(onnxruntime, "preload_dlls"):
        return []
    try:
        with printed() as lines:
            onnxruntime.preload_dlls()
    except Exception as error:
        return [reason(error)]
    return [line for line in lines if line.startswith("Failed to load")]


@cache
def cuda_missing() -> str | None:
    """Why sessions cannot run on CUDA here, or None when they do."""
    onnxruntime.set_default_logger_severity(4)
    if CUDA not in onnxruntime.get_available_providers():
        return "this build of ONNX Runtime has no CUDA provider"
    unable = None if _listed() else driver.missing(_major())
    if unable is not None:
        return unable
    if os.environ.get(_EMULATION, "0") not in ("", "0"):
        return f"{_EMULATION} is set, with which products of CUDA are not those of float32"
    lost = _libraries()
    try:
        wrong = probe.failing(probe.needed(), run)
    except ProviderError as error:
        said = str(error).removesuffix("; use --provider cpu")
        return f"{lost[0]} (pip install 'onnxpath[cuda]' brings CUDA's libraries)" if lost else said
    return (
        f"{', '.join(wrong)} on this device are not what the certificates assume of float32"
        if wrong
        else None
    )
