"""`certify --resume`: what is finished is used again by the same run on the same files, and by nothing else;
an interrupted run gives the document of an uninterrupted one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import onnxpath
from onnxpath.analyses.certify import certifier
from onnxpath.analyses.certify.certify import certify
from onnxpath.analyses.pairs import load_pair
from onnxpath.boxes import local_bounds
from onnxpath.errors import UsageError
from onnxpath.model.domain import Domain

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., dict]:
    """Certify A and Be, whose weights lie beside it, with a journal: the counts of verdicts."""
    for name in ("A.onnx", "Be.onnx", "Be.data"):
        shutil.copy(CASES / name, tmp_path / name)
    x = np.load(CASES / "x.npz")["x"]

    def call(data: str = "good", **options: object) -> dict:
        shutil.copy(CASES / f"Be.data.{data}", tmp_path / "Be.data")
        options = {"epsilon": 0.001, "resume": str(tmp_path / "journal"), **options}
        return onnxpath.certify(
            str(tmp_path / "A.onnx"), str(tmp_path / "Be.onnx"), {"x": x}, options.pop("epsilon"), **options
        ).to_dict()

    return call


def test_other_external_data_is_another_file(pair, tmp_path: Path) -> None:
    """The bytes of the .onnx are the same."""
    first = pair("good")
    assert first["total"]["agree"]["count"] == 6 and pair("good") == first
    assert pair("evil")["total"]["disagree"]["count"] == 6
    lines = (tmp_path / "journal").read_bytes().count(b"\n")
    assert pair("evil")["total"]["disagree"]["count"] == 6 and pair("good") == first
    assert (tmp_path / "journal").read_bytes().count(
        b"\n"
    ) == lines + 1  # nothing was computed again, nothing was lost


def test_another_version_or_reading_is_another_run(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair()
    for change in ({"seed": 1}, {"effort": 1}, {"epsilon": 0.002}, {"tighten": True}):
        with pytest.raises(UsageError, match="belongs to another run"):
            pair(**change)
    monkeypatch.setattr("onnxpath.analyses.tool._version", lambda *names: "99")
    with pytest.raises(UsageError, match=r"belongs to another run \(different: version\)"):
        pair()


def _damages(text: str) -> dict[str, str]:
    lines = text.splitlines(keepends=True)
    row = json.loads(lines[1])
    row["certificate"]["index"] = 6
    far = json.dumps(row) + "\n"
    return {
        "NaN": text.replace('"ratio": 1', '"ratio": NaN', 1),
        "a verdict": text.replace('"agree"', '"undecided"', 1),
        "a digit": text[: len(lines[0]) + 300].replace("0", "1") + text[len(lines[0]) + 300 :],
        "an index out of range": lines[0] + far + "".join(lines[2:]),
        "a line that is missing": lines[0] + "".join(lines[2:]),
        "a line twice": lines[0] + lines[1] + "".join(lines[1:]),
        "lines in another order": lines[0] + lines[2] + lines[1] + "".join(lines[3:]),
        "a line of another kind": "".join([*lines, "3\n"]),
        "an empty line": "".join([*lines, "\n"]),
        "bytes that are not text": text + "\udcff\udcfe\n",
        "no header": "".join(lines[1:]),
        "a header of another kind": (
            '{"schema": "onnxpath.certify.journal/2", "key": 3}\n' + "".join(lines[1:])
        ),
        "another version of journals": text.replace("journal/2", "journal/1"),
        "a model": "\b\x08\x0a\n",
        "a text without an end": "no line end",
        "another file's": "one line\nanother one\n",
    }


@pytest.mark.parametrize("damage", list(_damages('{"schema"}\n{"certificate": {}}\n{}\n')))
def test_damaged_and_foreign_lines_are_refused(damage: str, pair, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = pair(effort=0)
    journal.write_text(_damages(journal.read_text())[damage], errors="surrogateescape")
    before = journal.read_bytes()
    with pytest.raises(UsageError, match="journal"):
        pair(effort=0)
    assert journal.read_bytes() == before
    assert pair(effort=0, force=True) == first and pair(effort=0) == first


def test_what_a_kill_cuts_off_is_done_again(pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_bounds, "_BOXES", 2)
    journal = tmp_path / "journal"
    first = pair(effort=0)
    whole = journal.read_bytes()
    for length in {
        *range(0, len(whole), 397),
        *(k for k in range(len(whole)) if whole[k - 1 : k] == b"\n"),
        len(whole) - 1,
    }:
        journal.write_bytes(whole[:length])
        assert pair(effort=0) == first and journal.read_bytes() == whole


@pytest.mark.parametrize("effort", [0, 1, 2, 3])
def test_an_interruption_changes_nothing(
    effort: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after every chunk in turn, notes included."""
    monkeypatch.setattr(local_bounds, "_BOXES", 2)
    networks = load_pair(str(CASES / "A.onnx"), str(CASES / "Be.onnx"), extended=True)
    domain = Domain.around({"x": np.load(CASES / "x.npz")["x"]}, 0.5)

    def run(resume: str | None, chunks: int = 99) -> dict:
        done = iter(range(chunks + 1))

        def progress(finished: int, total: int) -> None:
            if next(done, None) is None:
                raise KeyboardInterrupt

        return certify(
            *networks, domain, options=certifier.Options(effort, 3, 0, False, None, resume), progress=progress
        ).to_dict()

    whole = run(None)
    assert effort == 0 or {item["verdict"] for item in whole["inputs"]} > {"undecided"}
    for chunks in (1, 2):
        journal = str(tmp_path / f"{chunks}")
        with pytest.raises(KeyboardInterrupt):
            run(journal, chunks)
        assert run(journal) == whole
