"""Everything that can be wrong with a call, a file or this machine: exit code 2 and one line on stderr; 101
for a bug."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from cli_support import PAIRS, chain, needed, save
from onnx import helper

from onnxpath.cli.main import COMMANDS, run
from onnxpath.engine.session import cuda_missing


@pytest.fixture
def mlp(models):
    return models / "digits_mlp.onnx"


# -- the call
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no command", *COMMANDS, "'onnxpath --help'"]),
        (["foo"], ["'foo' is not a command", *COMMANDS]),
        (["metrics"], ["'metrics' is not a command", "did you mean 'metric'?"]),
        (["--bogus"], ["--bogus", "'onnxpath --help'"]),
        (["norm"], ["MODEL", "'onnxpath norm --help'"]),
        (["metric", "a.onnx"], ["'B'", "'onnxpath metric --help'"]),
        (["norm", "a.onnx", "b.onnx"], ["b.onnx", "'onnxpath norm --help'"]),
        (["norm", "a.onnx", "--bogus"], ["--bogus"]),
        (["norm", "a.onnx", "--format", "html"], ["'html'", "table", "json", "markdown"]),
        (["norm", "a.onnx", "--precision", "float16"], ["'float16'", "float32", "float64"]),
        (["norm", "a.onnx", "--provider", "tpu"], ["'tpu'", "auto", "cpu", "cuda"]),
        (["norm", "a.onnx", "--threads", "-1"], ["--threads", "-1"]),
        (["norm", "a.onnx", "--threads", "100000"], ["--threads", "100000"]),
        (["norm", "a.onnx", "--threads", "many"], ["--threads", "'many'"]),
        (["norm", "a.onnx", "--q"], ["--q"]),
        (["norm", "a.onnx", "--q", "two"], ["--q", "'two'"]),
        (["norm", "a.onnx", "--shape", "x"], ["--shape", "'x'", "INPUT=1x3x224x224"]),
        (["norm", "a.onnx", "--shape", "=1x2"], ["--shape"]),
        (["norm", "a.onnx", "--shape", "x="], ["--shape"]),
        (["norm", "a.onnx", "--shape", "x=1xtwo"], ["--shape", "1xtwo"]),
        (["norm", "a.onnx", "--shape", "x=1x0"], ["--shape", "1x0"]),
        (["norm", "a.onnx", "--shape", "x=1x-3"], ["--shape"]),
        (["norm", "a.onnx", "--output", "a.json"], ["--output", "json=FILE"]),
        (["norm", "a.onnx", "--output", "html=a"], ["--output", "markdown=FILE"]),
        (["norm", "a.onnx", "--output", "json="], ["--output"]),
        (["norm", ""], ["the name of a model is empty"]),
        (["metric", "a.onnx", "b.onnx", "--input-bound", "wide"], ["--input-bound", "'wide'"]),
    ],
)  # fmt: skip
def test_wrong_calls(refused, arguments, words):
    line = refused(*arguments)
    assert all(word in line for word in words), line


@pytest.mark.parametrize("q", ["nan", "-1", "inf", "-inf", "1e400"])
def test_q_must_be_finite_and_not_negative(refused, mlp, q):
    assert "q" in refused("norm", mlp, "--q", q)


@pytest.mark.parametrize("bound", ["-1", "nan", "inf"])
def test_the_input_bound_must_be_finite_and_not_negative(refused, mlp, bound):
    assert "bound" in refused("metric", mlp, mlp, "--input-bound", bound)


@pytest.mark.parametrize("q", ["1e-300", "1e6", "1e308"])
def test_an_extreme_q_is_answered_or_refused(program, mlp, q):
    found = program("norm", mlp, "--q", q, "--format", "json")
    if found.code == 0:
        [norm] = found.document()["norms"]
        assert norm["value"] is None or norm["value"] > 0
    else:
        assert found.code == 2 and found.err.startswith("onnxpath: ") and found.err.count("\n") == 1


def test_names_that_the_model_lacks(refused, mlp):
    assert "x" in refused("norm", mlp, "--shape", "z=1x2") and "'z'" in refused(
        "norm", mlp, "--shape", "z=1x2"
    )
    line = refused("norm", mlp, "--output-name", "scores")
    assert "'scores'" in line and "logits" in line


def test_a_shape_that_does_not_fit(refused, mlp):
    assert "1x1x9x9" in refused("norm", mlp, "--shape", "x=1x1x9x9")


# -- files
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def bad_files(tmp_path, models, mlp):
    content = mlp.read_bytes()
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "empty.onnx").write_bytes(b"")
    (tmp_path / "truncated.onnx").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.onnx").write_text("a line of text\n" * 20)
    (tmp_path / "binary.onnx").write_bytes(bytes(range(256)) * 9)
    (tmp_path / "archive.onnx").write_bytes((models / "digits_test.npz").read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", ["missing", "folder", "empty", "truncated", "text", "binary", "archive"])
@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_no_model(refused, bad_files, mlp, command, name):
    file = bad_files / f"{name}.onnx"
    for operands in ([mlp, file], [file, mlp]) if command in PAIRS else ([file],):
        assert f"{name}.onnx" in refused(command, *operands, *needed(command, bad_files))


def test_the_output_file_of_a_failed_run_is_left_alone(refused, bad_files, tmp_path):
    target = tmp_path / "result.json"
    target.write_text("before")
    refused("norm", bad_files / "text.onnx", "--output", f"json={target}")
    assert target.read_text() == "before"


@pytest.mark.parametrize("domain", ["", "org.example"])
def test_an_unsupported_operator_is_refused_by_name(refused, tmp_path, domain):
    node = helper.make_node("Tanh" if not domain else "Frobnicate", ["x"], ["h"], "curve", domain=domain)
    linear = helper.make_node("Gemm", ["h", "w"], ["y"], "linear")
    file = save(tmp_path / "curved.onnx", [node, linear], {"w": np.eye(2)}, {"x": [1, 2]}, {"y": [1, 2]})
    line = refused("norm", file)
    assert "'curve'" in line and node.op_type in line and "curved.onnx" in line


def test_a_mismatch_names_the_nodes_of_both(refused, tmp_path):
    a = chain(tmp_path / "a.onnx", [np.eye(2), np.eye(2)], ["first", "second"])
    b = chain(tmp_path / "b.onnx", [np.ones((3, 2)), np.ones((2, 3))], ["wide", "narrow"])
    line = refused("metric", a, b)
    assert all(word in line for word in (str(a), "'first'", str(b), "'wide'")), line


def test_a_mismatch_of_trained_models(refused, models):
    line = refused("metric", models / "digits_resnet.onnx", models / "digits_mlp.onnx")
    assert "digits_resnet.onnx" in line and "digits_mlp.onnx" in line


def test_names_with_line_ends_and_escapes_stay_on_one_line(refused, tmp_path):
    node = helper.make_node("Tanh", ["x"], ["y"], "two\nlines \x1b[31m of red")
    line = refused("norm", save(tmp_path / "odd.onnx", [node], {}, {"x": [1, 2]}, {"y": [1, 2]}))
    assert "\x1b" not in line


def test_real_files_that_are_refused(refused, real_models):
    assert "resnet18_cifar10.onnx.data" in refused("norm", real_models / "resnet18_extdata_missing.onnx")
    assert "Quant_8" in refused("norm", real_models / "qkeras_jettagging_qonnx.onnx")
    assert "QuantizeLinear" in refused("inspect", real_models / "ece_cnn_int8_qdq.onnx")


# -- this machine
# -------------------------------------------------------------------------------------------------------


def test_cuda_is_refused_where_there_is_none(refused, mlp, tmp_path):
    if cuda_missing() is None:
        pytest.skip("this machine has a CUDA device: nothing to refuse")
    assert (
        "cuda" in refused("compare", mlp, mlp, "--file-provider", "cuda").lower()
    )  # it runs files, and nothing else
    for command in (name for name in COMMANDS if name != "compare"):
        line = refused(
            command, *[mlp] * (2 if command in PAIRS else 1), *needed(command, tmp_path), "--provider", "cuda"
        )
        assert "cuda" in line and "--provider cpu" in line


def test_outputs_that_cannot_be_written(refused, mlp, tmp_path, forbid):
    missing, folder = tmp_path / "nowhere" / "a.json", tmp_path / "folder"
    folder.mkdir()
    assert str(missing) in refused("norm", mlp, "--output", f"json={missing}")
    assert "is a directory" in refused("norm", mlp, "--output", f"markdown={folder}")
    assert list(tmp_path.iterdir()) == [folder]
    forbid(folder)
    assert "read-only" in refused("norm", mlp, "--output", f"json={folder / 'a.json'}")
    assert list(folder.iterdir()) == []


def test_too_little_memory(refused, mlp, monkeypatch):
    monkeypatch.setattr("onnxpath.analyses.metric.norm.path_norms", raising(MemoryError()))
    assert "memory" in refused("norm", mlp)


def test_an_operating_system_error_that_nobody_expected(refused, mlp, monkeypatch):
    monkeypatch.setattr(
        "onnxpath.analyses.metric.norm.path_norms", raising(OSError(5, "Input/output error", "disk.onnx"))
    )
    monkeypatch.setattr("onnxpath.cli.main.stdout_failed", lambda error: False)
    assert refused("norm", mlp) == "disk.onnx: Input/output error"


# -- bugs and interruptions
# ---------------------------------------------------------------------------------------------


def raising(error: BaseException):
    def function(*arguments, **options):
        raise error

    return function


@pytest.mark.parametrize(
    ("command", "target"),
    [
        ("inspect", "onnxpath.analyses.inspect.inspect"),
        ("norm", "onnxpath.analyses.metric.norm.path_norms"),
        ("metric", "onnxpath.analyses.metric.metric.path_metric"),
        ("check", "onnxpath.analyses.check.checking.check"),
        ("lipschitz", "onnxpath.analyses.theory.lipschitz.lipschitz"),
        ("generalization", "onnxpath.analyses.theory.generalization.generalization"),
    ],
)
def test_a_bug_exits_101_and_asks_for_a_report(program, mlp, monkeypatch, tmp_path, command, target):
    importlib.import_module(target.rpartition(".")[0])
    monkeypatch.setattr(target, raising(RuntimeError("the sky fell")))
    found = program(
        command, *[mlp] * (2 if command in PAIRS else 1), *needed(command, tmp_path), "--format", "json"
    )
    assert (found.code, found.out) == (101, "")
    assert "RuntimeError: the sky fell" in found.err
    assert found.err.startswith("onnxpath 0.")
    assert found.err.splitlines()[-1].startswith("onnxpath: this is a bug (RuntimeError); please report it")


def test_interruption(program, mlp, monkeypatch):
    monkeypatch.setattr("onnxpath.analyses.metric.norm.path_norms", raising(KeyboardInterrupt()))
    found = program("norm", mlp)
    assert (found.code, found.out, found.err) == (130, "", "onnxpath: interrupted\n")


def test_the_exit_code_of_a_command_is_kept(monkeypatch):
    monkeypatch.setattr("onnxpath.cli.main.cli.invoke", lambda context: 1)
    assert run(["norm", "a.onnx"]) == 1


def test_verbose_shows_where_an_error_arose_without_a_traceback(program, bad_files):
    for flags in (["-v"], ["-qv"]):
        found = program("norm", bad_files / "truncated.onnx", *flags)
        assert (found.code, found.out) == (2, "")
        assert "Traceback" not in found.err and "reading.py:" in found.err
        assert found.err.splitlines()[-1].startswith("onnxpath: ")


# -- streams that break
# -------------------------------------------------------------------------------------------------


def launch(arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "onnxpath", *map(str, arguments)], stderr=subprocess.PIPE, **options
    )


@pytest.mark.skipif(os.name == "nt", reason="closes a pipe as POSIX does")
@pytest.mark.parametrize("arguments", [["--help"], ["norm", "MLP", "--per-output"]])
def test_a_reader_that_left(mlp, arguments):
    reader, writer = os.pipe()
    os.close(reader)
    found = launch([mlp if a == "MLP" else a for a in arguments], stdout=writer)
    os.close(writer)
    assert (found.returncode, found.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_behind_stdout(mlp):
    with open("/dev/full", "w") as full:
        found = launch(["norm", mlp], stdout=full)
    assert found.returncode == 2
    assert found.stderr.startswith(b"onnxpath: cannot write to stdout: ") and found.stderr.count(b"\n") == 1
