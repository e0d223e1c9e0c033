"""The assertions for test suites: what they say when a budget is exceeded, and that pytest does not notice
the plugin otherwise."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

import onnxpath
from onnxpath import pytest_plugin, testing
from onnxpath.model.domain import Domain

MODELS = Path(__file__).parents[1] / "models"
DENSE, PRUNED = MODELS / "digits_resnet.onnx", MODELS / "digits_resnet_pruned40.onnx"
MLP, ROUNDED = MODELS / "digits_mlp.onnx", MODELS / "digits_mlp_int8grid.onnx"


def test_a_kept_budget_returns_the_record():
    result = testing.assert_path_metric(DENSE, PRUNED, max_relative="70%", max_path_norm_increase=0)
    assert result.passed and [budget.name for budget in result.pairs[0].budgets] == [
        "max-relative",
        "max-path-norm-increase",
    ]


def test_the_message_is_the_explanation():
    with pytest.raises(AssertionError) as found:
        testing.assert_path_metric(DENSE, PRUNED, max_relative="1%", max_metric=1e12)
    first, second = str(found.value).splitlines()
    assert first == f"{DENSE} → {PRUNED}: 1 of 2 budgets exceeded"
    assert (
        second.startswith("max-relative: 60.24 % exceeds the limit of 1 % (certified: ")
        and "/5/first/first.0/Conv (57.0" in second
    )


def test_bounds_over_every_kind_of_domain():
    x = np.load(MODELS / "digits_test.npz")["x"][:3]
    domains = [
        {"radius": 1.0},
        {"low": 0, "high": 1},
        {"inputs": x},
        {"inputs": {"x": x}, "epsilon": 0.01},
        {"domain": Domain.box(0.0, 1.0)},
    ]
    values = []
    for domain in domains:
        values.append(
            testing.assert_bound(MLP, ROUNDED, max_bound=1e3, **domain).pairs[0].budgets[0].value.value
        )
        with pytest.raises(AssertionError, match="max-bound: .* exceeds the limit of 0.001"):
            testing.assert_bound(MLP, ROUNDED, max_bound=0.001, **domain)
    radius, box, samples, boxes, same = values
    assert same == box <= radius and samples < boxes
    with pytest.raises(onnxpath.UsageError, match="given twice"):
        testing.assert_bound(MLP, ROUNDED, Domain.radius(1.0), max_bound=1, radius=1)
    with pytest.raises(onnxpath.UsageError, match="needs a domain"):
        testing.assert_bound(MLP, ROUNDED, max_bound=1)


def test_flip_rates():
    testing.assert_flip_rate(DENSE, PRUNED, MODELS / "digits_test.npz", max_flip_rate="2%")
    with pytest.raises(AssertionError, match="max-flip-rate: 1.87? %|2 of 450 inputs differ"):
        testing.assert_flip_rate(DENSE, PRUNED, MODELS / "digits_test.npz", max_flip_rate="1%")
    mlp = MODELS / "digits_mlp.onnx", MODELS / "digits_mlp_int8grid.onnx"
    testing.assert_agree(*mlp, MODELS / "digits_test.npz", 0.001, min_agree="95%", low=0, high=1)
    with pytest.raises(AssertionError, match="min-agree: .* falls short of the limit of 95 %"):
        testing.assert_agree(*mlp, MODELS / "digits_test.npz", 0.1, min_agree="95%", low=0, high=1)


def test_errors_are_not_failed_assertions():
    with pytest.raises(onnxpath.MismatchError):
        testing.assert_path_metric(DENSE, MLP, max_relative=1)
    with pytest.raises(onnxpath.ModelError):
        testing.assert_path_metric(DENSE, MODELS / "none.onnx", max_relative=1)
    with pytest.raises(onnxpath.UsageError, match="no budget"):
        testing.assert_path_metric(DENSE, PRUNED)


def test_the_plugin_has_the_functions_of_the_module():
    for name in ("assert_path_metric", "assert_bound", "assert_flip_rate", "assert_agree"):
        assert getattr(pytest_plugin, name) is getattr(testing, name)
    with pytest.raises(AttributeError):
        pytest_plugin.assert_nothing  # noqa: B018


def pytest_in(folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess:
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    plugin = ["-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugin, *arguments, "test_it.py"],
        cwd=folder,
        capture_output=True,
        text=True,
    )


def test_fixtures_and_a_short_report(tmp_path):
    text = f"""
def test_pruned(assert_path_metric):
    assert_path_metric({str(DENSE)!r}, {str(PRUNED)!r}, max_relative="1%")
"""
    done = pytest_in(tmp_path, text)
    assert done.returncode == 1
    assert (
        "E       AssertionError: " in done.stdout
        and "max-relative: 60.24 % exceeds the limit of 1 %" in done.stdout
    )
    assert "testing.py" not in done.stdout.partition("short test summary")[0]


def test_a_run_without_it_imports_nothing_heavy(tmp_path):
    text = """
import sys
def test_it():
    heavy = {"numpy", "onnx", "onnxruntime", "onnx_graphsurgeon", "torch", "click", "rich"}
    heavy |= {"onnxpath.testing", "onnxpath.model.network"}
    assert not heavy & set(sys.modules)
"""
    # only this plugin: others may import what they like
    done = pytest_in(
        tmp_path, text, "-W", "error", "--disable-plugin-autoload", "-p", "onnxpath.pytest_plugin"
    )
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout


def test_the_plugin_is_installed():
    found = [entry for entry in entry_points(group="pytest11") if entry.value == "onnxpath.pytest_plugin"]
    assert found and found[0].load() is pytest_plugin
