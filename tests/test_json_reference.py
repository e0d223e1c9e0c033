"""docs/json.md and docs/schemas say what the records say; every document has a table and a schema."""

import re
from pathlib import Path

import pytest

from onnxpath.records.reference import files, page
from onnxpath.records.schema import documents, schema

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_and_the_schemas_are_up_to_date() -> None:
    """`python -m onnxpath.records.reference docs` writes them."""
    for path, text in files(DOCS).items():
        assert path.read_text(encoding="utf-8") == text, path.name
    assert {p.name for p in (DOCS / "schemas").iterdir()} == {p.name for p in files(DOCS)} - {"json.md"}


def test_every_document_has_a_table_on_the_page() -> None:
    text = (DOCS / "json.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- (onnxpath\S+) -->", text)) == set(documents())
    with pytest.raises(KeyError):
        page("<!-- onnxpath.nothing/1 -->\n<!-- end -->")


@pytest.mark.parametrize("name", documents())
def test_every_entry_of_a_document_has_a_type(name: str) -> None:
    found = schema(documents()[name])
    assert found["properties"]["schema"] == {"const": name} and "tool" in found["required"]
