"""Every call of the table still prints what is stored.

After a change on purpose, `python -m documents.store` stores what the calls print now (see there).
"""

from pathlib import Path

import pytest

from documents.calls import CALLS, REAL
from documents.comparison import differences
from documents.store import STORED, load
from documents.workspace import Workspace
from onnxpath.cli.main import COMMANDS


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("documents"))


@pytest.fixture(autouse=True)
def outside_of_github(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


def held(workspace: Workspace, name: str) -> None:
    found = list(differences(load(name), workspace.document(name)))
    more = f"\n... and {len(found) - 20} more" if len(found) > 20 else ""
    assert not found, f"onnxpath {CALLS[name]}\n" + "\n".join(found[:20]) + more


@pytest.mark.parametrize("name", [name for name in CALLS if name not in REAL])
def test_documents_are_as_stored(workspace: Workspace, name: str) -> None:
    held(workspace, name)


@pytest.mark.parametrize("name", REAL)
def test_documents_of_real_models_are_as_stored(workspace: Workspace, real_models: Path, name: str) -> None:
    workspace.link("real", real_models)
    held(workspace, name)


def test_every_call_is_stored_and_nothing_else() -> None:
    assert {path.stem for path in STORED.glob("*.json")} == set(CALLS)


def test_every_command_is_called() -> None:
    assert {line.split()[0] for line in CALLS.values()} == set(COMMANDS)


def metric(value: float, **more: object) -> dict:
    """The part of a document that the tests below change."""
    return {"path_metric": {"upper": {"value": value, **more}}}


STORED_METRIC = {**metric(2.0, log10=0.30103), "exact": True, "count": 3, "notes": ["one"]}
CHANGES = [
    (metric(2.0001, log10=0.30103), ".path_metric.upper.value is certified, and looser: 2.0001; stored: 2.0"),
    (metric(1.9999, log10=0.30103), ".path_metric.upper.value differs: 1.9999; stored: 2.0"),
    (metric(2.0, log10=0.30106), ".path_metric.upper.log10 differs: 0.30106; stored: 0.30103"),
    (metric(2.0), ".path_metric.upper.log10 is missing; stored: 0.30103"),
    ({"path_metric": None}, ".path_metric is of another kind: None; stored: "),
    ({"exact": 1}, ".exact is of another kind: 1; stored: True"),
    ({"count": 4}, ".count differs: 4; stored: 3"),
    ({"notes": []}, ".notes has 0 entries: []; stored: 1, ['one']"),
    ({"notes": ["two"]}, ".notes[0] differs: 'two'; stored: 'one'"),
]


@pytest.mark.parametrize(("found", "said"), CHANGES)
def test_a_difference_is_named(found: dict, said: str) -> None:
    (line,) = differences(STORED_METRIC, {**STORED_METRIC, **found})
    assert line.startswith(said)


def test_rounding_and_new_keys_are_no_difference() -> None:
    found = {**STORED_METRIC, **metric(2.00001, log10=0.301032, new=1), "more": []}
    assert not list(differences(STORED_METRIC, found))


def test_a_certified_number_near_zero_may_not_grow() -> None:
    assert list(differences({"upper": 1e-12}, {"upper": 2e-12}))
    assert not list(differences({"lower": 1e-12}, {"lower": 2e-12}))
