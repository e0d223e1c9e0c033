"""`onnxpath check` without arguments: configuration files, globs, and baselines."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli_support import Outcome, chain

CASES = Path(__file__).resolve().parents[1] / "data" / "cases" / "attack"


def configure(folder: Path, text: str, name: str = "onnxpath.toml") -> None:
    (folder / name).write_text(text, encoding="utf-8")


def names(found: Outcome, code: int = 0) -> list[str]:
    return [entry["name"] for entry in found.document(code)["entries"]]


def test_every_entry_is_checked(program, small_pairs):
    configure(small_pairs, """
        [[check]]
        name = "halved"
        a = "a.onnx"
        b = "half.onnx"
        max-relative = "51%"

        [[check]]
        a = "a.onnx"
        b = "same.onnx"
        max_relative = 0
        max_path_norm_increase = "0%"
    """)  # fmt: skip
    found = program("check", "--format", "json")
    assert names(found) == ["halved", "same.onnx"]
    assert [len(entry["budgets"]) for entry in json.loads(found.out)["entries"]] == [1, 2]


def test_one_exceeded_budget_among_many_fails_the_check(program, small_pairs):
    entry = '[[check]]\nname = "{}"\na = "a.onnx"\nb = "{}.onnx"\nmax-relative = 0.1\n'
    configure(
        small_pairs,
        entry.format("first", "same") + entry.format("second", "half") + entry.format("third", "a"),
    )
    found = program("check", "--format", "json").document(1)
    assert [entry["passed"] for entry in found["entries"]] == [True, False, True]
    text = program("check").out
    assert "failed, 1 of 3 budgets exceeded" in text and text.count("EXCEEDED") == 1


def test_pyproject_is_read_from_a_folder_below_and_paths_are_relative_to_it(
    program, small_pairs, monkeypatch
):
    configure(
        small_pairs,
        '[project]\nname = "x"\n[[tool.onnxpath.check]]\na = "a.onnx"\nb = "half.onnx"\nmax-relative = 0.6\n',
        "pyproject.toml",
    )
    (small_pairs / "deep" / "below").mkdir(parents=True)
    monkeypatch.chdir(small_pairs / "deep" / "below")
    [entry] = program("check", "--format", "json").document()["entries"]
    assert entry["a"]["path"] == os.path.join("..", "..", "a.onnx")
    monkeypatch.chdir(small_pairs.parent)
    assert names(program("check", "--config", small_pairs / "pyproject.toml", "--format", "json")) == [
        "half.onnx"
    ]


def test_domains_inputs_and_reading_options(program, small_pairs):
    np.savez(small_pairs / "samples.npz", x=np.eye(2, dtype=np.float32))
    np.savez(small_pairs / "limits.npz", x=np.array([[0.5, 1.0]]))
    configure(small_pairs, """
        [[check]]
        name = "box"
        a = "a.onnx"
        b = "half.onnx"
        low = [0, 0]
        high = "limits.npz"
        norm = 1
        max-bound = 10
        shape = { x = "1x2" }
        output-name = "y"
        keep-batchnorm = false
        [[check]]
        name = "samples"
        a = "a.onnx"
        b = "half.onnx"
        inputs = "samples.npz"
        epsilon = 0.1
        max-bound = 10
    """)  # fmt: skip
    box, samples = (
        entry["budgets"][0] for entry in program("check", "--format", "json").document()["entries"]
    )
    # |1/2 W2 relu(W1 x)| is 2 at x = (0, 1), and at most 1/2 (1 (0.5 + 2) + 3 (0.5 + 2)) = 5 without signs
    assert 2 <= box["value"] <= 5 * (1 + 1e-5)
    # in the box around (0, 1): at least 2, at most 1/2 (0.1 + 2.2 + 3 (0.1 + 2.2))
    assert 2 <= samples["value"] <= 4.6 * (1 + 1e-5)


def test_globs_pair_files_by_name(program, small_pairs):
    for side in ("old", "new"):
        (small_pairs / side / "deep").mkdir(parents=True)
    for name in ("one", "two", "deep/one"):
        shutil.copy("a.onnx", small_pairs / "old" / f"{name}.onnx")
        shutil.copy("half.onnx", small_pairs / "new" / f"{name}.onnx")
    configure(
        small_pairs, '[[check]]\nname = "export"\na = "old/*.onnx"\nb = "new/*.onnx"\nmax-relative = 0.6\n'
    )
    found = program("check", "--format", "json")
    assert names(found) == ["export: one.onnx", "export: two.onnx"]
    assert [Path(entry["b"]["path"]) for entry in json.loads(found.out)["entries"]] == [
        Path("new/one.onnx"),
        Path("new/two.onnx"),
    ]
    configure(small_pairs, '[[check]]\na = "old/**/*.onnx"\nb = "new/**/*.onnx"\nmax-relative = 0.6\n')
    assert names(program("check", "--format", "json")) == [
        os.path.join("new", *p.split("/")) for p in ("deep/one.onnx", "one.onnx", "two.onnx")
    ]
    configure(small_pairs, '[[check]]\na = "a.onnx"\nb = "new/*.onnx"\nmax-relative = 0.6\n')
    assert len(names(program("check", "--format", "json"))) == 2


ENTRY = '[[check]]\na = "a.onnx"\nb = "half.onnx"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ENTRY + "max-relativ = 1\n", ["entry 1", "'max-relativ'", "did you mean 'max-relative'"]),
        (ENTRY + "max_found = 1\n", ["'max_found'", "max-bound"]),
        (ENTRY + "min_agreement = 1\n", ["'min_agreement'", "min-agree"]),
        (ENTRY + "zzzzzz = 1\n", ["'zzzzzz'", "known are", "max-relative"]),
        (ENTRY + "max-relative = 1\nmax_relative = 1\n", ["twice"]),
        (ENTRY + "max-relative = true\n", ["max-relative", "True"]),
        (ENTRY + "max-relative = [1]\n", ["max-relative"]),
        (ENTRY, ["half.onnx", "no budget"]),
        (ENTRY + "max-relative = 1\nkeep-batchnorm = 1\n", ["keep-batchnorm"]),
        (ENTRY + "max-relative = 1\nshape = 3\n", ["shape"]),
        (ENTRY + 'max-relative = 1\nshape = { x = "big" }\n', ["shape", "'x'"]),
        (ENTRY + "max-relative = 1\noutput-name = 3\n", ["output-name"]),
        (ENTRY + "max-bound = 1\nlow = true\nhigh = 1\n", ["low"]),
        (ENTRY + 'max-bound = 1\nlow = "nothing"\nhigh = 1\n', ["nothing"]),
        (ENTRY + "max-bound = 1\nradius = 1\nnorm = 3\n", ["norm", "'3'"]),
        (ENTRY + "max-flip-rate = 0.1\ninputs = 3\n", ["inputs"]),
        (ENTRY + "max-relative = 1\nbaseline = 3\n", ["baseline"]),
        (ENTRY + "max-relative = 1\nname = 3\n", ["name"]),
        ('[[check]]\na = "a.onnx"\nmax-relative = 1\n', ["'b'"]),
        ('[[check]]\na = "a.onnx"\nb = 3\nmax-relative = 1\n', ["'b'", "3"]),
        ('[[check]]\na = "x*.onnx"\nb = "half.onnx"\nmax-relative = 1\n', ["'x*.onnx' matches no file"]),
        ('[[check]]\na = "a.onnx"\nb = "x*.onnx"\nmax-relative = 1\n', ["'x*.onnx' matches no file"]),
        ('[[check]]\na = "*a.onnx"\nb = "h*.onnx"\nmax-relative = 1\n', ["a.onnx", "no file of that name"]),
        (ENTRY + "max-relative = 1\n" + ENTRY + "max-relative = 1\n", ["entry 2", "half.onnx", "own name"]),
        ("[check]\na = 1\n", ["[[check]]"]),
        ("checks = 1\n", ["'checks'", "did you mean 'check'"]),
        ("", ["nothing to check"]),
        ("[[check]\n", ["not valid TOML"]),
    ],
)  # fmt: skip
def test_configurations_that_are_wrong(refused, small_pairs, text, words):
    configure(small_pairs, text)
    line = refused("check")
    assert "onnxpath.toml" in line and all(word in line for word in words), line


def test_two_configurations_and_none(refused, small_pairs):
    configure(small_pairs, ENTRY + "max-relative = 1\n")
    configure(small_pairs, "[tool.onnxpath]\n", "pyproject.toml")
    assert "both onnxpath.toml and [tool.onnxpath] in pyproject.toml" in refused("check")
    assert "missing.toml" in refused("check", "--config", "missing.toml")
    (small_pairs / "onnxpath.toml").write_bytes(b"\xff\xfe")
    (small_pairs / "pyproject.toml").unlink()
    assert "not valid TOML" in refused("check")


def test_a_pyproject_of_something_else_is_passed_over(refused, small_pairs):
    configure(small_pairs, "[tool.ruff]\nline-length = 100\n", "pyproject.toml")
    assert "nothing to check" in refused("check")
    assert "there is no table [tool.onnxpath]" in refused("check", "--config", "pyproject.toml")


def test_an_error_in_one_entry_names_it_and_never_passes(refused, small_pairs):
    chain(small_pairs / "wide.onnx", [np.ones((3, 2)), np.ones((1, 3))])
    configure(
        small_pairs,
        ENTRY
        + "max-relative = 1\n"
        + '[[check]]\nname = "w"\na = "a.onnx"\nb = "wide.onnx"\nmax-relative = 1\n',
    )
    line = refused("check")
    assert line.startswith("w: the networks have different structure")
    more = '[[check]]\nname = "v"\na = "a.onnx"\nb = "missing.onnx"\nmax-relative = 1\n'
    configure(small_pairs, (small_pairs / "onnxpath.toml").read_text() + more)
    assert refused("check").endswith("2 of 3 pairs could not be checked")


# -- baselines
# ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def baselined(small_pairs) -> Path:
    configure(small_pairs, ENTRY.replace("half", "new") + 'baseline = "baseline.json"\n')
    shutil.copy("half.onnx", "new.onnx")
    return small_pairs


def test_a_baseline_is_written_once_and_gates_from_then_on(program, refused, baselined):
    assert "baseline.json is missing" in refused("check")
    assert program("check", "--update-baseline").code == 0
    first = (baselined / "baseline.json").read_bytes()
    assert (
        program("check", "--update-baseline").code == 0
        and (baselined / "baseline.json").read_bytes() == first
    )
    stored = json.loads(first)
    assert stored["schema"] == "onnxpath.baseline/1"
    [pair] = stored["pairs"]
    assert pair["pair"] == "a.onnx -> new.onnx"
    assert set(pair["values"]) == {"relative"} and pair["values"]["relative"]["value"] == pytest.approx(
        0.5, rel=1e-4
    )
    [entry] = program("check", "--format", "json").document()["entries"]
    assert [budget["name"] for budget in entry["budgets"]] == ["baseline-relative"]
    first_layer, last = np.array([[1, 2], [-1, 2]]), np.array([[1, -3]])
    chain(baselined / "new.onnx", [first_layer, last * 0.6])
    assert program("check").code == 0
    chain(baselined / "new.onnx", [first_layer, last * 0.4])
    found = program("check")
    assert found.code == 1 and "baseline-relative" in found.out


def test_the_tolerance_is_how_much_more_is_allowed(program, baselined):
    program("check", "--update-baseline")
    chain(
        baselined / "new.onnx", [np.array([[1, 2], [-1, 2]]), np.array([[1, -3]]) * 0.46]
    )  # 0.54, 8 % more than 0.5
    text = (baselined / "onnxpath.toml").read_text()
    for tolerance, code in ((0, 1), ("7.9%", 1), ("8.1%", 0)):
        configure(baselined, f"{text}tolerance = {json.dumps(tolerance)}\n")
        assert program("check").code == code, tolerance


def test_with_tolerance_0_the_same_networks_pass(program, baselined):
    configure(
        baselined,
        (baselined / "onnxpath.toml").read_text()
        + "tolerance = 0\nmax-metric = 100\nmax-path-norm-increase = 1\n",
    )
    assert program("check", "--update-baseline").code == 0
    assert program("check").code == 0
    [pair] = json.loads((baselined / "baseline.json").read_text())["pairs"]
    assert set(pair["values"]) == {"relative", "metric", "path-norm-increase"}


def test_values_beyond_float64_survive_a_baseline(program, tmp_path):
    a = chain(tmp_path / "a.onnx", [np.full((4, 4), 1e7)] * 50)
    b = chain(tmp_path / "b.onnx", [np.full((4, 4), 1e7)] * 49 + [np.full((4, 4), 0.5e7)])
    options = ["--baseline", tmp_path / "base.json", "--max-metric", "1e308"]
    assert program("check", a, b, *options, "--update-baseline").code == 1
    [entry] = program("check", a, b, *options, "--tolerance", "0", "--format", "json").document(1)["entries"]
    assert {budget["name"]: budget["passed"] for budget in entry["budgets"]} == {
        "max-metric": False, "baseline-relative": True, "baseline-metric": True,
    }  # fmt: skip


def test_a_baseline_for_something_else_is_an_error(program, refused, baselined):
    text = (baselined / "onnxpath.toml").read_text()
    program("check", "--update-baseline")
    configure(baselined, text + "max-metric = 10\n")
    assert "holds no value 'metric'" in refused("check")
    configure(baselined, text.replace("new.onnx", "same.onnx"))
    assert "no longer checked" in refused("check")
    configure(baselined, text + '[[check]]\na = "a.onnx"\nb = "same.onnx"\nbaseline = "baseline.json"\n')
    assert "holds no baseline for a.onnx -> same.onnx" in refused("check")
    configure(baselined, text)
    chain(baselined / "a.onnx", [np.array([[1, 2], [-1, 2.5]]), np.array([[1, -3]])])
    assert "another file" in refused("check")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"schema": "onnxpath.baseline/2", "pairs": []}',
    '{"schema": "onnxpath.baseline/1", "pairs": [{}]}',
                '{"schema": "onnxpath.baseline/1", "pairs": 3}', "\udcff"]
)  # fmt: skip
def test_a_baseline_that_is_broken(refused, baselined, content):
    (baselined / "baseline.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    assert "baseline.json" in refused("check")


@pytest.mark.parametrize(
    "value", [{"value": "NaN", "log10": None}, {"value": None, "log10": None}, {"value": True}, 3, None]
)
def test_a_baseline_whose_value_is_no_number(program, refused, baselined, value):
    program("check", "--update-baseline")
    stored = json.loads((baselined / "baseline.json").read_text())
    stored["pairs"][0]["values"]["relative"] = value
    (baselined / "baseline.json").write_text(json.dumps(stored))
    assert "is not a baseline" in refused("check")


def test_json_constants_beyond_numbers_in_a_baseline(program, refused, baselined):
    program("check", "--update-baseline")
    text = (baselined / "baseline.json").read_text()
    value = json.loads(text)["pairs"][0]["values"]["relative"]["value"]
    for constant in ("NaN", "Infinity", "1e999"):
        (baselined / "baseline.json").write_text(text.replace(f'"value": {value!r}', f'"value": {constant}'))
        assert "is not a baseline" in refused("check")


def test_an_error_leaves_the_baseline_alone(program, refused, baselined):
    program("check", "--update-baseline")
    before = (baselined / "baseline.json").read_bytes()
    configure(
        baselined,
        (baselined / "onnxpath.toml").read_text()
        + '[[check]]\na = "a.onnx"\nb = "none.onnx"\nmax-relative = 1\n',
    )
    assert "none.onnx" in refused("check", "--update-baseline")
    assert (baselined / "baseline.json").read_bytes() == before


def test_a_changed_domain_or_file_of_inputs_is_noticed(program, refused, small_pairs):
    np.savez(small_pairs / "x.npz", x=np.eye(2, dtype=np.float32))
    arguments = ["check", "a.onnx", "half.onnx", "--baseline", "base.json"]
    for domain, other in (
        (["--radius", "1"], ["--radius", "2"]),
        (["--low", "0", "--high", "1"], ["--low", "-1", "--high", "1"]),
    ):
        assert program(*arguments, *domain, "--update-baseline").code == 0
        assert program(*arguments, *domain).code == 0
        assert "other conditions (domain: " in refused(*arguments, *other)
        assert "other conditions (norm: inf, now 2)" in refused(*arguments, *domain, "--norm", "2")
    assert program(*arguments, "--inputs", "x.npz", "--update-baseline").code == 0
    assert program(*arguments, "--inputs", "x.npz").code == 0
    np.savez(small_pairs / "x.npz", x=2 * np.eye(2, dtype=np.float32))
    assert "other conditions (files: " in refused(*arguments, "--inputs", "x.npz")


def test_a_baseline_belongs_to_the_external_data_of_a_and_to_the_version(
    program, refused, tmp_path, monkeypatch
):
    for name in ("A.onnx", "Be.onnx", "Be.data"):
        shutil.copy(CASES / name, tmp_path)
    call = (
        "check",
        tmp_path / "Be.onnx",
        tmp_path / "A.onnx",
        "--max-metric",
        "1e9",
        "--baseline",
        tmp_path / "base.json",
    )
    assert program(*call, "--update-baseline").code == 0 and program(*call).code == 0
    shutil.copy(CASES / "Be.data.evil", tmp_path / "Be.data")
    assert "other external data" in refused(*call)
    shutil.copy(CASES / "Be.data.good", tmp_path / "Be.data")
    assert program(*call).code == 0
    monkeypatch.setattr("onnxpath.analyses.tool._version", lambda *names: "99")
    assert "this is onnxpath 99" in refused(*call)


@pytest.mark.parametrize(
    "log10", [1e308, -1e308, True, "1", [1], 10**400, None], ids=lambda value: str(value)[:8]
)
def test_a_baseline_whose_logarithm_is_no_number(program, refused, baselined, log10):
    program("check", "--update-baseline")
    stored = json.loads((baselined / "baseline.json").read_text())
    stored["pairs"][0]["values"]["relative"] = {"value": None, "log10": log10}
    (baselined / "baseline.json").write_text(json.dumps(stored))
    assert "is not a baseline" in refused("check")
    shutil.copy(CASES / "baseline_1e308.json", baselined / "baseline.json")
    assert "is not a baseline" in refused("check")


def test_what_may_change_of_the_files_is_a_setting(program, tmp_path, monkeypatch):
    files = Path(__file__).resolve().parents[1] / "data" / "cases" / "files"
    monkeypatch.chdir(tmp_path)
    entry = (
        f'[[check]]\na = "{files}/tail_softmax.onnx"\nb = "{files}/tail_logsoftmax.onnx"\nmax-relative = 0\n'
    )
    configure(tmp_path, entry)
    [found] = program("check", "--format", "json").document(1)["entries"]
    assert [budget["name"] for budget in found["budgets"] if not budget["passed"]] == ["interface"]
    configure(
        tmp_path,
        entry + 'allow-interface-change = ["tail"]\nfile-option = "graph_optimization_level=basic"\n',
    )
    [found] = program("check", "--format", "json").document()["entries"]
    assert found["files"]["runtime"] == {"provider": "cpu", "options": {"graph_optimization_level": "basic"}}
    for wrong, words in (
        ('allow-interface-change = "ends"', "must be one of"),
        ("allow-unfaithful = 1", "true or false"),
    ):
        configure(tmp_path, entry + wrong + "\n")
        refused = program("check")
        assert refused.code == 2 and words in refused.err
