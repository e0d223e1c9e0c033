"""Reports of `onnxpath check` for CI systems: JUnit files, annotations and step summaries, whatever names
hold."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_support import chain
from hypothesis import given, settings
from hypothesis import strategies as st
from junit_schema import ANT, JENKINS, parse, violations

from onnxpath.cli import github, junit, verdicts
from onnxpath.engine.scaled import Scaled
from onnxpath.records import BoundSide, Budget, Check, CheckedPair, Layer, Tool

NASTY = [
    "<b>&amp;</b>",
    "]]>",
    'quo"te',
    "größe/層",
    "two\nlines",
    "tab\there",
    "bell\x07",
    "esc\x1b[31m",
    "100 %",
    "a:b,c",
    "::error::x",
    " x  y ",
]
TOOL = Tool("0.1", "1", "1", "cpu", "float32", "ieee")
# XML and git know no lone surrogates, but a path that is no text is spelled with them.
texts = st.one_of(st.text(max_size=12), st.sampled_from(NASTY), st.characters(categories=["Cs", "Cc"]))


def budget(passed: bool, name: str = "max-relative", layer: str = "conv", basis: str = "exact") -> Budget:
    return Budget(
        name, 0.6, 0.7 if passed else 0.5, True, passed, "certified", basis, (Layer(layer, 1.0, Scaled(1.0)),)
    )


def pair(name: str, *budgets: Budget) -> CheckedPair:
    return CheckedPair(name, BoundSide(f"{name}-a", "0" * 64), BoundSide(f"{name}-b", "1" * 64), budgets)


# -- JUnit
# --------------------------------------------------------------------------------------------------


def test_a_report_of_a_run(program, models, tmp_path):
    file = tmp_path / "junit.xml"
    arguments = [
        "--max-relative",
        "1%",
        "--max-metric",
        "1e20",
        "--format",
        "json",
        "--output",
        f"junit={file}",
    ]
    found = program(
        "check", models / "digits_resnet.onnx", models / "digits_resnet_pruned40.onnx", *arguments
    )
    assert (found.code, found.err) == (1, "")
    [suite] = parse(file.read_text(encoding="utf-8"))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    relative, metric = suite.findall("testcase")
    assert (relative.get("name"), metric.get("name")) == ("max-relative", "max-metric")
    assert metric.find("failure") is None
    message = relative.find("failure").get("message")
    assert all(
        word in message
        for word in ("max-relative", "60.24 %", "limit of 1 %", "monotone pair", "/5/first/first.0/Conv (57.")
    )
    first = file.read_bytes()
    program("check", models / "digits_resnet.onnx", models / "digits_resnet_pruned40.onnx", *arguments)
    assert file.read_bytes() == first


def test_what_could_not_be_checked_is_an_error_in_the_report(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    chain(tmp_path / "a.onnx", [np.eye(2)])
    entry = '[[check]]\nname = "{0}"\na = "a.onnx"\nb = "{0}.onnx"\nmax-relative = 0\n'
    (tmp_path / "onnxpath.toml").write_text("".join(entry.format(name) for name in ("a", "none", "nothing")))
    found = program("check", "--output", "junit=report.xml", "--output", "json=report.json")
    assert found.code == 2 and found.out == "" and found.err.count("\n") == 1
    assert not (tmp_path / "report.json").exists()
    suites = parse((tmp_path / "report.xml").read_text())
    assert [(suite.get("name"), suite.get("errors")) for suite in suites] == [
        ("a", "0"),
        ("none", "1"),
        ("nothing", "1"),
    ]
    assert "none.onnx" in suites[1].find("testcase/error").get("message")


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(texts, st.lists(st.tuples(st.booleans(), texts, texts), max_size=4)), max_size=3),
    st.lists(st.tuples(texts, texts), max_size=2),
)
def test_reports_are_valid_whatever_names_hold(suites, errors):
    pairs = [
        pair(name, *(budget(passed, layer=layer, basis=basis) for passed, layer, basis in cases))
        for name, cases in suites
    ]
    root = parse(junit.xml(pairs, TOOL, errors))
    assert len(root) == len(pairs) + len(errors)
    for suite, (_, cases) in zip(root, suites, strict=False):
        assert [case.find("failure") is None for case in suite.findall("testcase")] == [
            passed for passed, _, _ in cases
        ]


@pytest.mark.parametrize("text", NASTY)
def test_text_that_xml_can_hold_is_kept(text):
    root = parse(junit.xml([pair("p", budget(False, layer=text))], TOOL))
    shown = re.sub("[\x07\x1b]", lambda found: found[0].encode("unicode_escape").decode(), text)
    assert f"from {shown} (100.00 %)" in root.find("testsuite/testcase/failure").text


GOOD = junit.xml([pair("p", budget(False), budget(True))], TOOL, [("q", "broken")])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('hostname="localhost"', ""), ('tests="2"', 'tests="two"'), ("<properties>", "<propertiez>"),
        ('type="budget"', ""), ('id="0"', 'id="x"'),
        ('time="0.0"', 'time="soon"'), ("<system-err />", ""), ('name="p"', 'name=" p"'),
        ("<failure", "<failed"), ("<testcase ", '<testcase line="1" '),
        ('timestamp="1970-01-01T00:00:00"', 'timestamp="1970-01-01"'),
    ],
)  # fmt: skip
def test_the_schema_check_finds_what_is_wrong(before, after):
    assert before in GOOD
    text = GOOD.replace(before, after)
    if before in ("<properties>", "<failure"):
        text = text.replace(
            before.replace("<", "</").rstrip(">") + ">", after.replace("<", "</").rstrip(">") + ">"
        )
    assert violations(ElementTree.fromstring(text), ANT) != []
    assert (
        violations(ElementTree.fromstring(GOOD), ANT)
        == violations(ElementTree.fromstring(GOOD), JENKINS)
        == []
    )


# -- GitHub
# --------------------------------------------------------------------------------------------------


@pytest.fixture
def actions(monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    return tmp_path / "summary.md"


def commands(text: str) -> list[tuple[str, str]]:
    """The workflow commands of a log as GitHub reads them: title and message."""
    found = []
    for line in text.splitlines():
        if line.startswith("::"):
            title, message = re.fullmatch(r"::error title=([^,:]*)::(.*)", line).groups()
            for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
                title, message = (
                    title.replace(code, character),
                    message.replace(code, character) if code not in ("%3A", "%2C") else message,
                )
            found.append((title, message))
    return found


def test_annotations_and_summary(program, models, actions):
    arguments = [
        "check",
        models / "digits_resnet.onnx",
        models / "digits_resnet_pruned40.onnx",
        "--max-relative",
        "1%",
        "--max-metric",
        "1",
    ]
    actions.write_text("before\n")
    found = program(*arguments, "--format", "json")
    assert found.code == 1 and found.out.startswith("{") and found.out.endswith("}\n")
    (title, message), (_, other) = commands(found.err)
    assert title == f"onnxpath check: {models / 'digits_resnet_pruned40.onnx'}"
    assert message.startswith("max-relative: 60.24 % exceeds the limit of 1 %") and other.startswith(
        "max-metric: 1.8761e+09"
    )
    assert len(found.err.splitlines()) == 2
    assert actions.read_text() == "before\n" + program(*arguments, "--format", "markdown").out + "\n"


def test_no_annotations_when_all_is_kept(program, models, actions):
    found = program(
        "check",
        models / "digits_resnet.onnx",
        models / "digits_resnet_bn.onnx",
        "--max-relative",
        "1%",
        "--format",
        "json",
    )
    assert (found.code, found.err) == (0, "")
    assert "passed, 1 budget kept" in actions.read_text(encoding="utf-8")


def test_an_error_is_annotated_too(program, models, actions):
    found = program(
        "check", models / "digits_resnet.onnx", models / "digits_mlp.onnx", "--max-relative", "1%"
    )
    assert (found.code, found.out) == (2, "")
    [(_, message)] = commands(found.err)
    assert message.startswith("the networks have different structure")
    assert found.err.splitlines()[-1] == f"onnxpath: {message}"
    assert "could not check" in actions.read_text()


def test_elsewhere_nothing_is_annotated(program, models, monkeypatch, tmp_path):
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    found = program(
        "check", models / "digits_resnet.onnx", models / "digits_resnet_pruned40.onnx", "--max-relative", "1%"
    )
    assert (found.code, found.err) == (1, "")
    assert not (tmp_path / "summary.md").exists()


@pytest.mark.parametrize("count", [1, 9, 10, 11, 40])
def test_at_most_ten_annotations(capsys, count):
    github.annotate([("t", f"message {k}") for k in range(count)])
    shown = commands(capsys.readouterr().err)
    assert len(shown) == min(count, 10)
    assert [message for _, message in shown][:9] == [f"message {k}" for k in range(min(count, 9))]
    if count > 10:
        assert shown[9][1] == f"{count - 9} more; the summary of this step lists all"


@pytest.mark.parametrize("text", NASTY)
def test_annotations_are_one_line_and_read_back(capsys, text):
    github.annotate([(text, text)])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    assert commands(err) == [(shown, shown)]


def test_a_summary_that_cannot_be_written_does_not_change_the_outcome(
    program, models, actions, monkeypatch, tmp_path
):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "nowhere" / "summary.md"))
    found = program(
        "check", models / "digits_resnet.onnx", models / "digits_resnet_bn.onnx", "--max-relative", "1%", "-q"
    )
    assert found.code == 0 and "step summary" in found.err


# -- for people
# ---------------------------------------------------------------------------------------------------------


def test_an_explanation_names_budget_value_limit_basis_and_layers():
    layers = tuple(
        Layer(name, share, Scaled(1.0)) for name, share in (("conv1", 0.5), ("fc", 0.3), ("conv2", 0.1))
    )
    failed = Budget(
        "max-bound", Scaled(0.625), 0.5, False, False, "certified", "sharp difference pass", layers
    )
    assert (
        verdicts.explain(failed)
        == "max-bound: 0.625 exceeds the limit of 0.5 (certified: sharp difference pass); "
        "most of it comes from conv1 (50.00 %), fc (30.00 %), conv2 (10.00 %)"
    )
    # what is shown is still above the limit, however close it is
    close = Budget("max-relative", 0.01 * (1 + 1e-12), 0.01, True, False, "certified", "exact", ())
    assert verdicts.explain(close) == "max-relative: 1.01 % exceeds the limit of 1 % (certified: exact)"


def test_a_report_of_several_pairs_names_them_in_every_row():
    result = Check((pair("first", budget(True)), pair("second", budget(False))), TOOL)
    main, causes = verdicts.report(result).tables
    assert [row[0] for row in main.rows] == ["first", "second"] and [row[0] for row in causes.rows] == [
        "second"
    ]
