"""Writing files whole or not at all."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from onnxpath.errors import UsageError


@contextmanager
def replaced(path: str) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all, with the permissions of one that it replaces; a pipe or a device is written to."""
    target = os.path.realpath(path)
    part = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{os.getpid()}.part")
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb") as file:
                yield file
            return
        with open(part, "xb") as file:
            yield file
        if mode is not None:
            os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, target)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)


def write_file(path: str, text: str) -> None:
    """Write text, UTF-8, whole or not at all."""
    with replaced(path) as file:
        file.write(text.encode("utf-8"))
