"""Figures of `--report`, drawn by Matplotlib, which comes with the extra `report`. Equal results give equal
files.
"""

import io
import os
from types import ModuleType
from typing import TYPE_CHECKING, Any

from onnxpath.errors import UsageError
from onnxpath.files.overwriting import MARK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = (".svg", ".png")


def _matplotlib() -> ModuleType:
    """Raises UsageError where it is missing."""
    try:
        import matplotlib  # noqa: PLC0415 - an extra, and slow to import
        import matplotlib.figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise UsageError("--report needs Matplotlib: pip install 'onnxpath[report]'") from error
    return matplotlib


def check(path: str) -> None:
    """Raises UsageError for a name that is neither SVG nor PNG, and where Matplotlib is missing."""
    if os.path.splitext(path)[1].lower() not in _KINDS:
        raise UsageError(f"--report {path}: the figure is an SVG or PNG file; end its name in .svg or .png")
    _matplotlib()


def canvas(width: float, height: float) -> "Figure":
    """An empty figure of so many inches."""
    return _matplotlib().figure.Figure(figsize=(width, height), layout="constrained")


def viridis(share: float) -> Any:
    """The colour at a share from 0 to 1 of the map."""
    return _matplotlib().colormaps["viridis"](share)


def drawn(figure: "Figure", path: str) -> bytes:
    """The figure as the bytes of a file of that name."""
    page, kind = io.BytesIO(), os.path.splitext(path)[1].lower()
    with _matplotlib().rc_context({"svg.hashsalt": "onnxpath", "text.parse_math": False}):
        figure.savefig(
            page,
            format=kind[1:],
            dpi=150,
            metadata={"Date": None, "Creator": MARK} if kind == ".svg" else {"Software": MARK},
        )
    return page.getvalue()


def short(name: str) -> str:
    """A name from the file as a label: printable, and its end where it is long."""
    name = "".join(c if c.isprintable() else "?" for c in name)
    return name if len(name) <= 32 else f"…{name[-31:]}"
