"""Writing files whole or not at all, and what a killed run leaves behind.

What is being written lies in the folder of its target under a name of its own,

    .onnxpath-PLACE-PID-RANDOM[.part]       PLACE: this machine and its numbering of processes

until it is complete and on the disk; then it takes the target's place in one step. Who is killed in between
leaves such a file or folder, and nothing else. The next run that writes into the folder removes it when
nobody can be at work on it: the process is gone, or a week has passed.
"""

import hashlib
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import BinaryIO

from onnxpath.errors import UsageError

# What files say that this package made, in a comment where they have them: they may be written over.
MARK = "onnxpath"
COMMENT = f"<!-- {MARK} -->"
_NAME = re.compile(r"\.onnxpath-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}(\.part)?")
_WEEK = 7 * 24 * 3600


@cache
def _place() -> str:
    """Where a number of a process means something: containers share folders and names of hosts, but not their
    processes."""
    space = ""
    with suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def temporary_name() -> str:
    """The name of something unfinished."""
    return f".onnxpath-{_place()}-{os.getpid()}-{secrets.token_hex(4)}"


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # there os.kill ends a process; age tells
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _stale(entry: os.DirEntry, found: re.Match) -> bool:
    if time.time() - entry.stat(follow_symlinks=False).st_mtime > _WEEK:
        return True
    return found[1] == _place() and not _alive(int(found[2]))


def clean(folder: str, finish: Callable[[str], bool] | None = None) -> None:
    """Remove what killed runs have left in a folder. finish(path): settles what is left in a folder for a
    model (exporter/moving.py), and says whether that may go; without it, such folders stay."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            found = _NAME.fullmatch(entry.name)
            if found is None:
                continue
            with suppress(OSError):
                if not _stale(entry, found):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                elif os.listdir(entry.path) == [] or (finish is not None and finish(entry.path)):
                    shutil.rmtree(entry.path, ignore_errors=True)


@contextmanager
def temporary_folder(parent: str | None = None, finish: Callable[[str], bool] | None = None) -> Iterator[str]:
    """A folder for unfinished files, which goes when the block ends."""
    parent = parent or tempfile.gettempdir()
    clean(parent, finish)
    folder = os.path.join(parent, temporary_name())
    os.mkdir(folder, 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sync(path: str) -> None:
    """Wait until a file, or the names in a folder, are on the disk, where the system can say so."""
    flags = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) if os.path.isdir(path) else os.O_RDWR
    with suppress(OSError):
        descriptor = os.open(path, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def replaced(path: str) -> Iterator[BinaryIO]:
    """A file that appears whole or not at all, with the permissions of one that it replaces; a pipe or a
    device is written to."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    part = os.path.join(folder, f"{temporary_name()}.part")
    try:
        mode = os.stat(target).st_mode if os.path.exists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            with open(target, "wb") as file:
                yield file
            return
        clean(folder)
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:
            os.chmod(part, stat.S_IMODE(mode))
        os.replace(part, target)
        sync(folder)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if os.path.exists(part):
            os.unlink(part)


def write_file(path: str, text: str) -> None:
    """Write text, UTF-8, whole or not at all."""
    with replaced(path) as file:
        file.write(text.encode("utf-8"))
