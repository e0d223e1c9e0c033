"""The schema for editors says what the configuration may hold, and messages say what was written instead."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpath.analyses.check.entries import KEYS, checked, schema
from onnxpath.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
PAIR = {"a": "a.onnx", "b": "b.onnx"}


def test_the_stored_schema_is_up_to_date():
    stored = json.loads((ROOT / "docs" / "onnxpath.schema.json").read_text(encoding="utf-8"))
    assert stored == schema(), "python -m onnxpath.analyses.check.entries > docs/onnxpath.schema.json"


def test_every_key_is_described():
    entry = schema()["$defs"]["Entry"]
    assert set(entry["properties"]) == set(KEYS) and entry["required"] == ["a", "b"]
    assert not entry["additionalProperties"]
    assert all(part["description"] == KEYS[name].about for name, part in entry["properties"].items())


@pytest.mark.parametrize("key", KEYS)
def test_what_is_wrong_of_a_key_is_named(key):
    for wrong in ({}, {"x": True}, [[]]):
        if key == "shape" and wrong == {}:
            continue
        with pytest.raises(UsageError) as caught:
            checked({**PAIR, key: wrong}, "onnxpath.toml, [[check]] entry 1")
        text = f"onnxpath.toml, [[check]] entry 1: '{key}' must be {KEYS[key].form}, not {wrong!r}"
        assert str(caught.value) == text


def test_what_is_written_arrives_as_it_was():
    written = {**PAIR, "max-relative": "1%", "max_bound": 3, "low": [0, 1.5], "shape": {"x": [1, 2]}}
    assert checked(written, "") == {
        **PAIR, "max-relative": "1%", "max-bound": 3, "low": [0.0, 1.5], "shape": {"x": [1, 2]},
    }  # fmt: skip
    for key in ("a", "b"):
        with pytest.raises(UsageError, match=f"'{key}' must be the name .*, not missing"):
            checked({name: value for name, value in PAIR.items() if name != key}, "")


def test_other_commands_do_not_import_it():
    code = (
        "import sys; from onnxpath.cli.main import run; run(['norm', 'models/digits_mlp.onnx'])\n"
        "import onnxpath.cli.check; sys.exit('msgspec' in sys.modules or 'junitparser' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True).returncode == 0
