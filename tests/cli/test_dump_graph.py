"""--dump-graph FOLDER: the graph of every pass of a command, as a file that netron opens."""

import re
from pathlib import Path

import onnx
import pytest

from onnxpath.engine import session

MLP, GRID = "digits_mlp.onnx", "digits_mlp_int8grid.onnx"
CALLS = {
    "norm": (MLP,),
    "metric": (MLP, GRID),
    "bound": (MLP, GRID, "--radius", "1"),
    "prune": (MLP, "--sparsity", "0.5"),
    "certify": (MLP, GRID, "--inputs", "digits_test.npz", "--epsilon", "0.01", "--effort", "0"),
}


@pytest.mark.parametrize("command", CALLS)
def test_every_pass_is_written_and_no_result_changes(command, program, models, tmp_path, monkeypatch):
    monkeypatch.chdir(models)
    sessions = []
    start = session.start
    monkeypatch.setattr(session, "start", lambda *a, **k: sessions.append(a[0]) or start(*a, **k))
    call = (command, *CALLS[command], "--format", "json", "--threads", "1", "--provider", "cpu")
    plain = program(*call)
    wanted = len(sessions)
    assert wanted > 0 and program(*call, "--dump-graph", tmp_path / "graphs").out == plain.out
    found = sorted((tmp_path / "graphs").iterdir())
    assert len(found) == wanted
    for number, path in enumerate(found, 1):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        assert path.name == f"pass-{number:03d}-{model.graph.name}.onnx"
        assert re.match(r"(lanes|boxes|evaluate)\.\w+\.\w+$", model.graph.name)
        assert model.graph.doc_string.startswith(f"analyses.{command}") or command == "norm"
        assert all(len(tensor.raw_data) < 1 << 12 for tensor in model.graph.initializer)  # no weights


def test_a_folder_of_something_else_is_left_alone(program, refused, models, tmp_path):
    folder = tmp_path / "graphs"
    call = ("norm", models / MLP, "--q", "1", "--dump-graph", folder)
    assert program(*call).code == 0
    (folder / "pass-999-earlier.onnx").write_bytes(b"")
    assert program(*call).code == 0
    assert [path.name for path in folder.iterdir()] == ["pass-001-lanes.absolute.trace.onnx"]
    (folder / "notes.txt").write_text("mine")
    assert "holds 'notes.txt'" in refused(*call)
    assert program(*call, "--force").code == 0
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "pass-001-lanes.absolute.trace.onnx"}
    (tmp_path / "file").write_text("mine")
    assert "cannot write graphs" in refused(*call[:-1], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_nothing_is_written_afterwards(program, models, tmp_path):
    program("norm", models / MLP, "--dump-graph", tmp_path / "graphs")
    (before,) = {len(list((tmp_path / "graphs").iterdir()))}
    program("norm", models / MLP)
    assert len(list(Path(tmp_path / "graphs").iterdir())) == before
