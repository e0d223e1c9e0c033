"""A check as JUnit XML: a test suite per pair, a test case per budget. Imported when a report is written.

The document is valid against both schemas in use: the Ant task's (JUnit.xsd of windyroad) and the stricter
reading of Maven's that Jenkins checks (junit-10.xsd). Ant's requires times, a host and a time stamp; they are
constants here, so that the same check gives the same bytes. Characters that XML 1.0 cannot hold are written
as escapes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import fromstring, indent, tostring

from junitparser import (
    Attr,
    Error,
    Failure,
    JUnitXml,
    Properties,
    Property,
    SystemErr,
    SystemOut,
    TestCase,
    TestSuite,
)

from onnxpath.cli import verdicts
from onnxpath.files.writing import COMMENT

if TYPE_CHECKING:
    from onnxpath.records import CheckedPair, Tool

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _text(text: str) -> str:
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _token(text: str) -> str:
    """Text on one line without leading, trailing or repeated spaces, and not empty."""
    return " ".join(_text(text).split()) or "-"


class _Suite(TestSuite):
    """A suite with the attributes that Ant requires."""

    package = Attr()
    id = Attr()

    def __init__(
        self, number: int, name: str, about: Mapping[str, str], cases: list[TestCase], out: str = ""
    ):
        super().__init__(_token(name))
        self.package, self.id = "onnxpath", str(number)
        self.timestamp, self.hostname = "1970-01-01T00:00:00", "localhost"
        properties = Properties()
        for key, value in about.items():
            properties.add_property(Property(key, _text(value)))
        self.append(properties)
        self.add_testcases(cases)
        self.extend((SystemOut(_text(out)), SystemErr("")))


def _case(suite: str, name: str, fault: "Failure | Error | None" = None, message: str = "") -> TestCase:
    case = TestCase(_token(name), f"onnxpath.{_token(suite)}", 0)
    if fault is not None:
        fault.message = fault.text = _text(message)
        case.append(fault)
    return case


def _budgets(pair: "CheckedPair", number: int, versions: Mapping[str, str]) -> _Suite:
    about = {"a": pair.a.path, "a.sha256": pair.a.sha256, "b": pair.b.path, "b.sha256": pair.b.sha256}
    cases = [
        _case(pair.name, budget.name)
        if budget.passed
        else _case(pair.name, budget.name, Failure(type_="budget"), verdicts.explain(budget))
        for budget in pair.budgets
    ]
    lines = [f"{b.name}: {verdicts.value(b)} (limit {verdicts.limit(b)}; {b.basis})" for b in pair.budgets]
    return _Suite(number, pair.name, {**about, **versions}, cases, "\n".join(lines))


def xml(
    pairs: "Sequence[CheckedPair]", tool: "Tool | None" = None, errors: Sequence[tuple[str, str]] = ()
) -> str:
    """The document. errors: name and message of every pair that could not be checked."""
    versions = {}
    if tool is not None:
        versions = {"onnxpath": tool.version, "onnxruntime": tool.onnxruntime}
        versions |= {"provider": tool.provider, "precision": tool.precision}
    root = JUnitXml()
    for number, pair in enumerate(pairs):
        root.append(_budgets(pair, number, versions))
    for number, (name, message) in enumerate(errors, len(pairs)):
        root.append(_Suite(number, name, versions, [_case(name, "check", Error(type_="error"), message)]))
    document = fromstring(root.tostring())
    indent(document)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{COMMENT}\n' + tostring(document, "unicode") + "\n"
