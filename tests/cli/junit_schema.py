"""The two schemas that JUnit reports are checked against, as tables, and a strict check of a document.

ANT is the schema of the Ant task (windyroad's JUnit.xsd), JENKINS the one of the xUnit plugin (junit-10.xsd):
elements, the order and number of their children, their attributes with the type of each.
"""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

# xs:token collapses white space; what a document holds is compared as it is, which is stricter.
TOKEN, STRING, INT, DECIMAL = r"\S(?:.*\S)?", r"(?s:.*)", r"[+-]?\d+", r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"
DATETIME = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}"
SECONDS = r"(?:(?:[0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(?:\.[0-9]*)?"


@dataclass(frozen=True)
class Rule:
    """children: a regular expression over the children's names, each followed by a space. attributes: name ->
    type; a name with `?` may be missing. text: whether text is allowed."""

    children: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    text: bool = False


_PROPERTIES = {"properties": Rule("(property )*"), "property": Rule("", {"name": TOKEN, "value": STRING})}
_STREAMS = {name: Rule(text=True) for name in ("system-out", "system-err")}

ANT = {
    "testsuites": Rule("(testsuite )*"),
    "testsuite": Rule(
        "properties (testcase )*system-out system-err ",
        {"name": TOKEN, "package": TOKEN, "id": INT, "timestamp": DATETIME, "hostname": TOKEN, "tests": INT,
        "failures": INT, "errors": INT,
         "skipped?": INT, "time": DECIMAL},
    ),
    "testcase": Rule("((skipped|error|failure) )?", {"name": TOKEN, "classname": TOKEN, "time": DECIMAL}),
    "failure": Rule("", {"message?": STRING, "type": STRING}, text=True),
    "error": Rule("", {"message?": STRING, "type": STRING}, text=True),
    **_PROPERTIES, **_STREAMS,
}  # fmt: skip

JENKINS = {
    "testsuites": Rule("(testsuite )*",
    {"name?": STRING, "time?": SECONDS, "tests?": STRING, "failures?": STRING, "errors?": STRING}),
    "testsuite": Rule(
        "((testsuite|properties|testcase|system-out|system-err) )*",
        {"name": STRING, "tests": STRING, "failures": STRING, "errors": STRING, "time?": SECONDS,
         **{f"{name}?": STRING for name in ("group", "skipped", "timestamp", "hostname", "id", "package",
         "file", "log", "url")}},
    ),
    "testcase": Rule(
        "((skipped|error|failure|rerunFailure|rerunError|flakyFailure|flakyError|system-out|system-err) )*",
        {"name": STRING, "time?": STRING, "classname?": STRING, "group?": STRING},
    ),
    "failure": Rule("", {"message?": STRING, "type?": STRING}, text=True),
    "error": Rule("", {"message?": STRING, "type?": STRING}, text=True),
    **_PROPERTIES, **_STREAMS,
}  # fmt: skip


def violations(element: ElementTree.Element, schema: dict[str, Rule]) -> list[str]:
    """Everything in a document that its schema does not allow."""
    rule = schema.get(element.tag)
    if rule is None:
        return [f"<{element.tag}> is unknown"]
    found = []
    children = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(rule.children, children):
        found.append(f"<{element.tag}> holds '{children}'")
    for name in element.attrib:
        if name not in rule.attributes and f"{name}?" not in rule.attributes:
            found.append(f"<{element.tag}> has an attribute '{name}'")
    for name, kind in rule.attributes.items():
        value = element.get(name.rstrip("?"))
        if value is None and not name.endswith("?"):
            found.append(f"<{element.tag}> lacks '{name}'")
        elif value is not None and not re.fullmatch(kind, value):
            found.append(f"<{element.tag}> has {name}={value!r}")
    if not rule.text and any(
        (part or "").strip() for part in (element.text, *(child.tail for child in element))
    ):
        found.append(f"<{element.tag}> holds text")
    return found + [problem for child in element for problem in violations(child, schema)]


def parse(text: str) -> ElementTree.Element:
    """The root of a report that is well-formed, valid against both schemas, and counts its cases right."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for schema in (ANT, JENKINS):
        assert violations(root, schema) == []
    for k, suite in enumerate(root):
        cases = suite.findall("testcase")
        assert suite.get("id") == str(k)
        assert suite.get("tests") == str(len(cases))
        for kind in ("failure", "error"):
            assert suite.get(f"{kind}s") == str(sum(case.find(kind) is not None for case in cases))
    return root
