"""A check as JUnit XML: a test suite per pair, a test case per budget.

The document is valid against both schemas in use: the Ant task's (JUnit.xsd of windyroad) and the stricter
reading of Maven's that Jenkins checks (junit-10.xsd). Ant's requires times, a host and a time stamp; they are
constants here, so that the same check gives the same bytes. Characters that XML 1.0 cannot hold are written
as escapes.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from onnxpath.cli import verdicts
from onnxpath.files.overwriting import COMMENT

if TYPE_CHECKING:
    from onnxpath.records import CheckedPair, Tool

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WHEN = {"timestamp": "1970-01-01T00:00:00", "hostname": "localhost", "time": "0"}


def _text(text: str) -> str:
    return _NOT_XML.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _token(text: str) -> str:
    """Text on one line without leading, trailing or repeated spaces, and not empty."""
    return " ".join(_text(text).split()) or "-"


def _suite(
    root: Element, name: str, properties: dict[str, str], tests: int, failures: int, errors: int
) -> Element:
    counts = {"tests": str(tests), "failures": str(failures), "errors": str(errors), "skipped": "0"}
    suite = SubElement(
        root,
        "testsuite",
        {"name": _token(name), "package": "onnxpath", "id": str(len(root)), **_WHEN, **counts},
    )
    held = SubElement(suite, "properties")
    for key, value in properties.items():
        SubElement(held, "property", {"name": key, "value": _text(value)})
    return suite


def _case(suite: Element, name: str) -> Element:
    return SubElement(
        suite, "testcase", {"name": _token(name), "classname": f"onnxpath.{suite.get('name')}", "time": "0"}
    )


def _streams(suite: Element, out: str) -> None:
    SubElement(suite, "system-out").text = _text(out)
    SubElement(suite, "system-err").text = ""


def xml(
    pairs: "Sequence[CheckedPair]", tool: "Tool | None" = None, errors: Sequence[tuple[str, str]] = ()
) -> str:
    """The document. errors: name and message of every pair that could not be checked."""
    root = Element("testsuites")
    versions = (
        {}
        if tool is None
        else {
            "onnxpath": tool.version,
            "onnxruntime": tool.onnxruntime,
            "provider": tool.provider,
            "precision": tool.precision,
        }
    )
    for pair in pairs:
        failed = sum(not budget.passed for budget in pair.budgets)
        about = {
            "a": pair.a.path,
            "a.sha256": pair.a.sha256,
            "b": pair.b.path,
            "b.sha256": pair.b.sha256,
            **versions,
        }
        suite = _suite(root, pair.name, about, len(pair.budgets), failed, 0)
        for budget in pair.budgets:
            case = _case(suite, budget.name)
            if not budget.passed:
                message = verdicts.explain(budget)
                SubElement(case, "failure", {"message": _text(message), "type": "budget"}).text = _text(
                    message
                )
        _streams(
            suite,
            "\n".join(
                f"{b.name}: {verdicts.value(b)} (limit {verdicts.limit(b)}; {b.basis})" for b in pair.budgets
            ),
        )
    for name, message in errors:
        suite = _suite(root, name, versions, 1, 0, 1)
        SubElement(_case(suite, "check"), "error", {"message": _text(message), "type": "error"}).text = _text(
            message
        )
        _streams(suite, "")
    indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{COMMENT}\n' + tostring(root, encoding="unicode") + "\n"
