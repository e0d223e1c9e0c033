"""Whether there is a GPU is what its driver says, on every system."""

import pytest

from onnxpath.engine import driver


class Driver:
    """A driver's library with a version, a number of devices, and what cuInit returns."""

    def __init__(self, version: int = 13000, count: int = 1, status: int = 0):
        self._version, self._count, self._status = version, count, status

    def cuInit(self, flags: int) -> int:
        return self._status

    def cuDeviceGetCount(self, to) -> int:
        to._obj.value = self._count
        return 0

    def cuDriverGetVersion(self, to) -> int:
        to._obj.value = self._version
        return 0


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (Driver(), None),
        (Driver(version=13020), None),
        (
            Driver(version=12080),
            "CUDA up to 12.8, and this ONNX Runtime is built for CUDA 13: update the driver",
        ),
        (Driver(status=803), "different versions"),
        (Driver(status=12345), "12345"),
        (Driver(status=100), "no NVIDIA device was found"),
        (Driver(count=0), "no NVIDIA device was found"),
    ],
)
def test_the_driver_is_asked(monkeypatch, library, expected):
    monkeypatch.setattr(driver.ctypes, "CDLL", lambda name: library)
    found = driver.missing(13)
    assert found is None if expected is None else expected in (found or "")


def test_devices_of_other_systems_are_found(monkeypatch):
    """WSL has no /dev/nvidiactl, and its library is where the loader may not look; Windows has no files at
    all."""
    there: set[str] = set()

    def load(name: str):
        if name not in there:
            raise OSError(f"{name}: cannot open shared object file")
        return Driver()

    monkeypatch.setattr(driver.ctypes, "CDLL", load)
    monkeypatch.setattr(driver, "_LIBRARIES", ("libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"))
    monkeypatch.setattr(driver.os.path, "exists", lambda path: path == "/dev/dxg")
    assert (
        driver.missing(13)
        == "/dev/dxg is there, but the library of the NVIDIA driver is not: libcuda.so.1: cannot open shared"
        " object file"
    )
    there.add("/usr/lib/wsl/lib/libcuda.so.1")
    assert driver.missing(13) is None
    monkeypatch.setattr(driver.os.path, "exists", lambda path: False)
    assert driver.missing(13) is None  # no file: the driver decides
    there.clear()
    assert driver.missing(13) == "no NVIDIA device was found on this machine"
