"""What the NVIDIA driver says: is there a device, and can it run what was built for a version of CUDA?

Device files do not tell: containers have some without a driver, WSL has /dev/dxg alone, Windows none. The
driver's own library does; it comes with the driver, not with a package, and loading it costs nothing where it
is missing.
"""

import ctypes
import os
import sys

# WSL puts the library where the loader may not look; once it is loaded by its path, ONNX Runtime finds it by
# its name.
_LIBRARIES = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1")
_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg")
_NO_DEVICE = "no NVIDIA device was found on this machine"
# Results of cuInit that have a remedy of their own.
_REASONS = {
    34: "its library is a stub that was only meant for linking",
    100: _NO_DEVICE,
    803: (
        "its library and its kernel module are of different versions: restart the machine, or install the"
        " driver again"
    ),
    804: "its compatibility library does not support this device",
    999: "the device is in a state that the driver cannot describe: restart the machine",
}


def _library() -> ctypes.CDLL | str:
    """The driver's library, or why it cannot be loaded."""
    reason = ""
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            reason = reason or str(error)
    return reason


def missing(cuda: int = 0) -> str | None:
    """Why the driver runs nothing here, or None when it does. cuda: major version of CUDA that is needed, 0
    for any."""
    library = _library()
    if isinstance(library, str):
        there = next((file for file in _FILES if os.path.exists(file)), None)
        return (
            f"{there} is there, but the library of the NVIDIA driver is not: {library}"
            if there
            else _NO_DEVICE
        )
    status = library.cuInit(0)
    if status:
        reason = _REASONS.get(status, f"its error is {status}")
        return reason if reason == _NO_DEVICE else f"the NVIDIA driver does not start: {reason}"
    count, version = ctypes.c_int(0), ctypes.c_int(0)
    if library.cuDeviceGetCount(ctypes.byref(count)) or count.value == 0:
        return _NO_DEVICE
    if library.cuDriverGetVersion(ctypes.byref(version)) or version.value // 1000 < cuda:
        found = f"{version.value // 1000}.{version.value % 1000 // 10}"
        return (
            f"the NVIDIA driver runs CUDA up to {found}, and this ONNX Runtime is built for CUDA {cuda}:"
            " update the driver"
        )
    return None
