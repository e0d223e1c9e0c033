"""Nothing but results on stdout, where `--format json` prints its document.

ONNX Runtime prints there what it misses of CUDA's libraries,
from Python and from C: while it starts and runs on another device than the CPU, the *file descriptor* of
stdout leads elsewhere. The descriptor is the whole process', so that it is counted how many threads turned it
away; the last one turns it back.
"""

import ctypes
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from threading import Lock
from typing import TextIO

_STDOUT, _STDERR = 1, 2


@cache
def _c_library() -> ctypes.CDLL:
    return ctypes.CDLL("ucrtbase" if os.name == "nt" else None)


def _flush() -> None:
    """What Python and C still hold back of stdout is written where it belongs."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.flush()
    with suppress(OSError, AttributeError):
        _c_library().fflush(None)


class _Stdout:
    """The process' stdout, which may be turned away."""

    def __init__(self) -> None:
        self._lock, self._times = Lock(), 0
        self._descriptor: int | None = None
        self._stream: TextIO | None = None

    def away(self, target: int) -> None:
        with self._lock:
            self._times += 1
            if self._times > 1:
                return
            _flush()
            self._stream, sys.stdout = sys.stdout, sys.stderr
            self._descriptor = None
            with suppress(OSError):  # a process may have no stdout
                self._descriptor = os.dup(_STDOUT)
                _lead(_STDOUT, target)

    def back(self) -> None:
        with self._lock:
            self._times -= 1
            if self._times:
                return
            _flush()
            sys.stdout = self._stream
            if self._descriptor is not None:
                os.dup2(self._descriptor, _STDOUT)
                os.close(self._descriptor)


def _lead(descriptor: int, target: int) -> None:
    """Let a descriptor lead where the target does, or nowhere when that is closed."""
    try:
        os.dup2(target, descriptor)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


_ONLY = _Stdout()


@contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """What anything prints on stdout, in Python or in C, goes to stderr."""
    _ONLY.away(_STDERR)
    try:
        yield
    finally:
        _ONLY.back()


@contextmanager
def printed() -> Iterator[list[str]]:
    """What anything prints on stdout, in Python or in C: lines that are there when the block has ended."""
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        _ONLY.away(file.fileno())
        stream = sys.stdout
        try:
            with open(os.dup(file.fileno()), "w", encoding="utf-8", errors="replace") as sys.stdout:
                yield lines
        finally:
            sys.stdout = stream
            _ONLY.back()
            file.seek(0)
            lines += [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
