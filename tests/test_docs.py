"""The documents: whatever the code and the tests cite exists, and the paths that the documents name exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import CHECKOUT

from analyzer.metrics import METRICS

DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])


def sources() -> Iterator[Path]:
    for folder in ("analyzer", "trainer", "tests"):
        yield from (CHECKOUT / folder).rglob("*.py")


def test_cited_documents_and_their_sections_exist() -> None:
    cited = {
        (path.relative_to(CHECKOUT), document, section)
        for path in sources()
        for document, section in re.findall(r"docs/(\w+\.md)(?:,? \"([^\"\n]+)\")?", path.read_text(encoding="utf-8"))
    }
    assert len(cited) > 5
    for path, document, section in cited:
        file = CHECKOUT / "docs" / document
        assert file.is_file(), f"{path} cites docs/{document}"
        if section:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in headings, f'{path} cites docs/{document} "{section}", which has {headings}'


def test_fault_numbers_that_tests_cite_are_rows_of_the_table() -> None:
    rows = set(re.findall(r"^\| (\d+) \|", (CHECKOUT / "docs/faults.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {
        (number.lstrip("0"), path.name)
        for path in (CHECKOUT / "tests").rglob("test_*.py")
        for number in re.findall(r"(?:_row|_fault_)(\d+)", path.read_text(encoding="utf-8"))
    }
    assert len(rows) > 40 and len(cited) > 40
    assert [(number, name) for number, name in sorted(cited) if number not in rows] == []


def test_every_metric_is_documented() -> None:
    text = (CHECKOUT / "docs/metrics.md").read_text(encoding="utf-8")
    assert [name for name in (*METRICS, "path_length", "tortuosity") if f"`{name}`" not in text] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_and_links_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:analyzer|trainer|tests|docs|reports)/[\w./-]*\w)/?`", text))
    named |= set(re.findall(r"\]\(([\w./-]+)\)", text))
    if document.name == "architecture.md":
        packages = "|".join(path.name for path in (CHECKOUT / "analyzer").iterdir() if path.is_dir())
        named |= {f"analyzer/{path}" for path in re.findall(rf"`((?:{packages})/[\w./]*\w)/?`", text)}
        named |= {f"analyzer/{path}" for path in re.findall(r"`(\w+\.py)`", text)}
    not_files = {"reports/demo", "reports/NAME", "trainer/global_step"}
    missing = [
        name
        for name in sorted(named - not_files)
        if not ((CHECKOUT / name).exists() or (document.parent / name).exists())
    ]
    assert missing == []
