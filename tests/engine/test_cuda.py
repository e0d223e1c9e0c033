"""CUDA tells the truth, on a simulated GPU: what ran is what is reported, nothing falls back, stdout holds
results alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import onnxpath
from onnxpath.cli.main import run
from onnxpath.engine import cuda
from onnxpath.engine.graph import GraphBuilder
from onnxpath.engine.providers import CPU, CUDA
from onnxpath.engine.session import Device, Session
from onnxpath.errors import ProviderError
from onnxpath.lanes import absolute, costs
from tests.engine.simulated import say

ROOT = Path(__file__).resolve().parents[2]
CNN, MLP, GRID = (
    str(ROOT / "models" / f"{name}.onnx")
    for name in ("digits_maxpool_cnn", "digits_mlp", "digits_mlp_int8grid")
)


@pytest.fixture
def program(capfd):
    """Run `onnxpath` in this process: exit code, and what the descriptors of stdout and stderr got."""

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        return (code, *capfd.readouterr())

    return call


def session(device: Device) -> Session:
    """y = w x for x [2, 3], w [3, 4]."""
    graph = GraphBuilder(device.dtype, device.native_conv)
    x, w = graph.input("x", (2, 3)), graph.bind(np.arange(12, dtype=np.float32).reshape(3, 4))
    graph.output(graph.op("MatMul", [x, w]))
    return Session(graph.model().SerializeToString(), graph.feeds, device)


X = {"x": np.ones((2, 3), np.float32)}


def test_the_provider_that_ran_is_reported(gpu, program):
    machine = gpu()
    for command, *files in (
        ("norm", CNN),
        ("metric", MLP, GRID),
        ("bound", MLP, GRID, "--low", 0, "--high", 1, "--search", 0),
    ):
        code, out, err = program(command, *files, "--provider", "cuda", "--format", "json")
        assert (code, err) == (0, "")
        tool = json.loads(out)["tool"]
        assert (tool["provider"], tool["precision"], tool["products"]) == ("cuda", "float32", "probed")
    assert machine.runs >= 3 and CUDA in machine.asked
    for arguments in (("--provider", "cpu"), ("--precision", "float64")):
        machine.asked.clear()
        code, out, _ = program("norm", CNN, *arguments, "--format", "json")
        tool = json.loads(out)["tool"]
        assert (code, tool["provider"], tool["products"]) == (0, "cpu", "ieee") and set(machine.asked) == {
            CPU
        }


def test_numbers_agree_within_the_certificates(gpu):
    expected = onnxpath.path_metric(MLP, GRID, provider="cpu"), onnxpath.path_costs(CNN, provider="cpu")
    gpu()
    found = onnxpath.path_metric(MLP, GRID, provider="cuda"), onnxpath.path_costs(CNN, provider="cuda")
    lower, upper = (
        side([one[0].path_metric for one in (expected, found)])
        for side in (lambda m: m[0].lower, lambda m: m[1].upper)
    )
    assert lower <= upper.times(1 + found[0].path_metric.relative_error)
    assert abs(expected[0].a.path_norm.over(found[0].a.path_norm) - 1) < 1e-5
    assert found[1].tool.provider == "cuda"
    shift = found[1].exponent - expected[1].exponent
    for a, b in zip(expected[1].parameters, found[1].parameters, strict=True):
        np.testing.assert_allclose(
            np.ldexp(b.mantissa, shift), a.mantissa, rtol=found[1].relative_error + expected[1].relative_error
        )


def test_no_convolution_reaches_cuda(gpu, monkeypatch):
    """cuDNN chooses their algorithms by shape: no probe speaks for all of them."""
    gpu()
    network, emitted = onnxpath.load(CNN), []
    op = GraphBuilder.op
    monkeypatch.setattr(
        GraphBuilder,
        "op",
        lambda self, kind, *more, **rest: (emitted.append(kind), op(self, kind, *more, **rest))[1],
    )
    for provider in ("cuda", "cpu"):
        emitted.clear()
        absolute.plan(network, Device(provider), 1.0)
        assert ("Conv" in emitted, "MatMul" in emitted) == (
            (True, False) if provider == "cpu" else (False, True)
        )


def test_results_stay_on_the_device(gpu):
    machine = gpu()
    one = session(Device("cuda"))
    assert machine.uploads == 1  # the weight, once
    held = one.hold(X)
    assert [memory for _, memory in machine.bound] == ["cuda"] and machine.uploads == 2
    (name,) = held
    two = session(Device("cuda"))
    machine.uploads = 0
    with pytest.raises(ProviderError):  # [2, 4] is no [2, 3]: the value itself is what is given
        two.hold({"x": held[name]})
    assert machine.uploads == 0
    out = np.zeros((2, 4), np.float32)
    machine.bound.clear()
    one.run_into(X, {name: out})
    np.testing.assert_array_equal(out, X["x"] @ np.arange(12).reshape(3, 4))
    assert machine.bound == []  # written into the array, with no copy on the device that nobody reads


def test_costs_hold_what_they_read_on_the_device(gpu, monkeypatch):
    machine = gpu()
    seen = []
    kernels = costs.Kernels.run

    def watched(self, values, *more):
        machine.uploads = 0
        kernels(self, values, *more)
        seen.append((machine.uploads, len(self._weights)))

    monkeypatch.setattr(costs.Kernels, "run", watched)
    onnxpath.path_costs(CNN, provider="cuda")
    assert seen and all(
        uploads == weights for uploads, weights in seen
    )  # weights go there, activations are there


@pytest.mark.parametrize("fault", ["kernel", "falls back", "start", "product", "libraries"])
def test_nothing_falls_back(gpu, program, fault):
    """Found after a probe that all went well in."""
    gpu(fault)
    for provider in ("cuda", "auto"):
        code, out, err = program("norm", CNN, "--provider", provider, "--format", "json")
        assert (code, out) == (2, "")
        assert "--provider cpu" in err or "could not start" in err
        (line,) = [line for line in err.splitlines() if line.startswith("onnxpath: ")]
        assert len(line) < 300


def test_a_run_that_fails_or_falls_back_is_an_error(gpu):
    for fault, said in (
        ("kernel", "CUDNN_STATUS_EXECUTION_FAILED"),
        ("falls back", f"fell back from {CUDA} to {CPU}"),
    ):
        machine = gpu()
        one = session(Device("cuda"))
        one.run(X)
        machine.faults.add(fault)
        with pytest.raises(ProviderError, match=said):
            one.run(X)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("libraries", "libcublasLt.so.13"),
        ("kernel", "CUDNN_STATUS_EXECUTION_FAILED"),
        ("start", "CUDA failure 35"),
        ("falls back", "fell back"),
        ("product", "instead of CUDAExecutionProvider"),
    ],
)
def test_a_gpu_that_does_not_work_is_not_used(gpu, program, fault, reason):
    gpu(f"probe: {fault}")
    found = cuda.cuda_missing()
    assert found is not None and reason in found and "\n" not in found
    code, out, err = program("norm", CNN, "--format", "json")
    assert (code, err) == (0, "") and json.loads(out)["tool"]["provider"] == "cpu"
    code, out, err = program("norm", CNN, "--provider", "cuda", "--format", "json")
    assert (code, out, err.count("\n")) == (2, "", 1) and reason in err and "--provider cpu" in err


def test_emulated_products_are_refused(gpu, monkeypatch):
    gpu()
    cuda.cuda_missing.cache_clear()
    monkeypatch.setenv("CUBLAS_EMULATE_SINGLE_PRECISION", "1")
    assert "CUBLAS_EMULATE_SINGLE_PRECISION" in (cuda.cuda_missing() or "")


def test_float64_is_refused_on_cuda_and_taken_on_the_cpu(gpu, program):
    machine = gpu()
    code, out, err = program("norm", MLP, "--provider", "cuda", "--precision", "float64")
    assert (code, out, err.count("\n")) == (2, "", 1) and "float64" in err and "--provider cpu" in err
    found = onnxpath.path_metric(MLP, GRID, l2=True, samples=10, provider="cuda")
    assert found.tool.provider == "cuda" and {CUDA, CPU} == set(machine.asked)
    assert Device("cuda", threads=3).double == Device("cpu", "float64", 3)


def test_certificates_are_not_continued_on_another_provider(gpu, tmp_path):
    """The result names one provider for all of them."""
    gpu()
    x = np.zeros((1, 1, 8, 8), np.float32)
    options = {"effort": 0, "resume": str(tmp_path / "done.jsonl")}
    assert onnxpath.certify(MLP, GRID, x, 0.001, provider="cuda", **options).tool.provider == "cuda"
    onnxpath.certify(MLP, GRID, x, 0.001, provider="cuda", **options)
    with pytest.raises(onnxpath.UsageError):
        onnxpath.certify(MLP, GRID, x, 0.001, provider="cpu", **options)


_PROGRAM = """
import ctypes, os, sys
import onnxruntime
from onnxpath.engine import driver
driver.missing = lambda cuda=0: None  # a driver and a device, whatever the libraries
load = getattr(onnxruntime, "preload_dlls", lambda: None)
def noisy():
    load()
    print("a line from Python")
    os.write(1, b"a line from C\\n")
    if os.name == "posix":
        ctypes.CDLL(None).puts(b"a line that C holds back")
onnxruntime.preload_dlls = noisy
onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
from onnxpath.cli.main import run
sys.exit(run(sys.argv[1:]))
"""


def test_stdout_of_a_process_is_the_document():
    arguments = ["norm", MLP, "--format", "json", "--provider", "auto"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema"] == "onnxpath.norm/1"


def test_noise_of_a_device_is_no_part_of_stdout(gpu, program, monkeypatch):
    gpu()
    original = Session._run
    monkeypatch.setattr(Session, "_run", lambda self, *more: (_noisy(self), original(self, *more))[1])
    code, out, err = program("norm", MLP, "--provider", "cuda", "--format", "json")
    assert code == 0 and json.loads(out)["tool"]["provider"] == "cuda" and "a kernel prints" in err


def _noisy(one: Session) -> None:
    run = one._session.run_with_iobinding

    def noisy(*arguments, **more):
        say("a kernel prints")
        print("and Python, too")
        return run(*arguments, **more)

    one._session.run_with_iobinding = noisy


def test_the_benchmark_of_a_gpu_runs_on_one(gpu, monkeypatch, capsys, tmp_path):
    pytest.importorskip("torch")
    machine = gpu()
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu as benchmark
    import measure

    monkeypatch.setattr(measure, "_BURST", 1e-9)  # one call a round
    options = ["--models", "tiny", "--rounds", "1", "--boxes", "2", "--cache", str(tmp_path)]
    benchmark.main(options)
    out = capsys.readouterr().out
    assert (
        "### tiny, on cuda" in out and "norm pass on the CPU / on cuda" in out and out.count("| yes |") == 4
    )
    assert machine.asked.count(CUDA) > 4
    benchmark.main([*options, "--minutes", "0"])
    assert "the time was over: agreement, ratios, boxes" in capsys.readouterr().out
    machine.faults.add("falls back")
    with pytest.raises(ProviderError, match="fell back"):
        benchmark.main(options)
    monkeypatch.setattr(cuda, "cuda_missing", lambda: "no NVIDIA device was found on this machine")
    benchmark.main(options)
    assert capsys.readouterr().out == "Not measured: no NVIDIA device was found on this machine.\n"
