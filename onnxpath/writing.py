"""Writing files whole or not at all."""

import os
import stat

from onnxpath.errors import UsageError


def write_file(path: str, text: str) -> None:
    """Write a file whole or not at all; a pipe or a device is written to."""
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "w", encoding="utf-8") as stream:
                stream.write(text)
            return
        temporary = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{os.getpid()}.part")
        try:
            with open(temporary, "x", encoding="utf-8") as stream:
                stream.write(text)
            if mode is not None:
                os.chmod(temporary, stat.S_IMODE(mode))
            os.replace(temporary, target)
        except BaseException:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
