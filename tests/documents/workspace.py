"""A folder in which calls run, with every file that they name, and what a call prints there."""

import io
import json
import zlib
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import jsonschema
import numpy as np

from documents.calls import CALLS, DIGITS, INPUTS, MADE, TEXTS
from documents.reduction import reduced
from onnxpath.cli.main import run
from onnxpath.records.schema import documents, schema

ROOT = Path(__file__).resolve().parents[2]


class Workspace:
    """Links to the folders of models, and the files that calls read, each made when a call first names it."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("made", "out"):
            (folder / name).mkdir()
        self.link("models", ROOT / "models")
        self.link("data", ROOT / "tests" / "data" / "cases")

    def link(self, name: str, target: Path) -> None:
        """Call a folder by this name; `real` is to be the one of other people's files."""
        if not (self.folder / name).exists():
            (self.folder / name).symlink_to(target, target_is_directory=True)

    def document(self, name: str, *options: str) -> dict:
        """What the call `name` prints, without what varies; `options` are added to its command line."""
        code, out, err = self._run(CALLS[name], "--format", "json", *options)
        if code == 2:
            assert out == "", out
            return {"exit": code, "refused": err.removeprefix("onnxpath: ").rstrip("\n")}
        assert code in (0, 1), err
        document = json.loads(out)
        jsonschema.validate(document, schema(documents()[document["schema"]]))
        return {"exit": code, "document": reduced(document)}

    def _run(self, line: str, *options: str) -> tuple[int, str, str]:
        arguments = line.split()
        for part in arguments:
            self._make(part)
        provider = [] if arguments[0] == "compare" else ["--provider", "cpu"]
        out, err = io.StringIO(), io.StringIO()
        with chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
            code = run([*arguments, *provider, "-q", *options])
        return code, out.getvalue(), err.getvalue()

    def _make(self, path: str) -> None:
        target = self.folder / path
        if target.exists():
            return
        if path in INPUTS:
            name, shape = INPUTS[path]
            np.savez(target, **{name: _seeded(path).random(shape, np.float32)})
        elif path in DIGITS:
            images = np.load(ROOT / "models" / "digits_test.npz")["x"]
            np.savez(target, x=_seeded(path).choice(images, DIGITS[path], replace=False))
        elif path in TEXTS:
            target.write_text(TEXTS[path])
        elif path in MADE:
            self._call_that_makes(path)

    def _call_that_makes(self, path: str) -> None:
        # the call names the file itself, which is no reason to make it once more
        line = MADE[path].replace(path, "TARGET")
        for part in line.split():
            self._make(part)
        code, _, err = self._run(line.replace("TARGET", f"./{path}"))
        assert code == 0, err


def _seeded(path: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(path.encode()))
