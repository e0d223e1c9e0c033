"""The README tells the truth: its main command prints what it shows, and its Python lines run."""

import re
import shlex
from pathlib import Path

import pytest

from onnxpath.cli.main import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_main_command_prints_what_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    (command,) = re.findall(r"&& \.venv/bin/onnxpath (.*)$", README, re.MULTILINE)
    assert run(shlex.split(command)) == 0
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (shown,) = re.findall(r"```text\n(.*?)\n\.\.\.\n```", README, re.DOTALL)
    assert printed[: len(shown.splitlines())] == [line.rstrip() for line in shown.splitlines()]


def test_the_python_lines_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, model in (
        ("old", "digits_resnet"),
        ("new", "digits_resnet_finetuned"),
        ("model", "digits_mlp"),
    ):
        (tmp_path / f"{name}.onnx").write_bytes((ROOT / "models" / f"{model}.onnx").read_bytes())
    (lines,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict = {}
    exec(lines, names)
    assert 0 < names["result"].relative < 1


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).is_file(), target
