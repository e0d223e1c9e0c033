"""Arrays from .npz and .npy files: samples, and limits of domains."""

import os
from collections.abc import Mapping
from zipfile import BadZipFile

import numpy as np

from onnxpath.errors import UsageError


def read(path: str | os.PathLike[str]) -> Mapping[str, np.ndarray] | np.ndarray:
    """The arrays of an .npz file by name, or the one array of an .npy file. Raises UsageError, naming the
    file."""
    name = os.fsdecode(path)
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        with found:
            arrays = {key: found[key] for key in found.files}
    except FileNotFoundError:
        raise UsageError(f"{name}: there is no such file") from None
    except (OSError, ValueError, EOFError, BadZipFile, KeyError) as error:
        raise UsageError(f"{name}: not an .npz file of numbers ({' '.join(str(error).split())})") from error
    if not arrays:
        raise UsageError(f"{name}: holds no arrays")
    return arrays
