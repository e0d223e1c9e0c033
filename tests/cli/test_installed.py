"""The package as a user installs it: a wheel, outside of the repository and in its root; and what importing
it does not import."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from cli_support import parse

ROOT = Path(__file__).resolve().parents[2]
# Imported only when a model is read, or never (torch).
HEAVY = ("onnx", "onnxruntime", "onnx_graphsurgeon", "torch", "numpy")


def python(*arguments: object, **options) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of the sources: a build leaves files where it runs."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("onnxpath", "cli"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "-q"]
    built = python("-m", "pip", "wheel", *options, "-w", folder, source)
    assert built.returncode == 0, built.stderr
    [found] = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", "-q"]
    done = python("-m", "pip", "install", *options, "--target", target, wheel)
    assert done.returncode == 0, done.stderr
    return target


def test_the_wheel_holds_every_module_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = {str(path.relative_to(ROOT)) for path in (ROOT / "onnxpath").rglob("*.py")}
    expected |= {f"onnxpath/cli/{path.name}" for path in (ROOT / "cli").glob("*.py")}
    assert {name for name in names if name.endswith(".py")} == expected
    assert {name.partition("/")[0] for name in names} == {"onnxpath"}
    assert "onnxpath/py.typed" in names


def test_what_the_wheel_requires(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        [entries] = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        fields = Parser().parsestr(archive.read(metadata).decode())
        assert "onnxpath = onnxpath.cli.main:main" in archive.read(entries).decode()
    required = [line for line in fields.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert {line.partition(">")[0] for line in required} == {
        "onnx", "onnx-graphsurgeon", "onnxruntime-gpu", "onnxruntime", "numpy", "click", "rich", "msgspec",
        "junitparser",
    }  # fmt: skip


def test_the_installed_program_outside_of_the_repository(installed, models, tmp_path):
    for name in ("digits_mlp.onnx", "digits_mlp_int8grid.onnx"):
        shutil.copy(models / name, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    arguments = [
        "metric",
        "digits_mlp.onnx",
        "digits_mlp_int8grid.onnx",
        "--format",
        "json",
        "--threads",
        "1",
    ]

    module = python("-m", "onnxpath.cli.main", *arguments, cwd=tmp_path, env=environment)
    assert (module.returncode, module.stderr) == (0, "")
    found = parse(module.stdout)
    assert found["schema"] == "onnxpath.metric/1"
    assert (found["a"]["path"], found["b"]["path"]) == ("digits_mlp.onnx", "digits_mlp_int8grid.onnx")
    assert 0 < found["path_metric"]["lower"]["value"] < found["path_metric"]["upper"]["value"]

    package = python("-m", "onnxpath", *arguments, cwd=tmp_path, env=environment)
    assert (package.returncode, package.stdout) == (0, module.stdout)

    [script] = (installed / "bin").glob("onnxpath*")
    refused = subprocess.run(
        [script, "metric", "digits_mlp.onnx"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "onnxpath: Missing argument 'B' (see 'onnxpath metric --help')\n"

    where = python("-c", "import onnxpath.cli.main as m; print(m.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.stdout.strip()).is_relative_to(installed)


@pytest.mark.parametrize("other", [True, False], ids=["installed", "not installed"])
def test_the_root_of_a_clone(other, installed, models):
    """There `onnxpath` is the folder of the clone, whatever is installed, and its command line is the clone's
    folder cli/."""
    packages = [
        path for path in sys.path if path.endswith("-packages")
    ]  # without site.py, and so without what an editable installation adds
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed)] * other + packages)}
    where = python("-S", "-c", "import onnxpath.cli.main as m; print(m.__file__)", cwd=ROOT, env=environment)
    assert (where.returncode, where.stderr) == (0, "")
    assert Path(where.stdout.strip()) == ROOT / "cli" / "main.py"
    norm = python(
        "-S",
        "-m",
        "onnxpath",
        "norm",
        models / "digits_mlp.onnx",
        "--format",
        "json",
        cwd=ROOT,
        env=environment,
    )
    assert (norm.returncode, norm.stderr) == (0, "") and parse(norm.stdout)["schema"] == "onnxpath.norm/1"


def imported(code: str) -> set[str]:
    """Which of the heavy packages a program imports."""
    report = f"import sys\n{code}\nprint(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    done = python("-c", report)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def test_importing_the_package_imports_nothing_heavy():
    assert imported("import onnxpath; onnxpath.UnsupportedError, dir(onnxpath)") == set()


def test_help_and_version_import_nothing_heavy():
    calls = [["--help"], ["--version"], ["metric", "--help"]]
    assert (
        imported(
            f"import onnxpath.cli.main as main; assert [main.run(call) for call in {calls!r}] == [0, 0, 0]"
        )
        == set()
    )


def test_a_metric_never_imports_torch(models):
    pair = [str(models / "digits_mlp.onnx"), str(models / "digits_mlp_int8grid.onnx")]
    assert imported(f"import onnxpath.cli.main as main; assert main.run(['metric', *{pair!r}]) == 0") == set(
        HEAVY
    ) - {"torch"}
