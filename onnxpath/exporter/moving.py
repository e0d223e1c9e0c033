"""Moving a finished model into place: at every moment a reader finds the old one or the new one.

No system replaces several files in one step, and a model may have three: itself, its data, a certificate.

    1. the new data comes, under a name that nothing has
    2. the new certificate takes the place of the old one
    3. the model takes the target's place, and names the new data
    4. the old data goes, unless another model in the folder names it

A kill between 2 and 3 leaves the old model with the new certificate, never a new model with an old one. The
folder of the unfinished files holds a note of these names, and the old certificate: the next run that writes
there puts it back (`settled`), and removes data that no model names.
"""

import hashlib
import json
import mmap
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

from onnxpath.errors import OnnxPathError, UsageError
from onnxpath.exporter.targets import external_files
from onnxpath.files.writing import replaced, sync, temporary_folder
from onnxpath.importer.decode.reading import open_source

# In the folder of what is unfinished: which files beside the target a run is about to put and to remove, and
# the certificate that was there.
_NOTE, _OLD = "unfinished.json", "replaced.certificate.json"


@contextmanager
def staging(target: str, name: "str | bytes") -> Iterator[str]:
    """A folder beside the target for what is unfinished, which goes when the block ends."""
    with _leaving():
        try:
            with temporary_folder(os.path.dirname(target), settled) as folder:
                yield folder
        except OSError as error:
            raise UsageError(f"{os.fsdecode(name)}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _leaving() -> Iterator[None]:
    """Let signals that would end the process at once end it by SystemExit, so that what is staged is removed
    first."""
    kinds = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        kinds = []  # only the main thread may say what signals do
    kinds = [
        kind for kind in kinds if signal.getsignal(kind) is signal.SIG_DFL
    ]  # who handles them knows better

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    for kind in kinds:
        signal.signal(kind, leave)
    try:
        yield
    finally:
        for kind in kinds:
            signal.signal(kind, signal.SIG_DFL)


def data_name(target: str) -> str:
    """A name beside the target for the external data, which nothing has."""
    name, count = f"{os.path.basename(target)}.data", 1
    while os.path.lexists(os.path.join(os.path.dirname(target), name)):
        count += 1
        name = f"{os.path.basename(target)}.{count}.data"
    return name


def move(
    staging: str, target: str, data: str | None, keep: set[str], certificate: tuple[str, bytes] | None
) -> None:
    """Move the finished files of a staging folder into place. data: the name of the new external data, which
    lies in it. keep: data of the model that the new one is made from. certificate: where it is written, and
    what it holds."""
    folder, name = os.path.split(target)
    staged, old = os.path.join(staging, name), _own_data(target) - keep
    if os.path.exists(target):
        os.chmod(staged, os.stat(target).st_mode & 0o7777)
    sync(staged)
    _write_note(staging, target, {*([data] if data else ()), *map(os.path.basename, old)}, certificate)
    try:
        if data is not None:
            sync(os.path.join(staging, data))
            # taken first, so that nobody else's file is replaced
            os.close(os.open(os.path.join(folder, data), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
            os.replace(os.path.join(staging, data), os.path.join(folder, data))
            sync(folder)
        if certificate is not None:
            with replaced(certificate[0]) as file:
                file.write(certificate[1])
        os.replace(staged, target)
    except BaseException:
        settled(staging)
        raise
    sync(folder)
    for path in old:
        with suppress(OSError):
            if not _mentioned(path):
                os.unlink(path)


def _write_note(staging: str, target: str, data: set[str], certificate: tuple[str, bytes] | None) -> None:
    folder, name = os.path.split(target)
    note: dict = {"target": name, "data": sorted(data)}
    if certificate is not None and os.path.dirname(os.path.realpath(certificate[0])) == folder:
        path = os.path.realpath(certificate[0])
        note["certificate"] = os.path.basename(path), hashlib.sha256(certificate[1]).hexdigest()
        with suppress(FileNotFoundError), open(path, "rb") as old:
            _keep(os.path.join(staging, _OLD), old.read())
    if data or "certificate" in note:
        _keep(os.path.join(staging, _NOTE), json.dumps(note).encode("utf-8"))


def _keep(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
    sync(path)


def _own_data(target: str) -> set[str]:
    """Files of external data that a model which is about to be replaced has for itself: beside it, and of the
    names that are given here."""
    own = re.compile(re.escape(os.path.basename(target)) + r"(\.[0-9]+)?\.data")
    try:
        with open_source(target, hashed=False) as opened:
            found = external_files(opened.model, opened.tensors.folder)
    except OnnxPathError:
        return set()
    return {
        path
        for path in found
        if own.fullmatch(os.path.basename(path)) and os.path.dirname(path) == os.path.dirname(target)
    }


def _mentioned(path: str) -> bool:
    """Whether a model in the folder names this file, or may."""
    folder, name = os.path.split(path)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".onnx") and entry.is_file() and entry.stat().st_size:
                with (
                    open(entry.path, "rb") as file,
                    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view,
                ):
                    if view.find(os.fsencode(name)) >= 0:
                        return True
    return False


def settled(staging: str) -> bool:
    """Finish what a killed run began; whether its folder may go. Where its model was not moved, the old
    certificate comes back. Of the data files that it noted, those go that no model in the folder names."""
    folder = os.path.dirname(staging)
    try:
        with open(os.path.join(staging, _NOTE), encoding="utf-8") as stream:
            note = json.load(stream)
        target, data = note["target"], note["data"]
        if "certificate" in note and os.path.exists(os.path.join(staging, target)):
            name, digest = note["certificate"]
            if name == os.path.basename(name) and name.endswith(".certificate.json"):
                _put_back(staging, os.path.join(folder, name), digest)
        own = re.compile(re.escape(target) + r"(\.[0-9]+)?\.data")
        for name in data:
            path = os.path.join(folder, name)
            if own.fullmatch(name) and os.path.lexists(path) and not _mentioned(path):
                os.unlink(path)
    except FileNotFoundError:
        return True  # killed before anything was moved
    except (OSError, ValueError, KeyError, TypeError, OnnxPathError):
        return False
    return True


def _put_back(staging: str, path: str, digest: str) -> None:
    """The certificate that was there before, in the place of the one with this digest."""
    with suppress(FileNotFoundError):
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                return
        if not os.path.exists(os.path.join(staging, _OLD)):
            os.unlink(path)
            return
        with open(os.path.join(staging, _OLD), "rb") as old, replaced(path) as file:
            file.write(old.read())
