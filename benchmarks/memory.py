"""Peak memory while something runs: of a GPU by NVML, of this process by the operating system."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CDLL, Structure, byref, c_ulonglong, c_void_p
from functools import partial
from time import sleep


class _Memory(Structure):
    """NVML's numbers of a device, in bytes."""

    _fields_ = [("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong)]


def _device_memory() -> Callable[[], int] | None:
    """Bytes in use on the first GPU, as its driver says."""
    for name in ("libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1", "nvml.dll"):
        try:
            library = CDLL(name)
        except OSError:
            continue
        handle = c_void_p()
        if library.nvmlInit_v2() == 0 and library.nvmlDeviceGetHandleByIndex_v2(0, byref(handle)) == 0:
            return partial(_used, library, handle)
    return None


def _used(library: CDLL, handle: c_void_p) -> int:
    memory = _Memory()
    return memory.used if library.nvmlDeviceGetMemoryInfo(handle, byref(memory)) == 0 else 0


def _process_memory() -> int:
    """The largest number of bytes that this process had."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def peak(device: bool) -> Iterator[list[float]]:
    """The largest memory in use while the block runs, in GB, of the first GPU (device) or of this process:
    one number when it ends, none where nothing tells."""
    found: list[float] = []
    used = _device_memory() if device else _process_memory
    if used is None:
        yield found
        return
    done, largest = threading.Event(), [0]

    def watch() -> None:
        while not done.is_set():
            largest[0] = max(largest[0], used())
            sleep(0.005)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        if largest[0]:
            found.append(max(largest[0], used()) / 1e9)
