"""Writes `stored/` anew: every call of the table, as its command prints it now.

    cd tests && PYTHONPATH=.. python -m documents.store [NAME ...]

This is how a change that is made on purpose is recorded: run it, read what `git diff` says of `stored/`, and
commit that together with the change. With names, only these calls are written. `ONNXPATH_REAL_MODELS` names
the folder of other people's files, as for the tests.
"""

import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from documents.calls import CALLS
from documents.workspace import ROOT, Workspace

STORED = Path(__file__).resolve().parent / "stored"


def load(name: str) -> dict:
    """The stored document of a call."""
    return json.loads((STORED / f"{name}.json").read_text(encoding="utf-8"))


def write(name: str, document: dict) -> None:
    """Store the document of a call."""
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    (STORED / f"{name}.json").write_text(text + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    """Store the documents of these calls, or of all, and remove what is no call any more."""
    real = Path(os.environ.get("ONNXPATH_REAL_MODELS") or ROOT.parent / "shared" / "models_real").resolve()
    if not any(real.glob("*.onnx")):
        sys.exit(f"no real models in {real}: set ONNXPATH_REAL_MODELS to their folder")
    STORED.mkdir(exist_ok=True)
    with TemporaryDirectory() as folder:
        workspace = Workspace(Path(folder))
        workspace.link("real", real)
        for name in names or CALLS:
            write(name, workspace.document(name))
    for path in STORED.glob("*.json"):
        if path.stem not in CALLS:
            path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
