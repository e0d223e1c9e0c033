"""How results are spelled: numbers rounded to the safe side, tables at any width, markdown, files, and
hostile names."""

import io
import os
import re
import stat
import threading
from decimal import Decimal, localcontext

import numpy as np
import pytest
from cli_support import chain
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxpath.cli import output, terminal
from onnxpath.cli.options import Output
from onnxpath.cli.output import Report, Table, number, percent, plain
from onnxpath.engine.scaled import Scaled
from onnxpath.files.writing import write_file

HOSTILE = [
    "[red]x[/red]",
    "a|b",
    "größe/層",
    "**bold** _it_ `code`",
    "<b>html</b>",
    ":smile:",
    "back\\slash",
    "[link](x)",
    "__init__",
]
magnitudes = st.builds(Scaled, st.floats(0.5, 1), st.integers(-4000, 4000))


# -- numbers
# ------------------------------------------------------------------------------------------------------------


@given(magnitudes, st.integers(2, 9))
def test_ends_of_an_interval_are_rounded_outwards(value, digits):
    with localcontext(prec=1300):
        exact = Decimal(value.mantissa) * Decimal(2) ** value.exponent
        low, near, high = (Decimal(number(value, digits, toward)) for toward in ("down", "nearest", "up"))
        assert low <= exact <= high
        assert low <= near <= high
        assert high - low <= exact * Decimal(10) ** (1 - digits)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (4, "4"), (75000, "75000"), (0.5, "0.5"), (0.1, "0.10000"), (108.998, "109.00"),
        (123456, "1.2346e+05"),
        (9999999.7, "1.0000e+07"), (99999.96, "1.0000e+05"), (1.5e-7, "1.5000e-07"), (3e20, "3.0000e+20"),
    ],
)  # fmt: skip
def test_numbers_for_people(value, shown):
    assert number(Scaled(float(value))) == shown


def test_a_number_far_beyond_float64():
    assert number(Scaled(0.5, 4001)) == "1.3182e+1204"
    assert number(Scaled(1.0, 10**12)).startswith("10^(3.01029")


@pytest.mark.parametrize(
    ("value", "toward", "shown"),
    [
        (0.0, "up", "0 %"), (1.0, "nearest", "100.00 %"), (0.26246, "nearest", "26.25 %"),
        (0.26241, "up", "26.25 %"),
        (2.71e-7, "up", "2.8e-05 %"), (2.71e-7, "nearest", "2.7e-05 %"), (1e300, "up", "1.1e+302 %"),
        (1234.5, "up", "123450.00 %"),
    ],
)  # fmt: skip
def test_percentages(value, toward, shown):
    assert percent(value, toward) == shown


@settings(max_examples=50)
@given(st.text(max_size=20))
def test_text_from_a_file_is_shown_on_one_line(text):
    shown = plain(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


# -- hostile names
# ------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """Two networks whose layers have hostile names; every layer differs."""
    weights = [np.full((2, 2), 1.0)] * len(HOSTILE)
    a = chain(tmp_path / "a.onnx", weights, HOSTILE)
    return a, chain(tmp_path / "b.onnx", [0.5 * weight for weight in weights], HOSTILE)


def test_a_table_shows_names_as_they_are(program, pair):
    found = program("metric", *pair)
    assert found.code == 0
    assert all(re.search(rf"│ {re.escape(name)} +│", found.out) for name in HOSTILE)


def cells(line: str) -> list[str]:
    """The cells of a row of a markdown table, read back."""
    assert line.startswith("| ") and line.endswith(" |")
    parts = re.split(r"(?<!\\)((?:\\\\)*)\|", line)[2:-1]
    raw = ["".join(parts[k : k + 2]) for k in range(0, len(parts), 2)]
    return [re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell.strip()) for cell in raw]


def test_markdown_is_a_valid_table(program, pair):
    found = program("metric", *pair, "--format", "markdown")
    assert (found.code, found.err) == (0, "")
    lines = found.out.splitlines()
    assert lines[0].startswith("### ")
    tables, previous = [], ""
    for line in lines:
        if line.startswith("|"):
            if not previous.startswith("|"):
                tables.append([])
            tables[-1].append(line)
        previous = line
    assert len(tables) == 2
    for rows in tables:
        assert re.fullmatch(r"\|(---:?\|)+", rows[1])
        assert {len(cells(row)) for row in rows[2:]} == {rows[1].count("|") - 1}
        assert lines[lines.index(rows[0]) - 1] == ""
    assert {cells(row)[0] for row in tables[1][2:]} == set(HOSTILE)


def test_markup_is_escaped_in_markdown():
    report = Report("a_b", [("k", "*x* `y` <b> [z](u) |v| _w_ max_pool 1 < 2")])
    assert r"\*x\* \`y\` \<b> \[z\](u) \|v\| \_w\_ max_pool 1 < 2" in output.markdown(report)


def test_json_keeps_the_names(program, pair):
    found = program("metric", *pair, "--format", "json")
    assert found.out.isascii()
    assert [layer["name"] for layer in found.document()["layers"]] == HOSTILE


# -- terminals and encodings
# --------------------------------------------------------------------------------------------


class Stream(io.TextIOWrapper):
    """A stdout that is a terminal, or that knows another encoding."""

    def __init__(self, encoding: str = "utf-8", terminal: bool = False):
        self.terminal = terminal
        super().__init__(io.BytesIO(), encoding=encoding, newline="")

    def isatty(self) -> bool:
        return self.terminal

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


REPORT = Report(
    "models/old_network.onnx → models/new_network.onnx",
    [("path-metric", "between 1.0000e+05 and 2.0000e+05"), ("größe", "x" * 300)],
    [
        Table(
            ("layer", "share"),
            [("/encoder/block.0/with/a/long/name/Conv", "99.00 %"), ("層", "1.00 %")],
            title="where the difference is",
        )
    ],
    ["a note"],
)


def test_a_narrow_terminal_loses_nothing(monkeypatch):
    stream = Stream(terminal=True)
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("COLUMNS", "30")
    monkeypatch.setenv("TERM", "xterm")
    text = re.sub(r"\x1b\[[0-9;]*m", "", terminal.table(REPORT))
    assert max(map(len, text.splitlines())) <= 30
    column = "".join(line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│"))
    assert column == "/encoder/block.0/with/a/long/name/Conv層"
    assert text.count("x") >= 300
    assert "99.00 %" in text and "1.00 %" in text


def test_without_a_terminal_nothing_is_wrapped(monkeypatch):
    monkeypatch.setattr("sys.stdout", Stream())
    monkeypatch.setenv("COLUMNS", "30")
    lines = terminal.table(REPORT).splitlines()
    assert lines[0] == REPORT.title
    assert any("x" * 300 in line for line in lines)
    assert not any("\x1b" in line or line.endswith(" ") for line in lines)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("output_format", ["table", "json", "markdown"])
def test_any_encoding_of_stdout(monkeypatch, encoding, output_format):
    stream = Stream(encoding)
    monkeypatch.setattr("sys.stdout", stream)
    Output(output_format, [], True, False).emit({"name": "größe 層"}, REPORT)
    text = stream.text()
    assert ("größe" in text) == (encoding != "ascii" and output_format != "json")
    assert "path-metric" in text or output_format == "json"


def test_a_path_that_is_not_text(program, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.onnx")
    try:
        chain(name, [np.eye(2)])
    except (OSError, UnicodeEncodeError):
        pytest.skip("this file system only takes names that are text")
    for output_format in ("table", "json", "markdown"):
        assert program("norm", name, "--format", output_format).code == 0


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_left_does_not_change_the_outcome(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stdout", Broken())
    Output("json", [("json", str(tmp_path / "a.json"))], True, False).emit({}, REPORT)
    assert (tmp_path / "a.json").read_text() == "{}\n"


@pytest.mark.parametrize("output_format", ["table", "json", "markdown"])
def test_no_stdout_and_no_stderr_at_all(monkeypatch, tmp_path, output_format):
    monkeypatch.setattr("sys.stdout", None)
    monkeypatch.setattr("sys.stderr", None)
    Output(output_format, [("json", str(tmp_path / "a.json"))], False, False).emit({"a": 1}, REPORT)
    assert (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'


# -- files
# --------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_and_keeps_its_mode(tmp_path):
    file = tmp_path / "a.json"
    file.write_text("before, and longer than what comes")
    file.chmod(0o640)
    write_file(str(file), "after")
    assert file.read_text() == "after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_file_has_the_usual_mode(tmp_path):
    (tmp_path / "usual").write_text("")
    write_file(str(tmp_path / "a.json"), "text")
    assert (tmp_path / "a.json").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_followed(tmp_path):
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_file(str(tmp_path / "link"), "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "after"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    received = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    write_file(str(pipe), "text")
    reader.join(10)
    assert received == ["text"] and stat.S_ISFIFO(pipe.stat().st_mode)
