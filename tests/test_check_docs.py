"""docs/check.md tells the truth: its commands exit as promised, its files work, and so do the hook and the
action it shows."""

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpath.cli.main import run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "check.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^onnxpath (?P<arguments>.*?)\s*# exit (?P<code>\d+)$")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current directory, with the models in it."""
    shutil.copytree(
        ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def blocks(section: str, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(SECTIONS[section]) if found == language]


def write(text: str, folder: Path) -> Path:
    """Write a block into the file that its first line names."""
    [name] = re.findall(r"\A# (\S+)\n", text)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("section", [name for name in SECTIONS if blocks(name, "sh")])
def test_commands_exit_as_promised(section, folder, capsys):
    for language, text in BLOCK.findall(SECTIONS[section]):
        if language == "toml":
            write(text, folder)
        for line in text.splitlines() if language == "sh" else ():
            command = COMMAND.match(line)
            assert command, line
            code = run(shlex.split(command["arguments"]))
            assert code == int(command["code"]), (line, capsys.readouterr())


def test_the_commands_of_the_readme_exit_as_promised(folder, capsys):
    found = [
        COMMAND.match(line)
        for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
        if "# exit " in line
    ]
    assert len(found) == 2
    assert [run(shlex.split(command["arguments"])) for command in found] == [
        int(command["code"]) for command in found
    ], capsys.readouterr()


def test_the_page_shows_gates_of_every_kind():
    for section in ("Re-export", "Pruning", "Quantization", "Configuration", "Baselines"):
        assert blocks(section, "sh"), section
    assert len(re.findall("# exit ", PAGE)) == sum(
        COMMAND.match(line) is not None for line in PAGE.splitlines()
    )


def launch(arguments: list, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(a) for a in arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def test_the_test_file_passes(folder):
    [text] = blocks("pytest", "python")
    done = launch(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", write(text, folder)], folder
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def program(folder: Path) -> Path:
    """A folder for PATH that holds `onnxpath`."""
    (folder / "bin").mkdir()
    script = folder / "bin" / "onnxpath"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxpath "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IEXEC)
    return script.parent


@pytest.mark.skipif(os.name == "nt", reason="GitHub's bash")
@pytest.mark.parametrize(("more", "code"), [("", 0), (" --max-metric 1e-9", 1), (" --max-nothing", 2)])
def test_the_action_runs_what_the_workflow_says(folder, more, code):
    action = (ROOT / ".ci" / "github-action" / "action.yml").read_text(encoding="utf-8")
    [text] = blocks("GitHub Actions", "yaml")
    assert "OWNER/onnxpath/.ci/github-action@" in text
    [arguments] = re.findall(r"arguments: (.*)", text)
    script = re.findall(r"run: \|\n((?: {8}.*\n)+)", action)[-1].replace(" " * 8, "")
    path = f"{program(folder)}{os.pathsep}{os.environ['PATH']}"
    summary = folder / "summary.md"
    done = launch(
        ["bash", "-eo", "pipefail", "-c", script], folder, PATH=path, ONNXPATH_ARGUMENTS=arguments + more,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(summary),
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert ("::error" in done.stderr) == (code == 1)
    assert summary.exists() == (code < 2)


def test_the_action_without_arguments_reads_the_configuration(folder):
    script = re.findall(
        r"run: \|\n((?: {8}.*\n)+)", (ROOT / ".ci" / "github-action" / "action.yml").read_text()
    )[-1].replace(" " * 8, "")
    path = f"{program(folder)}{os.pathsep}{os.environ['PATH']}"
    write(blocks("Configuration", "toml")[0], folder)
    done = launch(["bash", "-eo", "pipefail", "-c", script], folder, PATH=path, ONNXPATH_ARGUMENTS="")
    assert done.returncode == 0 and "int8" in done.stdout, done.stderr


def test_the_hook_runs_what_the_page_says(folder):
    hook = (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    [text] = blocks("pre-commit", "yaml")
    assert re.findall(r"id: (.*)", text) == re.findall(r"id: (.*)", hook)
    [entry], [arguments] = re.findall(r"entry: (.*)", hook), re.findall(r"args: \[(.*)\]", text)
    write(blocks("Configuration", "toml")[0], folder)
    call = [*shlex.split(entry), *(argument.strip() for argument in arguments.split(","))]
    assert call[0] == "onnxpath" and run(call[1:]) == 0
    [files] = re.findall(r"files: '(.*)'", hook)
    assert all(
        re.search(files, name) for name in ("a.onnx", "models/a.onnx", "onnxpath.toml", "sub/pyproject.toml")
    )
    assert not any(re.search(files, name) for name in ("a.onnx.py", "README.md"))


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).is_file(), target
